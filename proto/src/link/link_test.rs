//! The link between honest nodes, over real sockets on loopback.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::connection::{Inbound, Peer};
use super::endpoint::Link;
use super::errors::{GivenUp, LinkError};
use super::harness::{Memory, Node, PATIENCE, World, head, now, question, region, vetted};
use super::identity::{PeerAddr, PeerId};
use super::limits::{LinkLimits, Rate};
use super::pki::{CERTIFICATE_VALIDITY, RegionCa};
use super::protocol::Protocol;
use super::trust::TrustError;
use crate::border::EgressClass;
use crate::border::relayed::Relayed;
use crate::codec::CodecError;
use crate::ids::{ErasureId, NodeId, PolicyVersion, StreamId, TenantId, Timestamp};
use crate::message::batch::{BatchForm, BatchRecord, MAX_BATCH, RecordBatch, RecordBytes, RecordFate};
use crate::message::gated::{AskedBy, GatedQuestion};
use crate::message::ledger::Verdict;
use crate::message::metadata::{MAX_ROWS_PER_FRAME, MetadataFrame};
use crate::message::region::{
    Asker, KeysMark, MAX_STREAMS, NodeStand, PersonRows, RegionAsk, RegionReply, RowSearch, SearchBytes,
};
use crate::metadata::{Row, Rows};

fn rows() -> MetadataFrame {
    let row = Row::Region { region: region(&"r".repeat(63)), number: crate::ids::RegionNumber(1) };
    MetadataFrame::Rows(vec![row; MAX_ROWS_PER_FRAME])
}

#[tokio::test]
async fn a_question_to_another_region_lies_in_both_ledgers_and_one_to_a_neighbour_in_none() {
    let world = World::new();
    let (here, there, near) = (world.node("tokyo", 1), world.node("frankfurt", 2), world.node("tokyo", 3));
    assert_eq!(here.count_at(&there.addr()).await.expect("an answer"), 7);
    let asked = [("departing", EgressClass::Question), ("arrived", EgressClass::Count)];
    let answered = [("arrived", EgressClass::Question), ("departing", EgressClass::Count)];
    assert_eq!(here.ledger.classes(), asked);
    assert_eq!(there.ledger.classes(), answered);
    let bodies = |node: &Node| {
        let mut bodies: Vec<_> =
            node.ledger.crossings.lock().expect("not poisoned").iter().map(|(.., body)| body.clone()).collect();
        bodies.sort();
        bodies
    };
    assert_eq!(bodies(&here), bodies(&there), "both ledgers hold the same frames");

    assert_eq!(here.count_at(&near.addr()).await.expect("an answer"), 7);
    assert_eq!(here.ledger.classes(), asked, "nothing was added for a neighbour");
    assert!(near.ledger.classes().is_empty());
    assert_eq!(there.came(), [(here.addr().id, Protocol::Query, true)]);
    assert_eq!(near.came(), [(here.addr().id, Protocol::Query, false)]);
    assert!(here.link.round_trip(NodeId(2)).is_some());
    assert!(here.link.round_trip(NodeId(9)).is_none());
}

#[tokio::test]
async fn metadata_is_counted_and_ledger_heads_are_recorded_with_what_a_witness_says() {
    let world = World::new();
    let (here, there) = (world.node("tokyo", 1), world.node("frankfurt", 2));
    let peer = here.link.peer(&there.addr(), Protocol::Raft).await.expect("a peer");
    assert_eq!(peer.metadata_call(&MetadataFrame::ReadIndex).await.expect("a reply"), MetadataFrame::Done);
    let mut stream = peer.metadata_stream().await.expect("a stream");
    for _ in 0..3 {
        stream.send(&rows()).await.expect("sent");
    }
    stream.finish().expect("finished");
    assert_eq!(stream.only().await.expect("a reply"), MetadataFrame::Done);
    assert!(here.ledger.classes().is_empty() && there.ledger.classes().is_empty());
    let (sent, received) = *here.ledger.metadata.lock().expect("not poisoned");
    assert!(sent > 3 * 63 * MAX_ROWS_PER_FRAME as u64 && received > 0);
    assert_eq!((received, sent), *there.ledger.metadata.lock().expect("not poisoned"));

    let peer = here.link.peer(&there.addr(), Protocol::Ledger).await.expect("a peer");
    assert_eq!(peer.ledger_head(&head(1)).await.expect("a verdict"), Verdict::Stale { known: 2 });
    let (asked, answered) = (EgressClass::LedgerHead, EgressClass::LedgerHead);
    assert_eq!(here.ledger.classes(), [("departing", asked), ("arrived", answered)]);
    assert_eq!(there.ledger.classes(), [("arrived", asked), ("departing", answered)]);
    there.ledger.refuses.store(true, Ordering::SeqCst);
    let refused = peer.ledger_head(&head(2)).await.expect_err("their ledger refuses");
    assert!(matches!(refused, LinkError::GivenUp { reason: GivenUp::Ledger, .. }), "{refused}");
}

