//! A network of datagrams in memory, for real links on a turned clock: each way between two nodes has its own length, and
//! datagrams on it are lost, doubled, late, overtaken and spoiled by chance, cut off, or held up and dropped where the way is narrow.
//!
//! The dice of the n-th datagram of a way hang on the seed, the way and n alone; what they come to hangs on the weather, on cuts
//! and narrow ways at that moment, and on how long the datagram is. What became of datagrams is counted by kind.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::ops::Add;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use domicile_proto::link::simulated::Datagrams;
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

use crate::network::Dice;

/// Longest wait before a narrow way; what would wait longer is dropped.
const LONGEST_QUEUE: Duration = Duration::from_millis(150);
/// A late datagram comes later by at most so many milliseconds.
const LATE_MS: u64 = 400;

/// Chances, of a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) late: u64,
    pub(crate) spoiled: u64,
}

/// What became of datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) late: u64,
    pub(crate) overtaken: u64,
    pub(crate) spoiled: u64,
    pub(crate) cut: u64,
    /// Took longer, for the way is narrow.
    pub(crate) held_up: u64,
    /// Would have waited too long there, and was dropped.
    pub(crate) too_narrow: u64,
    /// Began a connection: the first packets of QUIC, and those that repeat them.
    pub(crate) dials: u64,
}

impl Add for Counts {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            delivered: self.delivered + more.delivered,
            lost: self.lost + more.lost,
            doubled: self.doubled + more.doubled,
            late: self.late + more.late,
            overtaken: self.overtaken + more.overtaken,
            spoiled: self.spoiled + more.spoiled,
            cut: self.cut + more.cut,
            held_up: self.held_up + more.held_up,
            too_narrow: self.too_narrow + more.too_narrow,
            dials: self.dials + more.dials,
        }
    }
}

/// All ends and the ways between them.
#[derive(Clone)]
pub(crate) struct Air(Arc<Inner>);

struct Inner {
    seed: u64,
    sky: Mutex<Sky>,
}

#[derive(Default)]
struct Sky {
    ends: BTreeMap<u64, Arc<End>>,
    ways: BTreeMap<(u64, u64), Way>,
    cut: BTreeSet<(u64, u64)>,
    weather: Weather,
    counts: Counts,
}

/// One direction between two nodes.
struct Way {
    sent: u64,
    /// The shortest time on the way, and how much longer it may be, in milliseconds.
    length_ms: u64,
    jitter_ms: u64,
    /// Bytes in a second, where it is narrow.
    narrow: Option<u64>,
    free: Instant,
    last: Instant,
}

/// Where the link of a node listens.
pub(crate) fn at(node: u64) -> SocketAddr {
    ([10, 0, 0, node as u8], 7000).into()
}

fn node_at(addr: SocketAddr) -> u64 {
    match addr {
        SocketAddr::V4(addr) => addr.ip().octets()[3].into(),
        SocketAddr::V6(_) => 0,
    }
}

