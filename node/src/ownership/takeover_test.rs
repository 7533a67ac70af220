//! Who may take over: each rule alone, and whole regions drawn from seeds in which nodes pause, links break and the group is away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use domicile_proto::ids::{Epoch, NodeId, ShardId, StreamId};

use super::takeover::{Heard, Owned, Sight, plan};
use crate::limits::{OWNER_LEASE, OWNER_ROUND, TAKEN_AT_ONCE};

const US: NodeId = NodeId(1);

fn owned(shard: u64, owner: u64) -> Owned {
    let (shard, stream) = (ShardId(shard), StreamId(u32::try_from(shard).unwrap()));
    Owned { shard, stream, owner: NodeId(owner), epoch: Epoch(1), in_bucket: true }
}

fn sight(silent: &[(u64, Duration)], shards: Vec<Owned>) -> Sight {
    let silent: BTreeMap<_, _> = silent.iter().map(|(node, silence)| (NodeId(*node), *silence)).collect();
    let nodes = silent.keys().copied().chain([US]).collect();
    Sight { us: US, has_group: true, silent, nodes, shards }
}

#[test]
fn a_shard_moves_when_its_owner_was_silent_for_the_lease_and_not_a_moment_before() {
    let just = OWNER_LEASE.checked_sub(Duration::from_millis(1)).unwrap();
    assert!(plan(&sight(&[(2, just)], vec![owned(1, 2)])).is_empty());
    assert_eq!(plan(&sight(&[(2, OWNER_LEASE)], vec![owned(1, 2)])), [owned(1, 2)]);
    assert!(plan(&sight(&[(2, OWNER_LEASE)], vec![owned(1, 1)])).is_empty(), "it is ours");
}

#[test]
fn a_shard_of_the_disk_stays_where_its_disk_is() {
    let on_disk = Owned { in_bucket: false, ..owned(1, 2) };
    assert!(plan(&sight(&[(2, OWNER_LEASE * 100)], vec![on_disk])).is_empty());
}

#[test]
fn without_the_group_nothing_moves() {
    let alone = Sight { has_group: false, ..sight(&[(2, OWNER_LEASE)], vec![owned(1, 2)]) };
    assert!(plan(&alone).is_empty());
}

#[test]
fn an_owner_of_whom_nothing_is_known_is_not_silent() {
    assert!(plan(&sight(&[], vec![owned(1, 2)])).is_empty());
}

#[test]
fn those_who_are_left_share_the_shards_and_no_shard_has_two_takers() {
    let shards: Vec<_> = (0..40).map(|shard| owned(shard, 9)).collect();
    let nodes: BTreeSet<_> = (1..=3).chain([9]).map(NodeId).collect();
    let mut taken = BTreeMap::new();
    for us in 1..=3 {
        let silent = nodes.iter().filter(|node| node.0 != us);
        let silent = silent.map(|node| (*node, if node.0 == 9 { OWNER_LEASE } else { Duration::ZERO })).collect();
        let sight = Sight { us: NodeId(us), has_group: true, silent, nodes: nodes.clone(), shards: shards.clone() };
        for one in plan(&sight) {
            assert_eq!(taken.insert(one.shard, us), None, "{:?} has two takers", one.shard);
        }
    }
    assert_eq!(taken.len(), 40, "none is left");
    let of = |us| taken.values().filter(|taker| **taker == us).count();
    assert!((1..=3).all(|us| of(us) >= 4), "{} {} {}", of(1), of(2), of(3));
}

#[test]
fn so_many_move_at_once_and_the_others_in_the_next_round() {
    let shards = (0..200).map(|shard| owned(shard, 2)).collect();
    assert_eq!(plan(&sight(&[(2, OWNER_LEASE)], shards)).len(), TAKEN_AT_ONCE);
}

