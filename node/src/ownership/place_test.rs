//! Placement: each rule alone, tables of loads, and laws over whole regions drawn at random.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const CORE: u64 = 1_000_000;
/// A twentieth of a processor.
const LEAST: u64 = CORE / 20;

fn placed(shard: u64, owner: u64, cpu: u64) -> Placed {
    Placed {
        shard: ShardId(shard),
        stream: StreamId(u32::try_from(shard).unwrap()),
        owner: NodeId(owner),
        load: Load { bytes: 0, cpu },
        is_movable: true,
        is_settled: true,
    }
}

fn region(nodes: &[(u64, Standing)], shards: Vec<Placed>) -> Sights {
    Sights { nodes: nodes.iter().map(|(node, standing)| (NodeId(*node), *standing)).collect(), shards }
}

/// Makes the moves, as if everything had been measured again afterwards.
fn apply(sights: &mut Sights, steps: &[Step]) {
    for step in steps {
        let moved = sights.shards.iter_mut().find(|placed| placed.shard == step.shard).unwrap();
        assert_eq!(moved.owner, step.from);
        moved.owner = step.to;
    }
}

fn weights(sights: &Sights) -> BTreeMap<u64, u64> {
    carried(&sights.nodes, &sights.shards).into_iter().map(|(node, (weight, _))| (node.0, weight)).collect()
}

const BOTH: [(u64, Standing); 2] = [(1, Standing::Takes), (2, Standing::Takes)];

#[test]
fn a_new_node_gets_work_and_the_reason_says_so() {
    let mut sights = region(&BOTH, (1..=4).map(|shard| placed(shard, 1, CORE / 4)).collect());
    let steps = spread(&sights, 10, LEAST);
    assert_eq!(steps.len(), 2, "{steps:?}");
    assert_eq!(steps[0].reason, Reason::Uneven { here: CORE, there: 0 });
    assert_eq!(steps[0].reason.word(), "the other node has nothing to do");
    assert_eq!(steps[1].reason, Reason::Uneven { here: CORE / 4 * 3, there: CORE / 4 });
    apply(&mut sights, &steps);
    assert_eq!(weights(&sights), [(1, CORE / 2), (2, CORE / 2)].into());
    assert_eq!(spread(&sights, 10, LEAST), []);
}

#[test]
fn what_is_planned_ahead_is_what_would_be_planned_one_by_one() {
    let mut one_by_one = region(&BOTH, (1..=40).map(|shard| placed(shard, 1, shard * 10_000)).collect());
    let ahead = spread(&one_by_one, 64, LEAST);
    let mut made = Vec::new();
    while let [step] = spread(&one_by_one, 1, LEAST)[..] {
        apply(&mut one_by_one, &[step]);
        made.push(step);
    }
    assert!(made.len() > 2);
    assert_eq!(made, ahead);
}

#[test]
fn shards_move_by_what_they_ask_and_not_by_their_number() {
    // One node has one shard that asks much, the other a hundred that ask nothing: no count makes that uneven the other
    // way.
    let mut shards: Vec<Placed> = (10..110).map(|shard| placed(shard, 2, 0)).collect();
    shards.extend([placed(1, 1, CORE / 2), placed(2, 1, CORE / 2)]);
    let steps = spread(&region(&BOTH, shards), 10, LEAST);
    assert_eq!(steps.iter().map(|step| (step.shard.0, step.to.0)).collect::<Vec<_>>(), [(1, 2)]);
}

#[test]
fn bytes_weigh_as_well() {
    let bytes =
        |shard, megabytes: u64| Placed { load: Load { bytes: megabytes * 1_000_000, cpu: 0 }, ..placed(shard, 1, 0) };
    assert_eq!(Load { bytes: 20_000_000, cpu: 5 }.weight(), CORE + 5, "20 MB a second are a processor");
    let steps = spread(&region(&BOTH, vec![bytes(1, 10), bytes(2, 10)]), 10, LEAST);
    assert_eq!(steps.len(), 1, "{steps:?}");
}

