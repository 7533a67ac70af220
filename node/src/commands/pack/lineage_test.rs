//! What segments of honest nodes were made of, and what is found of others: by hand, and for many lives by chance.

use std::collections::BTreeMap;

use domicile_proto::ids::{ByteCount, Epoch, Name, NodeId, TenantId, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::audit::Adopted;

const EVER: Timestamp = Timestamp(i64::MAX);

/// A ledger of such events.
fn ledger(events: impl IntoIterator<Item = Event>) -> Lineage {
    let mut lineage = Lineage::default();
    for (number, event) in (1..).zip(events) {
        lineage.take(number, &Entry::specimen(Timestamp(1), None, event));
    }
    lineage
}

fn came(manifest: u64, segment: &str, places: [u64; 2], records: u64) -> Event {
    Event::SegmentPublished {
        shard: ShardId(1),
        manifest,
        segment: segment.into(),
        records,
        bytes: ByteCount(1),
        sha256: [0; 32],
        places: Some(places),
    }
}

fn went(manifest: u64, segment: &str) -> Event {
    Event::SegmentDeleted { shard: ShardId(1), manifest, segment: segment.into() }
}

fn started() -> Event {
    Event::NodeStarted { node: NodeId(1), binary: [0; 32], config: [0; 32], sbom: None }
}

fn due(segments: u64, records: u64) -> Event {
    Event::RetentionBegun { deletion: "d".into(), tenant: TenantId(1), segments, records, plan: [0; 32] }
}

/// Ten records each, and both in one.
fn merged() -> Vec<Event> {
    vec![
        started(),
        came(1, "a", [1, 10], 10),
        came(2, "b", [11, 20], 10),
        came(3, "c", [1, 20], 20),
        went(3, "a"),
        went(3, "b"),
    ]
}

fn words(events: Vec<Event>) -> Vec<String> {
    words_of(&[events], true, false)
}

fn words_of(ledgers: &[Vec<Event>], is_whole: bool, has_orders: bool) -> Vec<String> {
    let ledgers: Vec<Lineage> = ledgers.iter().map(|events| ledger(events.clone())).collect();
    let followed = follow(&ledgers.iter().collect::<Vec<_>>(), EVER, is_whole, has_orders);
    let words = |wrong: &Wrong| format!("{} {}: {}", wrong.ledger, wrong.entry, wrong.why);
    let doubtful = followed.doubtful.iter().map(|wrong| format!("perhaps {}", words(wrong)));
    followed.wrong.iter().map(words).chain(doubtful).collect()
}

#[test]
fn a_segment_is_told_what_it_was_made_of() {
    let events = [merged(), vec![came(4, "d", [1, 25], 23), went(4, "c"), came(5, "e", [26, 30], 5)]].concat();
    let followed = follow(&[&ledger(events)], EVER, true, false);
    assert_eq!(followed.wrong, []);
    let of = |id: &str| (followed.made[id].of.iter().map(|of| &**of).collect::<Vec<_>>(), followed.made[id].of_the_log);
    assert_eq!(
        [of("a"), of("c"), of("d"), of("e")],
        [(vec![], true), (vec!["a", "b"], false), (vec!["c"], true), (vec![], true)]
    );
    assert_eq!((followed.made["d"].entry, followed.untold, followed.partial), (7, 0, 0));
}

#[test]
fn nothing_comes_of_what_is_gone() {
    let with = |more: Vec<Event>| words([merged(), more].concat());
    let one = |found: Vec<String>| {
        let [one] = &found[..] else { panic!("{found:?}") };
        one.clone()
    };
    // An older copy comes back beside what was made of it, or where it was deleted for good.
    assert_eq!(
        one(with(vec![came(4, "a", [1, 10], 10)])),
        "0 7: segment a has places 1 to 10, where segment c still lies"
    );
    let back = one(with(vec![due(1, 20), went(4, "c"), came(5, "a", [1, 10], 10)]));
    assert_eq!(back, "0 9: segment a has 10 records of places 1 to 10, where nothing lay any more");
    // It comes back inside another one.
    let swollen = one(with(vec![came(4, "d", [1, 25], 26), went(4, "c")]));
    assert_eq!(swollen, "0 7: segment d has 26 records, and what it was made of had 25");
    let stale = with(vec![came(4, "d", [1, 20], 20), went(4, "a")]);
    assert!(stale[0].contains("segment a goes, and no entry says that it was there"), "{stale:?}");
    let cut = with(vec![came(4, "d", [11, 20], 10), went(4, "c")]);
    assert!(cut[0].contains("a part of segment c") && cut[1].contains("went for good"), "{cut:?}");
    assert!(one(with(vec![came(4, "d", [22, 21], 0)])).contains("before it begins"));
}

#[test]
fn what_vanishes_was_to_be_deleted() {
    let with = |more: Vec<Event>| words([merged(), more].concat());
    assert_eq!(with(vec![due(1, 20), went(4, "c")]), [""; 0]);
    for announced in [(0, 0), (1, 19), (0, 20)] {
        let found = with(vec![due(announced.0, announced.1), went(4, "c")]);
        assert!(found.len() == 1 && found[0].starts_with("0 8: with this 1 segments with 20 records"), "{found:?}");
    }
    // A deletion that is told of again after a crash is one deletion.
    let two = vec![came(4, "e", [21, 30], 10), due(1, 20), due(1, 20), went(5, "c"), went(5, "e")];
    assert_eq!(with(two).len(), 1);
    // What a loss took is told by another entry; and of a node that is not here nothing is known.
    let lossy = Event::ShardAdopted {
        shard: ShardId(1),
        epoch: Epoch(2),
        from: NodeId(2),
        by: "admin".parse::<Name>().expect("a name"),
        why: Adopted::OwnerGone,
        manifest: 3,
        whole: false,
        lost: 20,
        kept: 0,
        until: None,
    };
    assert_eq!(with(vec![lossy, went(4, "c")]), [""; 0]);
    assert_eq!(words_of(&[[merged(), vec![went(4, "c")]].concat()], false, false), [""; 0]);
}

#[test]
fn records_are_left_out_where_somebody_was_erased() {
    let events = [merged(), vec![came(4, "d", [1, 20], 19), went(4, "c")]].concat();
    assert_eq!(words_of(std::slice::from_ref(&events), true, true), [""; 0]);
    assert_eq!(words_of(std::slice::from_ref(&events), false, false), [""; 0]);
    assert_eq!(words(events), ["0 7: it has fewer records than what it was made of, and nobody was erased"]);
}

#[test]
fn a_manifest_that_never_came_to_be_is_no_segment_from_nowhere() {
    let again = |more: Vec<Event>| words([merged(), vec![started()], more].concat());
    // The last manifest came to be, or did not and its number was given again, or another one without entries had it.
    assert_eq!(again(vec![came(4, "d", [1, 25], 25), went(4, "c")]), [""; 0]);
    assert_eq!(again(vec![came(3, "d", [1, 20], 20), went(3, "a"), went(3, "b")]), [""; 0]);
    assert_eq!(again(vec![came(4, "d", [1, 20], 20), went(4, "a"), went(4, "b")]), [""; 0]);
    assert_eq!(again(vec![came(5, "e", [21, 30], 10), came(6, "d", [1, 20], 20), went(6, "a"), went(6, "b")]), [""; 0]);
    // What follows fits neither, or only if a manifest is missing.
    let neither = again(vec![came(4, "d", [1, 20], 20), went(4, "a")]);
    assert!(neither.len() == 1 && neither[0].starts_with("perhaps 0 8: segment d has places 1 to 20"), "{neither:?}");
    let neither = again(vec![came(3, "d", [1, 20], 20), went(3, "a")]);
    assert!(neither.len() == 1 && neither[0].starts_with("0 8: segment d has places 1 to 20"), "{neither:?}");
    // Without a start it came to be.
    assert!(!words([merged(), vec![came(4, "d", [1, 20], 20), went(4, "a"), went(4, "b")]].concat()).is_empty());
}

#[test]
fn a_shard_goes_from_one_node_to_another() {
    let ours = merged();
    // The other one goes on behind the last manifest, or behind the one before, of which the number was taken from us.
    let after = vec![started(), came(4, "d", [1, 25], 25), went(4, "c")];
    let instead = vec![started(), came(3, "d", [1, 22], 22), went(3, "a"), went(3, "b"), came(4, "e", [23, 30], 8)];
    let behind = vec![started(), came(4, "d", [1, 22], 22), went(4, "a"), went(4, "b")];
    for theirs in [after, instead, behind] {
        for ledgers in [[ours.clone(), theirs.clone()], [theirs.clone(), ours.clone()]] {
            assert_eq!(words_of(&ledgers, true, false), [""; 0], "{theirs:?}");
        }
        // Alone it is not judged by what it cannot know.
        let alone = follow(&[&ledger(theirs)], EVER, true, false);
        assert_eq!((alone.wrong, alone.partial), (vec![], 1));
    }
    let wrong = vec![started(), came(4, "d", [1, 25], 26), went(4, "c")];
    let found = words_of(&[ours, wrong], true, false);
    assert!(!found.is_empty() && found.iter().all(|one| one.starts_with("perhaps 1 ")), "{found:?}");
}

#[test]
fn what_does_not_fit_behind_a_manifest_that_nobody_tells_of_is_to_be_looked_at() {
    // A node whose ledger is not here merged two, or the ledger's disk was full meanwhile.
    let two = vec![started(), came(1, "a", [1, 10], 10), came(2, "b", [11, 20], 10)];
    let with = |more: Vec<Event>| words([two.clone(), more].concat());
    let after = with(vec![came(5, "d", [1, 30], 30), went(5, "c")]);
    assert!(after.len() == 2 && after.iter().all(|one| one.starts_with("perhaps ")), "{after:?}");
    // With what came of it, it goes on; every number is there, and it is wrong.
    let more = vec![came(5, "d", [1, 30], 30), went(5, "c"), came(6, "e", [1, 30], 30), went(6, "d")];
    assert_eq!(with(more).len(), 2, "told of once");
    let after = with(vec![came(3, "d", [1, 30], 30), went(3, "c")]);
    assert!(after.len() == 2 && after.iter().all(|one| one.starts_with("0 ")), "{after:?}");
}

#[test]
fn what_is_younger_than_the_first_copy_is_not_compared() {
    let at = |events: Vec<Event>, from: i64| {
        let mut lineage = Lineage::default();
        for (number, event) in (1..).zip(events) {
            let at = from + i64::try_from(number).unwrap();
            lineage.take(number, &Entry::specimen(Timestamp(at), None, event));
        }
        lineage
    };
    // The first copy ends before the segment that the other node's merge is made of.
    let ours = at(merged()[..3].to_vec(), 0);
    let theirs = at(vec![started(), came(3, "c", [1, 20], 20), went(3, "a"), went(3, "b"), went(4, "x")], 100);
    let judged = |until: i64| follow(&[&ours, &theirs], Timestamp(until), true, false);
    assert_eq!((judged(104).wrong, judged(104).made.len()), (vec![], 3));
    assert_eq!(judged(105).wrong.len(), 1);
    assert_eq!((judged(101).wrong, judged(101).made.len()), (vec![], 2));
}

#[test]
fn neighbours_become_one_across_what_lies_in_the_archive() {
    let archived = Event::SegmentMoved {
        shard: ShardId(1),
        manifest: 4,
        segment: "b".into(),
        to: "archive".into(),
        bytes: ByteCount(1),
        sha256: [0; 32],
    };
    let three =
        vec![started(), came(1, "a", [1, 10], 10), came(2, "b", [11, 20], 10), came(3, "c", [21, 30], 10), archived];
    let across = |records| vec![came(5, "d", [1, 30], records), went(5, "a"), went(5, "c")];
    assert_eq!(words([three.clone(), across(20)].concat()), [""; 0]);
    assert_eq!(words([three.clone(), across(21)].concat()).len(), 1, "but nothing out of it");
    let renewed = vec![came(6, "e", [11, 20], 10), went(6, "b")];
    assert_eq!(words([three, across(20), renewed].concat()).len(), 1);
}

#[test]
fn several_segments_of_the_log_in_one_manifest_leave_no_gap() {
    let log = |from: u64| came(1, &format!("s{from}"), [10 * from + 1, 10 * from + 10], 10);
    let mut events = vec![started()];
    events.extend([3, 1, 0, 2].map(log));
    events.extend([started(), came(2, "t", [41, 50], 10)]);
    let followed = follow(&[&ledger(events)], EVER, true, false);
    assert_eq!((followed.wrong.len(), followed.made.len(), followed.partial), (0, 5, 0));
}

#[test]
fn who_said_where_a_segment_lies_goes_on_saying_it() {
    let mut silent = came(4, "x", [21, 21], 1);
    if let Event::SegmentPublished { places, .. } = &mut silent {
        *places = None;
    }
    let found = words([merged(), vec![silent]].concat());
    assert_eq!(found, ["0 7: it does not say between which places the segment lies, and one before it does"]);
}

#[test]
fn records_beyond_all_numbers_are_more_than_there_were() {
    let found = words(vec![started(), came(1, "a", [1, u64::MAX], u64::MAX), came(2, "b", [0, u64::MAX], u64::MAX)]);
    assert_eq!(found.len(), 2, "{found:?}");
    let lies =
        vec![started(), came(1, "a", [1, 2], u64::MAX), came(2, "b", [3, 4], u64::MAX), went(3, "a"), went(3, "b")];
    assert!(words(lies).len() >= 3);
}

#[test]
fn what_an_earlier_build_wrote_is_not_judged() {
    let mut old = came(4, "x", [1, 1], 1);
    if let Event::SegmentPublished { places, .. } = &mut old {
        *places = None;
    }
    let followed = follow(&[&ledger(vec![old, went(5, "nobody")])], EVER, true, false);
    assert_eq!((followed.wrong, followed.untold, followed.made), (vec![], 1, BTreeMap::new()));
}

/// What happens to a shard of which segments have these places, of two nodes.
#[derive(Clone, Debug)]
enum Turn {
    /// Records from the log.
    Fresh(u8),
    /// Neighbours become one, which loses some.
    Merge(u8, u8, u8),
    /// One is deleted for good.
    Drop(u8),
    /// The node stops, and the entries of the last manifest are there while it is not; the next one has its number, or one later.
    Crash { is_void: bool, is_fenced: bool },
    /// The other node goes on, and the same.
    Move { is_void: bool, is_fenced: bool },
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        4 => (1_u8..20).prop_map(Turn::Fresh),
        4 => (any::<u8>(), 1_u8..5, 0_u8..2).prop_map(|(at, of, lost)| Turn::Merge(at, of, lost)),
        1 => any::<u8>().prop_map(Turn::Drop),
        2 => any::<(bool, bool)>().prop_map(|(is_void, is_fenced)| Turn::Crash { is_void, is_fenced }),
        1 => any::<(bool, bool)>().prop_map(|(is_void, is_fenced)| Turn::Move { is_void, is_fenced }),
    ]
}

