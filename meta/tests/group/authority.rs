//! Who may say what: frames that no honest node sends, and nodes that speak for others.

use domicile_proto::ids::{
    DictionaryId, Epoch, ErasureId, FIRST_APPROVED_ID, NodeId, Region, RegionNumber, StreamId, TenantId, Timestamp,
};
use domicile_proto::link::identity::PeerId;
use domicile_proto::message::ledger::SignedHead;
use domicile_proto::message::metadata::{
    Entry, LogPlace, Membership, MetadataFrame, Payload, SnapshotHead, Unavailable, Vote,
};
use domicile_proto::metadata::{
    Applied, ApprovedValue, Change, Command, CommandRefusal, ErasureRow, ErasureState, RegionalChange, Row,
    StreamPolicy,
};
use domicile_proto::region_key::RegionKey;

use crate::cluster::{Cluster, LONG, addr, name, region, tenant};

const REFUSED: MetadataFrame = MetadataFrame::Unavailable(Unavailable::Refused);

fn peer(region_name: &str, node: u64) -> PeerId {
    PeerId { region: region(region_name), node: NodeId(node) }
}

fn vote(node: u64) -> Vote {
    Vote { term: 1_000, node: NodeId(node), committed: true }
}

fn append(node: u64, entries: Vec<Entry>) -> MetadataFrame {
    MetadataFrame::Append { vote: vote(node), previous: None, entries, committed: None }
}

fn entry(index: u64, payload: Payload) -> Entry {
    Entry { place: LogPlace { term: 1_000, node: NodeId(2), index }, payload }
}