#[test]
fn one_shard_that_is_all_the_load_stays_where_it_is() {
    let alone = region(&BOTH, vec![placed(1, 1, 3 * CORE)]);
    assert_eq!(spread(&alone, 10, LEAST), []);
    // And nothing is pushed about beside it that would change nothing.
    let mut shards = vec![placed(1, 1, 3 * CORE)];
    shards.extend((2..200).map(|shard| placed(shard, 1, 200)));
    assert_eq!(spread(&region(&BOTH, shards), 500, LEAST), []);
}

#[test]
fn small_differences_count_as_even() {
    let nearly = |more: u64| {
        let mut shards: Vec<Placed> = (1..=10).map(|shard| placed(shard, 1 + shard % 2, CORE / 10)).collect();
        shards.extend((20..20 + more).map(|shard| placed(shard, 1, 20_000)));
        region(&BOTH, shards)
    };
    assert_eq!(spread(&nearly(2), 10, LEAST), [], "40 of 500 thousandths, within a fifth");
    assert!(!spread(&nearly(12), 10, LEAST).is_empty(), "240 of 500 are more");
    let little = region(&BOTH, (1..=4).map(|shard| placed(shard, 1, LEAST / 5)).collect());
    assert_eq!(spread(&little, 10, LEAST), [], "a region with nothing to do moves nothing");
}

#[test]
fn what_was_just_given_or_lies_on_a_disk_does_not_move() {
    let many =
        |change: fn(Placed) -> Placed| region(&BOTH, (1..=4).map(|shard| change(placed(shard, 1, CORE / 4))).collect());
    assert_eq!(spread(&many(|one| Placed { is_settled: false, ..one }), 10, LEAST), []);
    assert_eq!(spread(&many(|one| Placed { is_movable: false, ..one }), 10, LEAST), []);
}

#[test]
fn a_drained_node_loses_what_can_move_and_is_given_nothing() {
    let nodes = [(1, Standing::Drained), (2, Standing::Takes), (3, Standing::Takes)];
    let mut shards: Vec<Placed> = (1..=6).map(|shard| placed(shard, 1, shard * CORE / 10)).collect();
    shards.push(Placed { is_movable: false, ..placed(7, 1, CORE) });
    // Also what asks nothing and was never measured.
    shards.push(Placed { is_settled: false, ..placed(8, 1, 0) });
    shards.push(placed(9, 2, CORE / 10));
    let mut sights = region(&nodes, shards);
    let steps = spread(&sights, 64, LEAST);
    assert!(steps.iter().all(|step| step.reason == Reason::Drained && step.from == NodeId(1)), "{steps:?}");
    apply(&mut sights, &steps);
    let left: Vec<u64> =
        sights.shards.iter().filter(|placed| placed.owner == NodeId(1)).map(|placed| placed.shard.0).collect();
    assert_eq!(left, [7], "what lies on its disk");
    let weights = weights(&sights);
    assert!(weights[&2].abs_diff(weights[&3]) <= CORE / 5, "{weights:?}");
    assert_eq!(spread(&sights, 64, LEAST), []);
}

#[test]
fn nodes_that_are_not_heard_or_use_another_bucket_take_no_part() {
    let nodes = [(1, Standing::Takes), (2, Standing::Keeps)];
    let shards: Vec<Placed> = (1..=4).map(|shard| placed(shard, 1, CORE / 4)).collect();
    assert_eq!(spread(&region(&nodes, shards.clone()), 10, LEAST), []);
    assert_eq!(spread(&region(&[(2, Standing::Takes)], shards.clone()), 10, LEAST), [], "of a node nobody hears");
    let drained = [(1, Standing::Drained), (2, Standing::Keeps)];
    assert_eq!(spread(&region(&drained, shards), 10, LEAST), [], "nobody may take them");
    let all = [(1, Standing::Drained), (2, Standing::Keeps), (3, Standing::Takes)];
    assert_eq!(takers(&region(&all, Vec::new())).collect::<Vec<_>>(), [NodeId(3)]);
    assert_eq!(spread(&Sights::default(), 10, LEAST), []);
}

