//! What must not compile, and which traits must stay absent (RES-1).

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use domicile_proto::aggregate::count::Count;
use domicile_proto::border::{
    Cells, CrossesBorder, Measured, Nothing, Received, ReceivedQuestion, Released, VettedQuestion,
};

/// Fails to compile, with an ambiguity, as soon as the type has the trait: both blanket impls then fit.
macro_rules! lacks {
    ($type:ty: $($bound:tt)+) => {{
        trait Ambiguous<A> { fn name() {} }
        struct HasIt;
        impl<T: ?Sized> Ambiguous<()> for T {}
        impl<T: ?Sized + $($bound)+> Ambiguous<HasIt> for T {}
        <$type as Ambiguous<_>>::name();
    }};
}

#[test]
fn nothing_that_is_not_released_can_be_serialised_and_nothing_that_arrived_becomes_released() {
    lacks!(Cells<Count>: serde::Serialize);
    lacks!(Measured: serde::Serialize);
    lacks!(Received: serde::Serialize);
    lacks!(ReceivedQuestion: serde::Serialize);
    lacks!(Released<Count>: serde::Serialize);
    lacks!(Released<Count>: serde::de::DeserializeOwned);
    lacks!(Released<Count>: From<Received>);
    lacks!(VettedQuestion: serde::de::DeserializeOwned);
    lacks!(VettedQuestion: From<ReceivedQuestion>);
    lacks!(Cells<Count>: Clone);
    lacks!(String: CrossesBorder);
    lacks!(Vec<u8>: CrossesBorder);
    lacks!(Released<Nothing>: Default);
}

#[test]
fn programs_that_would_break_the_border_do_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/fail/*.rs");
}

/// The law of the four sends, read off the source: whoever adds a fifth must come by here.
#[test]
fn a_foreign_peer_can_be_told_four_things() {
    let source = include_str!("../src/link/foreign.rs");
    let mut found: Vec<_> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub async fn ").or_else(|| line.trim().strip_prefix("pub fn ")))
        .filter_map(|rest| rest.split(['(', '<']).next())
        .collect();
    found.sort_unstable();
    assert_eq!(found, ["answer", "ask", "ledger_head", "metadata", "next"], "`next` receives; the others send");
}
