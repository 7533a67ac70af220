//! Asking again tells nothing more: whatever is repeated has the same bytes, so that there is no noise to average away and no
//! second judgement to compare with the first.

use std::collections::BTreeSet;
use std::time::Duration;

use domicile::attack::day::{DENSE, SPARSE};
use domicile_tests::cluster::wait_until;
use serde_json::{Value, json};

use crate::ask::{bare, search, within};
use crate::world::{GUARDED, World};

/// How often one question is asked.
const TIMES: usize = 1_000;

/// Asks for a table by service, in which small groups are withheld, over and over.
pub(crate) fn run(world: &World) {
    let body = json!({
        "size": 0, "track_total_hits": true, "query": {"bool": {"filter": [within(DENSE.start, SPARSE.end)]}},
        "aggs": {"s": {"terms": {"field": "service", "size": 20}}},
    });
    let (asker, index) = (world.asker(), format!("frankfurt:{GUARDED}"));
    let is_whole = |answer: &Value| {
        answer["_clusters"]["details"]["frankfurt"]["residency"]["coverage"] == "complete"
            && answer["hits"]["total"]["value"].as_u64() > Some(0)
            && answer["aggregations"]["s"]["buckets"].as_array().map(Vec::len) > Some(0)
    };
    let mut different = BTreeSet::new();
    for turn in 0..TIMES {
        // Whoever asks faster than a region may be asked is turned away, with one half of a question or both: that is no answer.
        let answered = wait_until(Duration::from_secs(30), || {
            let answer = bare(&search(&asker, &index, &body));
            is_whole(&answer).then_some(answer)
        });
        different.insert(answered.unwrap_or_else(|| panic!("not answered for time {turn}")).to_string());
    }
    assert_eq!(different.len(), 1, "asked again, it is told otherwise: {different:?}");
}
