//! The plan of the lifecycle: by example, and its laws over anything that may lie there.

use proptest::prelude::*;

use super::*;

fn rule(stream: u32) -> Rule {
    Rule {
        tenant: TenantId(1),
        stream: StreamId(stream),
        name: "app".parse().unwrap(),
        shard: ShardId(u64::from(stream)),
        warm_after: 7,
        cold_after: 30,
        archive_after: 545,
        archive_for: None,
        delete_after: 545,
    }
}

fn lying(segment: u128, received_until: i64) -> Lying {
    Lying {
        segment: SegmentId(segment),
        shard: ShardId(1),
        records: 3,
        bytes: 10,
        received_until: Timestamp(received_until),
        first_seq: 1,
        place: Place::Hot,
        is_hiding: false,
        archive: None,
    }
}

fn hold() -> StreamHold {
    StreamHold { id: "h".into(), tenant: TenantId(1), streams: Some(vec![StreamId(1)]) }
}

fn planned(lying: &[Lying], holds: &[StreamHold], now: i64) -> Vec<(Action, Why)> {
    let moves = plan(&[rule(1), rule(2)], lying, holds, None, Timestamp(now));
    moves.into_iter().map(|one| (one.action, one.why)).collect()
}

#[test]
fn each_tier_is_reached_on_its_day_and_not_a_microsecond_before() {
    for (place, days, action) in
        [(Place::Hot, 7, Action::Warm), (Place::Warm, 30, Action::Cool), (Place::Hot, 30, Action::Cool)]
    {
        let there = [Lying { place, ..lying(1, 5) }];
        let at = i64::from(days) * DAY + 5;
        assert!(planned(&there, &[], at - 1).iter().all(|(found, _)| *found < action), "{action:?} early");
        assert_eq!(planned(&there, &[], at), [(action, Why::Age { days, after: days })]);
    }
    let there = [Lying { place: Place::Cold, ..lying(1, 5) }];
    assert!(planned(&there, &[], 546 * DAY - 1).is_empty(), "the bucket is the last tier");
    assert_eq!(planned(&there, &[], 546 * DAY), [(Action::Delete, Why::Age { days: 545, after: 545 })]);
}

#[test]
fn a_hold_keeps_a_segment_alive_but_lets_it_become_cold() {
    let late = 600 * DAY;
    assert_eq!(planned(&[lying(1, 5)], &[hold()], late)[0].0, Action::Cool);
    let cold = Lying { place: Place::Cold, ..lying(1, 5) };
    assert_eq!(planned(&[cold], &[hold()], late), [(Action::Delete, Why::Held("h".into()))], "and it is told of");
    let other = Lying { shard: ShardId(2), ..cold };
    assert_eq!(planned(&[other], &[hold()], late)[0].1, Why::Age { days: 599, after: 545 }, "of another stream");
}

#[test]
fn what_hides_erased_records_moves_only_when_it_was_made_anew_and_may_always_be_deleted() {
    let hiding = Lying { is_hiding: true, ..lying(1, 5) };
    assert_eq!(planned(&[hiding], &[], 31 * DAY), [(Action::Cool, Why::Erasing)]);
    assert!(planned(&[hiding], &[], 600 * DAY)[0].0 == Action::Delete);
    let room = Some(Room { mark: 5, down_to: 0 });
    assert!(plan(&[rule(1)], &[hiding], &[], room, Timestamp(0)).is_empty());
}

#[test]
fn a_tier_that_is_set_before_an_earlier_one_waits_for_it() {
    let rule = Rule { cold_after: 2, ..rule(1) };
    let moves = plan(std::slice::from_ref(&rule), &[lying(1, 0)], &[], None, Timestamp(6 * DAY));
    assert!(moves.is_empty());
    let moves = plan(&[rule], &[lying(1, 0)], &[], None, Timestamp(7 * DAY));
    assert_eq!(moves[0].action, Action::Cool);
}

