//! Links to exports, with a real bucket and ledger and a moved clock.

use domicile_proto::ids::TenantId;

use super::*;
use crate::erase::Whom;
use crate::erase::workflow_test::{Node, TENANT, TOKEN, begin};

const LINES: &[u8] = b"{\"record\":{\"message\":\"all about erika\"}}\n";
const OTHER: TenantId = TenantId(12);

async fn keep(node: &Node, tenant: TenantId, hours: u64) -> Result<Link, EraseError> {
    node.erasure.keep_export(tenant, LINES, hours, node.erasure.before_export(tenant)).await
}

async fn is_open(node: &Node, link: &Link) -> bool {
    match node.erasure.open_export(&link.text).await {
        Ok((_, lines)) => {
            assert_eq!(lines.as_slice(), LINES);
            true
        }
        Err(error) => {
            assert_eq!(error.code(), "DMC-ERASE-16");
            false
        }
    }
}

async fn objects(node: &Node) -> usize {
    node.store.list("exports").await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_is_read_through_its_link_until_it_expires_and_nobody_without_the_link_reads_it() {
    let dir = begin();
    let node = Node::start(dir.path()).await;
    let link = keep(&node, TENANT, 2).await.ok().unwrap();
    assert_eq!(link.until, Timestamp(node.clock.now().0 + 2 * HOUR));
    assert!(is_open(&node, &link).await && is_open(&node, &link).await);
    for (object, _) in node.store.list("exports").await.unwrap() {
        let lies = node.store.read(&object).await.unwrap();
        assert!(!lies.windows(5).any(|part| part == b"erika"), "sealed");
        assert!(!object.contains(link.text.rsplit('-').next().unwrap()), "the name does not lead to the link");
    }
    // A longer life, another tenant, another secret: each is another object, which is not there.
    let [tenant, until, secret] = link.text.splitn(3, '-').collect::<Vec<_>>().try_into().unwrap();
    let later = format!("{:x}", i64::from_str_radix(until, 16).unwrap() + 1);
    let turned = secret.replace(&secret[..1], if secret.starts_with('0') { "1" } else { "0" });
    for wrong in [
        format!("{tenant}-{later}-{secret}"),
        format!("2-{until}-{secret}"),
        format!("{tenant}-{until}-{turned}"),
        format!("{tenant}-{until}-{}", link.name.repeat(2)),
        format!("{tenant}-{until}"),
        format!("../{tenant}-{until}-{secret}"),
        format!("{tenant}--1-{secret}"),
        String::new(),
    ] {
        let refused = node.erasure.open_export(&wrong).await.err().unwrap();
        assert_eq!(refused.code(), "DMC-ERASE-16", "{wrong}");
    }
    assert_eq!(node.erasure.drop_expired_exports().await.unwrap(), 0);
    node.clock.turn_to(Timestamp(link.until.0 - 1));
    assert!(is_open(&node, &link).await);
    node.clock.turn_to(link.until);
    assert!(!is_open(&node, &link).await, "expired, though it is still there");
    assert_eq!(objects(&node).await, 1);
    let begun = Instant::now();
    node.erasure.tend_exports(begun).await;
    node.erasure.tend_exports(begun + LOOK_AFTER).await;
    assert_eq!(objects(&node).await, 0, "and then it is gone");
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_and_comes_back_takes_no_export_away_and_one_that_is_set_back_keeps_none() {
    let dir = begin();
    let node = Node::start(dir.path()).await;
    let link = keep(&node, TENANT, 2).await.ok().unwrap();
    let (right, begun) = (node.clock.now(), Instant::now());
    node.clock.turn_to(Timestamp(right.0 + 24 * HOUR));
    node.erasure.tend_exports(begun).await;
    assert_eq!(objects(&node).await, 1, "one look is not enough");
    node.clock.turn_to(right);
    node.erasure.tend_exports(begun + LOOK_AFTER).await;
    node.clock.turn_to(Timestamp(right.0 + 24 * HOUR));
    node.erasure.tend_exports(begun + 2 * LOOK_AFTER).await;
    node.clock.turn_to(right);
    assert!(is_open(&node, &link).await, "it had not expired in between");

    node.clock.pass(Duration::from_secs(2 * 3_600 - 1));
    node.clock.turn_to(Timestamp(right.0 - 24 * HOUR));
    assert!(is_open(&node, &link).await, "a second is left, by the time that has passed");
    node.clock.pass(Duration::from_secs(1));
    assert!(!is_open(&node, &link).await, "whatever the clock was set to");
    node.erasure.tend_exports(begun + 3 * LOOK_AFTER).await;
    assert_eq!(objects(&node).await, 0, "what has passed needs no second look");
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_takes_back_every_link_of_its_tenant_and_no_other() {
    let dir = begin();
    let node = Node::start(dir.path()).await;
    node.fill().await;
    let (ours, theirs) = (keep(&node, TENANT, 1).await.ok().unwrap(), keep(&node, OTHER, 1).await.ok().unwrap());
    let whom = Whom { tokens: vec![TOKEN.into()], ..Whom::default() };
    let before = node.erasure.before_export(TENANT);
    node.erasure.order(TENANT, whom, None).await.unwrap();
    assert!(!is_open(&node, &ours).await && is_open(&node, &theirs).await);
    // An export whose records were read before the order came may hold the person.
    let late = node.erasure.keep_export(TENANT, LINES, 1, before).await.err().unwrap();
    assert_eq!((late.code(), objects(&node).await), ("DMC-ERASE-17", 1));
    let again = keep(&node, TENANT, 1).await.ok().unwrap();
    assert!(is_open(&node, &again).await);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_is_in_the_ledger_before_it_is_there_and_each_reading_before_it_is_given() {
    let dir = begin();
    let node = Node::start(dir.path()).await;
    *node.erasure.ends_at.lock() = Some("export kept");
    assert!(keep(&node, TENANT, 1).await.is_err());
    *node.erasure.ends_at.lock() = None;
    let link = keep(&node, TENANT, 1).await.ok().unwrap();
    assert!(is_open(&node, &link).await);
    let told: Vec<(bool, Box<str>)> = node
        .entries()
        .into_iter()
        .filter_map(|entry| match entry.event {
            Event::ExportKept { tenant: TENANT, export, .. } => Some((false, export)),
            Event::ExportRead { tenant: TENANT, export } => Some((true, export)),
            _ => None,
        })
        .collect();
    assert_eq!(told.len(), 3);
    assert_eq!(told[1..], [(false, link.name.clone().into()), (true, link.name.into())]);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_has_so_many_links_and_each_is_good_for_so_long() {
    let dir = begin();
    let node = Node::start(dir.path()).await;
    for hours in [0, u64::from(EXPORT_LINK_HOURS) + 1, u64::MAX] {
        assert_eq!(keep(&node, TENANT, hours).await.err().unwrap().code(), "DMC-ERASE-18", "{hours}");
    }
    keep(&node, TENANT, u64::from(EXPORT_LINK_HOURS)).await.ok().unwrap();
    for _ in 1..EXPORT_LINKS {
        keep(&node, TENANT, 1).await.ok().unwrap();
    }
    assert_eq!(keep(&node, TENANT, 1).await.err().unwrap().code(), "DMC-ERASE-19");
    keep(&node, OTHER, 1).await.ok().unwrap();
    node.clock.turn_to(Timestamp(node.clock.now().0 + HOUR));
    assert!(keep(&node, TENANT, 1).await.is_ok(), "those that have expired do not count");
    node.kill().await;
}
