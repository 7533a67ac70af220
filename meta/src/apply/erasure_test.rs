//! Orders of erasure in the state: what they commit to stands, their state only grows, and there is room for the next one.

use domicile_proto::ids::{ErasureId, Name, Region, TenantId, Timestamp};
use domicile_proto::metadata::{Applied, Command, CommandRefusal, ErasureRow, ErasureState, Row};

use crate::apply::apply;
use crate::limits::MAX_ERASURES_PER_REGION;
use crate::state::{RowsError, State};

fn region(text: &str) -> Region {
    text.parse().unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// Two regions and two tenants.
fn world() -> State {
    let mut state = State::default();
    for command in [
        Command::AddRegion { region: region("tokyo") },
        Command::AddRegion { region: region("frankfurt") },
        Command::CreateTenant { tenant: name("acme") },
        Command::CreateTenant { tenant: name("bolt") },
    ] {
        apply(&mut state, &command);
    }
    state
}

fn refused(refusal: CommandRefusal) -> Applied {
    Applied::Refused(refusal)
}

/// Applies the steps in order; each must end as said.
#[track_caller]
fn check(steps: Vec<(Command, Applied)>) -> State {
    let mut state = world();
    for (place, (command, expected)) in steps.into_iter().enumerate() {
        let before = state.clone();
        assert_eq!(apply(&mut state, &command), expected, "step {place}");
        assert!(
            !matches!(expected, Applied::Refused(_)) || state == before,
            "step {place} was refused and changed something"
        );
    }
    state
}

fn erasure(id: u128, at: i64, state: ErasureState) -> ErasureRow {
    ErasureRow {
        region: region("tokyo"),
        id: ErasureId(id),
        tenant: TenantId(1),
        commitment: [7; 32],
        proof: [8; 16],
        at: Timestamp(at),
        state,
    }
}

#[test]
fn an_erasure_commits_once_and_only_goes_forward() {
    let record = |row: ErasureRow| Command::RecordErasure(row);
    let first = erasure(1, 5, ErasureState::Ordered);
    let state = check(vec![
        (record(first.clone()), Applied::Done),
        (record(first.clone()), Applied::Done),
        (record(ErasureRow { state: ErasureState::Gone, at: Timestamp(9), ..first.clone() }), Applied::Done),
        (record(ErasureRow { state: ErasureState::Shredded, ..first.clone() }), Applied::Done),
        (record(ErasureRow { commitment: [1; 32], ..first.clone() }), refused(CommandRefusal::Taken)),
        (record(ErasureRow { proof: [1; 16], ..first.clone() }), refused(CommandRefusal::Taken)),
        (record(ErasureRow { tenant: TenantId(2), ..first.clone() }), refused(CommandRefusal::Taken)),
        (record(ErasureRow { tenant: TenantId(9), ..first.clone() }), refused(CommandRefusal::UnknownTenant)),
        (record(ErasureRow { region: region("oslo"), ..first.clone() }), refused(CommandRefusal::UnknownRegion)),
        (record(ErasureRow { region: region("frankfurt"), ..first.clone() }), Applied::Done),
    ]);
    let (tokyo, frankfurt) = (region("tokyo"), region("frankfurt"));
    assert_eq!(state.erasure(&tokyo, first.id), Some(&ErasureRow { state: ErasureState::Gone, ..first.clone() }));
    assert_eq!(state.erasures_of(&frankfurt).count(), 1);
    assert_eq!(State::from_rows(state.rows()), Ok(state.clone()), "a snapshot has them");
    let twice = state.rows().chain([Row::Erasure(first.clone())]);
    assert_eq!(State::from_rows(twice), Err(RowsError::Twice));
}

#[test]
fn where_a_region_has_as_many_erasures_as_may_be_the_oldest_that_is_gone_makes_room() {
    let mut state = world();
    let most = u128::try_from(MAX_ERASURES_PER_REGION).unwrap();
    for id in 0..most {
        let state_of = if id % 2 == 0 { ErasureState::Shredded } else { ErasureState::Gone };
        // The higher the id the older.
        let row = erasure(id, 100_000 - i64::try_from(id).unwrap(), state_of);
        assert_eq!(apply(&mut state, &Command::RecordErasure(row)), Applied::Done);
    }
    let one_more = Command::RecordErasure(erasure(most, 0, ErasureState::Ordered));
    assert_eq!(apply(&mut state, &one_more), Applied::Done);
    let tokyo = region("tokyo");
    assert!(state.erasure(&tokyo, ErasureId(most)).is_some() && state.erasure(&tokyo, ErasureId(most - 1)).is_none());
    assert!(state.erasure(&tokyo, ErasureId(most - 2)).is_some(), "older, and not gone");
    let gone: Vec<_> =
        state.erasures_of(&tokyo).filter(|row| row.state == ErasureState::Gone).map(|row| row.id).collect();
    for id in gone {
        state.erasures.remove(&(tokyo.clone(), id));
    }
    for id in 0..most {
        let row = erasure(2 * most + id, 0, ErasureState::Ordered);
        if apply(&mut state, &Command::RecordErasure(row)) == refused(CommandRefusal::TooMany) {
            assert_eq!(state.erasures_of(&tokyo).count(), MAX_ERASURES_PER_REGION);
            return;
        }
    }
    panic!("never too many");
}
