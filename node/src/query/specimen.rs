//! Events for tests: made from a number, so that every test can reckon independently what should match.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domicile_proto::ids::{TimeRange, Timestamp};
use serde_json::{Value as Json, json};

use super::{Budget, Filter, SearchRequest, Sort, TrackTotal};
use crate::index::builder::Layout;
use crate::segment::Segment;
use crate::segment::specimen::{durable, record, segment};

/// 2026-01-01T00:00:00Z.
pub(crate) const START: i64 = 1_767_225_600_000_000;

/// An event and when it happened.
pub(crate) struct Event {
    pub(crate) at: i64,
    pub(crate) source: Json,
    pub(crate) id: String,
}

fn mixed(n: u64) -> u64 {
    let n = (n ^ (n >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    n ^ (n >> 29)
}

/// Event number `n`.
pub(crate) fn event(n: u64) -> (i64, Json) {
    let dice = |salt: u64, sides: u64| mixed(n.wrapping_mul(31).wrapping_add(salt)) % sides;
    let pick = |salt, list: &[&str]| list[usize::try_from(dice(salt, list.len() as u64)).unwrap()].to_owned();
    let at = START + i64::try_from(n).unwrap() * 1_500_000 + i64::try_from(dice(1, 9_000_000)).unwrap();
    let words =
        (0..4).map(|w| pick(10 + w, &["payment", "Timeout", "connect", "connection", "card-7", "東京都", "ok"]));
    let mut source = json!({
        "level": pick(2, &["INFO", "info", "ERROR", "warn", "DEBUG"]),
        "message": words.collect::<Vec<_>>().join(" "),
        "ms": dice(4, 500),
        "trace_id": format!("{:032x}", dice(5, 40) + 1_000_000_007),
        "request": {"id": format!("0000000{}-aaaa-bbbb", dice(6, 9)), "path": pick(7, &["/a/1", "/a/2", "/b"])},
        "status": pick(8, &["200", "404", "500"]),
    });
    let object = source.as_object_mut().unwrap();
    object.insert(pick(3, &["service", "app"]), json!(pick(9, &["cart", "checkout", "billing"])));
    if dice(20, 2) == 0 {
        object.insert("ratio".to_owned(), json!(f64::from(u32::try_from(dice(21, 100)).unwrap()) / 8.0));
        object.insert("cached".to_owned(), json!(dice(22, 2) == 0));
    }
    if dice(23, 3) == 0 {
        object.insert("tags".to_owned(), json!([pick(24, &["red", "blue"]), pick(25, &["red", "green"])]));
        object.insert("note".to_owned(), json!(pick(26, &["Slow disk found", "disk slow", "nothing"])));
    }
    (at, source)
}

/// Events 0 to `count`, in segments of two shards, with the id that each of them gets.
pub(crate) fn sample(count: u64) -> (Vec<Event>, Vec<Arc<Segment>>) {
    let layout = Layout::new();
    let mut events = Vec::new();
    let mut segments = Vec::new();
    let parts = [(7, 1, 0..count / 2), (7, 1 + count / 2, count / 2..count * 3 / 4), (0x1f, 40, count * 3 / 4..count)];
    for (shard, first, numbers) in parts {
        let mut records = Vec::new();
        for (seq, n) in (first..).zip(numbers) {
            let (at, source) = event(n);
            let own = n % 5 == 0;
            let id = if own { format!("own-{n}") } else { format!("{shard:x}-{seq:x}") };
            let mut sent = source.clone();
            if own {
                sent.as_object_mut().unwrap().insert("_id".to_owned(), json!(id));
            }
            records.push(record(at, Some(n % 11), sent));
            events.push(Event { at, source, id });
        }
        segments.push(segment(&layout, durable(shard, first, records)));
    }
    (events, segments)
}

/// A search for everything the filter matches.
pub(crate) fn request(filter: Filter) -> SearchRequest {
    SearchRequest {
        filter,
        range: TimeRange::ALL,
        sort: Sort::Newest,
        size: 10_000,
        after: None,
        total: TrackTotal::Exact,
        budget: Budget::until(Instant::now() + Duration::from_secs(60)),
    }
}

/// Now, for dates in tests.
pub(crate) const fn now() -> Timestamp {
    Timestamp(START + 3_600_000_000)
}