impl Air {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Inner { seed, sky: Mutex::default() }))
    }

    /// A new end for a node. What it had before hears and says nothing any more.
    pub(crate) fn plug_in(&self, node: u64) -> Arc<End> {
        let end = Arc::new(End { air: self.clone(), node, inbox: Mutex::default() });
        self.0.sky.lock().ends.insert(node, Arc::clone(&end));
        end
    }

    /// From now on nothing reaches the node, and nothing leaves it.
    pub(crate) fn unplug(&self, node: u64) {
        self.0.sky.lock().ends.remove(&node);
    }

    /// Nothing passes from `from` to `to` any more, nor arrives that is on its way.
    pub(crate) fn cut(&self, from: u64, to: u64) {
        self.0.sky.lock().cut.insert((from, to));
    }

    /// Cuts a node off from all others, both ways.
    pub(crate) fn isolate(&self, node: u64) {
        for other in (1..=9).filter(|other| *other != node) {
            self.cut(node, other);
            self.cut(other, node);
        }
    }

    /// Of the way from `from` to `to` only so many bytes pass in a second.
    pub(crate) fn narrow(&self, from: u64, to: u64, bytes: u64) {
        self.0.sky.lock().way(self.0.seed, from, to).narrow = Some(bytes);
    }

    /// Takes back all cuts and widens all ways.
    pub(crate) fn mend(&self) {
        let mut sky = self.0.sky.lock();
        sky.cut.clear();
        for way in sky.ways.values_mut() {
            way.narrow = None;
        }
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        self.0.sky.lock().weather = weather;
    }

    pub(crate) fn counts(&self) -> Counts {
        self.0.sky.lock().counts
    }

    /// Counts from nothing on.
    pub(crate) fn count_anew(&self) {
        self.0.sky.lock().counts = Counts::default();
    }

    fn send(&self, end: &End, to: u64, datagram: &[u8]) {
        let (there, copies) = {
            let mut sky = self.0.sky.lock();
            if !sky.is_current(end) {
                return;
            }
            let copies = sky.copies(self.0.seed, (end.node, to), datagram);
            let Some(there) = sky.ends.get(&to).cloned() else { return };
            (there, copies)
        };
        for (due, datagram) in copies {
            there.put(due, end.node, datagram);
        }
    }
}

impl Sky {
    /// Whether it is the end that its node has now.
    fn is_current(&self, end: &End) -> bool {
        self.ends.get(&end.node).is_some_and(|current| std::ptr::eq(Arc::as_ptr(current), end))
    }

    fn way(&mut self, seed: u64, from: u64, to: u64) -> &mut Way {
        self.ways.entry((from, to)).or_insert_with(|| {
            let mut dice = fate(seed, from, to, u64::MAX);
            let now = Instant::now();
            let (length_ms, jitter_ms) = (1 + dice.below(30), dice.below(20));
            Way { sent: 0, length_ms, jitter_ms, narrow: None, free: now, last: now }
        })
    }

    /// What arrives of a datagram and when, if nothing is cut by then. The dice fall the same way whatever the weather.
    fn copies(&mut self, seed: u64, (from, to): (u64, u64), datagram: &[u8]) -> Vec<(Instant, Vec<u8>)> {
        let (weather, now) = (self.weather, Instant::now());
        let is_cut = self.cut.contains(&(from, to));
        let way = self.way(seed, from, to);
        way.sent += 1;
        let mut dice = fate(seed, from, to, way.sent);
        let [lost, doubled, late, spoiled] = [(); 4].map(|()| dice.below(1_000));
        let times_ms = [(); 2].map(|()| way.length_ms + dice.below(way.jitter_ms + 1));
        let (late_ms, place, bit) = (dice.below(LATE_MS), dice.below(datagram.len().max(1) as u64), dice.below(8));
        let mut counts = Counts { dials: u64::from(is_first_of_quic(datagram)), ..Counts::default() };
        let mut copies = Vec::new();
        let leaves = if is_cut { None } else { way.leaves(now, datagram.len() as u64) };
        match leaves {
            None if is_cut => counts.cut = 1,
            None => counts.too_narrow = 1,
            Some(leaves) => {
                counts.held_up = u64::from(leaves > now && way.narrow.is_some());
                if lost < weather.lost {
                    counts.lost = 1;
                } else {
                    let mut datagram = datagram.to_vec();
                    if spoiled < weather.spoiled
                        && let Some(byte) = datagram.get_mut(place as usize)
                    {
                        *byte ^= 1 << bit;
                        counts.spoiled = 1;
                    }
                    let mut first_ms = times_ms[0];
                    if late < weather.late {
                        first_ms += late_ms;
                        counts.late = 1;
                    }
                    copies.push((leaves + Duration::from_millis(first_ms), datagram.clone()));
                    if doubled < weather.doubled {
                        copies.push((leaves + Duration::from_millis(times_ms[1]), datagram));
                        counts.doubled = 1;
                    }
                }
            }
        }
        for (due, _) in &copies {
            counts.overtaken += u64::from(*due < way.last);
            way.last = way.last.max(*due);
        }
        self.counts = self.counts + counts;
        copies
    }
}

