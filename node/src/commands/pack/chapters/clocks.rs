//! The registers with a clock: transfers with their reviews, erasures, access requests, retention.

use domicile_proto::ids::Timestamp;

use super::super::compose::{Home, Request, firsts};
use super::super::orders::{Orders, SHREDDED_WITHIN, Times};
use super::super::paper::{Section, Table};
use super::super::tally::{instant, span};
use crate::present::auditor::{StatedErasure, Stream, Transfer};

const DAY: i64 = 86_400_000_000;
/// From an order to the rewrite of everything, hot and cold; what the strictest law asks for is 30 days.
const GONE_WITHIN: i64 = 7 * DAY;
/// How long before the day of a review it is told of.
const REVIEW_TOLD: i64 = 31 * DAY;
/// Records go with their segment, and the node looks once an hour: what is a day late is late.
const RETENTION_SLACK: i64 = 2 * DAY;
/// Whether anything may go to a region.
pub(super) fn is_open(home: &Home, to: &str) -> bool {
    home.statement.transfers.iter().any(|way| way.to == to && way.is_open)
}

/// How a route stands at a moment.
pub(in super::super) fn transfer_state(way: &Transfer, now: Timestamp) -> String {
    let review: Option<jiff::civil::Date> = way.review_by.parse().ok();
    let review = review.and_then(|day| day.to_zoned(jiff::tz::TimeZone::UTC).ok());
    let left = review.map(|day| day.timestamp().as_microsecond() - now.0);
    match left {
        _ if !way.is_open => match way.shut.as_deref() {
            Some("closed") => "closed: nothing may go this way".to_owned(),
            Some(why) => format!("closed: {why}"),
            None => "closed: no reason is stated".to_owned(),
        },
        None => "ATTENTION: the day of the review cannot be read".to_owned(),
        Some(left) if left < 0 => format!("ATTENTION: the review is {} late", span(-left)),
        Some(left) if left < REVIEW_TOLD => format!("ATTENTION: review due in {}", span(left)),
        Some(_) if way.officer_serial.is_none() => {
            "ATTENTION: open by the region's file; no officer has signed it".to_owned()
        }
        Some(_) => "in order".to_owned(),
    }
}

/// Who decided on a route.
fn decided_by(way: &Transfer) -> String {
    match (way.policy_version, way.officer_serial) {
        (Some(version), Some(serial)) => format!("the region's officer, consent {serial}, policy {version}"),
        (Some(version), None) => format!("policy {version}"),
        _ => "the region's file".to_owned(),
    }
}

/// Routes with their legal basis.
pub(in super::super) fn register(request: &Request, homes: &[Home]) -> Section {
    let rows = firsts(homes).flat_map(|home| {
        home.statement.transfers.iter().map(|way| {
            let other = homes.iter().find(|other| other.name() == way.to);
            [
                format!("{} ({})", home.name(), home.statement.jurisdiction),
                other.map_or_else(|| way.to.clone(), |other| format!("{} ({})", way.to, other.statement.jurisdiction)),
                way.what.replace('_', " "),
                way.basis.replace('_', " "),
                way.countries.join(", "),
                decided_by(way),
                way.review_by.clone(),
                transfer_state(way, request.made_at),
            ]
        })
    });
    let columns =
        ["From", "To", "What leaves", "Legal basis", "Countries it names", "Decided by", "Review by", "State"];
    Section::new("transfers", "Transfer register")
        .say("GDPR Art. 44 to 49, APPI Art. 28 and PDPA s. 26 ask for a basis for what leaves a country and for its review. What a region's file (`regions/*.yaml`) does not open stays closed; its officer approves a route with a signature, and anybody there closes it without. A review is told of 31 days ahead; a late one closes nothing and is told of everywhere.")
        .table(Table::new("transfers", "Routes and their legal basis", &columns, "no route is registered.").rows(rows))
}

