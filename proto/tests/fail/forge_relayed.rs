//! What a neighbour released comes over the link alone: nobody else makes an answer that is passed on (RES-1).

use domicile_proto::border::relayed::Relayed;
use domicile_proto::message::answer::Answer;
use domicile_proto::message::question::Question;

fn forge(answer: Answer, question: &Question) -> Option<Relayed> {
    Relayed::check(answer, question).ok()
}

fn main() {}