/// A region gone bad must not fill the disk of another: what is too much is not even recorded.
#[tokio::test]
async fn a_region_that_begins_too_much_is_turned_away_before_the_ledger_grows() {
    let world = World::new();
    let (mut config, hour) = (world.config("frankfurt", 2), Duration::from_secs(3_600));
    let two = Rate { at_once: 2, every: hour };
    config.limits = LinkLimits { questions: two, heads: two, ..LinkLimits::default() };
    let there = Node::start(config);
    let (here, other, near) = (world.node("tokyo", 1), world.node("tokyo", 3), world.node("frankfurt", 4));
    here.count_at(&there.addr()).await.expect("the first");
    other.count_at(&there.addr()).await.expect("the second, of another node of the region");
    let recorded = there.ledger.classes().len();
    for node in [&here, &other] {
        let refused = node.count_at(&there.addr()).await.expect_err("one too many");
        assert!(matches!(refused, LinkError::GivenUp { reason: GivenUp::TooMany, .. }), "{refused}");
        assert_eq!(refused.code(), "DMC-LINK-29");
    }
    assert_eq!(there.ledger.classes().len(), recorded, "nothing was recorded of what was turned away");
    assert_eq!(there.ledger.turned_away.load(Ordering::SeqCst), 2);
    let peer = here.link.peer(&there.addr(), Protocol::Ledger).await.expect("a peer");
    for size in [1, 2] {
        peer.ledger_head(&head(size)).await.expect("questions do not count for heads");
    }
    let refused = peer.ledger_head(&head(3)).await.expect_err("one too many");
    assert!(matches!(refused, LinkError::GivenUp { reason: GivenUp::TooMany, .. }), "{refused}");
    for _ in 0..4 {
        near.count_at(&there.addr()).await.expect("a neighbour makes no entry, and is not counted");
    }
}

#[tokio::test]
async fn nothing_leaves_where_the_ledger_refuses() {
    let world = World::new();
    let (here, there) = (world.node("tokyo", 1), world.node("frankfurt", 2));
    let peer = here.link.peer(&there.addr(), Protocol::Query).await.expect("a peer");
    let Peer::Foreign(foreign) = &peer else { panic!("another region") };
    let streams = || foreign.0.connection().stats().frame_tx.stream;
    here.ledger.refuses.store(true, Ordering::SeqCst);
    let refused = peer.ask(&vetted(1), PATIENCE).await.expect_err("our ledger refuses");
    assert!(matches!(refused, LinkError::Ledger { .. }), "{refused}");
    assert_eq!(streams(), 0, "no stream frame was sent");
    here.ledger.refuses.store(false, Ordering::SeqCst);
    peer.ask(&vetted(2), PATIENCE).await.expect("an answer");
    assert!(streams() > 0);
    assert_eq!(there.begun(), ["question"]);

    there.ledger.refuses.store(true, Ordering::SeqCst);
    let refused = peer.ask(&vetted(3), PATIENCE).await.expect_err("their ledger refuses");
    assert!(matches!(refused, LinkError::GivenUp { reason: GivenUp::Ledger, .. }), "{refused}");
    assert_eq!(there.begun(), ["question"], "the node never saw it");
}

#[tokio::test]
async fn a_dropped_sender_resets_its_stream() {
    let world = World::new();
    let (here, mut config) = (world.node("tokyo", 1), world.config("frankfurt", 2));
    config.limits = LinkLimits { stream_window: 4 << 10, ..LinkLimits::default() };
    let there = Link::bind(config, Arc::new(Memory::default())).expect("a link");
    let to = PeerAddr { id: there.identity().clone(), addr: there.local_addr() };
    let (accepted, peer) = tokio::join!(there.accept(), here.link.peer(&to, Protocol::Raft));
    let (far, peer) = (accepted.expect("accepted").peer, peer.expect("a peer"));
    let next = async || match far.next().await.expect("begun") {
        Inbound::Metadata(stream) => stream,
        _ => panic!("a stream of the metadata group"),
    };

    let mut whole_then_dropped = peer.metadata_stream().await.expect("a stream");
    whole_then_dropped.send(&MetadataFrame::ReadIndex).await.expect("sent");
    let mut inbound = next().await;
    assert_eq!(inbound.recv().await.expect("a frame"), Some(MetadataFrame::ReadIndex));
    drop(whole_then_dropped);
    let error = inbound.recv().await.expect_err("never finished");
    assert!(matches!(error, LinkError::GivenUp { reason: GivenUp::Dropped, .. }), "{error}");

    let mut half = peer.metadata_stream().await.expect("a stream");
    {
        let frame = rows();
        let mut sending = Box::pin(half.send(&frame));
        poll_fn(|context| {
            assert!(sending.as_mut().poll(context).is_pending(), "the frame is larger than the window");
            std::task::Poll::Ready(())
        })
        .await;
    }
    assert!(matches!(half.finish(), Err(LinkError::Interrupted { .. })));
    let error = next().await.recv().await.expect_err("half a frame");
    assert!(matches!(error, LinkError::GivenUp { reason: GivenUp::Dropped, .. }), "{error}");
}

