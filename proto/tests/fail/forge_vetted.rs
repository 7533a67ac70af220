//! A vetted question cannot be made without vetting (RES-3).

use domicile_proto::border::VettedQuestion;
use domicile_proto::message::question::Question;

fn forge(question: Question) -> VettedQuestion {
    VettedQuestion(question)
}

fn main() {}
