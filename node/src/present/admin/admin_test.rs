//! Who may change what, and with whose consent.

use std::sync::atomic::Ordering;

use domicile_proto::ids::{ConsentSerial, KThreshold, NodeId, Region, StreamId, TenantId};
use domicile_proto::metadata::{
    AccessKey, ApprovedValue, Change, Command, Durability, Personal, RegionalChange, Roles, Rows, StreamPolicy,
};
use domicile_proto::officer::OfficerKey;
use domicile_proto::privacy::{Action, Basis, PersonalClass, Privacy};
use domicile_proto::region_key::RegionKey;
use serde_json::{Value, json};

use crate::present::world::{ADMIN, OTHER_ADMIN, SEARCH, World, ask, name};

fn tokyo() -> Region {
    Region(name("tokyo"))
}

fn frankfurt() -> Region {
    Region(name("frankfurt"))
}

async fn decide(world: &World, with: u8, commands: &[Command]) -> (u16, Value) {
    let body = json!({"commands": commands}).to_string();
    let answer = ask(world.native(), with, "POST", "/api/v1/admin/commands", body).await;
    (answer.status.as_u16(), answer.json())
}

fn unsigned(region: Region, change: Change) -> Command {
    Command::Regional(RegionalChange { region, change, signature: None })
}

fn policy(policy: StreamPolicy) -> Change {
    Change::SetPolicy { tenant: TenantId(1), stream: StreamId(1), policy }
}

fn new_key(tenant: TenantId) -> Change {
    let roles = Roles { search: true, ..Roles::default() };
    Change::AddKey(AccessKey { id: name("more"), tenant, hash: [9; 32], roles, rows: Rows::None })
}

fn approve(value: &str) -> Change {
    let value = ApprovedValue::try_from(value.to_owned()).expect("a value");
    Change::ApproveValues { tenant: TenantId(1), field: name("service"), values: vec![value] }
}

#[tokio::test]
async fn widening_needs_this_regions_officer_and_narrowing_nobody() {
    let world = World::new();
    let wide = StreamPolicy { personal: Personal::No, text_questions: true, ..StreamPolicy::default() };
    let other = OfficerKey::from_pkcs8(&OfficerKey::generate().expect("random")).expect("just made");
    let privacy = Privacy::new([(PersonalClass::Ip, Action::Keep(Basis::NotPersonal))], Vec::new());
    let widest = StreamPolicy { privacy, ..wide.clone() };
    let in_bucket = StreamPolicy { durability: Durability::Bucket, ..StreamPolicy::default() };
    for (case, command, status) in [
        ("signed", Command::Regional(world.officer.sign(tokyo(), ConsentSerial(1), policy(widest.clone()))), 200),
        ("unsigned and wider", unsigned(tokyo(), policy(widest.clone())), 403),
        ("unsigned and narrower", unsigned(tokyo(), policy(StreamPolicy::default())), 200),
        ("another officer", Command::Regional(other.sign(tokyo(), ConsentSerial(1), policy(widest.clone()))), 403),
        (
            "a stranger's consent abroad",
            Command::Regional(other.sign(frankfurt(), ConsentSerial(1), policy(widest))),
            403,
        ),
        ("an unsigned bucket", unsigned(tokyo(), policy(in_bucket.clone())), 403),
        ("a signed bucket", Command::Regional(world.officer.sign(tokyo(), ConsentSerial(1), policy(in_bucket))), 200),
        ("an unsigned key", unsigned(tokyo(), new_key(TenantId(1))), 403),
        ("an unsigned key elsewhere", unsigned(frankfurt(), new_key(TenantId(1))), 403),
        ("a signed key", Command::Regional(world.officer.sign(tokyo(), ConsentSerial(1), new_key(TenantId(1)))), 200),
        ("an unsigned value", unsigned(tokyo(), approve("pay")), 403),
        ("a signed value", Command::Regional(world.officer.sign(tokyo(), ConsentSerial(1), approve("pay"))), 200),
        (
            "a personal value",
            Command::Regional(world.officer.sign(tokyo(), ConsentSerial(1), approve("a@b.example"))),
            400,
        ),
        ("a personal name", Command::CreateStream { tenant: TenantId(1), stream: name("hanako") }, 400),
    ] {
        let before = world.proposals.load(Ordering::SeqCst);
        let (found, answer) = decide(&world, ADMIN, &[command]).await;
        assert_eq!(found, status, "{case}: {answer}");
        let proposed = world.proposals.load(Ordering::SeqCst) - before;
        assert_eq!(proposed, usize::from(status == 200), "{case}");
    }
}

#[tokio::test]
async fn nobody_but_the_officer_gives_a_subject_or_a_declared_field_up() {
    let world = World::new();
    let privacy = Privacy::new([], vec![name("seat")]);
    let declared = StreamPolicy { personal: Personal::Subject(name("user")), privacy, ..StreamPolicy::default() };
    let watch = &world.desk.parts.policy;
    let mut next = crate::policy::Policy::clone(&watch.now());
    let view = next.streams.get_mut(&(TenantId(1), name("app"))).expect("a stream");
    std::sync::Arc::make_mut(view).policy = declared.clone();
    watch.replace(next);
    let k = Some(KThreshold::RECORDS);
    let no_subject = StreamPolicy { personal: Personal::Undeclared, k, ..declared.clone() };
    let no_field = StreamPolicy { privacy: Privacy::default(), k, ..declared.clone() };
    let closed = StreamPolicy { k, ..declared };
    for (case, wanted, status) in
        [("no subject", no_subject.clone(), 403), ("no field", no_field, 403), ("fewer counts", closed, 200)]
    {
        let (found, answer) = decide(&world, ADMIN, &[unsigned(tokyo(), policy(wanted))]).await;
        assert_eq!(found, status, "{case}: {answer}");
    }
    let signed = Command::Regional(world.officer.sign(tokyo(), ConsentSerial(1), policy(no_subject)));
    assert_eq!(decide(&world, ADMIN, &[signed]).await.0, 200);
}