#[tokio::test]
async fn a_message_has_its_place_on_one_protocol_and_one_end() {
    let world = World::new();
    let (here, there) = (world.node("tokyo", 1), world.node("frankfurt", 2));
    let raft = here.link.peer(&there.addr(), Protocol::Raft).await.expect("a peer");
    let query = here.link.peer(&there.addr(), Protocol::Query).await.expect("a peer");
    assert!(matches!(raft.ask(&vetted(1), PATIENCE).await, Err(LinkError::WrongProtocol { .. })));
    assert!(matches!(raft.ledger_head(&head(1)).await, Err(LinkError::WrongProtocol { .. })));
    assert!(matches!(
        query.metadata_call(&MetadataFrame::ReadIndex).await,
        Err(LinkError::WrongProtocol { message: Protocol::Raft, spoken: Protocol::Query, .. })
    ));
    assert!(matches!(query.next().await, Err(LinkError::WrongDirection { .. })));
    assert!(here.ledger.classes().is_empty(), "what is refused at once is no crossing");
}

#[tokio::test]
async fn orders_of_erasure_are_said_to_nodes_of_the_same_region_alone() {
    let world = World::new();
    let (here, there, near) = (world.node("tokyo", 1), world.node("frankfurt", 2), world.node("tokyo", 3));
    let ask = RegionAsk::How(vec![ErasureId(7), ErasureId(8)]);
    let Ok(Peer::Neighbour(neighbour)) = here.link.peer(&near.addr(), Protocol::Region).await else {
        panic!("a neighbour")
    };
    let said = neighbour.tell(&ask, PATIENCE).await.expect("an answer");
    assert_eq!(said, RegionReply::Stands(vec![NodeStand::Unknown; 2]));
    let Ok(Peer::Neighbour(query)) = here.link.peer(&near.addr(), Protocol::Query).await else { panic!("a neighbour") };
    assert!(matches!(query.tell(&ask, PATIENCE).await, Err(LinkError::WrongProtocol { .. })));
    assert!(here.ledger.classes().is_empty() && near.ledger.classes().is_empty(), "it crosses no border");

    // Another region's node has no such send; one that speaks the protocol all the same is heard by nobody.
    let foreign = here.link.peer(&there.addr(), Protocol::Region).await.expect("a peer, before it looked at us");
    let Peer::Foreign(foreign) = foreign else { panic!("foreign") };
    let refused = foreign.0.tell(&ask, PATIENCE).await.expect_err("another region");
    assert!(matches!(refused, LinkError::Home { .. } | LinkError::Lost { .. }), "{refused}");
    let closed =
        tokio::time::timeout(PATIENCE, foreign.0.connection().closed()).await.expect("closed by the other side");
    assert!(matches!(closed, quinn::ConnectionError::ApplicationClosed(_)), "{closed}");
    assert!(!there.begun().contains(&"region"));
}

#[tokio::test]
async fn what_a_neighbour_released_is_taken_as_it_came_and_from_no_other_region() {
    let world = World::new();
    let (here, there, near) = (world.node("tokyo", 1), world.node("frankfurt", 2), world.node("tokyo", 3));
    let (by, policy) = (AskedBy::Region(region("frankfurt")), PolicyVersion(1));
    let asked = |id, wait_ms| GatedQuestion { by: by.clone(), question: question(id), policy, wait_ms };
    let peer = here.link.peer(&near.addr(), Protocol::Region).await.expect("a peer");
    let Peer::Neighbour(neighbour) = peer else { panic!("a neighbour") };
    for wait_ms in [0, 9_000] {
        let (relayed, drawn) = neighbour.carry(asked(7, wait_ms), PATIENCE).await.expect("an answer");
        let Relayed::Count(released) = relayed else { panic!("a count was asked for") };
        assert_eq!(released.answer().header.question, question(7).id);
        assert_eq!(drawn.map(|drawn| drawn.upto), (wait_ms > 0).then_some(70));
    }
    let other = neighbour.carry(asked(9, 0), PATIENCE).await.expect_err("the answer to another question");
    assert!(matches!(other, LinkError::Answer { .. }), "{other}");
    assert!(here.ledger.classes().is_empty() && near.ledger.classes().is_empty(), "it crosses no border");

    let foreign = here.link.peer(&there.addr(), Protocol::Region).await.expect("a peer, before it looked at us");
    let Peer::Foreign(foreign) = foreign else { panic!("foreign") };
    let refused = foreign.0.carry(asked(7, 0), PATIENCE).await.expect_err("another region");
    assert!(matches!(refused, LinkError::Home { .. } | LinkError::Lost { .. }), "{refused}");
    assert!(!there.begun().contains(&"region"));
}