#[test]
fn what_is_cold_is_archived_on_its_day_comes_back_where_it_is_wanted_and_ends_with_its_validity() {
    let rule = Rule { archive_after: 365, archive_for: Some(180), ..rule(1) };
    let planned = |there: Lying, now| {
        let moves = plan(std::slice::from_ref(&rule), &[there], &[], None, Timestamp(now));
        moves.into_iter().map(|one| (one.action, one.why)).next()
    };
    let cold = Lying { place: Place::Cold, ..lying(1, 5) };
    assert_eq!(planned(cold, 365 * DAY + 4), None);
    assert_eq!(planned(cold, 365 * DAY + 5), Some((Action::Archive, Why::Age { days: 365, after: 365 })));
    assert_eq!(planned(lying(1, 5), 365 * DAY + 5).unwrap().0, Action::Cool, "by way of the bucket");
    let archive = InArchive { since: Timestamp(365 * DAY), wanted_until: None, is_restored: false };
    let of = |archive| Lying { place: Place::Archived, archive: Some(archive), ..lying(1, 5) };
    assert_eq!(planned(of(archive), 366 * DAY), None);
    let until = Timestamp(370 * DAY);
    let wanted = InArchive { wanted_until: Some(until), ..archive };
    assert_eq!(planned(of(wanted), until.0 - 1), Some((Action::Restore, Why::Wanted { until })));
    assert_eq!(planned(of(wanted), until.0), None, "too late");
    let restored = InArchive { is_restored: true, ..wanted };
    assert_eq!(
        (planned(of(restored), until.0 - 1), planned(of(restored), until.0)),
        (None, Some((Action::LetGo, Why::Expired)))
    );
    // Until the midnight after.
    assert_eq!(planned(of(restored), 546 * DAY - 1).unwrap().0, Action::LetGo);
    assert_eq!(planned(of(restored), 546 * DAY), Some((Action::Delete, Why::Age { days: 545, after: 545 })));
    let longer = Rule { delete_after: 900, ..rule.clone() };
    let moves = plan(&[longer], &[of(restored)], &[], None, Timestamp(546 * DAY));
    assert_eq!((moves[0].action, &moves[0].why), (Action::Delete, &Why::Validity { days: 181, after: 180 }));
    let never = Rule { archive_after: 545, ..rule.clone() };
    assert!(plan(&[never], &[cold], &[], None, Timestamp(545 * DAY + 5)).is_empty(), "what ends by then stays");
}

#[test]
fn above_the_mark_the_oldest_go_down_to_the_lower_one() {
    let there: Vec<_> = (0..10).map(|n| lying(n, i64::try_from(n).unwrap())).collect();
    let room = Some(Room { mark: 80, down_to: 50 });
    let moves = plan(&[rule(1)], &there, &[], room, Timestamp(10));
    let ids: Vec<_> = moves.iter().map(|one| one.lying.segment.0).collect();
    assert_eq!(ids, [0, 1, 2, 3, 4]);
    assert!(moves.iter().all(|one| one.why == Why::Watermark { used: 100, mark: 80 } && one.action == Action::Cool));
    let enough = Some(Room { mark: 100, down_to: 50 });
    assert!(plan(&[rule(1)], &there, &[], enough, Timestamp(10)).is_empty(), "not above the mark");
}

fn places() -> impl Strategy<Value = Place> {
    prop_oneof![Just(Place::Hot), Just(Place::Warm), Just(Place::Cold), Just(Place::Archived)]
}

prop_compose! {
    fn any_archive()(
        since in 0..700_i64, until in proptest::option::of(0..800_i64), is_restored in any::<bool>(),
    ) -> InArchive {
        InArchive { since: Timestamp(since * DAY), wanted_until: until.map(|day| Timestamp(day * DAY)), is_restored }
    }
}

prop_compose! {
    fn any_lying()(
        segment in any::<u16>(), shard in 1..4_u64, bytes in 0..100_u64, received in 0..700_i64, place in places(), is_hiding in any::<bool>(),
        archive in any_archive(),
    ) -> Lying {
        Lying {
            archive: (place == Place::Archived).then_some(archive),
            shard: ShardId(shard), bytes, place, is_hiding, first_seq: u64::from(segment),
            ..lying(u128::from(segment), received * DAY + i64::from(segment))
        }
    }
}

prop_compose! {
    fn anything()(
        mut there in proptest::collection::vec(any_lying(), 0..30),
        days in proptest::array::uniform4(1..600_u32),
        archive_for in proptest::option::of(1..600_u32),
        is_held in any::<bool>(),
        room in proptest::option::of((0..2_000_u64, 0..2_000_u64)),
        now in 0..800_i64,
    ) -> (Vec<Rule>, Vec<Lying>, Vec<StreamHold>, Option<Room>, Timestamp) {
        there.sort_by_key(|lying| lying.segment);
        there.dedup_by_key(|lying| lying.segment);
        let [warm_after, cold_after, archive_after, delete_after] = days;
        let rules = vec![Rule { warm_after, cold_after, archive_after, archive_for, delete_after, ..rule(1) }, rule(2)];
        let holds = if is_held { vec![hold()] } else { Vec::new() };
        let room = room.map(|(mark, down_to)| Room { mark, down_to: down_to.min(mark) });
        (rules, there, holds, room, Timestamp(now * DAY))
    }
}

/// What lies there after a plan was carried out.
fn carried_out(there: &[Lying], moves: &[Move], now: Timestamp) -> Vec<Lying> {
    let after = |lying: &Lying| {
        let moved = moves.iter().find(|one| one.is_due() && one.lying.segment == lying.segment);
        let in_archive = |archive: InArchive| Lying { place: Place::Archived, archive: Some(archive), ..*lying };
        Some(match (moved.map(|one| one.action), lying.archive) {
            (Some(Action::Delete), _) => return None,
            (Some(Action::Warm), _) => Lying { place: Place::Warm, ..*lying },
            (Some(Action::Cool), _) => Lying { place: Place::Cold, ..*lying },
            (Some(Action::Archive), _) => in_archive(InArchive { since: now, wanted_until: None, is_restored: false }),
            (Some(Action::Restore), Some(archive)) => in_archive(InArchive { is_restored: true, ..archive }),
            (Some(Action::LetGo), Some(archive)) => {
                in_archive(InArchive { wanted_until: None, is_restored: false, ..archive })
            }
            _ => *lying,
        })
    };
    there.iter().filter_map(after).collect()
}

