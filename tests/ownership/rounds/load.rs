//! Who writes while nodes come and go, what was acknowledged, and what the nodes say of owners meanwhile.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use domicile_tests::cluster::fenced::Told;
use domicile_tests::cluster::fixture::{bulk, events};
use domicile_tests::cluster::http;
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::wait_until;
use serde_json::{Value, json};

use super::team::Team;

pub(super) const STREAMS: [&str; 4] = ["orders", "visits", "scraps", "clicks"];
/// Events in one batch.
pub(super) const EACH: u64 = 20;
/// Some leases, some rounds, and what a slow machine needs.
pub(super) const TAKEN_WITHIN: Duration = Duration::from_secs(240);
/// How long a producer waits for an answer. What it gave up may still be done: by a node that was paused, when it goes on.
const PATIENCE: Duration = Duration::from_secs(4);
/// How often each node is asked who writes.
const ASKED_EVERY: Duration = Duration::from_millis(200);

/// The writers, one for each stream, and what was acknowledged.
pub(super) struct Load {
    /// By place; a newcomer stands behind the doors of the one it replaces.
    pub(super) doors: [Region; 3],
    /// How often the node at a place was started or lost.
    lives: [AtomicU64; 3],
    is_over: AtomicBool,
    acknowledged: [AtomicU64; STREAMS.len()],
    told: Mutex<Told>,
    /// By stream: the newest epoch that was told, and its owner.
    newest: Mutex<BTreeMap<&'static str, (u64, u64)>>,
}

impl Load {
    pub(super) fn new(doors: [Region; 3]) -> Self {
        Self {
            doors,
            lives: Default::default(),
            is_over: AtomicBool::new(true),
            acknowledged: Default::default(),
            told: Mutex::default(),
            newest: Mutex::default(),
        }
    }

    /// How many batches of a stream were acknowledged.
    pub(super) fn acknowledged(&self, stream: usize) -> u64 {
        self.acknowledged[stream].load(Ordering::SeqCst)
    }

    /// How many of all streams.
    pub(super) fn all(&self) -> u64 {
        (0..STREAMS.len()).map(|stream| self.acknowledged(stream)).sum()
    }