#[tokio::test]
async fn a_node_that_is_asked_hears_that_nobody_waits_any_more() {
    let world = World::new();
    let here = world.node("tokyo", 1);
    let near = Link::bind(world.config("tokyo", 3), Arc::new(Memory::default())).expect("a link");
    let to = PeerAddr { id: near.identity().clone(), addr: near.local_addr() };
    let (accepted, peer) = tokio::join!(near.accept(), here.link.peer(&to, Protocol::Region));
    let (Peer::Neighbour(far), Peer::Neighbour(neighbour)) = (accepted.expect("accepted").peer, peer.expect("a peer"))
    else {
        panic!("neighbours")
    };
    for is_lost in [false, true] {
        let by = AskedBy::Region(region("frankfurt"));
        let asked = GatedQuestion { by, question: question(7), policy: PolicyVersion(1), wait_ms: 9_000 };
        let mut carrying = Box::pin(neighbour.carry(asked, PATIENCE));
        let begun = tokio::select! {
            told = &mut carrying => panic!("nobody answered: {told:?}"),
            begun = far.next() => begun.expect("begun"),
        };
        let Inbound::Region(RegionAsk::Gated(_), to) = begun else { panic!("a question was carried") };
        let mut given_up = Box::pin(to.given_up());
        poll_fn(|context| {
            assert!(given_up.as_mut().poll(context).is_pending(), "somebody waits");
            std::task::Poll::Ready(())
        })
        .await;
        if is_lost {
            here.link.close("the test ends").await;
        } else {
            drop(carrying);
        }
        tokio::time::timeout(PATIENCE, given_up).await.expect("it is heard");
    }
}

