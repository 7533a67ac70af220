//! What arrived from one region cannot be sent to another (RES-1).

use domicile_proto::border::Received;
use domicile_proto::link::connection::Reply;
use domicile_proto::link::foreign::Foreign;

async fn pass_on(foreign: Foreign, reply: Reply, received: Received) {
    let _ = foreign.answer(reply, &received).await;
}

fn main() {}
