//! Cells are no answer before the gate has released them (RES-1).

use domicile_proto::aggregate::count::Count;
use domicile_proto::border::Cells;
use domicile_proto::link::connection::Reply;
use domicile_proto::link::foreign::Foreign;

async fn leak(foreign: Foreign, reply: Reply, cells: Cells<Count>) {
    let _ = foreign.answer(reply, &cells).await;
}

fn main() {}