/// How an order stands at a moment, by its times at a node. One that took too long stays so when it is done.
pub(in super::super) fn erasure_state(erasure: &StatedErasure, times: &Times, now: Timestamp) -> String {
    let Times { ordered, from, hidden, purged } = *times;
    let age = span(now.0.saturating_sub(ordered.0));
    // What others did not rewrite lay in the bucket all the time: a node that came later has a day for it.
    let due = Timestamp(ordered.0.saturating_add(GONE_WITHIN).max(from.0.saturating_add(DAY)));
    let Some(took) = hidden.map(|at| at.0.saturating_sub(from.0)) else {
        let is_late = now.0.saturating_sub(from.0) > SHREDDED_WITHIN;
        return if is_late {
            format!("ATTENTION: ordered {age} ago and not carried out")
        } else {
            "ordered, within its clock".to_owned()
        };
    };
    if took > SHREDDED_WITHIN {
        return format!("ATTENTION: hidden after {}, not within 60 s", took_in_words(took, times));
    }
    let is_gone = erasure.state == "gone";
    match purged.filter(|at| is_gone && *at > due) {
        Some(at) => {
            let took = span(at.0.saturating_sub(ordered.0));
            format!("ATTENTION: rewritten after {took}, and due by {}", instant(due))
        }
        None if is_gone => "gone".to_owned(),
        None if now > due => format!("ATTENTION: hidden, and not rewritten after {age}"),
        None => format!("hidden; rewritten by {}", instant(due)),
    }
}

/// A time since the clock of an order began.
fn took_in_words(took: i64, times: &Times) -> String {
    let whose = if times.from > times.ordered { " of its own, for the node came to it later" } else { "" };
    format!("{}{whose}", span(took.max(0)))
}

/// Orders, from the statement; times and proofs, from the ledger.
pub(in super::super) fn erasure(request: &Request, homes: &[Home]) -> Section {
    let period = request.period();
    let mut rows = Vec::new();
    let mut holds = Vec::new();
    let orders = Orders::of(homes);
    for lacking in orders.lacking(request) {
        let (label, ordered) = (lacking.home.label(), instant(lacking.ordered));
        let (none, state) = (String::new, format!("ATTENTION: {}", lacking.words()));
        rows.push([label, lacking.id.to_owned(), ordered, none(), none(), none(), none(), none(), state]);
    }
    for home in homes {
        for erasure in &home.statement.erasures {
            let order = home.tally.order(&erasure.id);
            let times = orders.times(home, erasure);
            let state = erasure_state(erasure, &times, request.made_at);
            let doubt = orders.doubt(home, erasure).filter(|_| !state.starts_with("ATTENTION"));
            let state = doubt.map_or_else(|| state.clone(), |doubt| format!("ATTENTION: {state}; {doubt}"));
            let is_asked = period.holds(erasure.ordered_at) || erasure.state != "gone";
            let is_done = order.purged.is_some_and(|(_, at)| period.holds(at));
            // What is told of at the top of the report stands here, whenever it was.
            if !is_asked && !is_done && !state.starts_with("ATTENTION") {
                continue;
            }
            let took = |done: Option<Timestamp>| {
                let took = done.map(|at| at.0.saturating_sub(times.from.0));
                took.map_or_else(|| "not yet".to_owned(), |took| took_in_words(took, &times))
            };
            let entries = [order.requested, order.shredded, order.purged].into_iter().flatten();
            let entries: Vec<String> = entries.map(|(number, _)| number.to_string()).collect();
            rows.push([
                home.label(),
                erasure.id.clone(),
                instant(erasure.ordered_at),
                took(times.hidden),
                took(order.purged.map(|(_, at)| at)),
                erasure.records_hidden.map_or_else(String::new, |count| count.to_string()),
                erasure.originals_destroyed.map_or_else(String::new, |count| count.to_string()),
                entries.join(", "),
                state,
            ]);
        }
        for hold in &home.statement.holds {
            holds.push([home.label(), instant(hold.since), "stands".to_owned(), hold.id.clone(), String::new()]);
        }
        for line in &home.tally.holds {
            holds.push([
                home.label(),
                instant(line.at),
                line.what.clone(),
                line.words.clone(),
                line.number.to_string(),
            ]);
        }
    }
    let columns = [
        "Region",
        "Order",
        "Ordered",
        "Hidden after",
        "Rewritten after",
        "Records",
        "Originals destroyed",
        "Ledger entries",
        "State",
    ];
    Section::new("erasure", "Erasure register")
        .say("An order is carried out in two steps. Within 60 seconds the records are hidden from every search and the keys of their originals are destroyed. Within 24 hours, for cold records within 7 days, every file that held them is written anew without them and a scan finds none. Whom an order is about stands nowhere here; the order holds a keyed hash.")
        .table(Table::new("erasures", "Orders of erasure", &columns, "there was no order in this time, and none is open.").rows(rows))
        .table(Table::new("holds", "Legal holds", &["Region", "When", "What", "Hold", "Ledger entry"], "there is no legal hold, and none was set or released.").rows(holds))
}

