//! Commands and what becomes of them, as data; and the laws of `apply` under random commands.

use domicile_proto::codec;
use domicile_proto::ids::{
    ConsentSerial, DictionaryId, Epoch, ErasureId, FIRST_APPROVED_ID, Name, NodeId, PolicyVersion, Region,
    RegionNumber, ShardId, StreamId, TenantId, Timestamp,
};
use domicile_proto::message::ledger::SignedHead;
use domicile_proto::metadata::{
    AccessKey, Applied, ApprovedValue, Change, Command, CommandRefusal, ErasureRow, ErasureState, MAX_GROUP_FIELDS,
    MAX_STREAMS_PER_TENANT, MAX_VALUES_PER_APPROVAL, MAX_VALUES_PER_FIELD, RegionalChange, Roles, Row, Rows,
    StreamPolicy,
};
use domicile_proto::officer::OfficerKey;
use domicile_proto::region_key::RegionKey;
use domicile_proto::transfer::{Day, TransferBasis};
use proptest::prelude::*;

use super::apply;
use crate::state::{RowsError, State};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn region(text: &str) -> Region {
    text.parse().unwrap()
}

fn new_officer() -> OfficerKey {
    OfficerKey::from_pkcs8(&OfficerKey::generate().unwrap()).unwrap()
}

/// The officer who lets the nodes of the world in, in both regions.
fn the_officer() -> &'static OfficerKey {
    use std::sync::OnceLock;
    static KEY: OnceLock<OfficerKey> = OnceLock::new();
    KEY.get_or_init(new_officer)
}

fn signed_at(serial: u64, region: Region, change: Change) -> Command {
    Command::Regional(the_officer().sign(region, ConsentSerial(serial), change))
}

/// Signed after everything that was signed before.
fn signed(region: Region, change: Change) -> Command {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1_000);
    signed_at(NEXT.fetch_add(1, Ordering::Relaxed), region, change)
}

fn unsigned(region: Region, change: Change) -> Command {
    Command::Regional(RegionalChange { region, change, signature: None })
}

fn node(id: u64, port: u16) -> Change {
    Change::AddNode { node: NodeId(id), addr: ([127, 0, 0, 1], port).into() }
}

fn key(id: &str, byte: u8, search: bool) -> Change {
    let roles = Roles { search, ..Roles::default() };
    Change::AddKey(AccessKey { id: name(id), tenant: TenantId(1), hash: [byte; 32], roles, rows: Rows::Redacted })
}

fn policy(fields: &[&str], text_questions: bool) -> Change {
    let group_fields = fields.iter().map(|field| name(field)).collect();
    let policy = StreamPolicy { group_fields, text_questions, ..StreamPolicy::default() };
    Change::SetPolicy { tenant: TenantId(1), stream: StreamId(1), policy }
}

fn values(field: &str, texts: &[&str]) -> Change {
    let values = texts.iter().map(|text| ApprovedValue::try_from((*text).to_owned()).unwrap()).collect();
    Change::ApproveValues { tenant: TenantId(1), field: name(field), values }
}

fn new_region_key() -> RegionKey {
    RegionKey::from_text(&RegionKey::generate().unwrap()).unwrap()
}

/// The keys with which the regions of the world speak.
fn key_of(region_name: &str) -> &'static RegionKey {
    use std::sync::OnceLock;
    static KEYS: OnceLock<[RegionKey; 2]> = OnceLock::new();
    let [tokyo, others] = KEYS.get_or_init(|| [new_region_key(), new_region_key()]);
    if region_name == "tokyo" { tokyo } else { others }
}

fn speaks(region_name: &str) -> Change {
    Change::SetRegionKey { key: key_of(region_name).public() }
}

/// With the word of the region.
pub(crate) fn assign(region_name: &str, owner: u64, seen: u64) -> Command {
    key_of(region_name).assign(StreamId(1), region(region_name), NodeId(owner), Epoch(seen))
}

fn head(region: u16, size: u64, root: u8) -> Command {
    let key = key_of(if region == 1 { "tokyo" } else { "frankfurt" });
    Command::RecordHead(key.sign_head(bare_head(region, size, root)))
}

