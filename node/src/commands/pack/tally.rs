//! What the entries of one ledger come to: sums and registers for the report, and what must fit the other ledgers.
//!
//! Told of every entry by the walk that checks the log, so that nothing is counted that was not checked.

use std::collections::{BTreeMap, BTreeSet};

use domicile_proto::border::EgressClass;
use domicile_proto::codec;
use domicile_proto::ids::{Region, TenantId, Timestamp};
use domicile_proto::message::answer::Outcome;
use domicile_proto::message::ledger::HeadOffer;
use domicile_proto::officer::OfficerPublic;
use domicile_proto::transfer::TransferBasis;

use super::super::double_entry::Book;
use super::answers::Answers;
use super::lineage::Lineage;
use crate::audit::{Breach, Breaches, Destroyed, Elapsed, Entry, Event, Passage};

/// From when, inclusive, until when, exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

impl Period {
    pub(super) fn holds(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }
}

/// Which way something crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    Left,
    Arrived,
}

/// A line of a register: the entry's number, its time, what kind it is of, and what it says in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) at: Timestamp,
    pub(super) what: String,
    pub(super) words: String,
}

/// A head of another ledger that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// The entry, and its time.
    pub(super) number: u64,
    pub(super) at: Timestamp,
    /// Who showed it, as the book numbers the nodes at the other end.
    pub(super) by: usize,
    /// How many entries it is over, and the root.
    pub(super) size: u64,
    pub(super) root: [u8; 32],
}

/// What the ledger says of one order of erasure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) requested: Option<(u64, Timestamp)>,
    pub(super) shredded: Option<(u64, Timestamp)>,
    pub(super) purged: Option<(u64, Timestamp)>,
    /// What the order is about, as a salted hash: the same at every node that was told of it by another one.
    pub(super) commitment: Option<[u8; 32]>,
}

/// Every time that the ledger has of the steps of one order: a crash between an entry and the record of it leaves the entry twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Steps {
    pub(super) shredded: BTreeSet<Timestamp>,
    pub(super) purged: BTreeSet<Timestamp>,
}

/// From the entry of an earlier build that says a route is closed to the last byte on it, at most, in microseconds.
const CLOSED_WITHIN: i64 = 1_000_000;

/// By day, way, region at the other end, and class: messages and bytes.
type Crossings = BTreeMap<(String, Way, String, EgressClass), (u64, u64)>;

/// The sums and registers of one ledger.
#[derive(Debug)]
pub(super) struct Tally {
    period: Period,
    tenant: TenantId,
    pub(super) crossings: Crossings,
    /// By day and region at the other end: bytes of metadata that left and that came.
    pub(super) metadata: BTreeMap<(String, String), (u64, u64)>,
    /// Questions that were refused, by day and reason.
    pub(super) refused: BTreeMap<(String, String), u64>,
    pub(super) policy: Vec<Line>,
    pub(super) reveals: Vec<Line>,
    pub(super) exports: Vec<Line>,
    pub(super) holds: Vec<Line>,
    pub(super) retention: Vec<Line>,
    pub(super) keys: Vec<Line>,
    pub(super) nodes: Vec<Line>,
    /// By the id of the order; of all times, for clocks do not end with a period.
    /// By their ids, with times by [`Elapsed`]; [`Tally::order`] gives them by the clock as it was set last.
    pub(super) erasures: BTreeMap<String, Order>,
    elapsed: Elapsed,
    /// Times of their steps, by the id as well.
    pub(super) steps: BTreeMap<String, Steps>,
    /// Commitments of orders against which a hold stood, each with the first entry that says so; of all times.
    pub(super) held: BTreeMap<[u8; 32], u64>,
    /// Every entry of the period, by kind.
    pub(super) kinds: BTreeMap<String, u64>,
    /// What left and what arrived; of all times.
    pub(super) book: Book,
    /// What released answers held, of all times.
    pub(super) answers: Answers,
    /// What became of segments; of all times.
    pub(super) lineage: Lineage,
    /// Entries that name a segment that is about to be durable, or to lie elsewhere: the last of each.
    pub(super) segments: BTreeMap<Box<str>, u64>,
    /// Digests of the receipts of orders, as the ledger has them, each with the first entry that names it; more than one where a purge was
    /// done again.
    pub(super) receipts: BTreeMap<String, BTreeMap<[u8; 32], u64>>,
    /// Heads of other ledgers that arrived; of all times.
    pub(super) heads: Vec<Shown>,
    /// Policy versions that answers name, and the newest that the ledger had said before: number, version, known.
    pub(super) unknown_policies: Vec<(u64, u64)>,
    /// What left for a region behind the entry that closed the route to it: number, region.
    pub(super) astray: Vec<(u64, String)>,
    /// Bodies that were destroyed, each with the number and time of the entry that says so; of all times.
    pub(super) destroyed: Vec<(u64, Timestamp, Destroyed)>,
    officer: Option<OfficerPublic>,
    /// By region: whether the route there is open, and on which basis, by the last entry about it.
    routes: BTreeMap<Region, (bool, Option<TransferBasis>)>,
    /// Until when what was on its way may still leave on a route that is closed; none where nothing may.
    closing: BTreeMap<Region, Timestamp>,
    breaches: Breaches,
    versions: BTreeSet<u64>,
    is_from_the_start: bool,
    came: Option<Timestamp>,
    newest: Timestamp,
}

