//! Routes in the state: who opens them, who closes them, and that an old approval never opens one again.

use domicile_proto::ids::{ConsentSerial, NodeId, PolicyVersion, Region};
use domicile_proto::metadata::{Applied, Change, Command, CommandRefusal, RegionalChange, Row};
use domicile_proto::officer::OfficerKey;
use domicile_proto::transfer::{Day, TransferBasis};

use crate::apply::apply;
use crate::state::{RowsError, State};

fn region(text: &str) -> Region {
    text.parse().unwrap()
}

fn officer() -> OfficerKey {
    OfficerKey::from_pkcs8(&OfficerKey::generate().unwrap()).unwrap()
}

fn approval(to: &str, basis: TransferBasis) -> Change {
    Change::ApproveTransfer { to: region(to), basis, review_by: Day(20_970) }
}

fn revoke(from: &str, to: &str) -> Command {
    Command::RevokeTransfer { from: region(from), to: region(to) }
}

/// Two regions; the officer let a node of Tokyo in.
fn world(officer: &OfficerKey) -> State {
    let mut state = State::default();
    let node = Change::AddNode { node: NodeId(1), addr: "127.0.0.1:1".parse().unwrap() };
    for command in [
        Command::AddRegion { region: region("tokyo") },
        Command::AddRegion { region: region("frankfurt") },
        Command::Regional(officer.sign(region("tokyo"), ConsentSerial(1), node)),
    ] {
        assert!(!matches!(apply(&mut state, &command), Applied::Refused(_)));
    }
    state
}

fn is_open(state: &State) -> Option<bool> {
    state.transfer(&region("tokyo"), &region("frankfurt")).map(|row| row.approval.is_some())
}

#[test]
fn a_route_is_opened_by_the_officer_alone_and_closed_by_anybody() {
    let (ours, theirs) = (officer(), officer());
    let mut state = world(&ours);
    let sign = |officer: &OfficerKey, serial, change| {
        Command::Regional(officer.sign(region("tokyo"), ConsentSerial(serial), change))
    };
    let opens = approval("frankfurt", TransferBasis::Adequacy);
    let unsigned = RegionalChange { region: region("tokyo"), change: opens.clone(), signature: None };
    let first = sign(&ours, 2, opens.clone());
    let refused = Applied::Refused;
    let before = state.policy_version();
    for (command, expected, open) in [
        (Command::Regional(unsigned), refused(CommandRefusal::Unsigned), None),
        (sign(&theirs, 2, opens.clone()), refused(CommandRefusal::OtherOfficer), None),
        (sign(&ours, 2, approval("tokyo", TransferBasis::Adequacy)), refused(CommandRefusal::UnknownRegion), None),
        (sign(&ours, 2, approval("oslo", TransferBasis::Adequacy)), refused(CommandRefusal::UnknownRegion), None),
        (revoke("oslo", "tokyo"), refused(CommandRefusal::UnknownRegion), None),
        (revoke("tokyo", "tokyo"), refused(CommandRefusal::UnknownRegion), None),
        (revoke("tokyo", "frankfurt"), Applied::Done, Some(false)),
        (revoke("tokyo", "frankfurt"), Applied::Done, Some(false)),
        (first.clone(), Applied::Done, Some(true)),
        (first.clone(), Applied::Done, Some(true)),
        (revoke("tokyo", "frankfurt"), Applied::Done, Some(false)),
        (first.clone(), refused(CommandRefusal::OldSerial), Some(false)),
        (sign(&ours, 3, opens.clone()), Applied::Done, Some(true)),
        (first, refused(CommandRefusal::OldSerial), Some(true)),
        (sign(&ours, 4, approval("frankfurt", TransferBasis::Consent)), Applied::Done, Some(true)),
    ] {
        assert_eq!(apply(&mut state, &command), expected, "{command:?}");
        assert_eq!(is_open(&state), open, "{command:?}");
    }
    assert_eq!(state.policy_version(), PolicyVersion(before.0 + 5), "each change is a version, a repeat is none");
    assert!(state.transfer(&region("frankfurt"), &region("tokyo")).is_none(), "the way back is another route");
    assert_eq!(State::from_rows(state.rows()), Ok(state.clone()), "a snapshot has it");
    let row = state.transfer(&region("tokyo"), &region("frankfurt")).unwrap().clone();
    assert_eq!(State::from_rows(state.rows().chain([Row::Transfer(row)])), Err(RowsError::Twice));
}