/// Without a signature.
fn bare_head(region: u16, size: u64, root: u8) -> SignedHead {
    let (region, at, half) = (RegionNumber(region), Timestamp(0), [0; 32]);
    SignedHead { region, size, root: [root; 32], at, signature_r: half, signature_s: half }
}

/// Two regions, two tenants, one stream of the first, one node and the region's key in each region.
pub(crate) fn world() -> State {
    let mut state = State::default();
    for command in [
        Command::AddRegion { region: region("tokyo") },
        Command::AddRegion { region: region("frankfurt") },
        Command::CreateTenant { tenant: name("acme") },
        Command::CreateTenant { tenant: name("bolt") },
        Command::CreateStream { tenant: TenantId(1), stream: name("app") },
        signed_at(0, region("tokyo"), speaks("tokyo")),
        signed_at(0, region("frankfurt"), speaks("frankfurt")),
        signed_at(1, region("tokyo"), node(1, 7443)),
        signed_at(1, region("frankfurt"), node(2, 7443)),
    ] {
        let applied = apply(&mut state, &command);
        assert!(!matches!(applied, Applied::Refused(_)), "{command:?}: {applied:?}");
    }
    state
}

/// The world with a row of every kind.
pub(crate) fn with_every_row() -> State {
    let tokyo = region("tokyo");
    let (to, basis, review_by) = (region("frankfurt"), TransferBasis::Adequacy, Day(20_970));
    let erasure = ErasureRow {
        region: tokyo.clone(),
        id: ErasureId(7),
        tenant: TenantId(1),
        commitment: [7; 32],
        proof: [8; 16],
        at: Timestamp(5),
        state: ErasureState::Ordered,
    };
    let mut state = world();
    for command in [
        signed(tokyo.clone(), policy(&["service", "level"], true)),
        unsigned(tokyo.clone(), policy(&[], false)),
        signed(tokyo.clone(), values("service", &["cart", "pay"])),
        signed(tokyo.clone(), key("searches", 7, true)),
        signed(tokyo, Change::ApproveTransfer { to, basis, review_by }),
        assign("tokyo", 1, 0),
        head(1, 9, 4),
        Command::RecordErasure(erasure),
    ] {
        let applied = apply(&mut state, &command);
        assert!(!matches!(applied, Applied::Refused(_)), "{command:?}: {applied:?}");
    }
    state
}

/// Applies the steps in order; each must end as said.
#[track_caller]
fn check(steps: Vec<(Command, Applied)>) -> State {
    let mut state = world();
    for (place, (command, expected)) in steps.into_iter().enumerate() {
        let before = state.clone();
        let applied = apply(&mut state, &command);
        assert_eq!(applied, expected, "step {place}: {command:?}");
        if let Applied::Refused(_) = applied {
            assert_eq!(state, before, "step {place} was refused and changed something");
        }
    }
    state
}

fn refused(refusal: CommandRefusal) -> Applied {
    Applied::Refused(refusal)
}

#[test]
fn what_exists_is_answered_with_its_id() {
    check(vec![
        (Command::AddRegion { region: region("tokyo") }, Applied::Region(RegionNumber(1))),
        (Command::AddRegion { region: region("singapore") }, Applied::Region(RegionNumber(3))),
        (Command::CreateTenant { tenant: name("bolt") }, Applied::Tenant(TenantId(2))),
        (Command::CreateTenant { tenant: name("core") }, Applied::Tenant(TenantId(3))),
        (Command::CreateStream { tenant: TenantId(1), stream: name("app") }, Applied::Stream(StreamId(1))),
        (Command::CreateStream { tenant: TenantId(2), stream: name("app") }, Applied::Stream(StreamId(2))),
        (Command::CreateStream { tenant: TenantId(9), stream: name("app") }, refused(CommandRefusal::UnknownTenant)),
    ]);
}

