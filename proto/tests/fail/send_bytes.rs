//! Bytes are no answer (RES-1).

use domicile_proto::link::connection::Reply;
use domicile_proto::link::foreign::Foreign;

async fn leak(foreign: Foreign, reply: Reply, bytes: Vec<u8>) {
    let _ = foreign.answer(reply, &bytes).await;
}

fn main() {}