impl Tally {
    pub(super) fn new(period: Period, tenant: TenantId) -> Self {
        Self {
            period,
            tenant,
            crossings: BTreeMap::new(),
            metadata: BTreeMap::new(),
            refused: BTreeMap::new(),
            policy: Vec::new(),
            reveals: Vec::new(),
            exports: Vec::new(),
            holds: Vec::new(),
            retention: Vec::new(),
            keys: Vec::new(),
            nodes: Vec::new(),
            erasures: BTreeMap::new(),
            elapsed: Elapsed::default(),
            steps: BTreeMap::new(),
            held: BTreeMap::new(),
            kinds: BTreeMap::new(),
            book: Book::default(),
            answers: Answers::default(),
            lineage: Lineage::default(),
            segments: BTreeMap::new(),
            receipts: BTreeMap::new(),
            heads: Vec::new(),
            unknown_policies: Vec::new(),
            astray: Vec::new(),
            destroyed: Vec::new(),
            officer: None,
            routes: BTreeMap::new(),
            closing: BTreeMap::new(),
            breaches: Breaches::default(),
            versions: BTreeSet::new(),
            is_from_the_start: false,
            came: None,
            newest: Timestamp(0),
        }
    }

    /// Breaches of the tenant, of all times.
    pub(super) fn breaches(&self) -> impl Iterator<Item = (&str, &Breach)> {
        self.breaches.of(self.tenant)
    }

    /// When the node came to the deployment, where the ledger goes back so far: its first entry is then the first start, and the node came with
    /// the first policy that it told of. No later than any entry after that: a clock that was ahead then excuses nothing.
    pub(super) const fn came(&self) -> Option<Timestamp> {
        self.came
    }

    /// What the ledger says of an order.
    pub(super) fn order(&self, id: &str) -> Order {
        let order = self.erasures.get(id).copied().unwrap_or_default();
        let by_now = |step: Option<(u64, Timestamp)>| {
            step.map(|(number, passed)| (number, Timestamp(passed.0.saturating_add(self.elapsed.set_by()))))
        };
        let (requested, shredded, purged) = (by_now(order.requested), by_now(order.shredded), by_now(order.purged));
        Order { requested, shredded, purged, ..order }
    }

    /// Whether a hold stood against an order here before it was taken.
    pub(super) fn was_held(&self, order: &Order) -> bool {
        let refused = order.commitment.and_then(|commitment| self.held.get(&commitment).copied());
        refused.is_some_and(|refused| order.requested.is_none_or(|(taken, _)| refused < taken))
    }