#[test]
fn a_shard_moves_only_for_whoever_saw_its_epoch_and_only_within_its_region() {
    let state = check(vec![
        (assign("tokyo", 2, 0), refused(CommandRefusal::UnknownNode)),
        (assign("tokyo", 9, 0), refused(CommandRefusal::UnknownNode)),
        (assign("osaka", 1, 0), refused(CommandRefusal::UnknownRegion)),
        (assign("tokyo", 1, 1), refused(CommandRefusal::StaleEpoch)),
        (assign("tokyo", 1, u64::MAX), refused(CommandRefusal::StaleEpoch)),
        (assign("tokyo", 1, 0), Applied::Shard(ShardId(1), Epoch(1))),
        (assign("tokyo", 1, 0), Applied::Shard(ShardId(1), Epoch(1))),
        (signed(region("tokyo"), node(3, 7444)), Applied::Done),
        (assign("tokyo", 3, 0), refused(CommandRefusal::StaleEpoch)),
        (assign("tokyo", 3, 1), Applied::Shard(ShardId(1), Epoch(2))),
        (assign("tokyo", 1, 1), refused(CommandRefusal::StaleEpoch)),
        (assign("tokyo", 3, 2), Applied::Shard(ShardId(1), Epoch(3))),
        (assign("frankfurt", 2, 0), Applied::Shard(ShardId(2), Epoch(1))),
    ]);
    assert_eq!(state.shard(StreamId(1), &region("tokyo")).map(|row| row.owner), Some(NodeId(3)));
    assert_eq!(state.shard_with_id(ShardId(2)).map(|row| row.region.clone()), Some(region("frankfurt")));
}

#[test]
fn a_node_id_belongs_to_one_region_and_consent_is_not_displaced() {
    let state = check(vec![
        (signed(region("osaka"), node(5, 1)), refused(CommandRefusal::UnknownRegion)),
        (signed(region("frankfurt"), node(1, 7443)), refused(CommandRefusal::Taken)),
        (unsigned(region("tokyo"), node(1, 7443)), Applied::Done),
        (unsigned(region("tokyo"), node(1, 666)), refused(CommandRefusal::Taken)),
        (signed(region("tokyo"), node(1, 7500)), Applied::Done),
        (unsigned(region("tokyo"), node(7, 1)), Applied::Done),
        (signed(region("tokyo"), node(7, 2)), Applied::Done),
        (Command::RemoveNode { node: NodeId(2) }, Applied::Done),
        (Command::RemoveNode { node: NodeId(2) }, Applied::Done),
    ]);
    assert_eq!(state.node(NodeId(1)).map(|row| row.addr.port()), Some(7500));
    assert!(state.node(NodeId(7)).is_some_and(|row| row.signature.is_some() && row.addr.port() == 2));
    assert_eq!(state.node(NodeId(2)), None);
}

#[test]
fn a_key_does_not_change_and_is_found_by_its_hash_in_its_region_only() {
    let (tokyo, frankfurt) = (region("tokyo"), region("frankfurt"));
    let state = check(vec![
        (signed(tokyo.clone(), key("ops", 1, true)), Applied::Done),
        (signed(tokyo.clone(), key("ops", 1, true)), Applied::Done),
        (unsigned(tokyo.clone(), key("ops", 1, true)), Applied::Done),
        (signed(tokyo.clone(), key("ops", 1, false)), refused(CommandRefusal::Taken)),
        (signed(tokyo.clone(), key("other", 1, true)), refused(CommandRefusal::Taken)),
        (signed(frankfurt.clone(), key("ops", 2, true)), Applied::Done),
        (Command::RevokeKey { region: frankfurt.clone(), id: name("ops") }, Applied::Done),
        (Command::RevokeKey { region: frankfurt.clone(), id: name("ops") }, Applied::Done),
    ]);
    assert!(state.key_hashed(&tokyo, &[1; 32]).is_some_and(|row| row.signature.is_some()));
    assert_eq!(state.key_hashed(&frankfurt, &[1; 32]), None);
    assert_eq!(state.key_hashed(&frankfurt, &[2; 32]), None);
}