#[test]
fn a_node_that_was_away_itself_takes_nobody_for_silent() {
    let (mut heard, start) = (Heard::default(), Instant::now());
    let others = BTreeSet::from([NodeId(2)]);
    heard.look(&others, start);
    heard.heard(NodeId(2), start);
    let mut now = start;
    for _ in 0..5 {
        now += OWNER_ROUND;
        heard.look(&others, now);
    }
    assert_eq!(heard.silent(now)[&NodeId(2)], OWNER_ROUND * 5);
    now += OWNER_LEASE * 4;
    heard.look(&others, now);
    assert_eq!(heard.silent(now)[&NodeId(2)], Duration::ZERO, "whoever slept heard nobody");
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

const NODES: u64 = 4;

/// A region: who runs, who reaches whom, who reaches the group; and what the group decided.
struct World {
    dice: Dice,
    now: Instant,
    heard: Vec<Heard>,
    runs: Vec<bool>,
    cut: BTreeSet<(u64, u64)>,
    group: Vec<bool>,
    shards: Vec<Owned>,
    /// Since when each node was last reachable, by any other.
    reached: Vec<Instant>,
}

impl World {
    fn round(&mut self, whole: &str) -> usize {
        let mut moved = 0;
        self.now += OWNER_ROUND;
        for us in 0..NODES {
            let at = usize::try_from(us).unwrap();
            if !self.runs[at] {
                continue;
            }
            let others = (0..NODES).filter(|node| *node != us).map(NodeId).collect();
            self.heard[at].look(&others, self.now);
            for other in (0..NODES).filter(|other| *other != us) {
                let there = usize::try_from(other).unwrap();
                if self.runs[there] && !self.cut.contains(&(us, other)) {
                    self.heard[at].heard(NodeId(other), self.now);
                    self.reached[there] = self.now;
                }
            }
            let nodes = (0..NODES).map(NodeId).collect();
            let silent = self.heard[at].silent(self.now);
            let sight = Sight { us: NodeId(us), has_group: self.group[at], silent, nodes, shards: self.shards.clone() };
            for taken in plan(&sight) {
                let silence = self.heard[at].silent(self.now)[&taken.owner];
                assert!(silence >= OWNER_LEASE && self.group[at] && taken.in_bucket, "{whole}: {taken:?}");
                // The group compares the epoch that the taker has seen.
                let row = self.shards.iter_mut().find(|row| row.shard == taken.shard).unwrap();
                if row.epoch == taken.epoch {
                    (row.owner, row.epoch) = (NodeId(us), Epoch(taken.epoch.0 + 1));
                    moved += 1;
                }
            }
        }
        moved
    }
}

#[test]
fn thousands_of_regions_lose_no_shard_to_a_rumour_and_none_for_ever() {
    for seed in 0..2_000 {
        let start = Instant::now();
        let shards = (0..6).map(|shard| Owned { in_bucket: shard != 5, ..owned(shard, shard % NODES) }).collect();
        let nodes = usize::try_from(NODES).unwrap();
        let mut world = World {
            dice: Dice(seed),
            now: start,
            heard: (0..nodes).map(|_| Heard::default()).collect(),
            runs: vec![true; nodes],
            cut: BTreeSet::new(),
            group: vec![true; nodes],
            shards,
            reached: vec![start; nodes],
        };
        for round in 0..120 {
            let (a, b) = (world.dice.below(NODES), world.dice.below(NODES));
            let at = usize::try_from(a).unwrap();
            match world.dice.below(24) {
                0 => world.runs[at] = !world.runs[at],
                1 => {
                    world.cut.insert((a, b));
                }
                2 => world.cut.clear(),
                3 => world.group[at] = !world.group[at],
                _ => {}
            }
            world.round(&format!("seed {seed}, round {round}"));
        }
        // Two go for good, everything else heals: every shard of the store comes to those who are left, the other stays.
        (world.runs, world.group, world.cut) = (vec![true; nodes], vec![true; nodes], BTreeSet::new());
        (world.runs[0], world.runs[1]) = (false, false);
        let rounds = 2 * OWNER_LEASE.as_secs() / OWNER_ROUND.as_secs() + 4;
        for _ in 0..rounds {
            world.round(&format!("seed {seed}, healed"));
        }
        for row in &world.shards {
            assert!(!row.in_bucket || row.owner.0 >= 2, "seed {seed}: {row:?} has no owner that runs");
        }
        assert_eq!(world.shards[5].owner, NodeId(5 % NODES), "seed {seed}: a shard of the disk moved");
        assert_eq!((0..rounds).map(|_| world.round("still")).sum::<usize>(), 0, "seed {seed}: shards wander");
    }
}