    /// Time of the newest entry.
    pub(super) const fn newest(&self) -> Timestamp {
        self.newest
    }

    /// One more entry.
    pub(super) fn take(&mut self, number: u64, entry: &Entry) {
        self.newest = self.newest.max(entry.at);
        match entry.event {
            Event::NodeStarted { .. } if number == 1 => self.is_from_the_start = true,
            Event::PolicyChanged { .. } if self.is_from_the_start && self.came.is_none() => self.came = Some(entry.at),
            _ => self.came = self.came.map(|came| came.min(entry.at)),
        }
        self.book.take(number, entry);
        self.answers.take(number, entry);
        self.lineage.take(number, entry);
        self.always(number, entry);
        self.breaches.take(number, entry);
        self.routes(number, entry);
        if self.period.holds(entry.at) {
            *self.kinds.entry(kind_of(&entry.event)).or_default() += 1;
            self.within(number, entry);
        }
    }

    /// What counts whatever the period is.
    fn always(&mut self, number: u64, entry: &Entry) {
        let passed = Timestamp(self.elapsed.take(entry));
        let order = |erasures: &mut BTreeMap<String, Order>, id: &str, set: fn(&mut Order, (u64, Timestamp))| {
            set(erasures.entry(id.to_owned()).or_default(), (number, passed));
        };
        match &entry.event {
            Event::Egress(passage) => self.answers_under_a_known_policy(number, passage),
            Event::Ingress(passage) => {
                if let Some((size, root)) = head_in(passage) {
                    self.heads.push(Shown { number, at: entry.at, by: self.book.peer(&passage.peer), size, root });
                }
            }
            Event::PolicyChanged { version, .. } => {
                self.versions.insert(version.0);
            }
            Event::BodyDestroyed(gone) => self.destroyed.push((number, entry.at, gone.clone())),
            Event::OfficerHonoured { officer } => {
                let before = self.officer.replace(*officer);
                if before.is_some_and(|before| before != *officer) && self.period.holds(entry.at) {
                    let words = format!("the node honours {} from now on", String::from(*officer));
                    self.policy.push(Line { number, at: entry.at, what: "officer changed".to_owned(), words });
                }
            }
            Event::ErasureRequested { erasure, commitment } => {
                order(&mut self.erasures, erasure, |order, at| {
                    order.requested.get_or_insert(at);
                });
                let told = self.erasures.entry(erasure.to_string()).or_default();
                told.commitment.get_or_insert(*commitment);
            }
            Event::ErasureRefused { commitment, .. } => {
                self.held.entry(*commitment).or_insert(number);
            }
            Event::Shredded { erasure, .. } => {
                self.steps.entry(erasure.to_string()).or_default().shredded.insert(entry.at);
                order(&mut self.erasures, erasure, |order, at| {
                    order.shredded.get_or_insert(at);
                });
            }
            Event::Purged { erasure, receipt, .. } => {
                self.steps.entry(erasure.to_string()).or_default().purged.insert(entry.at);
                self.receipts.entry(erasure.to_string()).or_default().entry(*receipt).or_insert(number);
                order(&mut self.erasures, erasure, |order, at| {
                    order.purged.get_or_insert(at);
                });
            }
            Event::SegmentPublished { segment, .. } | Event::SegmentMoved { segment, .. } => {
                self.segments.insert(segment.clone(), number);
            }
            _ => {}
        }
    }

