//! The attack suite: what somebody abroad can learn about one person by asking questions that are all allowed, measured.
//!
//! Every attack is run many times against a stream whose subjects are guarded, and must succeed no more often than guessing;
//! and against a control that holds the same rows without a threshold, where it must succeed, so that the suite can fail. The
//! rules, and which test fails without each, stand in the README beside this file.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a panic is how a test fails, and the table is what it is for"
)]

mod ask;
mod oracle;
mod probing;
mod questions;
mod repeats;
mod small;
mod stated;
mod tally;
mod timing;
mod weakening;
mod world;

use ask::Doors;
use tally::Tally;
use world::{GUARDED, OPEN};

/// The product, built with these tests.
const BINARY: &str = env!("CARGO_BIN_EXE_domicile-under-test");

#[test]
fn no_attack_does_better_than_guessing() {
    let world = world::World::start();
    let mut tallies = probing::run(&world);
    let (mut guarded, mut open) = (Doors::of(&world, GUARDED), Doors::of(&world, OPEN));
    for attack in domicile::attack::all() {
        let (ours, control) = (attack.run(&mut guarded, world.truth()), attack.run(&mut open, world.truth()));
        assert!(ours.len() >= 3, "`{}` has too few trials: {}", attack.name, ours.len());
        tallies.push(Tally::of(attack.name, attack.rules, &ours, &control));
    }
    tally::judge(&tallies);
    repeats::run(&world);
}
