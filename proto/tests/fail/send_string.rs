//! A string is no answer (RES-1).

use domicile_proto::link::connection::Reply;
use domicile_proto::link::foreign::Foreign;

async fn leak(foreign: Foreign, reply: Reply, line: String) {
    let _ = foreign.answer(reply, &line).await;
}

fn main() {}