    /// Behind an entry that closes a route nothing but refusals goes there until one opens it again: the node decides both in one order, so
    /// no clock is asked, but for entries of builds that did not. Every start tells of all routes again; what is as it was is no line.
    fn routes(&mut self, number: u64, entry: &Entry) {
        if let Event::RouteChanged { to, open, basis, policy, ordered } = &entry.event {
            if *ordered || *open {
                self.closing.remove(to);
            } else {
                let until = Timestamp(entry.at.0.saturating_add(CLOSED_WITHIN));
                self.closing.entry(to.clone()).or_insert(until);
            }
            let before = self.routes.insert(to.clone(), (*open, *basis));
            if before != Some((*open, *basis)) && self.period.holds(entry.at) {
                let basis = basis.map_or_else(|| "no basis".to_owned(), |basis| basis.to_string().replace('_', " "));
                let state = if *open { "open" } else { "closed" };
                let words = format!("to {to}: {state}, {basis}, by policy version {}", policy.0);
                self.policy.push(Line { number, at: entry.at, what: "route changed".to_owned(), words });
            }
        }
        if let Some(to) = entry.event.needs_route()
            && self.routes.get(to).is_some_and(|(is_open, _)| !is_open)
            && self.closing.get(to).is_none_or(|until| entry.at > *until)
        {
            self.astray.push((number, to.to_string()));
        }
    }

    /// An answer names the policy it was released under: one that the ledger had told of by then.
    fn answers_under_a_known_policy(&mut self, number: u64, passage: &Passage) {
        let Some(answer) = passage.answer() else { return };
        let is_released = matches!(answer.outcome, Outcome::Aggregate(_));
        let version = answer.header.policy.0;
        if is_released && (version == 0 || !self.versions.contains(&version)) {
            self.unknown_policies.push((number, version));
        }
    }

    fn within(&mut self, number: u64, entry: &Entry) {
        let line = |what: &str, words: String| Line { number, at: entry.at, what: what.to_owned(), words };
        match &entry.event {
            Event::Egress(passage) => self.cross(entry.at, Way::Left, passage),
            Event::Ingress(passage) => self.cross(entry.at, Way::Arrived, passage),
            Event::Metadata { peer, sent, received, .. } => {
                let sums = self.metadata.entry((day(entry.at), peer.region.to_string())).or_default();
                *sums = (sums.0.saturating_add(*sent), sums.1.saturating_add(*received));
            }
            Event::RefusedQuestion { peer, why, .. } => {
                let who =
                    peer.as_ref().map_or_else(|| "asked here".to_owned(), |peer| format!("asked by {}", peer.region));
                let why = serde_json::to_value(why).unwrap_or_default();
                let why = format!("{who}: {}", words_of(&why));
                *self.refused.entry((day(entry.at), why)).or_default() += 1;
            }
            Event::PolicyChanged { version, streams, approved_values, .. } => {
                let words =
                    format!("version {version}: {streams} streams, {approved_values} values may be named abroad");
                self.policy.push(line("policy changed", words));
            }
            Event::ThresholdLowered { stream, from, to, policy } => {
                let words = format!(
                    "stream {stream}: smallest group {} before, {} now, by policy version {policy}",
                    from.get(),
                    to.get()
                );
                self.policy.push(line("ATTENTION threshold lowered", words));
            }
            Event::NotSent { to, why, .. } => {
                let why = serde_json::to_value(why).unwrap_or_default();
                let why = format!("not sent to {to}: {}", words_of(&why));
                *self.refused.entry((day(entry.at), why)).or_default() += 1;
            }
            Event::Reveal { key, tenant, purpose, .. } if *tenant == self.tenant => {
                let purpose = serde_json::to_value(purpose).unwrap_or_default();
                let words = format!("key `{key}`, purpose: {}", words_of(&purpose));
                self.reveals.push(line("original asked for", words));
            }
            Event::SubjectExported { tenant, records, originals } if *tenant == self.tenant => {
                let words = format!("{records} records, {originals} originals opened");
                self.exports.push(line("handed over to an administrator", words));
            }
            Event::ExportKept { tenant, export, until } if *tenant == self.tenant => {
                self.exports.push(line("kept behind a link", format!("export {export}, until {}", instant(*until))));
            }
            Event::ExportRead { tenant, export } if *tenant == self.tenant => {
                self.exports.push(line("read through its link", format!("export {export}")));
            }
            Event::HoldSet { hold } => self.holds.push(line("hold set", hold.to_string())),
            Event::HoldReleased { hold } => self.holds.push(line("hold released", hold.to_string())),
            Event::ErasureRefused { hold, .. } => {
                self.holds.push(line("erasure refused", format!("hold {hold} stands against it")));
            }
            Event::RetentionBegun { deletion, segments, records, .. } => {
                self.retention
                    .push(line("deletion begun", format!("{deletion}: {segments} segments, {records} records")));
            }
            Event::RetentionDropped { deletion, segments, records, .. } => {
                self.retention
                    .push(line("deleted for good", format!("{deletion}: {segments} segments, {records} records")));
            }
            Event::Key(notice) => {
                let told = serde_json::to_value(notice).unwrap_or_default();
                let what = told.get("what").map(words_of).unwrap_or_default();
                let more = ["stream", "day", "number"]
                    .iter()
                    .filter_map(|key| Some(format!("{key} {}", words_of(told.get(key)?))));
                self.keys.push(line(&what, more.collect::<Vec<_>>().join(", ")));
            }
            Event::NodeStarted { .. } | Event::MembershipChanged { .. } | Event::TornTail { .. } => {
                let told = serde_json::to_value(&entry.event).unwrap_or_default();
                self.nodes.push(line(&kind_of(&entry.event), words_of(&told)));
            }
            _ => {}
        }
    }

