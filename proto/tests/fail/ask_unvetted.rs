//! A question that nobody vetted cannot be asked of another region (RES-3).

use domicile_proto::link::foreign::Foreign;
use domicile_proto::message::question::Question;
use std::time::Duration;

async fn ask(foreign: Foreign, question: Question) {
    let _ = foreign.ask(&question, Duration::from_secs(1)).await;
}

fn main() {}
