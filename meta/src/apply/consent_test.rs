//! Old consents: what a member that kept one may not do with it.

use domicile_proto::ids::{DictionaryId, FIRST_APPROVED_ID};
use domicile_proto::officer::OfficerPublic;

use super::*;
use crate::limits::MAX_OFFICERS_PER_REGION;

fn by(officer: &OfficerKey, serial: u64, change: Change) -> Command {
    Command::Regional(officer.sign(region("tokyo"), ConsentSerial(serial), change))
}

fn old() -> Applied {
    refused(CommandRefusal::OldSerial)
}

fn newest(state: &State, officer: OfficerPublic) -> Option<u64> {
    state.officer(&region("tokyo"), officer).map(|row| row.newest.serial().0)
}

#[test]
fn what_was_revoked_or_narrowed_does_not_come_back_with_the_old_signature() {
    let (tokyo, first) = (region("tokyo"), the_officer());
    let value = DictionaryId(FIRST_APPROVED_ID);
    let node_seven = by(first, 10, node(7, 7));
    let the_key = by(first, 11, key("ops", 1, true));
    let open = by(first, 12, policy(&["service"], true));
    let cart = by(first, 13, values("service", &["cart"]));
    let state = check(vec![
        (node_seven.clone(), Applied::Done),
        (node_seven.clone(), Applied::Done),
        (Command::RemoveNode { node: NodeId(7) }, Applied::Done),
        (node_seven.clone(), old()),
        (the_key.clone(), Applied::Done),
        (Command::RevokeKey { region: tokyo.clone(), id: name("ops") }, Applied::Done),
        // The newest of all consents so far, and dead all the same.
        (the_key.clone(), old()),
        (open.clone(), Applied::Done),
        (unsigned(tokyo.clone(), policy(&[], false)), Applied::Done),
        (open.clone(), old()),
        (unsigned(tokyo.clone(), policy(&["service"], true)), refused(CommandRefusal::Unsigned)),
        (cart.clone(), Applied::Values(vec![value])),
        (cart.clone(), Applied::Values(vec![value])),
        (Command::RevokeValue { region: tokyo.clone(), tenant: TenantId(1), id: value }, Applied::Done),
        (cart, old()),
        (node_seven, old()),
        (the_key, old()),
        (open, old()),
        (by(first, 14, key("ops", 1, true)), Applied::Done),
    ]);
    assert!(state.key(&tokyo, &name("ops")).is_some());
    assert_eq!(state.node(NodeId(7)), None);
    assert_eq!(newest(&state, first.public()), Some(14));
}

#[test]
fn nobody_moves_an_officers_serial_but_the_officer() {
    let (ours, theirs) = (the_officer(), new_officer());
    let Command::Regional(signed) = by(ours, u64::MAX, node(7, 7)) else { unreachable!() };
    let forged = Command::Regional(RegionalChange { change: node(7, 8), ..signed });
    let state = check(vec![
        (by(ours, 10, key("ops", 1, true)), Applied::Done),
        (forged, refused(CommandRefusal::Forged)),
        (by(&theirs, u64::MAX, key("spy", 2, true)), refused(CommandRefusal::OtherOfficer)),
        (by(ours, 11, key("more", 4, true)), Applied::Done),
        (by(ours, 9, key("late", 5, true)), old()),
    ]);
    assert_eq!((newest(&state, ours.public()), newest(&state, theirs.public())), (Some(11), None));
}

#[test]
fn a_refused_consent_may_be_given_again_once_it_fits() {
    let officer = the_officer();
    let early = by(officer, 10, values("service", &["cart"]));
    let mut state = State::default();
    assert_eq!(apply(&mut state, &early), refused(CommandRefusal::UnknownRegion));
    let mut state = world();
    apply(&mut state, &early);
    assert_eq!(newest(&state, officer.public()), Some(10));
    let misfit = Change::SetPolicy { tenant: TenantId(1), stream: StreamId(9), policy: StreamPolicy::default() };
    assert_eq!(apply(&mut state, &by(officer, 11, misfit)), refused(CommandRefusal::UnknownStream));
    assert_eq!(newest(&state, officer.public()), Some(10), "a refusal uses no serial up");
}

