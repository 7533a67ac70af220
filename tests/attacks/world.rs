//! The synthetic day the attacks are run on: a few hundred users, most of whom seldom write, in three regions; once in a
//! stream whose subjects are guarded and once, the same rows, in one whose officer says that nobody is in it. The truth about
//! every record is kept here, so that a success is counted and not felt.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domicile_tests::cluster::fixture::{DAY_MS, Dice, bulk, utc};
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
/// Users, drawn by Zipf's law.
const USERS: u64 = 400;
/// Approved services with their shares; the last is used by few.
const SERVICES: [(&str, u64); 4] = [("checkout", 55), ("payments", 30), ("search", 13), ("vault", 2)];
/// A service nobody approved.
pub(crate) const UNAPPROVED: &str = "projectx";
/// Minutes of the day that hold many records, and then few.
pub(crate) const DENSE: std::ops::Range<i64> = 0..60;
pub(crate) const SPARSE: std::ops::Range<i64> = 60..180;
/// One user alone writes very much, an hour of minutes later.
pub(crate) const CHATTY: std::ops::Range<i64> = 240..250;
const CHATTY_RECORDS: u64 = 10_000;

/// One record.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) minute: i64,
    pub(crate) user: u64,
    pub(crate) service: &'static str,
    pub(crate) level: &'static str,
}

/// Three regions with the day in them, and what is true of it.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    /// By region.
    pub(crate) records: BTreeMap<String, Vec<Record>>,
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
        let mut records = BTreeMap::new();
        for (seed, region) in (100..).zip(cluster.regions()) {
            let day = day(seed, region.name == "frankfurt");
            for stream in [GUARDED, OPEN] {
                send(&region, stream, &day);
            }
            records.insert(region.name.clone(), day);
        }
        let world = Self { cluster, records };
        world.settle();
        world
    }

    /// Who asks.
    pub(crate) fn asker(&self) -> Region {
        self.cluster.region("tokyo")
    }

    /// What the attacked region holds.
    pub(crate) fn truth(&self) -> &[Record] {
        &self.records["frankfurt"]
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
    let create =
        ["stream", "create", stream, "--group-field", "service", "--number", "amount=100,1000", "--text-questions"];
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

/// The day of one region. Only the attacked one has sparse minutes and a chatty user: what the others say is no secret here.
fn day(seed: u64, is_attacked: bool) -> Vec<Record> {
    let mut dice = Dice::new(seed);
    let mut day = Vec::new();
    for minute in DENSE {
        (0..40).for_each(|_| day.push(record(&mut dice, minute)));
    }
    for minute in SPARSE {
        let number = if is_attacked { 3 + dice.below(7) } else { 40 };
        (0..number).for_each(|_| day.push(record(&mut dice, minute)));
    }
    if is_attacked {
        for index in 0..CHATTY_RECORDS {
            let minute = CHATTY.start + i64::try_from(index).unwrap() % (CHATTY.end - CHATTY.start);
            day.push(Record { minute, user: 7_777, service: "checkout", level: "INFO" });
        }
    }
    day
}

fn record(dice: &mut Dice, minute: i64) -> Record {
    let service = match dice.below(40) {
        0 => UNAPPROVED,
        _ => share(dice.below(100)),
    };
    let level = ["INFO", "INFO", "INFO", "INFO", "WARN", "ERROR"][usize::try_from(dice.below(6)).unwrap()];
    Record { minute, user: zipf(dice), service, level: if dice.below(200) == 0 { "FATAL" } else { level } }
}

fn share(percent: u64) -> &'static str {
    let mut below = 0;
    let found = SERVICES.iter().find(|(_, share)| {
        below += share;
        percent < below
    });
    found.map_or("checkout", |(name, _)| name)
}

/// A user by Zipf's law: the first writes twice as much as the second.
fn zipf(dice: &mut Dice) -> u64 {
    // Weights of 1/rank, in millionths, drawn by walking the ranks.
    let total: u64 = (1..=USERS).map(|rank| 1_000_000 / rank).sum();
    let mut drawn = dice.below(total);
    for rank in 1..=USERS {
        let weight = 1_000_000 / rank;
        if drawn < weight {
            return rank;
        }
        drawn -= weight;
    }
    USERS
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
        "timestamp": utc(at(record.minute) + i64::try_from(index).unwrap() % 60_000),
        "level": record.level,
        "service": record.service,
        "user": format!("u{}", record.user),
        "amount": amount(record.user),
        "message": format!("order placed by {}", account(record.user)),
    })
}

/// What each order of a user costs; below the last bound, so that nothing is clamped.
pub(crate) const fn amount(user: u64) -> u64 {
    10 + user * 37 % 900
}

/// The word that stands for a user in messages; no detector knows it.
pub(crate) fn account(user: u64) -> String {
    format!("account{user}")
}

/// The beginning of a minute, in milliseconds since 1970.
pub(crate) const fn at(minute: i64) -> i64 {
    DAY_MS + minute * 60_000
}

/// Records and distinct users among those that fit.
pub(crate) fn census(records: &[Record], fits: impl Fn(&Record) -> bool) -> (u64, usize) {
    let found: Vec<&Record> = records.iter().filter(|record| fits(record)).collect();
    (found.len() as u64, found.iter().map(|record| record.user).collect::<BTreeSet<_>>().len())
}

/// Minutes of the sparse part with somebody in them, and fewer than k: what an attacker wants to know.
pub(crate) fn small_minutes(records: &[Record]) -> Vec<(i64, u64)> {
    let minutes = SPARSE.map(|minute| (minute, census(records, |record| record.minute == minute)));
    minutes.filter(|(_, (_, users))| (1..K).contains(users)).map(|(minute, (count, _))| (minute, count)).collect()
}