/// A table: node, shard, bytes a second, microseconds a second, `bucket` or `disk`.
fn table(text: &str) -> Sights {
    let rows = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| {
        let [node, shard, bytes, cpu, durability] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let number = |text: &str| text.parse::<u64>().unwrap();
        let load = Load { bytes: number(bytes), cpu: number(cpu) };
        Placed { load, is_movable: durability == "bucket", ..placed(number(shard), number(node), 0) }
    });
    let shards: Vec<Placed> = rows.collect();
    let nodes = shards.iter().map(|placed| (placed.owner, Standing::Takes)).collect();
    Sights { nodes, shards }
}

/// Two nodes in their working day: one has the shop and its payments, the other what is left.
const SHOP: &str = "
    1  1  9400000  610000  bucket
    1  2  3100000  240000  bucket
    1  3   820000   71000  bucket
    1  4   640000   38000  disk
    1  5    12000    3100  bucket
    2  6   410000   45000  bucket
    2  7    90000   11000  bucket
    2  8     2000     900  bucket
";

#[test]
fn a_working_day_with_a_third_node_becomes_even() {
    let mut sights = table(SHOP);
    sights.nodes.insert(NodeId(3), Standing::Takes);
    let before = weights(&sights);
    let steps = spread(&sights, 64, LEAST);
    apply(&mut sights, &steps);
    let after = weights(&sights);
    assert!(steps.len() <= 3, "{steps:?}");
    assert!(after[&3] > 0 && after.values().max() < before.values().max(), "{before:?} {after:?}");
    // The largest shard alone is more than a third of it all: nothing is better than to leave it by itself.
    let largest = sights.shards.iter().map(|placed| placed.load.weight()).max().unwrap();
    assert!(*after.values().max().unwrap() <= largest + largest / 5, "{after:?}");
    assert!(sights.shards.iter().all(|placed| placed.is_movable || placed.owner == NodeId(1)));
    assert_eq!(spread(&sights, 64, LEAST), []);
}

/// Recorded from three real nodes under six writers, after the first one was drained: `tests/ownership/placed.rs`.
const SIX_WRITERS: &str = "
    5  1  24290  14000  bucket
    4  2  25729  17000  bucket
    5  3  24015  12000  bucket
    5  4  24275  14000  bucket
    4  5  25813  17000  bucket
    4  6  25799  16000  bucket
    1  7     50      0  disk
";

#[test]
fn what_three_nodes_recorded_is_even_and_the_same_on_one_node_becomes_so() {
    const MILLICORE: u64 = CORE / 1_000;
    let drained = |mut sights: Sights| {
        sights.nodes.insert(NodeId(1), Standing::Drained);
        sights
    };
    assert_eq!(spread(&drained(table(SIX_WRITERS)), 32, MILLICORE), []);
    // As it was in the beginning, each new node one after the other.
    let mut sights = table(&SIX_WRITERS.replace("    5 ", "    1 ").replace("    4 ", "    1 "));
    let mut made = 0;
    for new in [4, 5] {
        sights.nodes.insert(NodeId(new), Standing::Takes);
        let steps = spread(&sights, 32, MILLICORE);
        made += steps.len();
        apply(&mut sights, &steps);
        assert_eq!(spread(&sights, 32, MILLICORE), []);
    }
    let weights = weights(&sights);
    assert!(made <= 6 && weights.values().all(|weight| (28_000..40_000).contains(weight)), "{made} {weights:?}");
    assert_eq!(
        sights.shards.iter().find(|placed| placed.shard == ShardId(7)).map(|placed| placed.owner),
        Some(NodeId(1))
    );
}

#[test]
fn loads_that_waver_do_not_move_a_shard_to_and_fro() {
    let mut sights = table(SHOP);
    let steady = sights.clone();
    let mut moves = BTreeMap::<u64, usize>::new();
    for round in 0..200_u64 {
        for (placed, known) in sights.shards.iter_mut().zip(&steady.shards) {
            // Up to a twentieth more or less, each shard in its own time.
            let off = (round * 7 + placed.shard.0 * 13) % 11;
            placed.load.cpu = known.load.cpu / 100 * (95 + off);
            placed.load.bytes = known.load.bytes / 100 * (95 + off);
        }
        let steps = spread(&sights, 1, LEAST);
        steps.iter().for_each(|step| *moves.entry(step.shard.0).or_default() += 1);
        apply(&mut sights, &steps);
    }
    assert!(moves.values().all(|times| *times == 1) && !moves.is_empty(), "{moves:?}");
}