/// Everything that was handed over about a person, and every original that somebody asked to see.
pub(in super::super) fn access(homes: &[Home]) -> Section {
    let lines = |of: fn(&Home) -> &Vec<super::super::tally::Line>| {
        let rows = homes.iter().flat_map(move |home| {
            of(home).iter().map(|line| {
                [home.label(), instant(line.at), line.what.clone(), line.words.clone(), line.number.to_string()]
            })
        });
        rows.collect::<Vec<_>>()
    };
    Section::new("access", "Access to personal data")
        .say("A person's request for their data is answered by an export in one region. An original behind a pseudonym is shown only to a key with the role `reveal`, for a stated purpose; the entry is written before the answer is given.")
        .table(Table::new("access", "Access requests that were answered", &["Region", "When", "What", "How much", "Ledger entry"], "nothing was handed over in this time.").rows(lines(|home| &home.tally.exports)))
        .table(Table::new("reveals", "Originals that were asked for", &["Region", "When", "What", "By whom and what for", "Ledger entry"], "nobody asked for an original in this time.").rows(lines(|home| &home.tally.reveals)))
}

/// How the oldest records of a stream stand to its period at a moment.
pub(in super::super) fn retention_state(stream: &Stream, now: Timestamp) -> String {
    let Some(oldest) = stream.oldest_received_until else { return "no records".to_owned() };
    let due = oldest.0.saturating_add(i64::try_from(stream.retention_days).unwrap_or(i64::MAX).saturating_mul(DAY));
    if now.0.saturating_sub(due) > RETENTION_SLACK {
        return format!("ATTENTION: {} beyond its period", span(now.0 - due));
    }
    "within its period".to_owned()
}

/// Oldest records against the period of their stream, and what was deleted.
pub(in super::super) fn retention(request: &Request, homes: &[Home]) -> Section {
    let rows = homes.iter().flat_map(|home| {
        home.statement.streams.iter().map(|stream| {
            [
                home.label(),
                stream.name.clone(),
                stream.retention_days.to_string(),
                stream.oldest_received_until.map_or_else(|| "–".to_owned(), instant),
                stream.records.to_string(),
                retention_state(stream, request.made_at),
            ]
        })
    });
    let mut deletions = Vec::new();
    for home in homes {
        for line in &home.tally.retention {
            deletions.push([
                home.label(),
                instant(line.at),
                line.what.clone(),
                line.words.clone(),
                line.number.to_string(),
            ]);
        }
    }
    let columns = ["Region", "Stream", "Days kept", "Oldest segment received until", "Records", "State"];
    Section::new("retention", "Retention register")
        .say("Records are deleted with the segment they lie in, the given number of days after the youngest of them was received, unless a legal hold stands.")
        .table(Table::new("retention", "Oldest records against the period", &columns, "there is no stream.").rows(rows))
        .table(Table::new("deletions", "What was deleted", &["Region", "When", "What", "How much", "Ledger entry"], "nothing fell due in this time.").rows(deletions))
}

#[cfg(test)]
mod tests {
    use super::super::super::tally::Order;
    use super::*;

