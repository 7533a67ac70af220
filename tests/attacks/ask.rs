//! What an attacker abroad can ask through the doors of a node, and reads out of the answers: as much as there is, marks of
//! withholding not heeded.

use std::collections::BTreeMap;
use std::ops::Range;

use domicile::attack::day::OTHER;
use domicile::attack::{Abroad, Condition};
use domicile_tests::cluster::fixture::utc;
use domicile_tests::cluster::region::Region;
use serde_json::{Value, json};

use crate::world::{World, at};

/// A range of minutes as a filter.
pub(crate) fn within(from: i64, to: i64) -> Value {
    json!({"range": {"timestamp": {"gte": at(from), "lt": at(to), "format": "epoch_millis"}}})
}

/// Asks other regions in Elasticsearch's form; an answer that is a refusal is empty.
pub(crate) fn search(asker: &Region, index: &str, body: &Value) -> Value {
    let answer = asker.es("search", "POST", &format!("/{index}/_search"), body).unwrap();
    if answer.status == 200 { answer.json() } else { Value::Null }
}

/// The doors of the asking region, and the stream it asks for.
pub(crate) struct Doors<'a> {
    world: &'a World,
    asker: Region,
    stream: &'static str,
}

impl<'a> Doors<'a> {
    pub(crate) fn of(world: &'a World, stream: &'static str) -> Self {
        Self { world, asker: world.asker(), stream }
    }

    /// The answer of these regions to a body without its query.
    fn asked(&self, regions: &[&str], range: &Range<i64>, conditions: &[Condition], mut body: Value) -> Value {
        let parted = |is_negated: bool| -> Vec<Value> {
            conditions.iter().filter(|one| negated(one) == is_negated).map(condition).collect()
        };
        let filter = [&[within(range.start, range.end)], &parted(false)[..]].concat();
        body["size"] = json!(0);
        body["query"] = json!({"bool": {"filter": filter, "must_not": parted(true)}});
        let index = regions.iter().map(|region| format!("{region}:{}", self.stream)).collect::<Vec<_>>().join(",");
        search(&self.asker, &index, &body)
    }

    fn count_of(&self, regions: &[&str], range: &Range<i64>, conditions: &[Condition]) -> u64 {
        let answer = self.asked(regions, range, conditions, json!({"track_total_hits": true}));
        answer["hits"]["total"]["value"].as_u64().unwrap_or_default()
    }
}

const fn negated(condition: &Condition) -> bool {
    matches!(condition, Condition::IsNot(..) | Condition::NotWord(_))
}

fn condition(condition: &Condition) -> Value {
    match condition {
        Condition::Is(field, value) | Condition::IsNot(field, value) => json!({"term": {*field: value}}),
        Condition::Word(word) | Condition::NotWord(word) => json!({"match": {"message": word}}),
    }
}

/// The region that is attacked.
const ATTACKED: [&str; 1] = ["frankfurt"];