fn standing() -> impl Strategy<Value = Standing> {
    prop_oneof![4 => Just(Standing::Takes), 1 => Just(Standing::Drained), 1 => Just(Standing::Keeps)]
}

fn sights() -> impl Strategy<Value = Sights> {
    let loads = prop_oneof![3 => 0_u64..5_000, 3 => 0_u64..200_000, 1 => 0_u64..3 * CORE];
    let shards = proptest::collection::vec((0_usize..8, loads, 0_u64..30_000_000, 0_u8..8), 0..120);
    (proptest::collection::vec(standing(), 1..7), shards).prop_map(|(nodes, shards)| {
        let nodes: Vec<(u64, Standing)> = (1..).zip(nodes).collect();
        let shards = (1..).zip(shards).map(|(shard, (owner, cpu, bytes, disk))| {
            let (owner, _) = nodes[owner % nodes.len()];
            let bytes = if bytes % 3 == 0 { bytes } else { bytes / 1_000 };
            Placed { load: Load { bytes, cpu }, is_movable: disk != 0, ..placed(shard, owner, 0) }
        });
        region(&nodes, shards.collect())
    })
}

proptest! {
    /// With steady loads a region comes to rest: after at most two moves for each shard nothing is planned any more.
    /// Nothing of a disk moves, nothing goes to a node that may not take, and no node ends above what the busiest one
    /// had, but for what drained ones gave.
    #[test]
    fn it_comes_to_rest_and_keeps_its_rules(sights in sights(), most in 1_usize..5) {
        let (mut now, mut made) = (sights.clone(), 0);
        loop {
            let steps = spread(&now, most, LEAST);
            prop_assert!(steps.len() <= most);
            if steps.is_empty() {
                break;
            }
            for step in &steps {
                prop_assert_eq!(now.nodes.get(&step.to), Some(&Standing::Takes));
                let placed = now.shards.iter().find(|placed| placed.shard == step.shard).unwrap();
                prop_assert!(placed.is_movable && step.from != step.to);
            }
            made += steps.len();
            apply(&mut now, &steps);
            prop_assert!(made <= 2 * sights.shards.len(), "{} moves of {} shards", made, sights.shards.len());
        }
        let drained: BTreeSet<NodeId> =
            now.nodes.iter().filter(|(_, one)| **one == Standing::Drained).map(|(node, _)| *node).collect();
        let may_take = now.nodes.values().any(|one| *one == Standing::Takes);
        let stuck = now.shards.iter().filter(|placed| drained.contains(&placed.owner) && placed.is_movable).count();
        prop_assert!(stuck == 0 || !may_take, "{} stay with a drained node", stuck);
        if drained.is_empty() {
            let most = |sights: &Sights| weights(sights).values().copied().max();
            prop_assert!(most(&now) <= most(&sights), "a node carries more than any did");
        }
    }

    /// Where many shards of like load lie with one node, a new one gets its share whatever their number.
    #[test]
    fn a_new_node_gets_its_share(count in 2_u64..60, nodes in 1_u64..5, each in 30_000_u64..90_000) {
        let all: Vec<(u64, Standing)> = (1..=nodes + 1).map(|node| (node, Standing::Takes)).collect();
        let shards = (0..count * nodes).map(|shard| placed(shard, 1 + shard % nodes, each)).collect();
        let mut now = region(&all, shards);
        let steps = spread(&now, 10_000, LEAST);
        apply(&mut now, &steps);
        let got = weights(&now)[&(nodes + 1)];
        let mean = each * count * nodes / (nodes + 1);
        let band = LEAST.max(mean / 5) + each;
        prop_assert!(got + band >= mean, "{} of {}", got, mean);
        prop_assert!(steps.len() as u64 <= count * nodes / (nodes + 1) + 1, "{} moves", steps.len());
    }
}
