//! Bytes of ledgers against bytes of counters, by route and hour: `0 <= wire - ledger <= overhead`.
//!
//! Plain arithmetic over numbers that others read. The bounds of an hour are soft by what cannot be told apart there: records of
//! a flow log that reach over it, and traffic of the metadata group, which a ledger counts up to a minute late.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::logs::{Ends, Flow};

/// From which region to which.
pub(super) type Route = (String, String);

/// What a ledger says that left: when, in seconds, and how many bytes in how many messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) at: i64,
    pub(super) bytes: u64,
    pub(super) messages: u64,
}

/// All ledgers that were given.
#[derive(Debug, Default)]
pub(super) struct Ledgers {
    /// Regions whose ledgers are here.
    pub(super) regions: BTreeSet<String>,
    pub(super) left: BTreeMap<Route, Vec<Left>>,
    /// Entries that cannot be read here: then there may be more bytes on the wire than are known.
    pub(super) unread: u64,
}

/// What goes over the wire beside the bytes of a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overhead {
    /// Headers and acknowledgements: part of all bytes of both directions, in percent.
    pub(super) percent: u64,
    /// For each message of both directions, in bytes: a packet that is not full, and its acknowledgement.
    pub(super) per_message: u64,
    /// For each second, in bytes: keep-alives, and the packets of the many small messages of the metadata group.
    pub(super) per_second: u64,
}

impl Overhead {
    /// What was measured, with room; see docs/guide/officer.md.
    pub(super) const MEASURED: Self = Self { percent: 12, per_message: 256, per_second: 4_096 };
    /// For the connections that are made: handshakes with their certificates.
    const CONNECTIONS: u64 = 64 << 10;
}

/// Longest that a ledger is late with metadata traffic, in seconds.
const LATE: i64 = 61;
const HOUR: i64 = 3_600;

/// One route in one hour, or as much of it as was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Weighed {
    pub(super) route: Route,
    /// When it begins and ends, in seconds.
    pub(super) span: (i64, i64),
    pub(super) ledger: u64,
    pub(super) wire: u64,
    /// Most that the wire may carry.
    pub(super) most: u64,
    pub(super) problem: Option<&'static str>,
}

/// What the comparison came to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) weighed: Vec<Weighed>,
    /// Bytes between a region and addresses that nobody named.
    pub(super) outside: u64,
}

/// Compares. `span` is given, or as long as the counters tell.
pub(super) fn weigh(
    ledgers: &Ledgers,
    flows: &[Flow],
    names: &BTreeMap<IpAddr, String>,
    given: (Option<i64>, Option<i64>),
    overhead: &Overhead,
) -> Outcome {
    let mut outcome = Outcome::default();
    let Some(span) = span(ledgers, flows, given) else { return outcome };
    let has_times = flows.iter().any(|flow| flow.span.is_some());
    let wire = Wire::of(flows, names, span, has_times, &mut outcome.outside);
    let hours = hours(span, has_times);
    let routes: BTreeSet<&Route> = ledgers.left.keys().chain(wire.routes.iter()).collect();
    for route in routes {
        for (place, bounds) in hours.iter().enumerate() {
            let (counted, soft) = wire.sum(route, place);
            let weighed = one(ledgers, route, *bounds, (counted, soft), overhead);
            if weighed.wire > 0 || weighed.ledger > 0 {
                outcome.weighed.push(weighed);
            }
        }
    }
    outcome
}

/// From the first to the last that was counted; of counters without times, all that the ledgers have.
fn span(ledgers: &Ledgers, flows: &[Flow], given: (Option<i64>, Option<i64>)) -> Option<(i64, i64)> {
    let spans = || flows.iter().filter_map(|flow| flow.span);
    let times = || ledgers.left.values().flatten().map(|left| left.at);
    let from = given.0.or_else(|| spans().map(|(from, _)| from).min()).or_else(|| times().min())?;
    let to = given.1.or_else(|| spans().map(|(_, to)| to).max()).or_else(|| times().max().map(|last| last + 1))?;
    (from < to).then_some((from, to))
}

