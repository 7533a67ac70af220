//! Which rows a region honours: signed, unsigned, signed by another officer, signed for something else.

use domicile_proto::ids::{
    ConsentSerial, DictionaryId, Epoch, FieldId, KThreshold, NodeId, PolicyVersion, RegionNumber, ShardId,
};
use domicile_proto::metadata::{AccessKey, Counters, Roles, Rows};
use domicile_proto::officer::OfficerKey;
use domicile_proto::privacy::{Action, Basis, PersonalClass, Privacy};

use super::*;
use crate::policy::honoured::Honoured;

struct Officers {
    ours: OfficerKey,
    theirs: OfficerKey,
}

impl Officers {
    fn new() -> Self {
        let key = || OfficerKey::from_pkcs8(&OfficerKey::generate().expect("random")).expect("just made");
        Self { ours: key(), theirs: key() }
    }

    fn consents(&self) -> Consents {
        Consents::new(tokyo(), self.ours.public(), Honoured::forgetful())
    }
}

fn tokyo() -> Region {
    "tokyo".parse().expect("a name")
}

fn frankfurt() -> Region {
    "frankfurt".parse().expect("a name")
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

const TENANT: TenantId = TenantId(1);
const STREAM: StreamId = StreamId(7);
const SERIAL: ConsentSerial = ConsentSerial(1);

fn ground() -> Vec<Row> {
    let counters = Counters { region: 3, tenant: 2, stream: 8, shard: 2, value: 70, policy: PolicyVersion(9) };
    vec![
        Row::Counters(counters),
        Row::Region { region: frankfurt(), number: RegionNumber(2) },
        Row::Region { region: tokyo(), number: RegionNumber(1) },
        Row::Tenant { id: TENANT, name: name("default") },
        Row::Stream(StreamRow { id: STREAM, tenant: TENANT, name: name("app"), fields: vec![name("service")] }),
        Row::Shard(ShardRow { id: ShardId(1), stream: STREAM, region: tokyo(), owner: NodeId(1), epoch: Epoch(1) }),
    ]
}

fn open_policy() -> StreamPolicy {
    StreamPolicy {
        personal: Personal::Subject(name("user")),
        group_fields: vec![name("service")],
        text_questions: true,
        ..StreamPolicy::default()
    }
}

/// What stands of [`open_policy`] where it is not honoured: nothing is let out, and its subject is replaced all the same.
fn shut_policy() -> StreamPolicy {
    StreamPolicy { personal: open_policy().personal, k: Some(KThreshold::RECORDS), ..StreamPolicy::default() }
}

fn set_policy(policy: StreamPolicy) -> Change {
    Change::SetPolicy { tenant: TENANT, stream: STREAM, policy }
}

fn policy_of(row: PolicyRow, officers: &Officers) -> StreamPolicy {
    let mut rows = ground();
    rows.push(Row::Policy(row));
    let built = Policy::build(rows, &mut officers.consents());
    built.stream(TENANT, &name("app")).expect("known").policy.clone()
}

#[test]
fn honours_a_policy_only_with_its_own_officers_signature() {
    let officers = Officers::new();
    let unsigned = RegionalChange { region: tokyo(), change: set_policy(open_policy()), signature: None };
    let other_stream = Change::SetPolicy { tenant: TENANT, stream: StreamId(8), policy: open_policy() };
    let mut altered = officers.ours.sign(tokyo(), SERIAL, set_policy(StreamPolicy::default()));
    altered.change = set_policy(open_policy());
    for (case, change, expected) in [
        ("own officer", officers.ours.sign(tokyo(), SERIAL, set_policy(open_policy())), open_policy()),
        ("no signature", unsigned, shut_policy()),
        ("another officer", officers.theirs.sign(tokyo(), SERIAL, set_policy(open_policy())), shut_policy()),
        (
            "signed for another region",
            officers.ours.sign(frankfurt(), SERIAL, set_policy(open_policy())),
            shut_policy(),
        ),
        ("signed for another stream", officers.ours.sign(tokyo(), SERIAL, other_stream), StreamPolicy::default()),
        ("altered after signing", altered, shut_policy()),
    ] {
        let row =
            PolicyRow { stream: STREAM, region: tokyo(), signed: Some((PolicyVersion(3), change)), unsigned: None };
        assert_eq!(policy_of(row, &officers), expected, "{case}");
    }
}

#[test]
fn an_unsigned_policy_may_only_narrow_what_holds() {
    let officers = Officers::new();
    let signed = Some((PolicyVersion(3), officers.ours.sign(tokyo(), SERIAL, set_policy(open_policy()))));
    let narrower = StreamPolicy { text_questions: false, ..open_policy() };
    let wider = StreamPolicy { personal: Personal::No, k: Some(KThreshold::NON_PERSONAL), ..open_policy() };
    let row = |signed, unsigned| PolicyRow { stream: STREAM, region: tokyo(), signed, unsigned };
    let case =
        |signed, policy: &StreamPolicy| policy_of(row(signed, Some((PolicyVersion(4), policy.clone()))), &officers);
    assert_eq!(case(signed.clone(), &narrower), narrower);
    assert_eq!(case(signed, &wider), open_policy());
    let forged = Some((PolicyVersion(3), officers.theirs.sign(tokyo(), SERIAL, set_policy(open_policy()))));
    assert_eq!(case(forged, &narrower), shut_policy(), "narrower than a forgery is still wider than nothing");
}

#[test]
fn an_unsigned_policy_gives_no_subject_up_even_where_the_group_took_it() {
    let officers = Officers::new();
    let signed = officers.ours.sign(tokyo(), SERIAL, set_policy(open_policy()));
    // What `stream revoke` sent before: nothing more leaves, and nobody's values were replaced any more.
    let given_up = StreamPolicy::default();
    let row = |unsigned: Option<&StreamPolicy>| {
        let unsigned = unsigned.map(|policy| (PolicyVersion(4), policy.clone()));
        PolicyRow { stream: STREAM, region: tokyo(), signed: Some((PolicyVersion(3), signed.clone())), unsigned }
    };
    assert_eq!(policy_of(row(Some(&given_up)), &officers), shut_policy(), "closed as it was, and replaced as before");
    let mut consents = officers.consents();
    let mut holds = |row: PolicyRow, version| {
        let built = Policy::build(ground().into_iter().chain([Row::Policy(row)]), &mut consents);
        consents.conclude(PolicyVersion(version)).expect("kept in memory");
        built.stream(TENANT, &name("app")).expect("known").policy.clone()
    };
    assert_eq!(holds(row(Some(&given_up)), 10), shut_policy());
    assert_eq!(holds(row(None), 11), shut_policy(), "and it stays closed");
    // A node of before has remembered it as it was said.
    let object = Object::policy(TENANT, STREAM);
    let mut honoured = Honoured::forgetful();
    assert!(honoured.honour(object.clone(), SERIAL));
    assert_eq!(honoured.narrow(&object, &given_up, given_up.clone()), given_up);
    let older = StreamPolicy { text_questions: true, ..given_up.clone() };
    assert_eq!(honoured.narrow(&object, &older, given_up.clone()), given_up);
    assert_eq!(honoured.narrow(&object, &open_policy(), open_policy()), shut_policy());
}

#[test]
fn what_is_not_honoured_is_replaced_at_least_as_the_last_honoured_policy_did() {
    let officers = Officers::new();
    let mut consents = officers.consents();
    let keep = (PersonalClass::Ip, Action::Keep(Basis::NotPersonal));
    let privacy = Privacy::new([(PersonalClass::Email, Action::DropEvent), keep], vec![name("seat")]);
    let policy = StreamPolicy { privacy, ..open_policy() };
    let signed = officers.ours.sign(tokyo(), SERIAL, set_policy(policy.clone()));
    let mut version = 9;
    let mut holds = |signed: Option<RegionalChange>, consents: &mut Consents| {
        version += 1;
        let signed = signed.map(|change| (PolicyVersion(3), change));
        let row = signed.map(|signed| {
            Row::Policy(PolicyRow { stream: STREAM, region: tokyo(), signed: Some(signed), unsigned: None })
        });
        let built = Policy::build(ground().into_iter().chain(row), consents);
        consents.conclude(PolicyVersion(version)).expect("kept in memory");
        built.stream(TENANT, &name("app")).expect("known").policy.clone()
    };
    assert_eq!(holds(Some(signed.clone()), &mut consents), policy);
    // What another state has in its place keeps nothing in the clear that was replaced, and gives up what was kept in the clear.
    let other = StreamPolicy { personal: Personal::Subject(name("session")), ..StreamPolicy::default() };
    let forged = officers.theirs.sign(tokyo(), ConsentSerial(2), set_policy(other));
    let drops = |fields| Privacy::new([(PersonalClass::Email, Action::DropEvent)], fields);
    let found = holds(Some(forged), &mut consents);
    assert_eq!(found, StreamPolicy { privacy: drops(vec![name("seat"), name("session")]), ..shut_policy() });
    let gone = StreamPolicy { privacy: drops(vec![name("seat")]), ..shut_policy() };
    assert_eq!(holds(None, &mut consents), gone, "or none at all");
    // The officer's key was changed: its memory is another one, and the old policy still stands there. Only fields are taken of it.
    let mut successor = Consents::new(tokyo(), officers.theirs.public(), Honoured::forgetful());
    let fields = StreamPolicy { privacy: Privacy::new([], vec![name("seat")]), ..shut_policy() };
    assert_eq!(holds(Some(signed), &mut successor), fields);
    // What the officer signs anew holds as it is.
    let plain = StreamPolicy { personal: Personal::No, ..StreamPolicy::default() };
    let newer = officers.ours.sign(tokyo(), ConsentSerial(3), set_policy(plain.clone()));
    assert_eq!(holds(Some(newer), &mut consents), plain);
    assert_eq!(holds(None, &mut consents), StreamPolicy::default(), "and nothing older comes back");
}

#[test]
fn another_regions_policy_changes_nothing_here() {
    let officers = Officers::new();
    let change = officers.ours.sign(frankfurt(), SERIAL, set_policy(open_policy()));
    let row =
        PolicyRow { stream: STREAM, region: frankfurt(), signed: Some((PolicyVersion(3), change)), unsigned: None };
    assert_eq!(policy_of(row, &officers), StreamPolicy::default());
}

#[test]
fn keys_open_only_with_consent_and_only_here() {
    let officers = Officers::new();
    let key = |hash| AccessKey {
        id: name("k"),
        tenant: TENANT,
        hash: [hash; 32],
        roles: Roles { search: true, ..Roles::default() },
        rows: Rows::Redacted,
    };
    let row = |region: Region, hash, by: Option<&OfficerKey>| {
        let signature = by.and_then(|by| by.sign(region.clone(), SERIAL, Change::AddKey(key(hash))).signature);
        Row::Key(KeyRow { region, key: key(hash), signature })
    };
    let mut rows = ground();
    rows.push(row(tokyo(), 1, Some(&officers.ours)));
    rows.push(row(tokyo(), 2, Some(&officers.theirs)));
    rows.push(row(tokyo(), 3, None));
    rows.push(row(frankfurt(), 4, Some(&officers.ours)));
    let Row::Key(mut promoted) = row(tokyo(), 5, Some(&officers.ours)) else { unreachable!() };
    promoted.key.roles.admin = true;
    rows.push(Row::Key(promoted));
    let built = Policy::build(rows, &mut officers.consents());
    assert_eq!(built.keys.keys().collect::<Vec<_>>(), [&[1_u8; 32]]);
}

#[test]
fn own_nodes_need_consent_and_others_do_not() {
    let officers = Officers::new();
    let addr = "127.0.0.1:7443".parse().expect("an address");
    let node = |id: u64, region: Region, by: Option<&OfficerKey>| {
        let change = Change::AddNode { node: NodeId(id), addr };
        let signature = by.and_then(|by| by.sign(region.clone(), SERIAL, change).signature);
        Row::Node(NodeRow { node: NodeId(id), region, addr, signature })
    };
    let mut rows = ground();
    rows.push(node(1, tokyo(), Some(&officers.ours)));
    rows.push(node(2, tokyo(), None));
    rows.push(node(3, tokyo(), Some(&officers.theirs)));
    rows.push(node(4, frankfurt(), Some(&officers.theirs)));
    let built = Policy::build(rows, &mut officers.consents());
    assert_eq!(built.nodes.keys().map(|node| node.0).collect::<Vec<_>>(), [1, 4]);
}

#[test]
fn a_value_is_readable_everywhere_and_leaves_only_with_consent() {
    let officers = Officers::new();
    let value = |text: &str| domicile_proto::metadata::ApprovedValue::try_from(text.to_owned()).expect("a value");
    let approve =
        |text: &str| Change::ApproveValues { tenant: TENANT, field: name("service"), values: vec![value(text)] };
    let row = |id: u32, text: &str, approvals: Vec<(Region, RegionalChange)>| {
        Row::Value(ValueRow {
            id: DictionaryId(id),
            tenant: TENANT,
            field: name("service"),
            value: value(text),
            approvals,
        })
    };
    let mut rows = ground();
    rows.push(row(64, "pay", vec![(tokyo(), officers.ours.sign(tokyo(), SERIAL, approve("pay")))]));
    rows.push(row(65, "web", vec![(frankfurt(), officers.theirs.sign(frankfurt(), SERIAL, approve("web")))]));
    rows.push(row(66, "spy", vec![(tokyo(), officers.theirs.sign(tokyo(), SERIAL, approve("spy")))]));
    rows.push(row(67, "borrowed", vec![(tokyo(), officers.ours.sign(tokyo(), SERIAL, approve("pay")))]));
    let built = Policy::build(rows, &mut officers.consents());
    let dictionary = built.dictionary(TENANT, &name("service"));
    assert_eq!(dictionary.texts.len(), 4);
    assert_eq!(dictionary.approved.keys().map(|id| id.0).collect::<Vec<_>>(), [64]);
    let levels = built.dictionary(TENANT, &name("level"));
    assert_eq!(levels.approved.get(&Level::Error.dictionary_id()).map(String::as_str), Some("ERROR"));
}

#[test]
fn the_memory_of_consents_changes_no_verdict_and_does_not_grow() {
    let officers = Officers::new();
    let mut consents = officers.consents();
    let good = officers.ours.sign(tokyo(), SERIAL, set_policy(open_policy()));
    let forged = officers.theirs.sign(tokyo(), SERIAL, set_policy(open_policy()));
    for _ in 0..3 {
        assert!(consents.hold(&good));
        assert!(!consents.hold(&forged));
        consents.forget_unused();
    }
    consents.forget_unused();
    assert!(consents.hold(&good));
    assert!(!consents.hold(&RegionalChange { signature: None, ..good }));
}

#[test]
fn shows_the_shard_of_this_region_and_field_ids_that_are_allowed_here() {
    let officers = Officers::new();
    let mut rows = ground();
    let change = officers.ours.sign(tokyo(), SERIAL, set_policy(open_policy()));
    let row = PolicyRow { stream: STREAM, region: tokyo(), signed: Some((PolicyVersion(3), change)), unsigned: None };
    rows.push(Row::Policy(row));
    let built = Policy::build(rows, &mut officers.consents());
    let view = built.stream(TENANT, &name("app")).expect("known");
    assert_eq!(view.shard, Some((ShardId(1), NodeId(1))));
    assert_eq!(view.allowed("service"), Some(FieldId(0)));
    assert_eq!(view.allowed("user"), None);
    assert_eq!(built.version, PolicyVersion(9));
}

#[test]
fn a_state_that_was_rewritten_opens_nothing_again() {
    let officers = Officers::new();
    let mut consents = officers.consents();
    let sign = |serial, change| officers.ours.sign(tokyo(), ConsentSerial(serial), change);
    let key = AccessKey {
        id: name("k"),
        tenant: TENANT,
        hash: [1; 32],
        roles: Roles { search: true, ..Roles::default() },
        rows: Rows::Redacted,
    };
    let addr = "127.0.0.1:7443".parse().expect("an address");
    let value = domicile_proto::metadata::ApprovedValue::try_from("pay".to_owned()).expect("a value");
    let approval = Change::ApproveValues { tenant: TENANT, field: name("service"), values: vec![value.clone()] };
    let of_key = sign(1, Change::AddKey(key.clone())).signature;
    let of_node = sign(2, Change::AddNode { node: NodeId(5), addr }).signature;
    let policy = |change, unsigned: Option<StreamPolicy>| {
        let unsigned = unsigned.map(|policy| (PolicyVersion(5), policy));
        Row::Policy(PolicyRow { stream: STREAM, region: tokyo(), signed: Some((PolicyVersion(4), change)), unsigned })
    };
    let granted = [
        Row::Key(KeyRow { region: tokyo(), key, signature: of_key }),
        Row::Node(NodeRow { node: NodeId(5), region: tokyo(), addr, signature: of_node }),
        Row::Value(ValueRow {
            id: DictionaryId(64),
            tenant: TENANT,
            field: name("service"),
            value,
            approvals: vec![(tokyo(), sign(3, approval))],
        }),
        policy(sign(4, set_policy(open_policy())), None),
    ];
    let mut version = 10;
    let mut state = |rows: &[Row]| {
        version += 1;
        let all = ground().into_iter().chain(rows.iter().cloned());
        let built = Policy::build(all, &mut consents);
        consents.conclude(PolicyVersion(version)).expect("written");
        let approved = built.dictionary(TENANT, &name("service")).approved.len();
        let text = built.stream(TENANT, &name("app")).expect("known").policy.text_questions;
        (built.keys.len(), built.nodes.len(), approved, text)
    };
    assert_eq!(state(&granted), (1, 1, 1, true));
    let narrower = StreamPolicy { text_questions: false, ..open_policy() };
    assert_eq!(state(&[policy(sign(4, set_policy(open_policy())), Some(narrower))]), (0, 0, 0, false));
    assert_eq!(state(&granted), (0, 0, 0, false), "everything was put back as it was");
    let newer = sign(9, set_policy(StreamPolicy::default()));
    assert_eq!(state(&[policy(newer, None)]), (0, 0, 0, false));
    assert_eq!(state(&granted), (0, 0, 0, false), "an older policy in place of a newer one");
    assert_eq!(state(&[policy(sign(10, set_policy(open_policy())), None)]), (0, 0, 0, true), "signed again");
}

#[test]
fn a_lowered_threshold_is_seen_and_a_raised_one_is_none() {
    let of = |k: u32| {
        let mut policy = Policy::empty("tokyo".parse().unwrap());
        let k = std::num::NonZeroU32::new(k).map(KThreshold);
        let personal = Personal::Subject("user".parse().unwrap());
        let view = StreamView {
            id: StreamId(4),
            tenant: TenantId(1),
            name: "app".parse().unwrap(),
            fields: Vec::new(),
            policy: StreamPolicy { personal, k, ..StreamPolicy::default() },
            shard: None,
        };
        policy.streams.insert((TenantId(1), view.name.clone()), Arc::new(view));
        policy
    };
    let lowered = of(4).lowered_since(&of(9));
    let ks: Vec<_> = lowered.iter().map(|(id, from, to)| (id.0, from.get(), to.get())).collect();
    assert_eq!(ks, [(4, 9, 4)]);
    assert!(of(9).lowered_since(&of(4)).is_empty() && of(4).lowered_since(&of(4)).is_empty());
    // Below the floor nothing is lowered, whatever is written.
    assert!(of(1).lowered_since(&of(3)).is_empty());
    assert!(of(4).lowered_since(&Policy::empty("tokyo".parse().unwrap())).is_empty());
}

/// Days that an unhonoured policy keeps records for, by memory and state.
fn kept(signed: Option<RegionalChange>, consents: &mut Consents) -> Option<u16> {
    let mut rows = ground();
    let signed = signed.map(|change| (PolicyVersion(3), change));
    rows.extend(signed.map(|signed| {
        Row::Policy(PolicyRow { stream: STREAM, region: tokyo(), signed: Some(signed), unsigned: None })
    }));
    let built = Policy::build(rows, consents);
    consents.conclude(PolicyVersion(9)).expect("kept in memory");
    built.kept_longer.get(&STREAM).map(|days| days.get())
}

#[test]
fn a_policy_that_is_no_longer_honoured_still_keeps_records_as_long_as_it_said() {
    let officers = Officers::new();
    let days = |days: u16| set_policy(StreamPolicy { retention_days: days.try_into().ok(), ..open_policy() });
    let mut consents = officers.consents();
    let signed = officers.ours.sign(tokyo(), SERIAL, days(400));
    assert_eq!(kept(Some(signed.clone()), &mut consents), None, "it is honoured, and says so itself");
    // Another state stands in its place, with a shorter period that nobody of the region signed.
    let forged = officers.theirs.sign(tokyo(), ConsentSerial(2), days(1));
    assert_eq!(kept(Some(forged), &mut consents), Some(400));
    assert_eq!(kept(None, &mut consents), Some(400), "or none at all");
    // The officer's key was changed: the memory is another one, and the old policy still stands there.
    let mut successor = Consents::new(tokyo(), officers.theirs.public(), Honoured::forgetful());
    assert_eq!(kept(Some(signed), &mut successor), Some(400));
    // A shorter period that the officer signed holds.
    let shorter = officers.ours.sign(tokyo(), ConsentSerial(3), days(30));
    assert_eq!(kept(Some(shorter), &mut consents), None);
    let unsigned = RegionalChange { region: tokyo(), change: days(7), signature: None };
    assert_eq!(kept(Some(unsigned), &mut consents), Some(30));
}

#[test]
fn records_are_kept_for_the_longer_of_two_periods() {
    let mut policy = Policy::build(ground(), &mut Officers::new().consents());
    let stream = Arc::clone(policy.stream(TENANT, &name("app")).expect("known"));
    assert_eq!(policy.days_kept(&stream, 90), 90);
    policy.kept_longer.insert(STREAM, 400.try_into().expect("some"));
    assert_eq!(policy.days_kept(&stream, 90), 400);
    assert_eq!(policy.days_kept(&stream, 500), 500);
}

#[test]
fn fields_that_a_policy_named_are_known_when_it_names_others() {
    let officers = Officers::new();
    let mut consents = officers.consents();
    let mut build = |serial: u64, subject: &str, declared: Vec<Name>| {
        let (personal, privacy) = (Personal::Subject(name(subject)), Privacy::new([], declared));
        let policy = StreamPolicy { personal, privacy, ..open_policy() };
        let change = officers.ours.sign(tokyo(), ConsentSerial(serial), set_policy(policy));
        let signed = Some((PolicyVersion(serial), change));
        let mut rows = ground();
        rows.push(Row::Policy(PolicyRow { stream: STREAM, region: tokyo(), signed, unsigned: None }));
        let built = Policy::build(rows, &mut consents);
        consents.conclude(PolicyVersion(serial)).expect("kept in memory");
        built
    };
    assert_eq!(build(1, "uid", vec![name("city")]).subject_fields(TENANT), [name("uid")].into());
    let built = build(2, "user_id", Vec::new());
    assert_eq!(built.subject_fields(TENANT), [name("uid"), name("user_id")].into());
    assert_eq!(built.whole_classes(TENANT), [PersonalClass::Subject, PersonalClass::Declared]);
    assert!(built.subject_fields(TenantId(2)).is_empty() && built.whole_classes(TenantId(2)).is_empty());
    // What nobody of the region signed is none of its fields.
    let forged = StreamPolicy { personal: Personal::Subject(name("forged")), ..open_policy() };
    let signed = Some((PolicyVersion(3), officers.theirs.sign(tokyo(), ConsentSerial(3), set_policy(forged))));
    let mut rows = ground();
    rows.push(Row::Policy(PolicyRow { stream: STREAM, region: tokyo(), signed, unsigned: None }));
    let built = Policy::build(rows, &mut consents);
    assert_eq!(built.subject_fields(TENANT), [name("uid"), name("user_id")].into());
}
