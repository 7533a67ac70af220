//! How much each shard asks of this node: bytes of records that it takes in, and time of processors for building,
//! merging and searching it.
//!
//! What is measured fades: after one half-life it counts half. A steady load that has been measured for less than that
//! is told as less than it is, so that the first moments of a shard are not taken for what it asks. What comes before
//! the log (parsing, finding personal data, sealing) is not known by shard; bytes stand for it. A shard that left is
//! told of for one half-life more, so that whoever places shards knows what it asks before its new owner does. Decides
//! nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use domicile_proto::ids::ShardId;
use domicile_proto::message::region::{MAX_LOADS, ShardLoad};
use parking_lot::Mutex;

use crate::limits::MEASURED_SHARDS;
use crate::telemetry::ThreadTime;

/// What the shards of this node ask of it. Clones are the same.
#[derive(Clone)]
pub(crate) struct Loads(Arc<Inner>);

struct Inner {
    half_life: Duration,
    is_drained: AtomicBool,
    /// Drains that are under way.
    draining: AtomicUsize,
    given: AtomicU64,
    meters: Mutex<HashMap<ShardId, Meter>>,
}

/// One shard.
#[derive(Clone, Copy, Debug)]
struct Meter {
    /// Since it was folded.
    bytes: u64,
    cpu: Duration,
    begun: Instant,
    folded: Instant,
    /// When anything was last added.
    last: Instant,
    /// Faded means, a second, before they are set right for a beginning with nothing.
    bytes_mean: f64,
    cpu_mean: f64,
    /// Since when it is not this node's any more.
    left: Option<Instant>,
}

impl Meter {
    const fn begin(now: Instant) -> Self {
        let (bytes, cpu) = (0, Duration::ZERO);
        Self { bytes, cpu, begun: now, folded: now, last: now, bytes_mean: 0.0, cpu_mean: 0.0, left: None }
    }

    /// Lets the means fade up to now, with what came since as one even stretch.
    fn fold(&mut self, now: Instant, half_life: Duration) {
        let since = now.saturating_duration_since(self.folded).as_secs_f64();
        if since <= 0.0 || self.left.is_some() {
            return;
        }
        let stays = 0.5_f64.powf(since / half_life.as_secs_f64());
        // Precise up to 2^53 bytes in one stretch.
        #[allow(clippy::cast_precision_loss, reason = "no stretch comes near 2^53 bytes")]
        let bytes = self.bytes as f64 / since;
        self.bytes_mean = self.bytes_mean.mul_add(stays, bytes * (1.0 - stays));
        self.cpu_mean = self.cpu_mean.mul_add(stays, self.cpu.as_secs_f64() / since * (1.0 - stays));
        (self.bytes, self.cpu, self.folded) = (0, Duration::ZERO, now);
    }

    /// Bytes and microseconds of processors a second: the means, set right for the beginning with nothing once that was
    /// measured for a half-life, and until then at most doubled.
    fn rates(&self, half_life: Duration) -> (u64, u64) {
        let age = self.folded.saturating_duration_since(self.begun).as_secs_f64();
        let known = (1.0 - 0.5_f64.powf(age / half_life.as_secs_f64())).max(LEAST_KNOWN);
        (whole(self.bytes_mean / known), whole(self.cpu_mean * 1e6 / known))
    }

    fn is_over(&self, now: Instant, half_life: Duration) -> bool {
        let since = |at: Instant| now.saturating_duration_since(at);
        self.left.map_or_else(|| since(self.last) > half_life * IDLE_HALF_LIVES, |left| since(left) > half_life)
    }
}

impl Loads {
    /// Nothing is measured yet; what is, counts half after `half_life`.
    pub(crate) fn new(half_life: Duration) -> Self {
        let half_life = half_life.max(Duration::from_millis(1));
        let (is_drained, draining) = (AtomicBool::new(false), AtomicUsize::new(0));
        let (given, meters) = (AtomicU64::new(0), Mutex::default());
        Self(Arc::new(Inner { half_life, is_drained, draining, given, meters }))
    }

    /// A shard took in so many bytes of records.
    pub(crate) fn took(&self, shard: ShardId, bytes: usize) {
        self.add(shard, Instant::now(), |meter| meter.bytes = meter.bytes.saturating_add(bytes as u64));
    }

    /// Does work for a shard on this thread, and counts its time on a processor.
    pub(crate) fn spend<T>(&self, shard: ShardId, work: impl FnOnce() -> T) -> T {
        let begun = ThreadTime::now();
        let done = work();
        let spent = begun.elapsed();
        if !spent.is_zero() {
            self.spent(shard, spent);
        }
        done
    }

    fn spent(&self, shard: ShardId, cpu: Duration) {
        self.add(shard, Instant::now(), |meter| meter.cpu = meter.cpu.saturating_add(cpu));
    }