fn hours((from, to): (i64, i64), has_times: bool) -> Vec<(i64, i64)> {
    if !has_times {
        return vec![(from, to)];
    }
    let first = from.div_euclid(HOUR);
    let all = (first..).map(|hour| ((hour * HOUR).max(from), ((hour + 1) * HOUR).min(to)));
    all.take_while(|(from, to)| from < to).collect()
}

/// What the counters say: by route and number of the hour, of every pair of ends and observer the bytes and the soft ones.
struct Wire {
    routes: BTreeSet<Route>,
    counted: BTreeMap<(Route, usize), BTreeMap<(String, String), Seen>>,
}

/// By observer: bytes, and how many of them may as well belong to another hour.
type Seen = BTreeMap<String, (u64, u64)>;

impl Wire {
    fn of(
        flows: &[Flow],
        names: &BTreeMap<IpAddr, String>,
        span: (i64, i64),
        has_times: bool,
        outside: &mut u64,
    ) -> Self {
        let mut wire = Self { routes: BTreeSet::new(), counted: BTreeMap::new() };
        let hours = hours(span, has_times);
        for flow in flows {
            let (route, pair) = match &flow.ends {
                Ends::Regions(from, to) => ((from.clone(), to.clone()), (from.clone(), to.clone())),
                Ends::Addresses(from, to) => match (names.get(from), names.get(to)) {
                    (Some(a), Some(b)) => ((a.clone(), b.clone()), (from.to_string(), to.to_string())),
                    (None, None) => continue,
                    _ => {
                        *outside = outside.saturating_add(flow.bytes);
                        continue;
                    }
                },
            };
            if route.0 == route.1 {
                continue;
            }
            wire.routes.insert(route.clone());
            for (place, bounds) in hours.iter().enumerate() {
                let Some((inside, soft)) = part(flow, *bounds) else { continue };
                let seen = wire.counted.entry((route.clone(), place)).or_default().entry(pair.clone()).or_default();
                let sums = seen.entry(flow.observer.clone()).or_default();
                *sums = (sums.0.saturating_add(inside), sums.1.saturating_add(soft));
            }
        }
        wire
    }

    /// Of packets that were counted at both ends, the larger count.
    fn sum(&self, route: &Route, place: usize) -> (u64, u64) {
        let pairs = self.counted.get(&(route.clone(), place)).into_iter().flat_map(BTreeMap::values);
        let most = pairs.filter_map(|seen| seen.values().max());
        most.fold((0, 0), |sum, one| (sum.0.saturating_add(one.0), sum.1.saturating_add(one.1)))
    }
}

/// Bytes of a flow inside an hour, and how many of its bytes may as well be outside.
fn part(flow: &Flow, (from, to): (i64, i64)) -> Option<(u64, u64)> {
    let Some((begin, end)) = flow.span else { return Some((flow.bytes, 0)) };
    let inside = end.min(to) - begin.max(from);
    if inside <= 0 {
        return None;
    }
    let length = (end - begin).max(1);
    if inside >= length {
        return Some((flow.bytes, 0));
    }
    let share = u128::from(flow.bytes) * u128::from(inside.unsigned_abs()) / u128::from(length.unsigned_abs());
    Some((u64::try_from(share).unwrap_or(u64::MAX), flow.bytes))
}

