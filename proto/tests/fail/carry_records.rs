//! Records as producers sent them are brought to no other region (RES-1).

use std::time::Duration;

use domicile_proto::link::foreign::Foreign;
use domicile_proto::message::batch::RecordBatch;
use domicile_proto::message::region::RegionAsk;

async fn leak(foreign: Foreign, batch: RecordBatch) {
    let _ = foreign.tell(&RegionAsk::Batch(batch), Duration::from_secs(1)).await;
}

fn main() {}