#[tokio::test]
async fn records_of_a_person_come_whole_from_a_node_of_the_same_region_or_not_at_all() {
    let world = World::new();
    let (here, there, near) = (world.node("tokyo", 1), world.node("frankfurt", 2), world.node("tokyo", 3));
    let of = |subjects| {
        let person = PersonRows { tenant: TenantId(1), subjects, tokens: vec![], streams: vec![] };
        assert!(person.is_bounded() && !format!("{person:?}").contains('7'));
        RegionAsk::Rows(KeysMark([0; 8]), person)
    };
    let peer = here.link.peer(&near.addr(), Protocol::Region).await.expect("a peer");
    let Peer::Neighbour(neighbour) = peer else { panic!("a neighbour") };
    let (pieces, end) = neighbour.tell_rows(&of(vec![7]), 3 * 1_024, PATIENCE).await.expect("all of them");
    assert_eq!(pieces.iter().map(|piece| piece.0[0]).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(end, RegionReply::RowsEnd(3));
    assert_eq!(format!("{:?}", pieces[1]), "RowBytes { bytes: 1024 }");
    let more = neighbour.tell_rows(&of(vec![7]), 3 * 1_024 - 1, PATIENCE).await.expect_err("one byte too many");
    assert!(matches!(more, LinkError::Codec { source: CodecError::TooLarge { found: 3_072, limit: 3_071 }, .. }));
    // The other side ends before it has said that these are all.
    let broken = neighbour.tell_rows(&of(vec![]), usize::MAX, PATIENCE).await.expect_err("not all of them");
    assert!(matches!(broken, LinkError::GivenUp { .. }), "{broken}");
    assert!(here.ledger.classes().is_empty() && near.ledger.classes().is_empty(), "it crosses no border");

    let foreign = here.link.peer(&there.addr(), Protocol::Region).await.expect("a peer, before it looked at us");
    let Peer::Foreign(foreign) = foreign else { panic!("foreign") };
    let refused = foreign.0.tell_rows(&of(vec![7]), usize::MAX, PATIENCE).await.expect_err("another region");
    assert!(matches!(refused, LinkError::Home { .. } | LinkError::Lost { .. }), "{refused}");
    assert!(!there.begun().contains(&"region"));
}

#[tokio::test]
async fn rows_of_a_search_come_from_a_node_of_the_same_region_and_no_row_is_asked_of_or_given_to_another_region() {
    let world = World::new();
    let (here, there, near) = (world.node("tokyo", 1), world.node("frankfurt", 2), world.node("tokyo", 3));
    let asker = Asker { key: "k-1".parse().expect("a name"), tenant: TenantId(1), rows: Rows::Full };
    let canary = b"canary-hanako".to_vec();
    let search = |streams| RowSearch { asker: asker.clone(), streams, wait_ms: 9, wanted: SearchBytes(canary.clone()) };
    let ask = RegionAsk::Search(search(vec![StreamId(1), StreamId(2), StreamId(3)]));
    assert!(!format!("{ask:?}").contains("canary"));
    assert!(!search(vec![StreamId(1); MAX_STREAMS + 1]).is_bounded() && search(vec![]).is_bounded());
    let peer = here.link.peer(&near.addr(), Protocol::Region).await.expect("a peer");
    let Peer::Neighbour(neighbour) = peer else { panic!("a neighbour") };
    let mut pieces = 0;
    let end = neighbour
        .tell_pieces(
            &ask,
            &mut |piece| {
                pieces += piece.0.len();
                true
            },
            PATIENCE,
        )
        .await;
    assert_eq!((end.expect("all of them"), pieces), (RegionReply::RowsEnd(3), 3 * 1_024));
    // Who does not take a piece reads no further, and the next exchange is none the worse for it.
    let mut taken = 0;
    let given_up = neighbour
        .tell_pieces(
            &ask,
            &mut |_| {
                taken += 1;
                taken < 2
            },
            PATIENCE,
        )
        .await;
    assert!(matches!(given_up, Err(LinkError::GivenUp { reason: GivenUp::TooMany, .. })), "{given_up:?}");
    assert_eq!(taken, 2);
    assert!(neighbour.tell_pieces(&ask, &mut |_| true, PATIENCE).await.is_ok());
    let Ok(Peer::Neighbour(query)) = here.link.peer(&near.addr(), Protocol::Query).await else { panic!("a neighbour") };
    let elsewhere = query.tell_pieces(&ask, &mut |_| true, PATIENCE).await;
    assert!(matches!(elsewhere, Err(LinkError::WrongProtocol { .. })));
    assert!(here.ledger.classes().is_empty() && near.ledger.classes().is_empty(), "it crosses no border");

    // The type of another region's node has no such send. Without the type: nothing is sent, and nothing would be heard.
    let foreign = here.link.peer(&there.addr(), Protocol::Region).await.expect("a peer, before it looked at us");
    let Peer::Foreign(foreign) = foreign else { panic!("foreign") };
    let mut rows = 0;
    let refused = foreign
        .0
        .tell_pieces(
            &ask,
            &mut |_| {
                rows += 1;
                true
            },
            PATIENCE,
        )
        .await
        .expect_err("another region");
    assert!(matches!(refused, LinkError::Home { .. } | LinkError::Lost { .. }), "{refused}");
    let closed =
        tokio::time::timeout(PATIENCE, foreign.0.connection().closed()).await.expect("closed by the other side");
    assert!(matches!(closed, quinn::ConnectionError::ApplicationClosed(_)), "{closed}");
    assert!(rows == 0 && !there.begun().contains(&"region"));
    assert!(here.ledger.classes().is_empty() && there.ledger.classes().is_empty(), "not even an entry crossed");
}

#[tokio::test]
async fn a_batch_goes_to_a_node_of_the_same_region_and_no_record_to_another_one() {
    let world = World::new();
    let (here, there, near) = (world.node("tokyo", 1), world.node("frankfurt", 2), world.node("tokyo", 3));
    let batch = |streams: Vec<StreamId>, bytes: usize| RecordBatch {
        asker: Asker { key: "k-1".parse().expect("a name"), tenant: TenantId(1), rows: Rows::None },
        streams,
        form: BatchForm::Json,
        received_at: Timestamp(1),
        id: None,
        refresh: false,
        records: vec![BatchRecord { stream: 0, is_create: false, id: None, from: 0, to: 1 }; 3],
        body: RecordBytes(vec![b'c'; bytes]),
    };
    let peer = here.link.peer(&near.addr(), Protocol::Region).await.expect("a peer");
    let Peer::Neighbour(neighbour) = peer else { panic!("a neighbour") };
    // As large as one may be: more than the windows of a stream and of a connection take at once.
    for bytes in [1, MAX_BATCH - 1_024] {
        let ask = RegionAsk::Batch(batch(vec![StreamId(1)], bytes));
        let said = neighbour.tell(&ask, PATIENCE).await.expect("an answer");
        let RegionReply::Fates(said) = said else { panic!("{said:?}") };
        assert_eq!(said.fates, vec![RecordFate::Created(bytes as u64); 3]);
    }
    let lost = neighbour.tell(&RegionAsk::Batch(batch(vec![], 1)), PATIENCE).await;
    assert!(matches!(lost, Err(LinkError::GivenUp { reason: GivenUp::Dropped, .. })), "{lost:?}");
    assert!(here.ledger.classes().is_empty() && near.ledger.classes().is_empty(), "it crosses no border");

    let ask = RegionAsk::Batch(batch(vec![StreamId(1)], 1));
    let foreign = here.link.peer(&there.addr(), Protocol::Region).await.expect("a peer, before it looked at us");
    let Peer::Foreign(foreign) = foreign else { panic!("foreign") };
    let refused = foreign.0.tell(&ask, PATIENCE).await.expect_err("another region");
    assert!(matches!(refused, LinkError::Home { .. } | LinkError::Lost { .. }), "{refused}");
    assert!(!there.begun().contains(&"region"));
}

#[tokio::test]
async fn callers_share_one_connection_for_each_protocol() {
    let world = World::new();
    let (here, there) = (world.node("tokyo", 1), world.node("frankfurt", 2));
    let to = there.addr();
    let (a, b, c, d) = tokio::join!(here.count_at(&to), here.count_at(&to), here.count_at(&to), here.count_at(&to));
    for answer in [a, b, c, d] {
        assert_eq!(answer.expect("an answer"), 7);
    }
    assert_eq!(there.came().len(), 1);
}

#[tokio::test]
async fn the_one_who_answers_must_be_the_one_who_was_meant() {
    let world = World::new();
    let (here, there) = (world.node("tokyo", 1), world.node("frankfurt", 2));
    for (name, node) in [("frankfurt", 9), ("tokyo", 2)] {
        let wanted = PeerId { region: region(name), node: NodeId(node) };
        let to = PeerAddr { id: wanted.clone(), addr: there.link.local_addr() };
        let error = here.link.peer(&to, Protocol::Query).await.expect_err("somebody else");
        let LinkError::Untrusted { source, .. } = &error else { panic!("{error}") };
        assert_eq!(**source, TrustError::OtherPeer { wanted, found: there.addr().id });
        let again = here.link.peer(&to, Protocol::Query).await.expect_err("a pause");
        assert!(matches!(again, LinkError::BackingOff { .. }), "{again}");
    }
    assert_eq!(here.count_at(&there.addr()).await.expect("an answer"), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_came_back_is_found_again() {
    let world = World::new();
    let (here, there) = (world.node("tokyo", 1), world.node("frankfurt", 2));
    let to = there.addr();
    assert_eq!(here.count_at(&to).await.expect("an answer"), 7);
    let kept = here.link.peer(&to, Protocol::Query).await.expect("kept");
    there.link.close("the test restarts it").await;
    there.tasks.close();
    there.tasks.wait().await;
    assert_eq!(there.link.accept().await.map(|accepted| accepted.remote), None);
    drop(there);
    while !kept.is_closed() {
        tokio::task::yield_now().await;
    }
    let mut config = world.config("frankfurt", 2);
    config.listen = to.addr;
    let back = tokio::task::block_in_place(|| Node::start(config));
    let found = async {
        loop {
            match here.count_at(&to).await {
                Err(LinkError::BackingOff { retry_in, .. }) => tokio::time::sleep(retry_in).await,
                Err(_) => {}
                Ok(count) => break count,
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, found).await.expect("in time"), 7);
    drop(back);
}

#[test]
fn a_peer_that_was_killed_and_is_back_says_that_old_connections_are_gone() {
    let world = World::new();
    let patient = |home, node| {
        let mut config = world.config(home, node);
        // Without a word of the peer the old connection would be kept for an hour.
        config.limits.idle = Duration::from_secs(3_600);
        config
    };
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let (near, far) = (runtime().expect("a runtime"), runtime().expect("a runtime"));
    let here = near.block_on(async { Node::start(patient("tokyo", 1)) });
    let there = far.block_on(async { Node::start(patient("frankfurt", 2)) });
    let to = there.addr();
    assert_eq!(near.block_on(here.count_at(&to)).expect("an answer"), 7);
    // Its tasks end in the middle of whatever they do, and nobody is told.
    far.shutdown_timeout(PATIENCE);
    drop(there);

    let far = runtime().expect("a runtime");
    let mut config = patient("frankfurt", 2);
    config.listen = to.addr;
    let back = far.block_on(async { Node::start(config) });
    let error = near.block_on(here.count_at(&to)).expect_err("the old connection is gone");
    assert!(matches!(error, LinkError::Lost { .. }), "{error}");
    assert_eq!(near.block_on(here.count_at(&to)).expect("an answer"), 7);
    drop(back);
}

#[test]
fn a_peer_that_died_is_out_of_reach_at_once_and_in_reach_again_without_being_asked() {
    const HOUR: Duration = Duration::from_secs(3_600);
    let world = World::new();
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let (near, far) = (runtime().expect("a runtime"), runtime().expect("a runtime"));
    let mut config = world.config("tokyo", 1);
    config.limits.idle = Duration::from_millis(500);
    config.limits.keep_alive = Duration::from_millis(100);
    config.limits.handshake = HOUR;
    config.limits.reconnect = Duration::from_millis(50);
    let here = near.block_on(async { Node::start(config) });
    let config = world.config("frankfurt", 2);
    let there = far.block_on(async { Link::bind(config, Arc::new(Memory::default())) }).expect("a link");
    let accepting = there.clone();
    let asked = far.spawn(async move { accepting.accept().await });
    let to = PeerAddr { id: there.identity().clone(), addr: there.local_addr() };
    let peer = near.block_on(here.link.peer(&to, Protocol::Query)).expect("a peer");
    let accepted = far.block_on(asked).expect("not cancelled").expect("accepted");
    // A question is on its way when the peer dies without a word. Its deadline is an hour away.
    let pending = near.spawn(async move { peer.ask(&vetted(1), HOUR).await });
    let Ok(Inbound::Question(_, reply)) = far.block_on(accepted.peer.next()) else { panic!("a question") };
    far.shutdown_timeout(PATIENCE);
    // Only now: dropped before, it would have told the peer.
    drop((reply, accepted, there));
    let silent = free_port(to.addr);
    near.block_on(async {
        let lost = pending.await.expect("not cancelled").expect_err("the peer is dead");
        assert!(matches!(lost, LinkError::Lost { .. }), "{lost}");
        // The port takes everything and answers nothing: an attempt would take as long as a handshake may, an hour.
        for _ in 0..3 {
            let error = here.link.peer(&to, Protocol::Query).await.expect_err("nobody is there");
            assert!(error.is_unreachable(), "{error}");
        }
    });
    drop(silent);

    let back = near.block_on(async {
        let mut config = world.config("frankfurt", 2);
        config.listen = to.addr;
        tokio::task::spawn_blocking(move || Node::start(config)).await.expect("started")
    });
    let reached = async {
        // Nobody asks; the node that is back has dialled nobody.
        while back.came().is_empty() {
            tokio::task::yield_now().await;
        }
        here.count_at(&to).await
    };
    let count = near.block_on(async { tokio::time::timeout(PATIENCE, reached).await }).expect("in time");
    assert_eq!(count.expect("an answer"), 7);
}

/// The port of a node that has just died, taken over by a socket that answers nothing.
fn free_port(addr: std::net::SocketAddr) -> std::net::UdpSocket {
    let begun = std::time::Instant::now();
    loop {
        match std::net::UdpSocket::bind(addr) {
            Err(_) if begun.elapsed() < PATIENCE => std::thread::yield_now(),
            bound => return bound.expect("the port is free again"),
        }
    }
}

#[tokio::test]
async fn a_peer_that_dials_us_is_dialled_at_once() {
    let world = World::new();
    let mut config = world.config("tokyo", 1);
    (config.limits.backoff_first, config.limits.backoff_longest) = (PATIENCE * 100, PATIENCE * 100);
    let here = Node::start(config);
    let mut config = world.config("frankfurt", 2);
    let reserved = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    config.listen = reserved.local_addr().expect("an address");
    // Somebody else answers first, so that the dial fails and the pause begins.
    let id = PeerId { region: region("frankfurt"), node: NodeId(2) };
    let wrong = PeerAddr { id: id.clone(), addr: world.node("frankfurt", 9).link.local_addr() };
    assert!(here.link.peer(&wrong, Protocol::Query).await.is_err());
    drop(reserved);
    let there = Node::start(config);
    let to = there.addr();
    let error = here.link.peer(&to, Protocol::Query).await.expect_err("a pause of half an hour");
    assert!(matches!(error, LinkError::BackingOff { .. }), "{error}");
    there.link.peer(&here.addr(), Protocol::Raft).await.expect("a peer");
    let reached = async {
        loop {
            match here.count_at(&to).await {
                Err(LinkError::BackingOff { .. }) => tokio::task::yield_now().await,
                other => break other,
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, reached).await.expect("in time").expect("an answer"), 7);
}

#[test]
fn bounds_follow_the_longest_round_trip() {
    for (millis, idle) in [(0, 3_000), (230, 3_920), (1_000, 7_000)] {
        let limits = LinkLimits::for_round_trip(Duration::from_millis(millis));
        assert_eq!(limits.idle, Duration::from_millis(idle));
        assert!(limits.keep_alive * 3 <= limits.idle && limits.reconnect < limits.handshake);
    }
}

#[tokio::test]
async fn certificates_and_bundles_rotate_without_a_restart() {
    let world = World::new();
    let (here, mut config) = (world.node("tokyo", 1), world.config("frankfurt", 2));
    config.limits.rotation_grace = Duration::ZERO;
    let there = Node::start(config);
    assert_eq!(here.count_at(&there.addr()).await.expect("an answer"), 7);
    let kept = here.link.peer(&there.addr(), Protocol::Query).await.expect("kept");

    // Tokyo replaces its CA: a new one takes the place of the old, and the node gets a certificate of the new one.
    let ca = &world.cas[&region("tokyo")];
    let fresh = world.path_of("fresh");
    let new_ca = RegionCa::init(&fresh, &region("tokyo"), &world.deployment, now()).expect("a CA");
    let issued = new_ca.issue_node(NodeId(1), now(), CERTIFICATE_VALIDITY).expect("a certificate");
    let old = ca.node_files(NodeId(1));
    std::fs::copy(&issued.cert, &old.cert).expect("copied");
    let error = here.link.reload().expect_err("the key is still the old one");
    assert!(matches!(error, LinkError::Key { .. }), "{error}");
    std::fs::copy(&issued.key, &old.key).expect("copied");
    let readable_by = |mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&old.key, mode).expect("a mode");
    };
    readable_by(0o604);
    let error = here.link.reload().expect_err("a key for everybody");
    assert!(matches!(error, LinkError::KeyMode { mode: 0o604, .. }), "{error}");
    readable_by(0o640);
    here.link.reload().expect("a matching pair");

    let error = here.count_at(&there.addr()).await.expect_err("Frankfurt does not know the new CA yet");
    assert!(error.is_unreachable(), "{error}");
    std::fs::copy(new_ca.bundle(), ca.bundle()).expect("copied");
    there.link.reload().expect("a bundle");
    tokio::time::timeout(PATIENCE, async {
        while !kept.is_closed() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("connections of the old certificates end after the grace time");
    let found = async {
        loop {
            match here.count_at(&there.addr()).await {
                Err(LinkError::BackingOff { retry_in, .. }) => tokio::time::sleep(retry_in).await,
                other => break other,
            }
        }
    };
    assert_eq!(found.await.expect("an answer under the new certificate"), 7);

    let stranger = world.config("tokyo", 4).identity;
    std::fs::copy(&stranger.cert, &old.cert).expect("copied");
    std::fs::copy(&stranger.key, &old.key).expect("copied");
    assert!(matches!(here.link.reload(), Err(LinkError::IdentityChanged { .. })));
}

#[tokio::test]
async fn a_handshake_that_stalls_holds_up_no_other_and_via_replaces_an_address() {
    let world = World::new();
    let there = world.node("frankfurt", 2);
    let between = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let mut config = world.config("tokyo", 1);
    config.via.insert(NodeId(2), between.local_addr().expect("an address"));
    let stalled = Node::start(config);
    let to = there.addr();
    let dial = stalled.link.peer(&to, Protocol::Query);
    let one_way = async {
        // Passes the first flight on and lets no answer through.
        let mut packet = vec![0; 2_048];
        let (length, _) = between.recv_from(&mut packet).await.expect("a first flight");
        between.send_to(&packet[..length], to.addr).await.expect("passed on");
        world.node("tokyo", 3).count_at(&to).await
    };
    tokio::select! {
        stalled = dial => panic!("it cannot end first: {:?}", stalled.err()),
        answer = one_way => assert_eq!(answer.expect("an answer"), 7),
    }
}

#[tokio::test]
async fn tls_keys_are_written_only_where_a_file_is_named() {
    let world = World::new();
    let there = world.node("frankfurt", 2);
    let path = world.path_of("keys.log");
    let mut config = world.config("tokyo", 1);
    config.tls_keylog = Some(path.clone());
    let (here, quiet) = (Node::start(config), world.node("tokyo", 3));
    assert!(here.link.has_tls_keylog() && !quiet.link.has_tls_keylog());
    quiet.count_at(&there.addr()).await.expect("an answer");
    assert_eq!(std::fs::read_to_string(&path).expect("opened at the start"), "");
    here.count_at(&there.addr()).await.expect("an answer");
    let log = std::fs::read_to_string(&path).expect("a file");
    for label in ["CLIENT_HANDSHAKE_TRAFFIC_SECRET ", "SERVER_TRAFFIC_SECRET_0 "] {
        assert!(log.lines().any(|line| line.starts_with(label)), "{log}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[tokio::test]
async fn a_silent_peer_costs_a_question_no_more_than_its_deadline() {
    let world = World::new();
    let here = world.node("tokyo", 1);
    let there = Link::bind(world.config("frankfurt", 2), Arc::new(Memory::default())).expect("a link");
    let to = PeerAddr { id: there.identity().clone(), addr: there.local_addr() };
    let (accepted, peer) = tokio::join!(there.accept(), here.link.peer(&to, Protocol::Query));
    let (accepted, peer) = (accepted.expect("accepted"), peer.expect("a peer"));
    let error = peer.ask(&vetted(1), Duration::from_millis(50)).await.expect_err("nobody answers");
    assert!(matches!(error, LinkError::Deadline { .. }), "{error}");
    drop(accepted);
    let ended = async {
        while !peer.is_closed() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("a connection nobody serves is closed");
}