fn on_disk(there: &[Lying]) -> u64 {
    there.iter().filter(|lying| lying.place < Place::Cold).map(|lying| lying.bytes).sum()
}

proptest! {
    #[test]
    fn nothing_moves_early_backward_or_against_a_hold((rules, there, holds, room, now) in anything()) {
        for one in plan(&rules, &there, &holds, room, now).iter().filter(|one| one.is_due()) {
            let rule = rules.iter().find(|rule| rule.shard == one.lying.shard).expect("a stream that is known");
            let is_held = holds.iter().any(|hold| hold.concerns(rule.tenant, rule.stream));
            let age = now.0 - one.lying.received_until.0;
            let is_valid = |archive: InArchive| {
                let days = if matches!(one.why, Why::Validity { .. }) { rule.archive_for } else { None };
                days.is_some_and(|days| now.0 - archive.since.0 < i64::from(days) * DAY)
            };
            prop_assert!(!one.lying.archive.is_some_and(is_valid), "early");
            let after = match (one.action, &one.why) {
                (_, Why::Validity { .. }) | (Action::Restore | Action::LetGo, _) => 0,
                (Action::Warm, _) => rule.warm_after,
                (Action::Cool, _) => rule.cold_after,
                (Action::Archive, _) => rule.archive_after,
                (Action::Delete, _) => rule.delete_after,
            };
            let for_room = matches!(one.why, Why::Watermark { .. });
            prop_assert!(for_room || age >= i64::from(after) * DAY || one.lying.archive.is_some() && after == 0, "early");
            prop_assert!(!for_room || one.action == Action::Cool, "for room nothing is deleted");
            prop_assert!(!is_held || !matches!(one.action, Action::Delete | Action::Archive), "held");
            prop_assert!(!one.lying.is_hiding || one.action > Action::Archive, "erased records are carried along");
            let to = match one.action {
                Action::Warm => Place::Warm,
                Action::Cool => Place::Cold,
                Action::Archive => Place::Archived,
                Action::Restore | Action::LetGo => {
                    let is_restored = one.lying.archive.is_some_and(|archive| archive.is_restored);
                    prop_assert_eq!(is_restored, one.action == Action::LetGo);
                    continue;
                }
                Action::Delete => continue,
            };
            prop_assert!(one.lying.place < to, "backward");
        }
    }

    #[test]
    fn for_room_the_oldest_go_and_no_more_than_is_needed((rules, there, holds, room, now) in anything()) {
        let moves = plan(&rules, &there, &holds, room, now);
        let for_room: Vec<_> = moves.iter().filter(|one| matches!(one.why, Why::Watermark { .. })).collect();
        let Some(room) = room else { prop_assert!(for_room.is_empty()); return Ok(()) };
        let after = carried_out(&there, &moves, now);
        let may_go = |lying: &&Lying| {
            lying.place < Place::Cold && !lying.is_hiding && rules.iter().any(|rule| rule.shard == lying.shard)
        };
        if let Some(youngest) = for_room.last() {
            prop_assert!(on_disk(&after) + youngest.lying.bytes > room.down_to, "one too many");
            let older = after.iter().filter(may_go).any(|kept| age_order(kept) < age_order(&youngest.lying));
            prop_assert!(!older, "an older one stays");
        }
        let is_low = on_disk(&after) <= room.mark;
        prop_assert!(is_low || after.iter().filter(may_go).count() == 0, "above the mark, and something could go");
    }

    #[test]
    fn a_plan_that_was_carried_out_leaves_at_most_the_next_step((rules, there, holds, room, now) in anything()) {
        let mut there = there;
        for _ in 0..5 {
            there = carried_out(&there, &plan(&rules, &there, &holds, room, now), now);
        }
        let left = plan(&rules, &there, &holds, room, now);
        prop_assert!(left.iter().all(|one| !one.is_due()), "{left:?}");
    }

    #[test]
    fn the_order_in_which_things_are_told_means_nothing((rules, there, holds, room, now) in anything(), at in any::<usize>()) {
        let moves = plan(&rules, &there, &holds, room, now);
        let (mut turned, mut other_rules) = (there.clone(), rules);
        if !turned.is_empty() {
            let at = at % turned.len();
            turned.rotate_left(at);
        }
        turned.reverse();
        other_rules.reverse();
        prop_assert_eq!(plan(&other_rules, &turned, &holds, room, now), moves);
    }
}