#[tokio::test]
async fn another_region_is_changed_by_the_officer_of_its_nodes_alone() {
    let world = World::new();
    let new = || OfficerKey::from_pkcs8(&OfficerKey::generate().expect("random")).expect("just made");
    let (theirs, stranger) = (new(), new());
    let addr = "127.0.0.1:1".parse().expect("an address");
    let node = |node| Change::AddNode { node: NodeId(node), addr };
    let by = |officer: &OfficerKey, change| Command::Regional(officer.sign(frankfurt(), ConsentSerial(1), change));
    let spoken = RegionKey::from_text(&RegionKey::generate().expect("random")).expect("just made");
    let speaks = || Change::SetRegionKey { key: spoken.public() };
    // No officer has let a node of the region in: the first signatures bring a node, the key it speaks with, and nothing else.
    assert_eq!(decide(&world, ADMIN, &[by(&theirs, approve("pay"))]).await.0, 403);
    assert_eq!(decide(&world, ADMIN, &[by(&theirs, node(9)), by(&theirs, speaks())]).await.0, 200);
    let policy_watch = &world.desk.parts.policy;
    let mut next = crate::policy::Policy::clone(&policy_watch.now());
    next.nodes.get_mut(&NodeId(2)).expect("Frankfurt's").signature =
        theirs.sign(frankfurt(), ConsentSerial(1), node(2)).signature;
    policy_watch.replace(next);
    for change in [node(9), speaks(), approve("pay"), new_key(TenantId(1)), policy(StreamPolicy::default())] {
        assert_eq!(decide(&world, ADMIN, &[by(&theirs, change.clone())]).await.0, 200);
        assert_eq!(decide(&world, ADMIN, &[by(&stranger, change)]).await.0, 403);
    }
}

#[tokio::test]
async fn one_command_that_may_not_be_stops_all_before_any_is_proposed() {
    let world = World::new();
    let good = Command::CreateStream { tenant: TenantId(1), stream: name("fresh") };
    let (status, _) = decide(&world, ADMIN, &[good.clone(), unsigned(tokyo(), approve("pay"))]).await;
    assert_eq!((status, world.proposals.load(Ordering::SeqCst)), (403, 0));
    let (status, answer) = decide(&world, ADMIN, &[good]).await;
    assert_eq!((status, answer), (200, json!({"applied": [{"Stream": 9}]})));
}

#[tokio::test]
async fn an_admin_of_a_tenant_acts_on_that_tenant_alone() {
    let world = World::new();
    let addr = "127.0.0.1:1".parse().expect("an address");
    let node = Change::AddNode { node: NodeId(9), addr };
    for (case, command, status) in [
        ("own stream", Command::CreateStream { tenant: TenantId(2), stream: name("mine") }, 200),
        ("another's stream", Command::CreateStream { tenant: TenantId(1), stream: name("theirs") }, 403),
        ("a tenant", Command::CreateTenant { tenant: name("third") }, 403),
        ("a node", Command::Regional(world.officer.sign(tokyo(), ConsentSerial(1), node)), 403),
        ("another's key", Command::Regional(world.officer.sign(tokyo(), ConsentSerial(1), new_key(TenantId(1)))), 403),
        ("own key", Command::Regional(world.officer.sign(tokyo(), ConsentSerial(1), new_key(TenantId(2)))), 200),
        ("another's revocation", Command::RevokeKey { region: tokyo(), id: name("key-2") }, 403),
        ("own revocation", Command::RevokeKey { region: tokyo(), id: name("key-5") }, 200),
        ("taking out a node", Command::RemoveNode { node: NodeId(1) }, 403),
    ] {
        let (found, answer) = decide(&world, OTHER_ADMIN, &[command]).await;
        assert_eq!(found, status, "{case}: {answer}");
    }
    let (found, answer) = decide(&world, ADMIN, &[Command::RemoveNode { node: NodeId(1) }]).await;
    assert!(found == 403 && answer.to_string().contains("DMC-PRESENT-10"), "{answer}");
    for list in ["tenants", "streams", "keys", "dictionary"] {
        let path = format!("/api/v1/admin/{list}");
        let own = ask(world.native(), OTHER_ADMIN, "GET", &path, "").await.json()[list].clone();
        let all = ask(world.native(), ADMIN, "GET", &path, "").await.json()[list].clone();
        let length = |rows: &Value| rows.as_array().expect("a list").len();
        assert!(length(&own) < length(&all), "{list}");
        assert!(!own.to_string().contains("default"), "{list}: {own}");
        assert_eq!(ask(world.native(), SEARCH, "GET", &path, "").await.status, 403);
    }
}

#[tokio::test]
async fn lists_never_tell_a_key() {
    let world = World::new();
    let keys = ask(world.native(), ADMIN, "GET", "/api/v1/admin/keys", "").await;
    for hash in world.desk.parts.policy.now().keys.keys() {
        assert!(!keys.text.contains(&hex::encode(hash)) && !keys.text.contains(&format!("{hash:?}")));
    }
    assert_eq!(keys.json()["keys"].as_array().map(Vec::len), Some(11));
}