#[test]
fn the_officer_that_was_silent_longest_is_forgotten_and_a_new_one_always_finds_room() {
    let mut state = world();
    let officers: Vec<OfficerKey> = (0..=MAX_OFFICERS_PER_REGION).map(|_| new_officer()).collect();
    // A new key begins by letting a node in, once those of the key before it are out.
    let used = |state: &mut State, place: usize, serial: u64| {
        apply(state, &Command::RemoveNode { node: NodeId(1) });
        assert_eq!(apply(state, &by(&officers[place], serial, node(1, 7443))), Applied::Done);
    };
    // The officer of the world has signed for the region once already: it is the first that is forgotten.
    (0..MAX_OFFICERS_PER_REGION).for_each(|place| used(&mut state, place, 0));
    used(&mut state, 0, 1);
    used(&mut state, MAX_OFFICERS_PER_REGION, 0);
    let known: Vec<bool> = officers.iter().map(|officer| newest(&state, officer.public()).is_some()).collect();
    let forgotten: Vec<usize> = (0..known.len()).filter(|place| !known[*place]).collect();
    assert_eq!(forgotten, [1]);
    assert_eq!(state.officers().filter(|row| row.region == region("tokyo")).count(), MAX_OFFICERS_PER_REGION);
}

#[test]
fn a_signature_of_ones_own_key_grants_nothing_and_displaces_nothing_where_a_node_stands() {
    let (tokyo, theirs) = (region("tokyo"), new_officer());
    let value = DictionaryId(FIRST_APPROVED_ID);
    let many: Vec<String> = (0..MAX_GROUP_FIELDS).map(|n| format!("f{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let other = || refused(CommandRefusal::OtherOfficer);
    let open = by(the_officer(), 10, policy(&["service"], true));
    let cart = by(the_officer(), 11, values("service", &["cart"]));
    let state = check(vec![
        (open, Applied::Done),
        (cart, Applied::Values(vec![value])),
        (by(&theirs, 1, policy(&["service"], false)), other()),
        (by(&theirs, 1, policy(&many, true)), other()),
        (by(&theirs, 1, values("service", &["cart"])), other()),
        (by(&theirs, 1, values("service", &["text of a stranger"])), other()),
        (by(&theirs, 1, node(1, 666)), other()),
        (by(&theirs, 1, node(9, 9)), other()),
        (by(&theirs, 1, key("spy", 2, true)), other()),
        // Another node of the region does not make its signer the officer: nobody signed for it.
        (unsigned(tokyo.clone(), node(8, 8)), Applied::Done),
        (by(&theirs, 1, key("spy", 2, true)), other()),
        // Without a node, a key that is new begins with one and with nothing else.
        (Command::RemoveNode { node: NodeId(1) }, Applied::Done),
        (by(&theirs, 1, values("service", &["text of a stranger"])), other()),
        (by(the_officer(), 12, key("ops", 3, true)), Applied::Done),
        (by(&theirs, 1, node(1, 7443)), Applied::Done),
        (by(&theirs, 2, key("new", 4, true)), Applied::Done),
        (by(the_officer(), 13, key("old", 5, true)), other()),
    ]);
    let row = state.policy(StreamId(1), &tokyo).and_then(|row| row.signed.clone());
    assert!(row.is_some_and(|(_, change)| change.signature.is_some_and(|s| s.officer() == the_officer().public())));
    let fields = state.stream(StreamId(1)).map(|row| row.fields.len());
    assert_eq!(fields, Some(2), "`level` and `service`");
    assert_eq!(state.values_of(TenantId(1), &name("service")).count(), 1);
}
