//! How much was served before, during and after the faults, and whether a run had enough traffic to say anything.
//!
//! A region that nothing was done to but cutting its ways abroad must go on serving its own users.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Verdict;
use crate::history::{Kind, Operation};

/// A stretch of time in which a fault held, in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Which.
    pub name: String,
    /// Where; empty for everywhere.
    pub region: String,
    /// From.
    pub from: u64,
    /// Until.
    pub until: u64,
    /// What shows that it bit; 0 where nothing did.
    pub bites: u64,
    /// Whether the region's own users must not notice.
    pub is_abroad_only: bool,
}

/// Numbers of one operation in one phase.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Served {
    /// That happened.
    pub ok: u64,
    /// That certainly did not.
    pub fail: u64,
    /// Of which nobody knows.
    pub info: u64,
    /// Half were answered within, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
}

/// What a node answers that does not have a stream, which another one of its region has.
pub const ELSEWHERE: &str = "DMC-OWNERSHIP-04";
/// Least share of a region's own users' operations that succeeds while only its ways abroad are cut, of 1,000.
const LOCAL_PER_MILLE: u64 = 990;

/// By operation, before, during and after the faults.
pub fn phases(operations: &[Operation], faults: &[Fault]) -> BTreeMap<String, [Served; 3]> {
    let first = faults.iter().map(|fault| fault.from).min().unwrap_or(u64::MAX);
    let last = faults.iter().map(|fault| fault.until).max().unwrap_or(u64::MAX);
    let mut gathered: BTreeMap<String, [(Served, Vec<u64>); 3]> = BTreeMap::new();
    for operation in operations {
        let phase = usize::from(operation.began >= first) + usize::from(operation.began >= last);
        let (served, took) = &mut gathered.entry(operation.f.clone()).or_default()[phase];
        match operation.kind {
            Kind::Ok => {
                served.ok += 1;
                took.push(operation.ended - operation.began);
            }
            Kind::Fail => served.fail += 1,
            Kind::Info | Kind::Invoke => served.info += 1,
        }
    }
    let finish = |(mut served, mut took): (Served, Vec<u64>)| {
        took.sort_unstable();
        let at = |percent: usize| took.get((took.len() * percent / 100).min(took.len().saturating_sub(1))).copied();
        let ms = |nanos: Option<u64>| nanos.unwrap_or_default() as f64 / 1e6;
        (served.p50_ms, served.p99_ms) = (ms(at(50)), ms(at(99)));
        served
    };
    gathered.into_iter().map(|(f, phases)| (f, phases.map(finish))).collect()
}

/// Judges: enough traffic of each operation named, every fault bit, local work went on where only the ways abroad were cut.
pub fn check(operations: &[Operation], faults: &[Fault], floors: &[(&str, u64)]) -> Verdict {
    let mut verdict = Verdict::new("availability");
    for (f, floor) in floors {
        let ok = operations.iter().filter(|one| one.f == *f && one.kind == Kind::Ok).count() as u64;
        verdict.count(&format!("{f} ok"), ok);
        if ok < *floor {
            verdict.violation(format!("void: only {ok} of at least {floor} `{f}` succeeded"));
        }
    }
    for fault in faults {
        verdict.count("faults", 1);
        verdict.count("bites", fault.bites);
        if fault.bites == 0 {
            verdict.violation(format!("void: `{}` at `{}` never bit", fault.name, fault.region));
        }
        if fault.is_abroad_only {
            let inside = |one: &&Operation| {
                matches!(one.f.as_str(), "ingest" | "write")
                    && one.region == fault.region
                    && one.err != ELSEWHERE
                    && (fault.from..fault.until).contains(&one.began)
            };
            let all: Vec<&Operation> = operations.iter().filter(inside).collect();
            let ok = all.iter().filter(|one| one.kind == Kind::Ok).count() as u64;
            verdict.count("local operations while cut off", all.len() as u64);
            verdict.count("local operations while cut off, ok", ok);
            if ok * 1_000 < all.len() as u64 * LOCAL_PER_MILLE {
                verdict.violation(format!(
                    "`{}` served its own users {ok} of {} times while it was cut off",
                    fault.region,
                    all.len()
                ));
            }
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn ingest(kind: Kind, began: u64) -> Operation {
        Operation {
            f: "ingest".to_owned(),
            key: Value::Null,
            region: "tokyo".to_owned(),
            input: Value::Null,
            output: Value::Null,
            kind,
            began,
            ended: began + 2_000_000,
            err: String::new(),
        }
    }

    fn cut(bites: u64) -> Fault {
        let (name, region) = ("cut".to_owned(), "tokyo".to_owned());
        Fault { name, region, from: 100, until: 200, bites, is_abroad_only: true }
    }

    #[test]
    fn a_run_without_traffic_or_without_a_bite_is_void() {
        let busy: Vec<Operation> = (0..300).map(|at| ingest(Kind::Ok, at)).collect();
        assert_eq!(check(&busy, &[cut(3)], &[("ingest", 100)]).violations, Vec::<String>::new());
        assert_eq!(check(&busy[..50], &[cut(3)], &[("ingest", 100)]).violations.len(), 1);
        assert_eq!(check(&busy, &[cut(0)], &[("ingest", 100)]).violations.len(), 1);
    }

    #[test]
    fn local_work_that_stops_while_only_the_ways_abroad_are_cut_is_convicted() {
        let stops = |at| if (100..102).contains(&at) { Kind::Info } else { Kind::Ok };
        let history: Vec<Operation> = (0..300).map(|at| ingest(stops(at), at)).collect();
        assert_eq!(check(&history, &[cut(1)], &[]).violations.len(), 1);
        let elsewhere = |at| Operation { err: ELSEWHERE.to_owned(), ..ingest(Kind::Fail, at) };
        let asked_the_wrong_node: Vec<Operation> =
            (0..300).map(|at| if at % 3 == 0 { elsewhere(at) } else { ingest(Kind::Ok, at) }).collect();
        assert!(check(&asked_the_wrong_node, &[cut(1)], &[]).violations.is_empty());
        let phases = phases(&history, &[cut(1)]);
        let ok = phases["ingest"].clone().map(|served| (served.ok, served.info));
        assert_eq!(ok, [(100, 0), (98, 2), (100, 0)]);
        assert!((phases["ingest"][0].p50_ms - 2.0).abs() < 0.001);
    }
}