impl Way {
    /// When the last byte of a datagram has left; `None` where it would wait too long.
    fn leaves(&mut self, now: Instant, bytes: u64) -> Option<Instant> {
        let Some(rate) = self.narrow else { return Some(now) };
        let begins = self.free.max(now);
        if begins - now > LONGEST_QUEUE {
            return None;
        }
        self.free = begins + Duration::from_micros(bytes * 1_000_000 / rate);
        Some(self.free)
    }
}

/// Dice of one datagram.
fn fate(seed: u64, from: u64, to: u64, number: u64) -> Dice {
    let mut dice = Dice(seed);
    let way = dice.below(u64::MAX) ^ (from << 56) ^ (to << 48);
    Dice(Dice(way).below(u64::MAX) ^ number)
}

/// A long header of type Initial (RFC 9000, section 17.2.2).
fn is_first_of_quic(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & 0xb0 == 0x80)
}

/// A node's way into the air.
pub(crate) struct End {
    air: Air,
    node: u64,
    inbox: Mutex<Inbox>,
}

#[derive(Default)]
struct Inbox {
    /// By when they arrive, and in which order they were sent; and who sent them.
    due: BTreeMap<(Instant, u64), (u64, Vec<u8>)>,
    put: u64,
    waiting: Option<Waker>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl End {
    fn put(&self, due: Instant, from: u64, datagram: Vec<u8>) {
        let mut inbox = self.inbox.lock();
        inbox.put += 1;
        let number = inbox.put;
        inbox.due.insert((due, number), (from, datagram));
        if let Some(waiting) = inbox.waiting.take() {
            waiting.wake();
        }
    }

    /// Whether what comes from a node arrives; counts it, but for what comes to an end that is no node's any more.
    fn arrives(&self, from: u64) -> bool {
        let mut sky = self.air.0.sky.lock();
        if !sky.is_current(self) {
            return false;
        }
        let is_cut = sky.cut.contains(&(from, self.node));
        sky.counts = sky.counts + Counts { delivered: u64::from(!is_cut), cut: u64::from(is_cut), ..Counts::default() };
        !is_cut
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "End({})", self.node)
    }
}

impl Datagrams for End {
    fn addr(&self) -> SocketAddr {
        at(self.node)
    }

    fn send(&self, to: SocketAddr, datagram: &[u8]) {
        self.air.send(self, node_at(to), datagram);
    }

    fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<(SocketAddr, Vec<u8>)> {
        let mut inbox = self.inbox.lock();
        while let Some(first) = inbox.due.first_entry() {
            let due = first.key().0;
            if due <= Instant::now() {
                let (from, datagram) = first.remove();
                if self.arrives(from) {
                    return Poll::Ready((at(from), datagram));
                }
                continue;
            }
            let alarm = inbox.alarm.get_or_insert_with(|| Box::pin(sleep_until(due)));
            alarm.as_mut().reset(due);
            if alarm.as_mut().poll(cx).is_pending() {
                break;
            }
        }
        inbox.waiting = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Sends a thousand datagrams of 1,000 bytes, one a millisecond, and gives what arrives within ten seconds: when, and which.
async fn a_thousand(air: &Air) -> Vec<(Duration, Vec<u8>)> {
    let (here, there) = (air.plug_in(1), air.plug_in(2));
    let (began, mut arrived) = (Instant::now(), Vec::new());
    let sent = async {
        for number in 0..1_000_u64 {
            let mut datagram = vec![0; 1_000];
            datagram[..8].copy_from_slice(&number.to_be_bytes());
            here.send(at(2), &datagram);
            sleep(Duration::from_millis(1)).await;
        }
    };
    let received = async {
        loop {
            let (from, datagram) = poll_fn(|cx| there.poll_receive(cx)).await;
            assert_eq!(from, at(1));
            arrived.push((began.elapsed(), datagram));
        }
    };
    let _: ((), Result<(), _>) = tokio::join!(sent, timeout(Duration::from_secs(10), received));
    arrived
}

const BAD: Weather = Weather { lost: 100, doubled: 100, late: 100, spoiled: 100 };

#[tokio::test(start_paused = true)]
async fn the_weather_of_a_seed_is_the_same_every_time() {
    let under = async |seed, weather| {
        let air = Air::new(seed);
        air.set_weather(weather);
        (a_thousand(&air).await, air.counts())
    };
    let (first, counts) = under(1, BAD).await;
    assert_eq!((&first, counts), (&under(1, BAD).await.0, under(1, BAD).await.1));
    assert_ne!(first, under(2, BAD).await.0);
    let Counts { delivered, lost, doubled, late, overtaken, spoiled, cut, .. } = counts;
    assert_eq!((delivered, first.len() as u64, cut), (1_000 - lost + doubled, delivered, 0));
    for (count, of) in [(lost, 1_000), (doubled, 900), (late, 900), (spoiled, 900)] {
        assert!(count > of / 20 && count < of / 5, "{counts:?}");
    }
    assert!(overtaken > late / 2, "{counts:?}");

    let (clear, counts) = under(1, Weather::default()).await;
    assert_eq!(counts, Counts { delivered: 1_000, overtaken: counts.overtaken, ..Counts::default() });
    assert_eq!(clear.len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn nothing_passes_a_cut_not_even_what_is_on_its_way() {
    let air = Air::new(1);
    let (here, there) = (air.plug_in(1), air.plug_in(2));
    here.send(at(2), b"on its way");
    air.cut(1, 2);
    here.send(at(2), b"cut");
    there.send(at(1), b"the other way");
    let longer = Duration::from_secs(1);
    let arrives =
        async |end: &End| timeout(longer, poll_fn(|cx| end.poll_receive(cx))).await.ok().map(|(_, what)| what);
    assert_eq!(arrives(&there).await, None);
    assert_eq!(arrives(&here).await.as_deref(), Some(&b"the other way"[..]));
    assert_eq!((air.counts().cut, air.counts().delivered), (2, 1));
    air.mend();
    here.send(at(2), b"mended");
    assert_eq!(arrives(&there).await.as_deref(), Some(&b"mended"[..]));

    // What was plugged out says nothing any more, whoever has its place.
    let again = air.plug_in(1);
    here.send(at(2), b"of the dead");
    assert_eq!(arrives(&there).await, None);
    again.send(at(2), b"of the living");
    assert_eq!(arrives(&there).await.as_deref(), Some(&b"of the living"[..]));

    // Nor does it hear what was on its way to it.
    let leaves: [fn(&Air, u64); 2] = [Air::unplug, |air, node| drop(air.plug_in(node))];
    for leave in leaves {
        let there = air.plug_in(2);
        again.send(at(2), b"to the dead");
        leave(&air, 2);
        assert_eq!(arrives(&there).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn through_a_narrow_way_pass_so_many_bytes_in_a_second() {
    let air = Air::new(1);
    air.plug_in(2);
    air.narrow(1, 2, 100_000);
    let arrived = a_thousand(&air).await;
    // A megabyte in a second, and a hundred thousand bytes pass, and what waits when the second is over.
    assert!((95..=120).contains(&arrived.len()), "{}", arrived.len());
    let counts = air.counts();
    assert_eq!((counts.too_narrow, counts.lost), (1_000 - arrived.len() as u64, 0));
    assert_eq!(counts.held_up, arrived.len() as u64);
}