/// What is there after a manifest: segments with their places and records, and the last place.
type There = (Vec<(String, [u64; 2], u64)>, u64);

/// Two ledgers of an honest life, and what is there in the end.
fn lived(turns: &[Turn]) -> ([Vec<Event>; 2], There, u64) {
    let mut ledgers = [vec![started(), due(u64::MAX, u64::MAX)], vec![started()]];
    let (mut node, mut manifest, mut name) = (0, 0, 0);
    let mut now: There = (Vec::new(), 0);
    let mut before = now.clone();
    // More than are thought through at once, where nothing follows that tells them apart, would be told to be looked at.
    let mut stops = 0;
    for turn in turns {
        let is_stop = matches!(turn, Turn::Crash { .. } | Turn::Move { .. });
        stops += u32::from(is_stop);
        if is_stop && stops > 4 {
            continue;
        }
        let mut events = Vec::new();
        let mut next = now.clone();
        name += 1;
        let id = format!("s{name}");
        match turn {
            Turn::Fresh(count) => {
                let places = [now.1 + 1, now.1 + u64::from(*count)];
                next.0.push((id.clone(), places, u64::from(*count)));
                next.1 = places[1];
                events.push(came(manifest + 1, &id, places, u64::from(*count)));
            }
            Turn::Merge(at, of, lost) if !now.0.is_empty() => {
                let first = usize::from(*at) % now.0.len();
                let last = (first + usize::from(*of)).min(now.0.len());
                let parts: Vec<_> = next.0.drain(first..last).collect();
                let places = [parts[0].1[0], parts[parts.len() - 1].1[1]];
                let records = parts.iter().map(|part| part.2).sum::<u64>().saturating_sub((*lost).into());
                next.0.insert(first, (id.clone(), places, records));
                events.push(came(manifest + 1, &id, places, records));
                events.extend(parts.iter().map(|part| went(manifest + 1, &part.0)));
            }
            Turn::Drop(at) if !now.0.is_empty() => {
                let gone = next.0.remove(usize::from(*at) % now.0.len());
                events.push(went(manifest + 1, &gone.0));
            }
            Turn::Crash { is_void, is_fenced } | Turn::Move { is_void, is_fenced } => {
                if *is_void && now != before {
                    (now, manifest) = (before.clone(), manifest - 1);
                }
                manifest += u64::from(*is_fenced);
                if matches!(turn, Turn::Move { .. }) {
                    node = 1 - node;
                }
                ledgers[node].push(started());
                before = now.clone();
                continue;
            }
            Turn::Merge(..) | Turn::Drop(_) => continue,
        }
        manifest += 1;
        ledgers[node].extend(events);
        before = std::mem::replace(&mut now, next);
    }
    (ledgers, now, manifest)
}