    pub(super) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap()
    }

    /// Another life of a node begins: it may know less than it did.
    pub(super) fn another_life(&self, at: usize) {
        self.lives[at].fetch_add(1, Ordering::SeqCst);
    }

    /// The number of the node that writes a stream, as far as anybody knows.
    pub(super) fn owner(&self, stream: usize) -> u64 {
        self.newest.lock().unwrap()[STREAMS[stream]].1
    }

    /// Sends a batch to a node; whether it was acknowledged whole. Records of half of the streams have no ids of their own, so that
    /// nothing but the batch's id tells two of the same batch.
    fn sent(&self, stream: usize, number: u64, at: usize) -> bool {
        let id = format!("{}-{number}", STREAMS[stream]);
        let (drawn, _) = events(stream as u64 * 10_000_000 + number, EACH, 2);
        let body = bulk(&drawn, Some(id.as_str()).filter(|_| stream % 2 == 1));
        let (node, url) = (&self.doors[at], format!("{}/{}/_bulk", self.doors[at].doors.es, STREAMS[stream]));
        let key = node.authorization("ingest");
        let headers = [
            ("Authorization", key.as_str()),
            ("Content-Type", "application/x-ndjson"),
            ("X-Domicile-Batch", id.as_str()),
        ];
        let answer = http::request_within(PATIENCE, "POST", &url, &headers, &body);
        answer.is_ok_and(|answer| answer.status == 200 && answer.json()["errors"] == json!(false))
    }

    /// Sends a batch to one node after the other until one acknowledges it.
    fn send(&self, stream: usize, number: u64) {
        let mut turn = usize::try_from(number).unwrap() + stream;
        let taken = wait_until(TAKEN_WITHIN, || {
            turn += 1;
            self.sent(stream, number, turn % 3).then_some(())
        });
        assert!(taken.is_some(), "no node takes batch {number} of `{}`", STREAMS[stream]);
    }

    fn write(&self, stream: usize) {
        while !self.is_over.load(Ordering::SeqCst) {
            self.send(stream, self.acknowledged(stream));
            self.acknowledged[stream].fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Asks a node again and again who writes what.
    fn ask(&self, at: usize) {
        while !self.is_over.load(Ordering::SeqCst) {
            self.look(at);
            std::thread::sleep(ASKED_EVERY);
        }
    }

    /// Which streams have an owner, as a node says it.
    fn look(&self, at: usize) -> usize {
        let (node, life) = (&self.doors[at], self.lives[at].load(Ordering::SeqCst));
        let (url, key) = (format!("{}/api/v1/streams", node.doors.api), node.authorization("search"));
        let answer = http::request_within(PATIENCE, "GET", &url, &[("Authorization", key.as_str())], &[]);
        let Ok(answer) = answer else { return 0 };
        if answer.status != 200 || self.lives[at].load(Ordering::SeqCst) != life {
            return 0;
        }
        let listed: Value = answer.json();
        let (mut told, mut newest) = (self.told(), self.newest.lock().unwrap());
        let mut known = 0;
        for stream in listed["streams"].as_array().unwrap() {
            let name = STREAMS.into_iter().find(|name| stream["name"] == json!(name));
            let number = |field: &str| stream[field].as_u64();
            let (Some(name), Some(shard), Some(owner)) = (name, number("shard"), number("owner")) else { continue };
            let epoch = number("epoch").unwrap_or_else(|| panic!("an owner without an epoch: {stream}"));
            told.note(&format!("node {at} in its life {life}"), shard, owner, epoch);
            let best = newest.entry(name).or_default();
            *best = (*best).max((epoch, owner));
            known += 1;
        }
        known
    }

    /// Has the streams begin, each at another node, and everybody know them.
    pub(super) fn first(&self, team: &Team) {
        for (stream, name) in STREAMS.iter().enumerate() {
            team.create(name);
            let taken = wait_until(TAKEN_WITHIN, || self.sent(stream, 0, stream % 3).then_some(()));
            taken.expect("the stream is written");
            self.acknowledged[stream].fetch_add(1, Ordering::SeqCst);
        }
        for at in 0..self.doors.len() {
            let knows = || (self.look(at) == STREAMS.len()).then_some(());
            wait_until(TAKEN_WITHIN, knows).expect("each node knows who writes");
        }
    }

    /// Writes and asks while something is done.
    pub(super) fn while_written(&self, work: impl FnOnce()) {
        self.is_over.store(false, Ordering::SeqCst);
        std::thread::scope(|scope| {
            for stream in 0..STREAMS.len() {
                scope.spawn(move || self.write(stream));
            }
            for at in 0..self.doors.len() {
                scope.spawn(move || self.ask(at));
            }
            // The writers end also when the work fails, so that the failure is seen.
            let done = catch_unwind(AssertUnwindSafe(work));
            self.is_over.store(true, Ordering::SeqCst);
            if let Err(failure) = done {
                resume_unwind(failure);
            }
        });
    }

    /// Waits until so many more of each stream are acknowledged.
    pub(super) fn go_on(&self, more: u64) {
        let until: Vec<u64> = (0..STREAMS.len()).map(|stream| self.acknowledged(stream) + more).collect();
        let reached = || until.iter().enumerate().all(|(stream, until)| self.acknowledged(stream) >= *until);
        let found = wait_until(TAKEN_WITHIN, || reached().then_some(()));
        assert!(found.is_some(), "batches of every stream are acknowledged again: {:?}", self.acknowledged);
    }

    /// Sends every batch again.
    pub(super) fn again(&self) {
        std::thread::scope(|scope| {
            for stream in 0..STREAMS.len() {
                scope.spawn(move || (0..self.acknowledged(stream)).for_each(|number| self.send(stream, number)));
            }
        });
    }
}