impl Abroad for Doors<'_> {
    fn count(&mut self, range: Range<i64>, conditions: &[Condition]) -> u64 {
        self.count_of(&ATTACKED, &range, conditions)
    }

    fn grid(&mut self, step: i64, range: Range<i64>, conditions: &[Condition]) -> BTreeMap<i64, u64> {
        let body = json!({"aggs": {"t": {"date_histogram": {
            "field": "timestamp", "fixed_interval": format!("{step}m"), "min_doc_count": 0,
            "extended_bounds": {"min": at(range.start), "max": at(range.end) - 1},
        }}}});
        let answer = self.asked(&ATTACKED, &range, conditions, body);
        let buckets = answer["aggregations"]["t"]["buckets"].as_array().cloned().unwrap_or_default();
        let minute = |bucket: &Value| bucket["key"].as_i64().map(|key| (key - at(0)).div_euclid(60_000));
        buckets.iter().filter_map(|bucket| Some((minute(bucket)?, bucket["doc_count"].as_u64()?))).collect()
    }

    fn terms(&mut self, field: &'static str, range: Range<i64>) -> BTreeMap<String, u64> {
        let body = json!({"aggs": {"s": {"terms": {"field": field, "size": 100}}}});
        let answer = self.asked(&ATTACKED, &range, &[], body);
        let buckets = answer["aggregations"]["s"]["buckets"].as_array().cloned().unwrap_or_default();
        let named = buckets
            .iter()
            .filter_map(|bucket| Some((bucket["key"].as_str()?.to_owned(), bucket["doc_count"].as_u64()?)));
        let other = answer["aggregations"]["s"]["sum_other_doc_count"].as_u64().unwrap_or_default();
        named.chain([(OTHER.to_owned(), other)]).collect()
    }

    /// As the native door gives them.
    fn term_grid(&mut self, range: Range<i64>) -> BTreeMap<(String, i64), u64> {
        let body = json!({
            "stream": self.stream, "regions": ATTACKED, "filter": within(range.start, range.end),
            "ask": {"terms": "service", "histogram": 60},
        });
        let answer = self.asker.api("search", "POST", "/api/v1/search", &body).unwrap();
        let result = if answer.status == 200 { answer.json()["result"].clone() } else { Value::Null };
        let first = (result["from"].as_i64().unwrap_or(at(0)) - at(0)).div_euclid(60_000);
        let mut cells = BTreeMap::new();
        let mut row = |name: &str, row: &Value| {
            for (place, cell) in (first..).zip(row.as_array().into_iter().flatten()) {
                cells.insert((name.to_owned(), place), cell["count"].as_u64().unwrap_or_default());
            }
        };
        for named in result["terms"].as_array().into_iter().flatten() {
            row(named["value"].as_str().unwrap_or_default(), &named["cells"]);
        }
        row(OTHER, &result["__other__"]);
        cells
    }

    fn sum(&mut self, range: Range<i64>) -> u64 {
        let body = json!({"aggs": {"a": {"sum": {"field": "amount"}}}});
        self.asked(&ATTACKED, &range, &[], body)["aggregations"]["a"]["value"].as_u64().unwrap_or_default()
    }

    fn three_and_two(&mut self, range: Range<i64>) -> (u64, u64) {
        let three = self.count_of(&["tokyo", "singapore", "frankfurt"], &range, &[]);
        (three, self.count_of(&["tokyo", "singapore"], &range, &[]))
    }

    fn said(&mut self, range: Range<i64>, conditions: &[Condition], by_service: bool) -> String {
        let mut body = json!({"track_total_hits": true});
        if by_service {
            body["aggs"] = json!({"s": {"terms": {"field": "service"}}});
        }
        since(&bare(&self.asked(&ATTACKED, &range, conditions, body)), at(range.start)).to_string()
    }

    fn late(&mut self, leaves: &[i64]) {
        let mut body = String::new();
        for leaf in leaves {
            let event = json!({
                "timestamp": utc(at(*leaf) + 30_000), "level": "INFO", "service": "checkout",
                "user": format!("late{leaf}"), "message": "order placed late",
            });
            body.push_str(&format!("{{\"create\":{{}}}}\n{event}\n"));
        }
        let home = self.world.cluster.region(ATTACKED[0]);
        assert_eq!(home.bulk(self.stream, body.as_bytes(), &[]).unwrap().status, 200);
        home.refresh(self.stream);
    }
}

/// An answer without what differs from one asking to the next by itself: times, ids, ledger heads.
pub(crate) fn bare(answer: &Value) -> Value {
    match answer {
        Value::Object(object) => {
            let differs = ["took", "took_ms", "questions", "ledger", "ledger_root", "ledger_size"];
            let kept = object.iter().filter(|(key, _)| !differs.contains(&key.as_str()));
            Value::Object(kept.map(|(key, value)| (key.clone(), bare(value))).collect())
        }
        Value::Array(list) => list.iter().map(bare).collect(),
        other => other.clone(),
    }
}

/// An answer with the range it covers told from the beginning of the window that was asked for: windows differ in nothing else.
fn since(answer: &Value, start: i64) -> Value {
    match answer {
        Value::Object(object) => {
            let told = |(key, value): (&String, &Value)| match (key.as_str(), value.as_i64()) {
                ("from" | "to", Some(millis)) => (key.clone(), json!(millis - start)),
                _ => (key.clone(), since(value, start)),
            };
            Value::Object(object.iter().map(told).collect())
        }
        Value::Array(list) => list.iter().map(|value| since(value, start)).collect(),
        other => other.clone(),
    }
}
