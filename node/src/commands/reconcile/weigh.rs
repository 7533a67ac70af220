//! Bytes of ledgers against bytes of counters, by route and hour: `0 <= wire - ledger <= overhead`.
//!
//! Plain arithmetic over numbers that others read. The bounds of an hour are soft by what cannot be told apart there: records of
//! a flow log that reach over it, and traffic of the metadata group, which a ledger counts up to a minute late.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::logs::{BEYOND_V4, Ends, Flow};

/// From which region to which.
pub(super) type Route = (String, String);

/// What a ledger says that left: when, in seconds, and how many bytes in how many messages; and how many came the other way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) at: i64,
    pub(super) bytes: u64,
    /// `None` where an earlier build did not count them.
    pub(super) messages: Option<u64>,
    pub(super) heard: u64,
    pub(super) heard_bytes: u64,
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
    /// What was sent twice, for it was lost: part of the bytes that left, in percent.
    resent: u64,
    /// Headers of IP, UDP and QUIC, heads of frames and acknowledgements: for each packet, in bytes.
    per_packet: u64,
    /// Most packets for 100 messages of both directions: what carries them, and what acknowledges those that came.
    packets_of_100: u64,
    /// Bytes of either direction for which there is one more packet, which carries or acknowledges them.
    bytes_of_packet: u64,
    /// Most packets for each second besides: keep-alives of all connections, and their acknowledgements.
    packets_per_second: u64,
    /// Where an earlier build's ledger does not tell messages.
    blind: Blind,
}

/// The same without counts of messages: what it may be at most, and therefore wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Blind {
    /// Headers and acknowledgements: part of all bytes of both directions, in percent.
    percent: u64,
    /// For each message of both directions, in bytes: a packet that is not full, and its acknowledgement.
    per_message: u64,
    /// For each second, in bytes: keep-alives, and the packets of the many small messages of the metadata group.
    per_second: u64,
}

impl Overhead {
    /// What was measured, with room; see docs/decisions/0021.
    pub(super) const MEASURED: Self = Self {
        resent: 2,
        per_packet: 75,
        packets_of_100: 120,
        bytes_of_packet: 1_000,
        packets_per_second: 6,
        blind: Blind { percent: 12, per_message: 256, per_second: 4_096 },
    };
    /// For the connections that are made: handshakes with their certificates, and looking for the largest packet that passes.
    const CONNECTIONS: u64 = 128 << 10;
    /// And their packets.
    const OF_CONNECTIONS: u64 = 512;
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
            let weighed = one(ledgers, route, *bounds, &wire.sum(route, place), overhead);
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

/// What was seen, by observer.
type Seen = BTreeMap<String, Sums>;

/// Sums of counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Sums {
    bytes: u64,
    /// How many of them may as well belong to another hour.
    soft: u64,
    /// Packets, where all that was counted was counted in packets too.
    packets: u64,
    has_packets: bool,
    /// Bytes of addresses beyond those of IPv4.
    beyond_v4: u64,
    /// Whether any address was longer than those of IPv4.
    has_v6: bool,
}

impl Sums {
    const NONE: Self = Self { bytes: 0, soft: 0, packets: 0, has_packets: true, beyond_v4: 0, has_v6: false };

    const fn and(self, other: &Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            soft: self.soft.saturating_add(other.soft),
            packets: self.packets.saturating_add(other.packets),
            has_packets: self.has_packets && other.has_packets,
            beyond_v4: self.beyond_v4.saturating_add(other.beyond_v4),
            has_v6: self.has_v6 || other.has_v6,
        }
    }
}

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
                let part = Sums {
                    bytes: inside,
                    soft,
                    packets: flow.packets.unwrap_or_default(),
                    has_packets: flow.packets.is_some(),
                    beyond_v4: flow.beyond_v4(),
                    has_v6: flow.is_v6(),
                };
                let sums = seen.entry(flow.observer.clone()).or_insert(Sums::NONE);
                *sums = sums.and(&part);
            }
        }
        wire
    }

    /// Of packets that were counted at both ends, the larger count.
    fn sum(&self, route: &Route, place: usize) -> Sums {
        let pairs = self.counted.get(&(route.clone(), place)).into_iter().flat_map(BTreeMap::values);
        let most = pairs.filter_map(|seen| seen.values().max());
        most.fold(Sums::NONE, Sums::and)
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

/// What one ledger says of one route and time.
#[derive(Clone, Copy, Default)]
struct Said {
    bytes: u64,
    messages: u64,
    heard: u64,
    heard_bytes: u64,
    is_blind: bool,
}

fn said(ledgers: &Ledgers, route: &Route, from: i64, to: i64) -> Said {
    let left = ledgers.left.get(route).into_iter().flatten().filter(|left| from <= left.at && left.at < to);
    left.fold(Said::default(), |sum, left| Said {
        bytes: sum.bytes.saturating_add(left.bytes),
        messages: sum.messages.saturating_add(left.messages.unwrap_or_default()),
        heard: sum.heard.saturating_add(left.heard),
        heard_bytes: sum.heard_bytes.saturating_add(left.heard_bytes),
        is_blind: sum.is_blind || left.messages.is_none(),
    })
}

impl Overhead {
    /// Most that the wire may carry beside what the ledger says of a route: in so many seconds, with `back` on the way back.
    fn allowed(&self, sums: &Sums, ledger: &Said, back: &Said, seconds: u64) -> u64 {
        let Blind { percent, per_message, per_second } = self.blind;
        let both = ledger.bytes.saturating_add(back.bytes);
        let blind = both.saturating_mul(percent) / 100
            + ledger.messages.saturating_add(back.messages).saturating_mul(per_message)
            + seconds.saturating_mul(per_second)
            + Self::CONNECTIONS;
        if ledger.is_blind {
            return blind;
        }
        // Packets that no message explains carry nothing that is excused.
        let explained = ledger.messages.saturating_add(ledger.heard).saturating_mul(self.packets_of_100) / 100
            + ledger.bytes.saturating_add(ledger.heard_bytes) / self.bytes_of_packet
            + seconds.saturating_mul(self.packets_per_second)
            + Self::OF_CONNECTIONS;
        // Where packets were not counted there were no more than the messages explain: that is the bound, and a packet that was
        // not sent leaves room. Only of a ledger that does not tell messages nothing better than the wide bound is known.
        let (packets, longer) = if sums.has_packets {
            (sums.packets.min(explained), sums.beyond_v4)
        } else {
            (explained, if sums.has_v6 { explained.saturating_mul(BEYOND_V4) } else { 0 })
        };
        let exact = ledger.bytes.saturating_mul(self.resent) / 100
            + packets.saturating_mul(self.per_packet)
            + longer
            + Self::CONNECTIONS;
        exact.min(blind)
    }
}

fn one(ledgers: &Ledgers, route: &Route, (from, to): (i64, i64), sums: &Sums, overhead: &Overhead) -> Weighed {
    let Sums { bytes: wire, soft, .. } = *sums;
    let back = (route.1.clone(), route.0.clone());
    let (within, early) = (said(ledgers, route, from, to), said(ledgers, route, from, (from + LATE).min(to)).bytes);
    let late = said(ledgers, route, from, to + LATE);
    let ledger = within.bytes;
    let seconds = u64::try_from(to - from + LATE).unwrap_or_default();
    let allowed = overhead.allowed(sums, &late, &said(ledgers, &back, from, to + LATE), seconds);
    let late = late.bytes - ledger;
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
#[path = "weigh_test.rs"]
mod tests;
