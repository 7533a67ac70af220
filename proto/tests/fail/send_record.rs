//! A record is no answer (RES-1).

use domicile_proto::link::connection::Reply;
use domicile_proto::link::foreign::Foreign;

struct Record {
    message: String,
}

async fn leak(foreign: Foreign, reply: Reply, record: Record) {
    let _ = foreign.answer(reply, &record).await;
    drop(record.message);
}

fn main() {}
