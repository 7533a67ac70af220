//! A node brings its neighbour nothing that it did not release (RES-1).

use domicile_proto::link::connection::RegionReplyTo;
use domicile_proto::link::neighbour::Neighbour;
use domicile_proto::message::answer::Answer;

async fn bring(neighbour: Neighbour, to: RegionReplyTo, answer: Answer) {
    let _ = neighbour.bring(to, &answer, None).await;
}

fn main() {}