fn one(
    ledgers: &Ledgers,
    route: &Route,
    (from, to): (i64, i64),
    (wire, soft): (u64, u64),
    overhead: &Overhead,
) -> Weighed {
    let sum = |route: &Route, from: i64, to: i64| {
        let left = ledgers.left.get(route).into_iter().flatten().filter(|left| from <= left.at && left.at < to);
        left.fold((0_u64, 0_u64), |sum, left| (sum.0.saturating_add(left.bytes), sum.1.saturating_add(left.messages)))
    };
    let back = (route.1.clone(), route.0.clone());
    let (ledger, messages) = sum(route, from, to);
    let (early, late) = (sum(route, from, (from + LATE).min(to)).0, sum(route, to, to + LATE).0);
    let (answered, answers) = sum(&back, from, to + LATE);
    let both = ledger.saturating_add(late).saturating_add(answered);
    let seconds = u64::try_from(to - from + LATE).unwrap_or_default();
    let allowed = both.saturating_mul(overhead.percent) / 100
        + messages.saturating_add(answers).saturating_mul(overhead.per_message)
        + seconds.saturating_mul(overhead.per_second)
        + Overhead::CONNECTIONS;
    let most = ledger.saturating_add(late).saturating_add(soft).saturating_add(allowed);
    let is_known = ledgers.left.contains_key(route);
    let problem = if !is_known && !ledgers.regions.contains(&route.0) {
        Some("no ledger of the region it left was given")
    } else if !is_known {
        Some("the ledger knows of nothing on this route")
    } else if wire.saturating_add(soft).saturating_add(early) < ledger {
        Some("fewer bytes were on the wire than the ledger says left")
    } else if wire > most && ledgers.unread == 0 {
        Some("more bytes were on the wire than the ledger and the overhead explain")
    } else {
        None
    };
    Weighed { route: route.clone(), span: (from, to), ledger, wire, most, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_700_000_000 - 1_700_000_000 % HOUR;

    fn route(from: &str, to: &str) -> Route {
        (from.to_owned(), to.to_owned())
    }

    fn ledgers(bytes: u64) -> Ledgers {
        let left = |at| Left { at, bytes, messages: 10 };
        let entries = vec![left(START + 100), left(START + HOUR + 100)];
        Ledgers {
            regions: ["tokyo".to_owned()].into(),
            left: [(route("tokyo", "frankfurt"), entries)].into(),
            unread: 0,
        }
    }

    fn names() -> BTreeMap<IpAddr, String> {
        let name = |(address, region): (&str, &str)| (address.parse().expect("an address"), region.to_owned());
        [("10.0.0.4", "tokyo"), ("10.1.0.4", "frankfurt"), ("10.1.0.5", "frankfurt"), ("10.2.0.4", "singapore")]
            .map(name)
            .into()
    }

    fn flow(from: &str, to: &str, at: i64, bytes: u64, observer: &str) -> Flow {
        let ends = Ends::Addresses(from.parse().expect("an address"), to.parse().expect("an address"));
        Flow { ends, span: Some((at, at + 60)), bytes, observer: observer.to_owned() }
    }

    /// A whole hour of nothing but this, in the first and in the second hour.
    fn found(ledgers: &Ledgers, first: u64, second: u64) -> Vec<Option<&'static str>> {
        let flows = [
            flow("10.0.0.4", "10.1.0.4", START, 0, "a"),
            flow("10.0.0.4", "10.1.0.4", START + 90, first, "a"),
            flow("10.0.0.4", "10.1.0.4", START + HOUR + 90, second, "a"),
            flow("10.0.0.4", "10.1.0.4", START + 2 * HOUR - 60, 0, "a"),
        ];
        let outcome = weigh(ledgers, &flows, &names(), (None, None), &Overhead::MEASURED);
        outcome.weighed.iter().map(|weighed| weighed.problem).collect()
    }

    #[test]
    fn an_hour_fits_from_nothing_more_up_to_the_overhead_and_not_one_byte_beyond() {
        let ledgers = ledgers(100_000_000);
        let most = 112_000_000 + 10 * 256 + (3_600 + 61) * 4_096 + (64 << 10);
        assert_eq!(found(&ledgers, 100_000_000, most), [None, None]);
        let [fewer, more] = found(&ledgers, 99_999_999, most + 1)[..] else { panic!("two hours") };
        assert!(fewer.expect("named").starts_with("fewer bytes"), "{fewer:?}");
        assert!(more.expect("named").starts_with("more bytes"), "{more:?}");
        let partly = Ledgers { unread: 1, ..ledgers };
        assert_eq!(found(&partly, 100_000_000, most + 1), [None, None], "what is withheld may explain it");
        assert!(found(&partly, 1, most)[0].is_some(), "and does not explain that bytes are missing");
    }

    #[test]
    fn a_route_that_no_ledger_knows_fails_and_traffic_at_home_or_to_others_does_not() {
        let mut flows = vec![
            flow("10.0.0.4", "10.1.0.4", START + 90, 1_000, "a"),
            flow("10.0.0.4", "10.2.0.4", START + 90, 7, "a"),
            flow("10.2.0.4", "10.1.0.4", START + 90, 8, "a"),
            flow("10.1.0.4", "10.1.0.5", START + 90, 1 << 40, "a"),
            flow("10.0.0.4", "192.0.2.7", START + 90, 9, "a"),
        ];
        flows.push(flow("192.0.2.7", "192.0.2.8", START, 1 << 40, "a"));
        let outcome = weigh(&ledgers(1_000), &flows, &names(), (None, None), &Overhead::MEASURED);
        let problems: BTreeMap<_, _> = outcome.weighed.iter().map(|it| (it.route.clone(), it.problem)).collect();
        assert_eq!(problems[&route("tokyo", "frankfurt")], None);
        assert_eq!(problems[&route("tokyo", "singapore")], Some("the ledger knows of nothing on this route"));
        assert_eq!(problems[&route("singapore", "frankfurt")], Some("no ledger of the region it left was given"));
        assert_eq!((problems.len(), outcome.outside), (3, 9));
    }

    #[test]
    fn what_both_ends_counted_counts_once_and_a_record_over_the_hour_is_soft() {
        let mut ledgers = ledgers(1_000_000);
        let both = [
            flow("10.0.0.4", "10.1.0.4", START + 90, 1_000_000, "a"),
            flow("10.0.0.4", "10.1.0.4", START + 90, 1_000_000, "b"),
        ];
        let outcome = weigh(&ledgers, &both, &names(), (None, None), &Overhead::MEASURED);
        assert_eq!(outcome.weighed[0].wire, 1_000_000);
        // All bytes were sent before the hour was over, and the record reaches ten seconds into the next.
        ledgers.left.get_mut(&route("tokyo", "frankfurt")).expect("there")[1].at = START + HOUR - 1;
        let over = [
            flow("10.0.0.4", "10.1.0.4", START + 90, 1_000_000, "a"),
            flow("10.0.0.4", "10.1.0.4", START + HOUR - 50, 1_000_000, "a"),
        ];
        let outcome = weigh(&ledgers, &over, &names(), (None, None), &Overhead::MEASURED);
        assert!(outcome.weighed.iter().all(|weighed| weighed.problem.is_none()), "{:?}", outcome.weighed);
    }

    #[test]
    fn counters_without_times_are_weighed_as_a_whole() {
        let ends = |from: &str, to: &str| Ends::Regions(from.to_owned(), to.to_owned());
        let counter = |ends, bytes| Flow { ends, span: None, bytes, observer: "domicile".to_owned() };
        let flows = [counter(ends("tokyo", "frankfurt"), 2_000_000), counter(ends("tokyo", "singapore"), 0)];
        let ledgers = ledgers(1_000_000);
        let outcome = weigh(&ledgers, &flows, &BTreeMap::new(), (Some(START), None), &Overhead::MEASURED);
        assert_eq!(outcome.weighed.len(), 1, "nothing is nothing");
        assert_eq!(outcome.weighed[0].problem, None);
        let flows = [counter(ends("tokyo", "frankfurt"), 1_999_999)];
        let outcome = weigh(&ledgers, &flows, &BTreeMap::new(), (Some(START), None), &Overhead::MEASURED);
        assert!(outcome.weighed[0].problem.is_some_and(|why| why.starts_with("fewer")), "{:?}", outcome.weighed);
    }
}
