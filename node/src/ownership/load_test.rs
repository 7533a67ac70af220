//! Loads by example: steady ones are told as they are once they were measured for a half-life, and what is over fades.

use std::collections::BTreeMap;

use domicile_proto::ids::{NodeId, StreamId};

use super::*;
use crate::ownership::{Load, Placed, Sights, Standing, spread};

const SHARD: ShardId = ShardId(7);
const HALF: Duration = Duration::from_secs(60);

/// Adds so much in each second of a stretch; the moment after it.
fn run(loads: &Loads, from: Instant, seconds: u64, bytes: u64, cpu: Duration) -> Instant {
    for second in 1..=seconds {
        loads.add(SHARD, from + Duration::from_secs(second), |meter| {
            meter.bytes += bytes;
            meter.cpu += cpu;
        });
    }
    from + Duration::from_secs(seconds)
}

/// A shard whose measuring begins now.
fn begun() -> (Loads, Instant) {
    let (loads, now) = (Loads::new(HALF), Instant::now());
    loads.add(SHARD, now, |_| {});
    (loads, now)
}

fn told(loads: &Loads, now: Instant) -> (u64, u64) {
    match loads.told_at(now).as_slice() {
        [one] => (one.bytes_per_second, one.cpu_micros_per_second),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn near(found: u64, wanted: u64) {
    assert!(found.abs_diff(wanted) <= wanted / 20 + 1, "{found} is not about {wanted}");
}

#[test]
fn a_steady_load_is_told_as_it_is_after_a_half_life_and_as_less_before() {
    // Twice what fades in so many seconds is known of the first ones.
    for (seconds, thousandths) in [(2, 46), (10, 218), (30, 586), (60, 1_000), (600, 1_000)] {
        let (loads, start) = begun();
        let now = run(&loads, start, seconds, 5_000, Duration::from_millis(20));
        let (bytes, cpu) = told(&loads, now);
        near(bytes, 5 * thousandths);
        near(cpu, 20 * thousandths);
        assert_eq!(loads.told_at(now).first().map(|load| load.measured_seconds), Some(seconds));
    }
}

#[test]
fn what_is_over_counts_half_after_a_half_life_and_a_quarter_after_two() {
    let (loads, start) = begun();
    let end = run(&loads, start, 1_200, 8_000, Duration::ZERO);
    near(told(&loads, end + HALF).0, 4_000);
    near(told(&loads, end + HALF * 2).0, 2_000);
}

#[test]
fn a_burst_in_a_long_day_is_not_taken_for_its_load() {
    let (loads, start) = begun();
    let quiet = run(&loads, start, 1_200, 1_000, Duration::ZERO);
    let burst = run(&loads, quiet, 2, 20_000, Duration::ZERO);
    let (bytes, _) = told(&loads, burst);
    assert!((1_000..2_000).contains(&bytes), "{bytes}");
}

/// How many shards would move between two nodes that are even, but for a shard of the first one of which this is told.
fn moves(burst: &ShardLoad) -> usize {
    let placed = |shard: u64, owner, load, is_settled| {
        let stream = StreamId(u32::try_from(shard).unwrap());
        Placed { shard: ShardId(shard), stream, owner, load, is_movable: true, is_settled }
    };
    let (first, second) = (NodeId(1), NodeId(2));
    let nodes = BTreeMap::from([(first, Standing::Takes), (second, Standing::Takes)]);
    let load = Load { bytes: burst.bytes_per_second, cpu: burst.cpu_micros_per_second };
    let is_settled = burst.measured_seconds >= LONG.as_secs();
    let shards = vec![
        placed(burst.shard.0, first, load, is_settled),
        placed(100, first, Load { bytes: 0, cpu: 400_000 }, true),
        placed(101, second, Load { bytes: 0, cpu: 350_000 }, true),
    ];
    // The differences of the default configuration.
    spread(&Sights { nodes, shards }, 10, 100_000).len()
}

/// The half-life of the default configuration.
const LONG: Duration = Duration::from_secs(300);

#[test]
fn a_burst_every_hour_in_a_shard_measured_anew_moves_nothing() {
    let peak = ShardLoad { shard: SHARD, bytes_per_second: 50_000_000, cpu_micros_per_second: 0, measured_seconds: 1 };
    assert!(moves(&peak) > 0, "taken for a lasting load it would push the other shard away");
    let (loads, start) = (Loads::new(LONG), Instant::now());
    for hour in 0..3 {
        let at = start + Duration::from_secs(hour * 3_600);
        assert!(loads.told_at(at).is_empty(), "an hour later it is forgotten");
        loads.add(SHARD, at, |meter| meter.bytes += 50_000_000);
        for seconds in [1, 5, 60, 299, 300, 600] {
            let told = loads.told_at(at + Duration::from_secs(seconds));
            let [burst] = told.as_slice() else { panic!("{told:?}") };
            assert_eq!(moves(burst), 0, "after {seconds} s: {burst:?}");
        }
    }
}

#[test]
fn a_drain_that_fails_leaves_the_node_as_it_was_and_one_that_is_done_lasts() {
    let loads = Loads::new(HALF);
    let failing = loads.drain();
    assert!(loads.is_draining() && loads.is_drained(), "it gets nothing meanwhile");
    drop(failing);
    assert!(!loads.is_draining() && !loads.is_drained());
    let (one, other) = (loads.drain(), loads.drain());
    drop(one);
    assert!(loads.is_draining(), "another one is under way");
    other.done();
    assert!(!loads.is_draining() && loads.is_drained());
    drop(loads.drain());
    assert!(loads.is_drained(), "a later one that fails changes nothing");
}

#[test]
fn a_shard_that_left_stands_still_for_one_half_life_and_is_forgotten_then() {
    let (loads, start) = begun();
    let end = run(&loads, start, 300, 4_000, Duration::ZERO);
    loads.left_at(SHARD, end);
    loads.add(SHARD, end + Duration::from_secs(1), |meter| meter.bytes += 1_000_000_000);
    near(told(&loads, end + HALF).0, 4_000);
    assert_eq!(loads.totals(), (0, 0), "it is not this node's");
    assert!(loads.told_at(end + HALF + Duration::from_secs(1)).is_empty());
}

#[test]
fn one_that_comes_back_is_measured_anew() {
    let (loads, start) = begun();
    let end = run(&loads, start, 300, 4_000, Duration::ZERO);
    loads.left_at(SHARD, end);
    loads.came(SHARD);
    assert!(loads.told_at(end).is_empty());
    let later = end + Duration::from_secs(5);
    loads.add(SHARD, later, |_| {});
    let now = run(&loads, later, HALF.as_secs(), 100, Duration::ZERO);
    near(told(&loads, now).0, 100);
}

#[test]
fn an_idle_shard_is_forgotten_and_there_are_never_more_than_so_many() {
    let (loads, now) = begun();
    assert!(loads.told_at(now + HALF * IDLE_HALF_LIVES + Duration::from_secs(1)).is_empty());
    for shard in 0..=MEASURED_SHARDS as u64 {
        loads.add(ShardId(shard), now, |_| {});
    }
    assert_eq!(loads.told_at(now).len(), MEASURED_SHARDS);
    loads.begin_anew();
    assert!(loads.told_at(now).is_empty());
}

#[test]
fn the_time_of_a_thread_that_works_is_counted_and_of_one_that_waits_is_not() {
    let loads = Loads::new(HALF);
    let (waits, works) = (ShardId(1), ShardId(2));
    loads.took(waits, 1);
    loads.took(works, 1);
    let spent = |shard: ShardId| loads.0.meters.lock().get(&shard).map(|meter| meter.cpu).unwrap_or_default();
    // The system may tell the time of a thread in ticks of some milliseconds: work until it has gone on.
    while spent(works) < Duration::from_millis(20) {
        loads.spend(works, || std::hint::black_box((0..1_000_000_u64).fold(0, |sum, one| sum ^ one.wrapping_mul(one))));
    }
    let (tell, told) = std::sync::mpsc::channel();
    let teller = std::thread::spawn(move || {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(200) {}
        tell.send(()).unwrap();
    });
    loads.spend(waits, || told.recv().unwrap());
    teller.join().unwrap();
    if ThreadTime::is_told() {
        assert!(spent(waits) < Duration::from_millis(100), "{:?}", spent(waits));
    }
}