    fn cross(&mut self, at: Timestamp, way: Way, passage: &Passage) {
        let key = (day(at), way, passage.peer.region.to_string(), passage.class);
        let sums = self.crossings.entry(key).or_default();
        *sums = (sums.0 + 1, sums.1.saturating_add(passage.bytes.0));
    }
}

/// The head of a ledger in a message, where there is one.
fn head_in(passage: &Passage) -> Option<(u64, [u8; 32])> {
    if passage.class == EgressClass::LedgerHead {
        let HeadOffer { head, .. } = codec::decode(&passage.body).ok()?;
        return Some((head.size, head.root));
    }
    let header = passage.answer()?.header;
    // Before its first checkpoint a ledger has no root to show.
    (header.ledger_root != [0; 32]).then_some((header.ledger_size, header.ledger_root))
}

/// The name of an event, as a person reads it.
pub(super) fn kind_of(event: &Event) -> String {
    let told = serde_json::to_value(event).unwrap_or_default();
    told.get("kind").and_then(|kind| kind.as_str()).unwrap_or_default().replace('_', " ")
}

/// A small JSON value without its signs.
fn words_of(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.replace('_', " "),
        serde_json::Value::Object(fields) => {
            let fields = fields.iter().filter(|(key, _)| *key != "kind");
            fields
                .map(|(key, value)| format!("{} {}", key.replace('_', " "), words_of(value)))
                .collect::<Vec<_>>()
                .join(", ")
        }
        other => other.to_string(),
    }
}

/// The UTC day.
pub(super) fn day(at: Timestamp) -> String {
    instant(at).chars().take(10).collect()
}

/// To the second, as RFC 3339 has it.
pub(super) fn instant(at: Timestamp) -> String {
    let second = jiff::Timestamp::from_second(at.0.div_euclid(1_000_000));
    second.map_or_else(|_| format!("{} us", at.0), |second| second.to_string())
}