#[test]
fn fields_keep_their_ids_and_an_unsigned_policy_gets_none() {
    let tokyo = region("tokyo");
    let field = |state: &State, text: &str| state.field(StreamId(1), &name(text)).map(|field| field.0);
    let many: Vec<String> = (0..=MAX_GROUP_FIELDS).map(|n| format!("f{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let other = Change::SetPolicy { tenant: TenantId(2), stream: StreamId(1), policy: StreamPolicy::default() };
    let state = check(vec![
        (signed(tokyo.clone(), other), refused(CommandRefusal::UnknownStream)),
        (signed(tokyo.clone(), policy(&many, false)), refused(CommandRefusal::TooMany)),
        (signed(tokyo.clone(), policy(&["service", "level", "service"], true)), Applied::Done),
        (signed(region("frankfurt"), policy(&["host", "level"], false)), Applied::Done),
        (signed(tokyo.clone(), policy(&["level"], false)), Applied::Done),
        (unsigned(tokyo.clone(), policy(&["evil"], false)), refused(CommandRefusal::Unsigned)),
        (unsigned(tokyo.clone(), policy(&[], false)), Applied::Done),
        (signed(tokyo.clone(), policy(&many[..MAX_GROUP_FIELDS], false)), refused(CommandRefusal::TooMany)),
    ]);
    assert_eq!((field(&state, "service"), field(&state, "level"), field(&state, "host")), (Some(1), Some(0), Some(2)));
    assert_eq!(field(&state, "evil"), None);
    let row = state.policy(StreamId(1), &tokyo).unwrap();
    assert!(row.signed.is_some() && row.unsigned.is_some());
}

#[test]
fn a_signed_policy_clears_the_unsigned_one_and_each_change_has_its_version() {
    let tokyo = region("tokyo");
    let again = signed_at(2_000_000, tokyo.clone(), policy(&["level"], true));
    let state = check(vec![
        (signed(tokyo.clone(), policy(&["level"], true)), Applied::Done),
        (unsigned(tokyo.clone(), policy(&[], false)), Applied::Done),
        (unsigned(tokyo.clone(), policy(&[], false)), Applied::Done),
        (again.clone(), Applied::Done),
        (again, Applied::Done),
    ]);
    let row = state.policy(StreamId(1), &tokyo).unwrap();
    assert_eq!(row.unsigned, None);
    // Two nodes in `world`, then three changes; the two repetitions count nothing.
    assert_eq!(state.policy_version(), PolicyVersion(5));
    assert_eq!(row.signed.as_ref().map(|(version, _)| *version), Some(PolicyVersion(5)));
}

#[test]
fn a_text_enters_with_an_officers_word_and_goes_with_the_last_one() {
    let (tokyo, frankfurt) = (region("tokyo"), region("frankfurt"));
    let id = |n: u32| DictionaryId(FIRST_APPROVED_ID + n);
    let revoke = |region: &Region, tenant: u32, n: u32| Command::RevokeValue {
        region: region.clone(),
        tenant: TenantId(tenant),
        id: id(n),
    };
    let state = check(vec![
        (unsigned(tokyo.clone(), values("service", &["cart"])), refused(CommandRefusal::Unsigned)),
        (
            signed(tokyo.clone(), values("service", &["cart", "pay", "cart"])),
            Applied::Values(vec![id(0), id(1), id(0)]),
        ),
        (signed(frankfurt.clone(), values("service", &["pay", "mail"])), Applied::Values(vec![id(1), id(2)])),
        (signed(tokyo.clone(), values("host", &["pay"])), Applied::Values(vec![id(3)])),
        (revoke(&tokyo, 2, 1), refused(CommandRefusal::UnknownTenant)),
        (revoke(&tokyo, 1, 1), Applied::Done),
        (revoke(&tokyo, 1, 0), Applied::Done),
        (revoke(&tokyo, 1, 0), Applied::Done),
        (signed(tokyo.clone(), values("service", &["cart"])), Applied::Values(vec![id(4)])),
    ]);
    let text = |text: &str| ApprovedValue::try_from(text.to_owned()).unwrap();
    assert_eq!(state.value_id(TenantId(1), &name("service"), &text("pay")), Some(id(1)));
    assert_eq!(state.value_id(TenantId(1), &name("service"), &text("cart")), Some(id(4)));
    assert_eq!(state.value(id(0)), None);
    let regions: Vec<&Region> = state.value(id(1)).unwrap().approvals.iter().map(|(region, _)| region).collect();
    assert_eq!(regions, [&frankfurt]);
    assert_eq!(state.values_of(TenantId(1), &name("service")).count(), 3);
}

#[test]
fn a_dictionary_has_its_bounds() {
    let mut state = world();
    let texts: Vec<String> = (0..=MAX_VALUES_PER_FIELD).map(|n| format!("v{n}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let too_many = signed(region("tokyo"), values("service", &texts[..=MAX_VALUES_PER_APPROVAL]));
    assert_eq!(apply(&mut state, &too_many), refused(CommandRefusal::TooMany));
    for chunk in texts[..MAX_VALUES_PER_FIELD].chunks(MAX_VALUES_PER_APPROVAL) {
        let approval = signed(region("tokyo"), values("service", chunk));
        assert!(matches!(apply(&mut state, &approval), Applied::Values(_)));
    }
    let one_more = signed(region("frankfurt"), values("service", &texts[MAX_VALUES_PER_FIELD..]));
    assert_eq!(apply(&mut state, &one_more), refused(CommandRefusal::TooMany));
    let known = signed(region("frankfurt"), values("service", &texts[..3]));
    assert!(matches!(apply(&mut state, &known), Applied::Values(_)));
    let elsewhere = signed(region("tokyo"), values("host", &texts[..1]));
    assert!(matches!(apply(&mut state, &elsewhere), Applied::Values(_)));
}

#[test]
fn a_row_never_outgrows_its_frame() {
    let mut state = world();
    let long: Vec<String> = (0..MAX_VALUES_PER_APPROVAL).map(|n| format!("{n:0>4}{}", "長".repeat(60))).collect();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    let mut outcomes = Vec::new();
    for n in 0..12 {
        let place = region(&format!("region-{n}"));
        apply(&mut state, &Command::AddRegion { region: place.clone() });
        outcomes.push(apply(&mut state, &signed(place, values("service", &long))));
    }
    assert!(outcomes.contains(&refused(CommandRefusal::TooMany)), "the bound was never met");
    assert!(state.rows().all(|row| codec::encode(&row).is_ok()));
}

#[test]
fn streams_of_a_tenant_have_their_bound() {
    let mut state = world();
    for n in 1..MAX_STREAMS_PER_TENANT {
        let command = Command::CreateStream { tenant: TenantId(1), stream: name(&format!("s{n}")) };
        assert!(matches!(apply(&mut state, &command), Applied::Stream(_)));
    }
    let more = |tenant: u32, text: &str| Command::CreateStream { tenant: TenantId(tenant), stream: name(text) };
    assert_eq!(apply(&mut state, &more(1, "one-more")), refused(CommandRefusal::TooMany));
    assert_eq!(apply(&mut state, &more(1, "app")), Applied::Stream(StreamId(1)));
    assert!(matches!(apply(&mut state, &more(2, "one-more")), Applied::Stream(_)));
}

#[test]
fn a_ledger_head_only_grows() {
    let state = check(vec![
        (head(9, 1, 1), refused(CommandRefusal::UnknownRegion)),
        (head(1, 5, 1), Applied::Done),
        (head(1, 5, 1), Applied::Done),
        (head(1, 5, 2), refused(CommandRefusal::OldHead)),
        (head(1, 4, 1), refused(CommandRefusal::OldHead)),
        (head(1, 6, 3), Applied::Done),
    ]);
    assert_eq!(state.head(RegionNumber(1)).map(|head| head.size), Some(6));
}

#[test]
fn rows_that_are_no_state_are_refused() {
    let rows: Vec<Row> = world().rows().collect();
    assert_eq!(State::from_rows([]), Err(RowsError::Counters));
    assert_eq!(State::from_rows(rows[1..].to_vec()), Err(RowsError::Counters));
    for place in 0..rows.len() {
        let mut doubled = rows.clone();
        doubled.insert(place, rows[place].clone());
        assert!(State::from_rows(doubled).is_err(), "row {place} twice");
    }
    let without_regions = rows.iter().filter(|row| !matches!(row, Row::Region { .. })).cloned();
    assert_eq!(State::from_rows(without_regions), Err(RowsError::Dangling));
}

fn any_command() -> impl Strategy<Value = Command> {
    let place = prop::sample::select(vec!["tokyo", "frankfurt", "osaka"]).prop_map(region);
    let word = prop::sample::select(vec!["app", "web", "level", "service"]);
    let change = prop_oneof![
        (1..4_u64, 1..3_u16).prop_map(|(id, port)| node(id, port)),
        (word.clone(), 0..3_u8, any::<bool>()).prop_map(|(id, hash, search)| key(id, hash, search)),
        prop::sample::select(vec!["tokyo", "frankfurt"]).prop_map(speaks),
        (prop::collection::vec(word.clone(), 0..4), any::<bool>()).prop_map(|(fields, text)| policy(&fields, text)),
        (word.clone(), prop::collection::vec(word.clone(), 0..4)).prop_map(|(field, texts)| values(field, &texts)),
        (place.clone(), 0..2_u32).prop_map(|(to, day)| Change::ApproveTransfer {
            to,
            basis: TransferBasis::Contract,
            review_by: Day(day)
        }),
    ];
    let ways = place.clone();
    let regional = (place.clone(), change).prop_map(|(place, change)| unsigned(place, change));
    prop_oneof![
        place.clone().prop_map(|region| Command::AddRegion { region }),
        word.clone().prop_map(|text| Command::CreateTenant { tenant: name(text) }),
        (1..4_u32, word.clone())
            .prop_map(|(tenant, text)| Command::CreateStream { tenant: TenantId(tenant), stream: name(text) }),
        (place.clone(), 1..4_u64, 0..3_u64).prop_map(|(place, owner, seen)| assign(place.as_str(), owner, seen)),
        regional.clone(),
        regional,
        (1..4_u64).prop_map(|node| Command::RemoveNode { node: NodeId(node) }),
        (place.clone(), word).prop_map(|(region, text)| Command::RevokeKey { region, id: name(text) }),
        (place, 1..3_u32, 0..6_u32).prop_map(|(region, tenant, n)| Command::RevokeValue {
            region,
            tenant: TenantId(tenant),
            id: DictionaryId(FIRST_APPROVED_ID + n)
        }),
        (1..4_u16, 0..3_u64, 0..2_u8).prop_map(|(region, size, root)| head(region, size, root)),
        (ways.clone(), ways).prop_map(|(from, to)| Command::RevokeTransfer { from, to }),
    ]
}

/// Commands of which the regional ones are signed here and there, some of them with a serial that is not the newest.
fn any_commands(most: usize, first: u64) -> impl Strategy<Value = Vec<Command>> {
    let step = (any_command(), prop::bool::weighted(0.7), prop_oneof![3 => Just(0), 1 => 1..4_u64]);
    prop::collection::vec(step, 0..most).prop_map(move |steps| {
        let numbered = steps.into_iter().zip(first..);
        let sign = |((command, is_signed, back), serial): ((Command, bool, u64), u64)| match command {
            Command::Regional(change) if is_signed => signed_at(serial - back, change.region, change.change),
            other => other,
        };
        numbered.map(sign).collect()
    })
}

fn bytes(state: &State) -> Vec<u8> {
    state.rows().flat_map(|row| codec::encode(&row).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_same_commands_give_the_same_bytes(commands in any_commands(60, 5)) {
        let (mut one, mut other) = (State::default(), State::default());
        for command in &commands {
            prop_assert_eq!(apply(&mut one, command), apply(&mut other, command));
        }
        prop_assert_eq!(bytes(&one), bytes(&other));
    }

    #[test]
    fn a_state_is_its_rows(
        commands in any_commands(60, 5),
        more in any_commands(20, 63),
    ) {
        let mut state = world();
        commands.iter().for_each(|command| drop(apply(&mut state, command)));
        prop_assert_eq!(state.rows().count() as u64, state.row_count());
        let mut again = State::from_rows(state.rows()).unwrap();
        prop_assert_eq!(&again, &state);
        // Also what is not in the rows, the ways from names to ids, must be there: further commands tell.
        for command in &more {
            prop_assert_eq!(apply(&mut again, command), apply(&mut state, command));
        }
        prop_assert_eq!(&again, &state);
    }

    #[test]
    fn a_repeated_command_changes_nothing_and_a_refused_one_neither(
        commands in any_commands(60, 5),
    ) {
        let mut state = world();
        for command in &commands {
            let before = state.clone();
            let first = apply(&mut state, command);
            if matches!(first, Applied::Refused(_)) {
                prop_assert_eq!(&state, &before);
            }
            let once = state.clone();
            prop_assert_eq!(apply(&mut state, command), first);
            prop_assert_eq!(&state, &once);
        }
    }
}

#[path = "attack_test.rs"]
mod attack;
#[path = "consent_test.rs"]
mod consent;