    #[test]
    fn a_route_is_told_of_a_month_before_its_review_and_always_without_an_officer() {
        let way = |shut: &str, by: &str| Transfer {
            to: "tokyo".to_owned(),
            what: "released_aggregates".to_owned(),
            basis: "adequacy".to_owned(),
            review_by: by.to_owned(),
            is_open: shut.is_empty(),
            shut: Some(shut.to_owned()),
            admissible: vec!["adequacy".to_owned()],
            countries: Vec::new(),
            policy_version: Some(3),
            officer_serial: Some(1),
        };
        let now = Timestamp("2027-05-01T00:00:00Z".parse::<jiff::Timestamp>().expect("a time").as_microsecond());
        for (shut, by, wanted) in [
            ("", "2027-06-02", "in order"),
            ("", "2027-05-31", "ATTENTION: review due in 30 days"),
            ("", "2027-04-28", "ATTENTION: the review is 3 days late"),
            ("closed", "2030-01-01", "closed: nothing may go this way"),
            ("file", "2030-01-01", "closed: file"),
            ("", "soon", "ATTENTION: the day"),
        ] {
            let state = transfer_state(&way(shut, by), now);
            assert!(state.starts_with(wanted), "{shut} {by}: {state}");
        }
        let by_file = Transfer { officer_serial: None, ..way("", "2027-06-02") };
        assert!(transfer_state(&by_file, now).starts_with("ATTENTION: open by the region's file"));
    }

    #[test]
    fn an_erasure_is_judged_by_both_of_its_clocks() {
        let order = |state: &str, shredded: Option<i64>| StatedErasure {
            id: "x".to_owned(),
            state: state.to_owned(),
            ordered_at: Timestamp(0),
            shredded_at: shredded.map(Timestamp),
            records_hidden: None,
            originals_destroyed: None,
            receipt: None,
        };
        for (state, shredded, now, is_late) in [
            ("ordered", None, 59_000_000, false),
            ("ordered", None, 61_000_000, true),
            ("shredded", Some(60_000_000), DAY, false),
            ("shredded", Some(61_000_000), DAY, true),
            ("shredded", Some(1), 8 * DAY, true),
            ("gone", Some(1), 80 * DAY, false),
        ] {
            // A node that was there when it was ordered, and one that came a minute or a year later and took as long.
            for (later, came) in
                [(0, None), (0, Some(-DAY)), (60_000_000, Some(60_000_000)), (365 * DAY, Some(365 * DAY))]
            {
                let (shredded, now) = (shredded.map(|at| at + later), Timestamp(now + later));
                let order = order(state, shredded);
                let times = Times::new(&order, &Order::default(), came.map(Timestamp), None);
                let said = erasure_state(&order, &times, now);
                assert_eq!(said.starts_with("ATTENTION"), is_late, "{state} {shredded:?} {now:?}: {said}");
            }
        }
        // By the entries where there are any, and from the first word of the region on, whatever is stated.
        let entry = |at: i64| Some((9, Timestamp(at * 1_000_000)));
        for (requested, others, shredded, is_late) in
            [(None, None, 60, false), (None, None, 61, true), (Some(-2), None, 59, true), (Some(2), Some(-2), 59, true)]
        {
            let done = Order { requested: requested.and_then(entry), shredded: entry(shredded), ..Order::default() };
            let (stated, others) = (order("shredded", Some(1)), others.map(|at: i64| Timestamp(at * 1_000_000)));
            let said = erasure_state(&stated, &Times::new(&stated, &done, None, others), Timestamp(DAY));
            assert_eq!(said.starts_with("ATTENTION"), is_late, "{requested:?} {others:?} {shredded}: {said}");
        }
        // To rewrite it, who came after the seven days has one.
        for (came, now, is_late) in [(6, 7, false), (6, 8, true), (20, 21, false), (20, 22, true)] {
            let hidden = order("shredded", Some(came * DAY));
            let times = Times::new(&hidden, &Order::default(), Some(Timestamp(came * DAY)), None);
            let said = erasure_state(&hidden, &times, Timestamp(now * DAY));
            assert_eq!(said.starts_with("ATTENTION"), is_late, "{came} {now}: {said}");
            // What was late stays late when it is done.
            let done = Order { purged: Some((9, Timestamp(now * DAY))), ..Order::default() };
            let times = Times::new(&hidden, &done, Some(Timestamp(came * DAY)), None);
            let said = erasure_state(&order("gone", Some(came * DAY)), &times, Timestamp(80 * DAY));
            let is_told = said
                == format!(
                    "ATTENTION: rewritten after {now} days, and due by {}",
                    instant(Timestamp((came + 1).max(7) * DAY))
                );
            assert_eq!((is_told, said == "gone"), (is_late, !is_late), "{came} {now}: {said}");
        }
    }
}