/// A time that took so many microseconds, as a person says it.
pub(super) fn span(micros: i64) -> String {
    let seconds = micros / 1_000_000;
    match seconds {
        0 => format!("{} ms", micros / 1_000),
        1..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use domicile_proto::ids::{ByteCount, NodeId, PolicyVersion};

    use super::*;
    use crate::audit::Peer;

    fn tally(events: Vec<Event>) -> Tally {
        let window = Period { from: Timestamp(0), to: Timestamp(i64::MAX) };
        let mut tally = Tally::new(window, TenantId(1));
        for (number, event) in (1..).zip(events) {
            // The clock goes back meanwhile: it excuses nothing.
            let at = Timestamp(1_000_000_000 / i64::try_from(number).expect("few"));
            tally.take(number, &Entry::specimen(at, None, event));
        }
        tally
    }

    fn frankfurt() -> Region {
        "frankfurt".parse().expect("a name")
    }

    fn route(open: bool) -> Event {
        route_of(open, true)
    }

    fn route_of(open: bool, ordered: bool) -> Event {
        Event::RouteChanged { to: frankfurt(), open, basis: None, policy: PolicyVersion(5), ordered }
    }

    fn left(class: EgressClass) -> Event {
        let peer = Peer { region: frankfurt(), node: NodeId(3) };
        Event::Egress(Passage { peer, class, bytes: ByteCount(1), sha256: [0; 32], body: vec![1], drawn: None })
    }

    #[test]
    fn what_left_behind_the_entry_that_closed_its_route_is_astray_whatever_the_clock_says() {
        let counted = || left(EgressClass::Count);
        assert_eq!(tally(vec![counted(), route(false), left(EgressClass::Refusal), counted()]).astray.len(), 1);
        assert_eq!(tally(vec![route(false), route(true), counted()]).astray, []);
        assert_eq!(tally(vec![route(false), counted()]).astray, [(2, "frankfurt".to_owned())]);
        // Earlier builds had a second for what was on its way.
        let window = Period { from: Timestamp(0), to: Timestamp(i64::MAX) };
        for (behind, is_astray) in [(1_000_000, false), (1_000_001, true)] {
            let mut tally = Tally::new(window, TenantId(1));
            tally.take(1, &Entry::specimen(Timestamp(7), None, route_of(false, false)));
            tally.take(2, &Entry::specimen(Timestamp(7 + behind), None, counted()));
            assert_eq!(!tally.astray.is_empty(), is_astray, "{behind}");
            // The next start says it again, and holds itself to it.
            tally.take(3, &Entry::specimen(Timestamp(8 + behind), None, route(false)));
            tally.take(4, &Entry::specimen(Timestamp(8), None, counted()));
            assert_eq!(tally.astray.last(), Some(&(4, "frankfurt".to_owned())), "{behind}");
        }
    }

    #[test]
    fn the_steps_of_an_order_are_by_one_clock() {
        let window = Period { from: Timestamp(i64::MIN), to: Timestamp(i64::MAX) };
        let mut tally = Tally::new(window, TenantId(1));
        let set = |by: i64| Event::ClockJumped { by, ordered: true, at_start: false };
        let events = [
            (100, set(7_000)),
            (101, Event::ErasureRequested { erasure: "e".into(), commitment: [1; 32] }),
            (50_000, set(40_000)),
            (50_001, Event::Shredded { erasure: "e".into(), hidden: 1, originals: 1 }),
            (9, set(-60_000)),
            (10, Event::Purged { erasure: "e".into(), segments: 1, removed: 1, receipt: [1; 32] }),
        ];
        for (number, (at, event)) in (1..).zip(events) {
            tally.take(number, &Entry::specimen(Timestamp(at), None, event));
        }
        let order = tally.order("e");
        let times = [order.requested, order.shredded, order.purged].map(|step| step.map(|(_, at)| at.0));
        // Ten milliseconds from one to the next, by the clock as it is in the end.
        assert_eq!(times, [Some(-19_899), Some(-9_999), Some(10)]);
        // What a statement says is held against what its clock showed.
        assert!(tally.steps["e"].shredded.contains(&Timestamp(50_001)));
    }

    #[test]
    fn a_route_that_is_as_it_was_is_no_line() {
        let told = tally(vec![route(true), route(true), route(false), route(false), route(true)]);
        assert_eq!(told.policy.iter().map(|line| line.number).collect::<Vec<_>>(), [1, 3, 5]);
    }
}
