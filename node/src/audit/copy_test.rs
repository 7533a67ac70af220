//! What an auditor of one tenant is given: the whole tree, and nobody else's entries.

use domicile_proto::ids::{Region, TenantId, Timestamp};

use super::super::entry::Event;
use super::super::verify::verify;
use super::*;
use crate::clock::Clock;

const OURS: TenantId = TenantId(1);

async fn ledger(count: u64) -> (tempfile::TempDir, Ledger) {
    let (dir, tokyo): (_, Region) = (tempfile::tempdir().expect("a directory"), "tokyo".parse().expect("a name"));
    let ledger = Ledger::open(dir.path(), &tokyo, Clock::standing_at(Timestamp(1_700_000_000_000_000))).expect("new");
    for number in 0..count {
        let event = if number % 5 == 4 {
            Event::HoldSet { hold: number.to_string().into() }
        } else {
            Event::SubjectExported { tenant: TenantId((number % 3) as _), records: number, originals: 0 }
        };
        ledger.record(event).await.expect("recorded");
    }
    ledger.publish();
    (dir, ledger)
}

fn ours(entry: &Entry) -> bool {
    entry.tenant.is_none_or(|tenant| tenant == OURS)
}

fn copy(ledger: &Ledger, shows: &dyn Fn(&Entry) -> bool) -> Result<tempfile::TempDir, Broken> {
    let dir = tempfile::tempdir().expect("a directory");
    let mut copy = Copy::begin(dir.path(), ledger.shown().expect("published"))?;
    while let Some(bundle) = copy.wants() {
        copy.add(bundle, &ledger.copied(bundle, copy.size(), shows).expect("there"))?;
    }
    copy.finish().map(|_| dir)
}

#[tokio::test]
async fn a_copy_has_the_whole_tree_and_the_bodies_of_one_tenant_alone() {
    for count in [1, 255, 256, 257, 600] {
        let (_dir, ledger) = ledger(count).await;
        let copied = copy(&ledger, &ours).expect("whole");
        let mut seen = Vec::new();
        let checked = verify(copied.path(), None, &[], &mut |_, entry| seen.push(entry.clone())).expect("sound");
        assert_eq!(checked.head, Some(ledger.head()));
        assert_eq!(checked.withheld + seen.len() as u64, count);
        assert!(seen.iter().all(ours));
        let mut open = vec![copied.path().to_path_buf()];
        while let Some(dir) = open.pop() {
            for path in std::fs::read_dir(dir).expect("there").map(|entry| entry.expect("there").path()) {
                if path.is_dir() {
                    open.push(path);
                } else {
                    let bytes = std::fs::read(&path).expect("there");
                    let other = memchr::memmem::find(&bytes, b"\"tenant\":2");
                    assert!(other.is_none(), "{} says something of another tenant", path.display());
                }
            }
        }
    }
}

#[tokio::test]
async fn an_entry_of_the_tenant_that_is_withheld_leaves_a_gap_and_a_false_one_another_root() {
    let (_dir, ledger) = ledger(40).await;
    let mut left = 0;
    let all_but_one = std::cell::RefCell::new(&mut left);
    let withheld = copy(&ledger, &|entry| {
        let mut left = all_but_one.borrow_mut();
        **left += u64::from(entry.tenant == Some(OURS));
        ours(entry) && !(entry.tenant == Some(OURS) && **left == 3)
    });
    let broken = verify(withheld.expect("the tree is whole").path(), None, &[], &mut |_, _| {}).expect_err("a gap");
    assert!(broken.why.contains("withheld"), "{broken}");

    let dir = tempfile::tempdir().expect("a directory");
    let mut forged = Copy::begin(dir.path(), ledger.shown().expect("published")).expect("signed");
    let mut given = ledger.copied(0, 40, &ours).expect("there");
    let at = memchr::memmem::find(&given, b"\"records\":").expect("an export") + 10;
    given[at] ^= 1;
    forged.add(0, &given).expect("still entries");
    assert!(forged.finish().expect_err("another root").why.contains("root"));
    for cut in [0, 10, given.len() - 1] {
        let mut cut_off = Copy::begin(dir.path(), ledger.shown().expect("published")).expect("signed");
        assert!(cut_off.add(0, &given[..cut]).is_err(), "{cut}");
    }
}

#[tokio::test]
async fn roots_at_earlier_sizes_are_those_of_the_ledger_then() {
    let (dir, ledger) = ledger(300).await;
    let early = ledger.shown().expect("published");
    let verifier = Verifier::read(&early.verifier).expect("a key");
    let early = verifier.checkpoint(&early.checkpoint).expect("signed");
    for _ in 0..20 {
        ledger.record(Event::HoldSet { hold: "x".into() }).await.expect("recorded");
    }
    ledger.publish();
    let log = dir.path().join(LOG);
    let roots = roots_at(&log, ledger.head().size, &BTreeSet::from([early.size, 320, 999]));
    assert_eq!(roots, BTreeMap::from([(early.size, early.root), (320, ledger.head().root)]));
}

#[tokio::test]
async fn what_a_node_says_is_signed_and_is_no_checkpoint() {
    let (_dir, ledger) = ledger(2).await;
    let note = ledger.says("domicile test v1", &["one".to_owned(), "two".to_owned()]).expect("signed");
    let verifier = Verifier::read(&ledger.shown().expect("published").verifier).expect("a key");
    assert_eq!(verifier.said("domicile test v1", &note), Some(vec!["one".to_owned(), "two".to_owned()]));
    assert_eq!(verifier.said("domicile test v2", &note), None);
    assert_eq!(verifier.said("domicile test v1", &note.replace("two", "six")), None);
    assert_eq!(verifier.checkpoint(&note), None);
}
