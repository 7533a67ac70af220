//! The synthetic day the attacks are run on: a few hundred users, most of whom seldom write, in three regions; once in a
//! stream whose subjects are guarded and once, the same rows, in one whose officer says that nobody is in it. The truth about
//! every record is kept here, so that a success is counted and not felt.

use std::collections::BTreeMap;
use std::time::Duration;

use domicile::attack::day::{AMOUNT_BOUNDS, Counted, Day, Record, SERVICES, amount, message};
use domicile_tests::cluster::fixture::{DAY_MS, bulk, utc};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::{Cluster, REGIONS, wait_until};
use serde_json::{Value, json};

use crate::BINARY;

/// The stream whose `user` is counted.
pub(crate) const GUARDED: &str = "shop";
/// The control: the same rows without a threshold.
pub(crate) const OPEN: &str = "open";
/// Smallest number of subjects that may be told.
pub(crate) const K: usize = 5;
/// Three regions with the day in them, and what is true of it.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    /// By region.
    days: BTreeMap<String, Day>,
}

impl World {
    /// Starts three regions, declares both streams, and sends the day.
    pub(crate) fn start() -> Self {
        let cluster = Cluster::start(BINARY, &[]).unwrap();
        declare(&cluster, GUARDED, &["--subject", "user"]);
        declare(&cluster, OPEN, &["--no-personal-data"]);
        for region in REGIONS {
            let approve = ["dictionary", "approve", region, "service"];
            cluster.command(&[&approve[..], &SERVICES.map(|(name, _)| name)].concat()).unwrap();
        }
        let mut days = BTreeMap::new();
        for (seed, region) in (100..).zip(cluster.regions()) {
            let day = Day::draw(seed, region.name == "frankfurt", (K, Counted::Users));
            for stream in [GUARDED, OPEN] {
                send(&region, stream, &day.records);
            }
            days.insert(region.name.clone(), day);
        }
        let world = Self { cluster, days };
        world.settle();
        world
    }

    /// Who asks.
    pub(crate) fn asker(&self) -> Region {
        self.cluster.region("tokyo")
    }

    /// What the attacked region holds.
    pub(crate) fn truth(&self) -> &Day {
        &self.days["frankfurt"]
    }

    /// Waits until the asker knows the values and the attacked region answers for the last minutes of the day.
    fn settle(&self) {
        let asker = self.asker();
        let whole = wait_until(Duration::from_secs(60), || {
            let terms = json!({"size": 0, "aggs": {"s": {"terms": {"field": "service", "size": 20}}}});
            let answer = asker.es("search", "POST", &format!("/frankfurt:{OPEN}/_search"), &terms).ok()?.json();
            let buckets = answer["aggregations"]["s"]["buckets"].as_array()?.clone();
            let named = buckets.iter().filter(|bucket| SERVICES.iter().any(|(name, _)| bucket["key"] == *name)).count();
            (named == SERVICES.len()).then_some(())
        });
        whole.expect("the control stream tells its services abroad");
    }
}

pub(crate) fn declare(cluster: &Cluster, stream: &str, personal: &[&str]) {
    let amount = format!("amount={}", AMOUNT_BOUNDS.map(|bound| bound.to_string()).join(","));
    let create = ["stream", "create", stream, "--group-field", "service", "--number", &amount, "--text-questions"];
    let everywhere = REGIONS.iter().flat_map(|region| ["--region", region]).collect::<Vec<_>>();
    cluster.command(&[&create[..], personal, &everywhere].concat()).unwrap();
    for region in cluster.regions() {
        let known = wait_until(Duration::from_secs(30), || {
            let streams = region.api("search", "GET", "/api/v1/streams", &Value::Null).ok()?.json();
            let views = streams["streams"].as_array()?.clone();
            let view = views.into_iter().find(|view| view["name"] == stream)?;
            (view["personal"] != "undeclared" && view["text_questions"] == true).then_some(())
        });
        known.unwrap_or_else(|| panic!("`{}` does not know the policy of `{stream}`", region.name));
    }
}

fn send(region: &Region, stream: &str, day: &[Record]) {
    for (number, part) in day.chunks(2_000).enumerate() {
        let events: Vec<Value> = (number * 2_000..).zip(part).map(|(index, record)| event(index, record)).collect();
        let answer = region.bulk(stream, &bulk(&events, None), &[]).unwrap();
        assert!(answer.status == 200 && !answer.text().contains("\"errors\":true"), "{}", answer.text());
    }
    region.refresh(stream);
    assert_eq!(region.count(stream).unwrap(), day.len() as u64, "{} holds the day", region.name);
}

fn event(index: usize, record: &Record) -> Value {
    json!({
        "timestamp": utc(at(record.leaf) + i64::try_from(index).unwrap() % 60_000),
        "level": record.level,
        "service": record.service,
        "user": format!("u{}", record.user),
        "amount": amount(record.user),
        "message": message(record.user),
    })
}

/// The beginning of a minute, in milliseconds since 1970.
pub(crate) const fn at(minute: i64) -> i64 {
    DAY_MS + minute * 60_000
}