fn unsigned_text() -> Command {
    let values = vec![ApprovedValue::try_from("anna".to_owned()).unwrap()];
    let change = Change::ApproveValues { tenant: TenantId(1), field: name("service"), values };
    Command::Regional(RegionalChange { region: region("tokyo"), change, signature: None })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_is_judged_by_the_certificate_and_not_by_itself() {
    let cluster = Cluster::of_three(5_000).await;
    let leader = cluster.leader_among(&[0, 1, 2]).await;
    let group = &cluster.groups[leader];
    let term = group.metrics().term;
    let empty = Membership { voters: vec![vec![]], nodes: vec![] };
    let head = SnapshotHead { last: None, membership: (None, empty.clone()), rows: 0 };
    let candidate = Vote { committed: false, ..vote(2) };
    let other = (leader as u64 + 1) % 3 + 1;
    let home = crate::cluster::REGIONS[other as usize - 1];
    let honest = peer(home, other);
    let frames = [
        ("another node's vote", append(other % 3 + 1, vec![]), honest.clone()),
        ("an unknown node", append(7, vec![]), peer("tokyo", 7)),
        ("a known node id under another region", append(other, vec![]), peer("elsewhere", other)),
        ("entries with a hole", append(other, vec![entry(1, Payload::Blank)]), honest.clone()),
        ("an empty membership", append(other, vec![entry(0, Payload::Membership(empty))]), honest.clone()),
        ("another candidate", MetadataFrame::RequestVote { vote: candidate, last: None }, peer("tokyo", 7)),
        ("a snapshot as a call", MetadataFrame::Snapshot { vote: vote(other), head }, honest.clone()),
        ("an answer", MetadataFrame::Done, honest.clone()),
        ("joining for another", MetadataFrame::Join { node: NodeId(7), addr: addr(7), voter: true }, honest.clone()),
        ("leaving for another", MetadataFrame::Leave { node: NodeId(leader as u64 + 1) }, honest.clone()),
        ("a proposal of a stranger", MetadataFrame::Propose(vec![tenant("x")]), peer("tokyo", 7)),
        ("a read of a stranger", MetadataFrame::ReadIndex, peer("tokyo", 7)),
        ("text without an officer", MetadataFrame::Propose(vec![unsigned_text()]), honest.clone()),
        ("a batch beyond the bound", MetadataFrame::Propose(vec![tenant("x"); 257]), honest.clone()),
    ];
    for (case, frame, from) in frames {
        assert_eq!(group.serve(frame, &from).await, REFUSED, "{case}");
    }
    // None of it reached the consensus: same leader, same term, and it still decides.
    assert!(group.leads());
    assert_eq!(group.metrics().term, term);
    cluster.fill(leader, "still", 1).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_no_state_is_refused() {
    let cluster = Cluster::of_three(5_000).await;
    let leader = cluster.leader_among(&[0, 1, 2]).await;
    let group = &cluster.groups[(leader + 1) % 3];
    let from = PeerId { region: cluster.groups[leader].region().clone(), node: cluster.groups[leader].node() };
    let rows: Vec<Row> = group.local().0.rows().collect();
    let nodes = vec![(NodeId(1), addr(1))];
    let membership = Membership { voters: vec![vec![NodeId(1)]], nodes };
    let head = |rows: u64, membership: &Membership| MetadataFrame::Snapshot {
        vote: vote(from.node.0),
        head: SnapshotHead { last: None, membership: (None, membership.clone()), rows },
    };
    let count = rows.len() as u64;
    let none = Membership { voters: vec![], nodes: vec![] };
    let cases = [
        ("fewer rows", head(count + 1, &membership), rows.clone()),
        ("more rows", head(count - 1, &membership), rows.clone()),
        ("no counters", head(count - 1, &membership), rows[1..].to_vec()),
        ("nobody votes", head(count, &none), rows.clone()),
        ("not a snapshot", MetadataFrame::ReadIndex, rows.clone()),
    ];
    for (case, head, rows) in cases {
        assert_eq!(group.serve_snapshot(head, rows, &from).await, REFUSED, "{case}");
    }
    let stranger = peer("elsewhere", from.node.0);
    assert_eq!(group.serve_snapshot(head(count, &membership), rows, &stranger).await, REFUSED);
    cluster.fill(0, "still", 1).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_without_an_officer_is_refused_before_it_reaches_the_log() {
    let cluster = Cluster::of_three(5_000).await;
    cluster.fill(0, "acme", 1).await;
    for group in &cluster.groups {
        let before = group.metrics().last_log;
        let applied = group.propose(unsigned_text(), LONG).await.unwrap();
        assert_eq!(applied, Applied::Refused(CommandRefusal::Unsigned));
        assert_eq!(group.metrics().last_log, before);
    }
    cluster.stop_all().await;
}

fn nobodys_order(region: &Region) -> ErasureRow {
    ErasureRow {
        region: region.clone(),
        id: ErasureId(7),
        tenant: TenantId(1),
        commitment: [4; 32],
        proof: [5; 16],
        at: Timestamp(0),
        state: ErasureState::Ordered,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_frankfurt_says_for_tokyo_is_ignored_by_all() {
    let cluster = Cluster::of_three(5_000).await;
    let new_key = || RegionKey::from_text(&RegionKey::generate().unwrap()).unwrap();
    let (tokyos, frankfurts) = (new_key(), new_key());
    cluster.decide(0, tenant("acme")).await;
    cluster.decide(0, Command::CreateStream { tenant: TenantId(1), stream: name("app") }).await;
    for (place, key) in [("tokyo", &tokyos), ("frankfurt", &frankfurts)] {
        cluster.decide(0, cluster.signed(place, Change::SetRegionKey { key: key.public() })).await;
    }
    let narrower = Change::SetPolicy { tenant: TenantId(1), stream: StreamId(1), policy: StreamPolicy::default() };
    let (tokyo, shard) = (region("tokyo"), StreamId(1));
    let owned = tokyos.assign(shard, tokyo.clone(), NodeId(1), Epoch(0));
    cluster.decide(0, owned).await;
    let before = cluster.groups[0].local().0;
    let of_tokyo = Change::SetRegionKey { key: frankfurts.public() };
    let head = SignedHead { region: before.region(&tokyo).unwrap(), ..bare_head() };
    // Signed, but by somebody else: it may travel, and nobody believes it.
    for (command, refusal) in [
        (frankfurts.assign(shard, tokyo.clone(), NodeId(1), Epoch(1)), CommandRefusal::Forged),
        (Command::RecordHead(frankfurts.sign_head(head)), CommandRefusal::Forged),
        (Command::RecordHead(head), CommandRefusal::Forged),
    ] {
        assert_eq!(cluster.decide(2, command).await, Applied::Refused(refusal));
    }
    // Unsigned: an honest node does not even send it, and an honest leader takes it from nobody.
    let leader = cluster.leader_among(&[0, 1, 2]).await;
    let (from, other) = if leader == 2 { (peer("singapore", 2), 1) } else { (peer("frankfurt", 3), 2) };
    for command in [
        Command::Regional(RegionalChange { region: tokyo.clone(), change: narrower, signature: None }),
        Command::Regional(RegionalChange { region: tokyo.clone(), change: of_tokyo, signature: None }),
        Command::RemoveNode { node: NodeId(1) },
        Command::RecordErasure(nobodys_order(&tokyo)),
        Command::RevokeKey { region: tokyo.clone(), id: name("ops") },
        Command::RevokeValue { region: tokyo.clone(), tenant: TenantId(1), id: DictionaryId(FIRST_APPROVED_ID) },
        Command::RevokeTransfer { from: tokyo.clone(), to: region("frankfurt") },
    ] {
        let applied = cluster.groups[other].propose(command.clone(), LONG).await.unwrap();
        assert_eq!(applied, Applied::Refused(CommandRefusal::OtherRegion), "{command:?}");
        let answer = cluster.groups[leader].serve(MetadataFrame::Propose(vec![command.clone()]), &from).await;
        assert_eq!(answer, REFUSED, "{command:?}");
    }
    for place in 0..3 {
        cluster.fill(place, &format!("seen-{place}"), 1).await;
        let now = cluster.groups[place].local().0;
        assert!(now.shards().eq(before.shards()) && now.nodes().eq(before.nodes()), "at node {}", place + 1);
        assert!(now.heads().eq(before.heads()) && now.region_keys().eq(before.region_keys()));
        assert_eq!(now.policy_version(), before.policy_version());
    }
    cluster.stop_all().await;
}

fn bare_head() -> SignedHead {
    let (region, at, half) = (RegionNumber(1), Timestamp(0), [0; 32]);
    SignedHead { region, size: u64::MAX, root: [9; 32], at, signature_r: half, signature_s: half }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_fits_no_entry_is_refused_at_the_door() {
    let cluster = Cluster::of_three(5_000).await;
    let group_fields = (0..40_000).map(|n| name(&format!("field-{n:0>50}"))).collect();
    let policy = StreamPolicy { group_fields, ..StreamPolicy::default() };
    let change = Change::SetPolicy { tenant: TenantId(1), stream: StreamId(1), policy };
    let huge = cluster.signed("tokyo", change);
    let error = cluster.groups[1].propose(huge.clone(), LONG).await.unwrap_err();
    assert_eq!(error.code(), "DMC-META-12");
    let leader = cluster.leader_among(&[0, 1, 2]).await;
    let from = peer(crate::cluster::REGIONS[(leader + 1) % 3], (leader as u64 + 1) % 3 + 1);
    let answer = cluster.groups[leader].serve(MetadataFrame::Propose(vec![huge]), &from).await;
    assert_eq!(answer, REFUSED);
    cluster.fill(0, "still", 1).await;
    cluster.stop_all().await;
}