proptest! {
    #[test]
    fn no_honest_life_is_wrong(turns in prop::collection::vec(turn(), 0..40)) {
        let (ledgers, ..) = lived(&turns);
        let found = words_of(&ledgers, true, true);
        prop_assert!(found.is_empty(), "{found:?}\n{ledgers:#?}");
    }

    #[test]
    fn what_comes_back_is_found(turns in prop::collection::vec(turn(), 1..40), at in any::<u8>(), piece in any::<u8>()) {
        let (mut ledgers, there, manifest) = lived(&turns);
        prop_assume!(there.1 > 0);
        // The last manifest came to be: two more follow in one run of the first node.
        let upto = there.1;
        ledgers[0].push(started());
        ledgers[0].extend([came(manifest + 2, "x", [upto + 1, upto + 5], 5), came(manifest + 3, "y", [upto + 6, upto + 9], 4)]);
        prop_assert!(words_of(&ledgers, true, true).is_empty());
        // An older copy of anything that was there, beside what is there now or where nothing is.
        let first = 1 + u64::from(at) % upto;
        let last = first + u64::from(piece) % (upto - first + 1);
        ledgers[0].push(came(manifest + 4, "old", [first, last], 1 + u64::from(piece) % (last - first + 1)));
        prop_assert!(!words_of(&ledgers, true, true).is_empty(), "{ledgers:#?}");
    }
}
