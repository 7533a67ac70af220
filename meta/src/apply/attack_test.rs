//! What a member of another region may not say for a region: who writes its shards, how far its ledger has come.

use super::*;

/// The command with another word in it.
fn with_word(command: Command, other: &Command) -> Command {
    let Command::AssignShard { word, .. } = other else { panic!("no assignment: {other:?}") };
    let Command::AssignShard { stream, region, owner, seen, .. } = command else { panic!("no assignment") };
    Command::AssignShard { stream, region, owner, seen, word: *word }
}

#[test]
fn nobody_but_the_region_says_who_writes_its_shards() {
    let tokyo = region("tokyo");
    let bare = |owner: u64, seen: u64| {
        let (stream, region) = (StreamId(1), region("tokyo"));
        Command::AssignShard { stream, region, owner: NodeId(owner), seen: Epoch(seen), word: None }
    };
    let frankfurt_says =
        |owner: u64, seen: u64| key_of("frankfurt").assign(StreamId(1), region("tokyo"), NodeId(owner), Epoch(seen));
    let state = check(vec![
        // Taken before the region's own node comes.
        (bare(1, 0), refused(CommandRefusal::Unsigned)),
        (frankfurt_says(1, 0), refused(CommandRefusal::Forged)),
        (assign("tokyo", 1, 0), Applied::Shard(ShardId(1), Epoch(1))),
        // Taken from the node that writes it.
        (signed(tokyo.clone(), node(3, 7444)), Applied::Done),
        (bare(3, 1), refused(CommandRefusal::Unsigned)),
        (frankfurt_says(3, 1), refused(CommandRefusal::Forged)),
        // A word for another owner, for an epoch that is past, and for another region's shard.
        (with_word(bare(3, 1), &assign("tokyo", 1, 1)), refused(CommandRefusal::Forged)),
        (with_word(bare(3, 1), &assign("tokyo", 3, 0)), refused(CommandRefusal::Forged)),
        (with_word(bare(3, 1), &assign("frankfurt", 3, 1)), refused(CommandRefusal::Forged)),
        (assign("tokyo", 3, 1), Applied::Shard(ShardId(1), Epoch(2))),
    ]);
    assert_eq!(state.shard(StreamId(1), &tokyo).map(|row| row.epoch), Some(Epoch(2)));
}

#[test]
fn nobody_but_the_officer_says_with_which_key_a_region_speaks() {
    let tokyo = region("tokyo");
    let theirs = new_region_key();
    let set = Change::SetRegionKey { key: theirs.public() };
    let by_stranger = new_officer().sign(tokyo.clone(), ConsentSerial(u64::MAX), set.clone());
    let says = |owner: u64, seen: u64| theirs.assign(StreamId(1), region("tokyo"), NodeId(owner), Epoch(seen));
    let first = signed(tokyo.clone(), speaks("tokyo"));
    check(vec![
        (unsigned(tokyo.clone(), set.clone()), refused(CommandRefusal::Unsigned)),
        (Command::Regional(by_stranger), refused(CommandRefusal::OtherOfficer)),
        (first.clone(), Applied::Done),
        (says(1, 0), refused(CommandRefusal::Forged)),
        (signed(tokyo, set), Applied::Done),
        (first, refused(CommandRefusal::OldSerial)),
        (assign("tokyo", 1, 0), refused(CommandRefusal::Forged)),
        (says(1, 0), Applied::Shard(ShardId(1), Epoch(1))),
    ]);
}

#[test]
fn nobody_but_the_region_says_how_far_its_ledger_has_come() {
    let frankfurt_says = key_of("frankfurt").sign_head(bare_head(1, u64::MAX, 9));
    let state = check(vec![
        (Command::RecordHead(bare_head(1, 5, 1)), refused(CommandRefusal::Forged)),
        // Believed, it would shut the region's true heads out for ever.
        (Command::RecordHead(frankfurt_says), refused(CommandRefusal::Forged)),
        (head(1, 5, 1), Applied::Done),
        (Command::RecordHead(bare_head(1, 6, 1)), refused(CommandRefusal::Forged)),
    ]);
    assert_eq!(state.head(RegionNumber(1)).map(|head| head.size), Some(5));
}

#[test]
fn a_lost_node_is_taken_out_by_its_own_officer_and_by_nobody_elses() {
    let (tokyo, frankfurt) = (region("tokyo"), region("frankfurt"));
    let remove = |node: u64| Change::RemoveNode { node: NodeId(node) };
    let by_stranger = new_officer().sign(tokyo.clone(), ConsentSerial(u64::MAX), remove(1));
    let by_its_own = signed(tokyo.clone(), remove(1));
    let state = check(vec![
        (unsigned(tokyo, remove(1)), refused(CommandRefusal::Unsigned)),
        (Command::Regional(by_stranger), refused(CommandRefusal::OtherOfficer)),
        (signed(frankfurt, remove(1)), refused(CommandRefusal::UnknownNode)),
        (by_its_own.clone(), Applied::Done),
        (by_its_own, Applied::Done),
    ]);
    assert!(state.node(NodeId(1)).is_none() && state.node(NodeId(2)).is_some());
}

#[test]
fn a_region_without_a_key_has_said_nothing() {
    let singapore = region("singapore");
    let key = new_region_key();
    let head = key.sign_head(bare_head(3, 1, 1));
    check(vec![
        (Command::AddRegion { region: singapore.clone() }, Applied::Region(RegionNumber(3))),
        (signed(singapore.clone(), node(5, 7445)), Applied::Done),
        (key.assign(StreamId(1), singapore.clone(), NodeId(5), Epoch(0)), refused(CommandRefusal::Unsigned)),
        (Command::RecordHead(head), refused(CommandRefusal::Unsigned)),
        (signed(singapore.clone(), Change::SetRegionKey { key: key.public() }), Applied::Done),
        (key.assign(StreamId(1), singapore, NodeId(5), Epoch(0)), Applied::Shard(ShardId(1), Epoch(1))),
        (Command::RecordHead(head), Applied::Done),
    ]);
}
