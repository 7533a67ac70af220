//! Rows are asked of no other region (RES-1).

use std::time::Duration;

use domicile_proto::link::foreign::Foreign;
use domicile_proto::message::region::RegionAsk;

async fn leak(foreign: Foreign, ask: RegionAsk) {
    let _ = foreign.tell_pieces(&ask, &mut |_| true, Duration::from_secs(1)).await;
}

fn main() {}