    fn add(&self, shard: ShardId, now: Instant, add: impl FnOnce(&mut Meter)) {
        let half_life = self.0.half_life;
        let mut meters = self.0.meters.lock();
        if !meters.contains_key(&shard) && meters.len() >= MEASURED_SHARDS {
            return;
        }
        let meter = meters.entry(shard).or_insert_with(|| Meter::begin(now));
        // A question that was under way when the shard left changes nothing.
        if meter.left.is_none() {
            if now.saturating_duration_since(meter.folded) > half_life / FOLDS {
                meter.fold(now, half_life);
            }
            add(meter);
            meter.last = now;
        }
        drop(meters);
    }

    /// A shard is this node's from now on, with all that it brought along: it is measured anew.
    pub(crate) fn came(&self, shard: ShardId) {
        self.0.meters.lock().remove(&shard);
    }

    /// A shard is another node's from now on: what is known of it stands still.
    pub(crate) fn left(&self, shard: ShardId) {
        self.left_at(shard, Instant::now());
    }

    fn left_at(&self, shard: ShardId, now: Instant) {
        if let Some(meter) = self.0.meters.lock().get_mut(&shard) {
            meter.fold(now, self.0.half_life);
            meter.left = meter.left.or(Some(now));
        }
    }

    /// Everything is measured anew: what a start reads again is no load.
    pub(crate) fn begin_anew(&self) {
        self.0.meters.lock().clear();
    }

    /// What each shard asks of this node, or asked until it left, heaviest first.
    pub(crate) fn told(&self) -> Vec<ShardLoad> {
        self.told_at(Instant::now())
    }

    fn told_at(&self, now: Instant) -> Vec<ShardLoad> {
        let half_life = self.0.half_life;
        let mut meters = self.0.meters.lock();
        meters.retain(|_, meter| !meter.is_over(now, half_life));
        let mut told: Vec<ShardLoad> = meters
            .iter_mut()
            .map(|(shard, meter)| {
                meter.fold(now, half_life);
                let (bytes_per_second, cpu_micros_per_second) = meter.rates(half_life);
                let measured_seconds = meter.folded.saturating_duration_since(meter.begun).as_secs();
                ShardLoad { shard: *shard, bytes_per_second, cpu_micros_per_second, measured_seconds }
            })
            .collect();
        drop(meters);
        told.sort_by_key(|load| (std::cmp::Reverse((load.cpu_micros_per_second, load.bytes_per_second)), load.shard));
        told.truncate(MAX_LOADS);
        told
    }

    /// Bytes a second that come in, and microseconds a second of processors, of all shards that are this node's.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let (now, half_life) = (Instant::now(), self.0.half_life);
        let mut meters = self.0.meters.lock();
        let ours = meters.values_mut().filter(|meter| meter.left.is_none());
        ours.fold((0_u64, 0_u64), |(bytes, cpu), meter| {
            meter.fold(now, half_life);
            let (more_bytes, more_cpu) = meter.rates(half_life);
            (bytes.saturating_add(more_bytes), cpu.saturating_add(more_cpu))
        })
    }

    /// This node is being drained: it gets no shard meanwhile. Where that goes well, it gets none before it is started
    /// again; where it is given up, the node is as it was.
    pub(crate) fn drain(&self) -> Draining {
        self.0.draining.fetch_add(1, Ordering::AcqRel);
        Draining(self.clone())
    }

    /// Whether a drain is under way.
    pub(crate) fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire) > 0
    }

    /// Whether this node is drained or being drained.
    pub(crate) fn is_drained(&self) -> bool {
        // In this order: a drain that ends well says so before it ends.
        self.is_draining() || self.0.is_drained.load(Ordering::Acquire)
    }

    /// A shard was given to another node for its load, or because this one is drained.
    pub(crate) fn gave(&self) {
        self.0.given.fetch_add(1, Ordering::Relaxed);
    }

    /// How many were, since the start.
    pub(crate) fn given(&self) -> u64 {
        self.0.given.load(Ordering::Relaxed)
    }
}

/// A drain that is under way. Dropped before it is done, it has failed, and the node is as it was before.
#[must_use = "the drain ends when this is dropped"]
pub(crate) struct Draining(Loads);

impl Draining {
    /// It went well: the node stays drained until it is started again.
    pub(crate) fn done(self) {
        self.0.0.is_drained.store(true, Ordering::Release);
    }
}

impl Drop for Draining {
    fn drop(&mut self) {
        self.0.0.draining.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A rate that is neither negative nor too large for its number.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is not negative, and a conversion that is too large ends at the largest"
)]
const fn whole(rate: f64) -> u64 {
    rate.round() as u64
}

/// Part of its full weight that a mean has at least when it is set right: what one half-life gives. With less, a
/// moment's peak would be told as a lasting load.
const LEAST_KNOWN: f64 = 0.5;
/// Half-lives without anything after which a shard is forgotten: what is left of it is a thousandth.
const IDLE_HALF_LIVES: u32 = 10;
/// Stretches of a half-life whose mean is taken as even.
const FOLDS: u32 = 16;

#[cfg(test)]
#[path = "load_test.rs"]
mod tests;
