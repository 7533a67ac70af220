//! RES-2: what lies on the disk of a member after every kind of command was proposed.
//!
//! What it shows: text that is no `Name` and no approved value has no way in, and personal text offered as an approval
//! without an officer's signature is on no disk, neither in the log nor in the snapshot, while text that may be there is
//! found by the same search. What it does not show: that an officer approves nothing personal (that is for people and for
//! the detectors in front of them), nor that a revoked value is gone from the log before it is purged and its pages are
//! used again, nor from the signed approvals of other values it was approved together with.

use std::path::Path;

use domicile_proto::ids::{
    DictionaryId, Epoch, ErasureId, FIRST_APPROVED_ID, Name, NodeId, RegionNumber, StreamId, TenantId, Timestamp,
};
use domicile_proto::message::ledger::SignedHead;
use domicile_proto::metadata::{
    AccessKey, Applied, ApprovedValue, Change, Command, CommandRefusal, ErasureRow, ErasureState, Personal,
    RegionalChange, Roles, Rows, StreamPolicy,
};
use domicile_proto::region_key::RegionKey;

use crate::cluster::{Cluster, LONG, addr, name, region};

/// Planted: must be on no disk.
const CANARIES: [&str; 3] = ["hanako.yamada@example.jp", "Taro Yamada 4111111111111111", "canary-unsigned-value"];
/// Planted as a control: must be found, or the search is worth nothing.
const CONTROLS: [&str; 3] = ["control-tenant", "control-stream", "control value"];

fn holds(path: &Path, needle: &str) -> bool {
    std::fs::read(path).unwrap().windows(needle.len()).any(|window| window == needle.as_bytes())
}

fn approve(values: &[&str]) -> Change {
    let values = values.iter().map(|text| ApprovedValue::try_from((*text).to_owned()).unwrap()).collect();
    Change::ApproveValues { tenant: TenantId(1), field: name("service"), values }
}

fn every_command(cluster: &Cluster) -> Vec<Command> {
    let policy = StreamPolicy {
        personal: Personal::Subject(name("user.id")),
        group_fields: vec![name("service")],
        ..StreamPolicy::default()
    };
    let key = AccessKey {
        id: name("ops"),
        tenant: TenantId(1),
        hash: [7; 32],
        roles: Roles { search: true, ..Roles::default() },
        rows: Rows::Redacted,
    };
    let head = SignedHead {
        region: RegionNumber(1),
        size: 3,
        root: [1; 32],
        at: Timestamp(0),
        signature_r: [2; 32],
        signature_s: [3; 32],
    };
    let spoken = RegionKey::from_text(&RegionKey::generate().unwrap()).unwrap();
    let erasure = ErasureRow {
        region: region("tokyo"),
        id: ErasureId(7),
        tenant: TenantId(1),
        commitment: [4; 32],
        proof: [5; 16],
        at: Timestamp(0),
        state: ErasureState::Ordered,
    };
    let value = DictionaryId(FIRST_APPROVED_ID + 1);
    vec![
        Command::AddRegion { region: region("tokyo") },
        Command::CreateTenant { tenant: name("control-tenant") },
        Command::CreateStream { tenant: TenantId(1), stream: name("control-stream") },
        cluster.signed("tokyo", Change::AddNode { node: NodeId(1), addr: addr(1) }),
        cluster.signed("tokyo", Change::AddNode { node: NodeId(2), addr: addr(2) }),
        cluster.signed("tokyo", Change::SetPolicy { tenant: TenantId(1), stream: StreamId(1), policy }),
        cluster.signed("tokyo", Change::AddKey(key)),
        cluster.signed("tokyo", approve(&["control value"])),
        cluster.signed("tokyo", approve(&["short lived"])),
        cluster.signed("tokyo", Change::SetRegionKey { key: spoken.public() }),
        spoken.assign(StreamId(1), region("tokyo"), NodeId(1), Epoch(0)),
        Command::RecordHead(spoken.sign_head(head)),
        Command::RecordErasure(erasure.clone()),
        Command::RecordErasure(ErasureRow { state: ErasureState::Gone, ..erasure }),
        Command::RemoveNode { node: NodeId(2) },
        Command::RevokeKey { region: region("tokyo"), id: name("ops") },
        Command::RevokeValue { region: region("tokyo"), tenant: TenantId(1), id: value },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_planted_text_lies_on_the_disk() {
    for text in CANARIES.into_iter().take(2) {
        assert!(text.parse::<Name>().is_err(), "{text} became a name");
    }
    for text in ["two\nlines", "bell\u{7}", "", &"long".repeat(17)] {
        assert!(ApprovedValue::try_from(text.to_owned()).is_err());
    }
    // No snapshot before the log was searched, for it purges the log.
    let mut cluster = Cluster::empty(25);
    cluster.start("tokyo").await;
    cluster.groups[0].initialize(&[(NodeId(1), addr(1))]).await.unwrap();
    for command in every_command(&cluster) {
        let applied = cluster.decide(0, command.clone()).await;
        assert!(!matches!(applied, Applied::Refused(_)), "{command:?}: {applied:?}");
    }
    let offered = RegionalChange { region: region("tokyo"), change: approve(&CANARIES), signature: None };
    let applied = cluster.groups[0].propose(Command::Regional(offered), LONG).await.unwrap();
    assert_eq!(applied, Applied::Refused(CommandRefusal::Unsigned));
    let log = cluster.directory(0).join("log.redb");
    for text in CONTROLS {
        assert!(holds(&log, text), "`{text}` is not where the search looks");
    }
    cluster.fill(0, "more", 30).await;
    cluster.groups[0].until(LONG, |group| group.snapshot.is_some()).await.unwrap();
    cluster.stop_all().await;
    let snapshot = cluster.directory(0).join("snapshot");
    for text in CONTROLS {
        assert!(holds(&snapshot, text), "`{text}` is not in the snapshot");
    }
    assert!(!holds(&snapshot, "short lived"), "a revoked value is in the snapshot");
    for text in CANARIES {
        assert!(!holds(&log, text) && !holds(&snapshot, text), "`{text}` lies on the disk");
    }
}
