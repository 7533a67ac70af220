//! Which routes are open: what the file says, what the group says, whose signature holds, and what a node remembers.

use domicile_proto::ids::{ConsentSerial, RegionNumber};
use domicile_proto::metadata::{Counters, Row};
use domicile_proto::officer::OfficerKey;

use super::*;
use crate::policy::{Honoured, Policy};

fn region(text: &str) -> Region {
    text.parse().expect("a name")
}

fn officer() -> OfficerKey {
    OfficerKey::from_pkcs8(&OfficerKey::generate().expect("random")).expect("just made")
}

const REVIEW: Day = Day(20_970);

/// The file of Tokyo: to Frankfurt on a basis, to Singapore undecided, elsewhere nothing.
fn file() -> BTreeMap<Region, FileRoute> {
    let admissible = vec![TransferBasis::Adequacy, TransferBasis::Consent];
    let decided = FileRoute { basis: Some(TransferBasis::Adequacy), admissible: admissible.clone(), review_by: REVIEW };
    let undecided = FileRoute { basis: None, admissible, review_by: REVIEW };
    [(region("frankfurt"), decided), (region("singapore"), undecided)].into()
}

/// What the group says of a route out of Tokyo.
fn row(to: &str, approval: Option<RegionalChange>) -> TransferRow {
    TransferRow { from: region("tokyo"), to: region(to), version: PolicyVersion(5), approval }
}

fn signed(by: &OfficerKey, serial: u64, to: &str, basis: TransferBasis) -> RegionalChange {
    let change = Change::ApproveTransfer { to: region(to), basis, review_by: Day(30_000) };
    by.sign(region("tokyo"), ConsentSerial(serial), change)
}

/// A node of Tokyo that reads one state after another.
struct Node {
    consents: Consents,
    version: u64,
}

impl Node {
    fn new(officer: &OfficerKey, honoured: Honoured) -> Self {
        let consents = Consents::new(region("tokyo"), officer.public(), honoured).with_routes(file());
        Self { consents, version: 0 }
    }

    fn reads(&mut self, rows: Vec<TransferRow>) -> Policy {
        self.version += 1;
        let policy = PolicyVersion(self.version);
        let counters = Counters { region: 4, tenant: 1, stream: 1, shard: 1, value: 64, policy };
        let regions = (1..).zip(["frankfurt", "oslo", "singapore", "tokyo"]);
        let regions = regions.map(|(n, text)| Row::Region { region: region(text), number: RegionNumber(n) });
        let rows = std::iter::once(Row::Counters(counters)).chain(regions).chain(rows.into_iter().map(Row::Transfer));
        let policy = Policy::build(rows.collect::<Vec<_>>(), &mut self.consents);
        self.consents.conclude(policy.version).expect("written");
        policy
    }

    /// Why a route is shut.
    fn shut(&mut self, to: &str, rows: Vec<TransferRow>) -> Option<Shut> {
        let policy = self.reads(rows);
        let to = region(to);
        let shut = policy.routes.out.get(&to).map_or(Some(Shut::NotInFile), |route| route.shut);
        assert_eq!(policy.routes.is_open_to(&to), shut.is_none());
        shut
    }
}

#[test]
fn the_file_opens_a_route_and_nothing_opens_what_it_does_not_name() {
    let (ours, theirs) = (officer(), officer());
    let node = || Node::new(&ours, Honoured::forgetful());
    let adequacy = TransferBasis::Adequacy;
    for (case, to, rows, expected) in [
        ("by the file alone", "frankfurt", vec![], None),
        ("nobody decided", "singapore", vec![], Some(Shut::Undecided)),
        ("not in the file", "oslo", vec![], Some(Shut::NotInFile)),
        ("closed", "frankfurt", vec![row("frankfurt", None)], Some(Shut::Revoked)),
        ("closed, and undecided", "singapore", vec![row("singapore", None)], Some(Shut::Revoked)),
        (
            "approved",
            "frankfurt",
            vec![row("frankfurt", Some(signed(&ours, 2, "frankfurt", TransferBasis::Consent)))],
            None,
        ),
        (
            "decided by the officer where the file left it open",
            "singapore",
            vec![row("singapore", Some(signed(&ours, 2, "singapore", adequacy)))],
            None,
        ),
        (
            "approved by another officer",
            "frankfurt",
            vec![row("frankfurt", Some(signed(&theirs, 2, "frankfurt", adequacy)))],
            Some(Shut::NotHonoured),
        ),
        (
            "approved for another route",
            "frankfurt",
            vec![row("frankfurt", Some(signed(&ours, 2, "singapore", adequacy)))],
            Some(Shut::Revoked),
        ),
        (
            "approved on a basis the file does not take",
            "frankfurt",
            vec![row("frankfurt", Some(signed(&ours, 2, "frankfurt", TransferBasis::Contract)))],
            Some(Shut::NotAdmissible),
        ),
        (
            "approved, and not in the file",
            "oslo",
            vec![row("oslo", Some(signed(&ours, 2, "oslo", adequacy)))],
            Some(Shut::NotInFile),
        ),
    ] {
        assert_eq!(node().shut(to, rows), expected, "{case}");
    }
}

#[test]
fn an_approval_replaces_basis_and_review_of_the_file() {
    let ours = officer();
    let mut node = Node::new(&ours, Honoured::forgetful());
    let approved = signed(&ours, 7, "frankfurt", TransferBasis::Consent);
    let policy = node.reads(vec![row("frankfurt", Some(approved))]);
    let route = &policy.routes.out[&region("frankfurt")];
    assert_eq!((route.basis, route.review_by), (Some(TransferBasis::Consent), Day(30_000)));
    assert_eq!(route.said, Some((PolicyVersion(5), Some(ConsentSerial(7)))));
    assert_eq!(date_of(route.review_by), "2052-02-20");
    let policy = Node::new(&ours, Honoured::forgetful()).reads(Vec::new());
    let route = &policy.routes.out[&region("frankfurt")];
    assert_eq!((route.basis, route.said), (Some(TransferBasis::Adequacy), None));
}

#[test]
fn whatever_the_group_says_a_closed_route_is_opened_by_a_new_approval_alone() {
    let ours = officer();
    let dir = tempfile::tempdir().expect("a directory");
    let opened = || Honoured::open(dir.path(), ours.public()).expect("a memory");
    let mut node = Node::new(&ours, opened());
    let approved = |serial| row("frankfurt", Some(signed(&ours, serial, "frankfurt", TransferBasis::Adequacy)));
    assert_eq!(node.shut("frankfurt", vec![approved(2)]), None);
    assert_eq!(node.shut("frankfurt", vec![row("frankfurt", None)]), Some(Shut::Revoked));
    assert_eq!(node.shut("frankfurt", vec![approved(2)]), Some(Shut::NotHonoured), "the old approval is back");
    assert_eq!(node.shut("frankfurt", Vec::new()), Some(Shut::Revoked), "the row is gone");
    let mut node = Node::new(&ours, opened());
    assert_eq!(node.shut("frankfurt", Vec::new()), Some(Shut::Revoked), "and after a restart");
    assert_eq!(node.shut("frankfurt", vec![approved(2)]), Some(Shut::NotHonoured));
    let wrong = row("frankfurt", Some(signed(&ours, 3, "frankfurt", TransferBasis::Contract)));
    assert_eq!(node.shut("frankfurt", vec![wrong]), Some(Shut::NotAdmissible));
    assert_eq!(node.shut("frankfurt", Vec::new()), Some(Shut::Revoked), "that approval opened nothing");
    assert_eq!(node.shut("frankfurt", vec![approved(4)]), None, "the officer opened it again");
    let mut node = Node::new(&ours, opened());
    assert_eq!(node.shut("frankfurt", Vec::new()), None, "and the file alone says so again");
}

#[test]
fn a_question_does_not_go_where_no_answer_may_come_from() {
    let ours = officer();
    let mut node = Node::new(&ours, Honoured::forgetful());
    let back = TransferRow { from: region("frankfurt"), to: region("tokyo"), ..row("frankfurt", None) };
    let policy = node.reads(vec![back.clone()]);
    assert!(policy.routes.is_open_to(&region("frankfurt")) && !policy.routes.may_ask(&region("frankfurt")));
    let approval = Some(signed(&ours, 2, "tokyo", TransferBasis::Adequacy));
    let policy = node.reads(vec![TransferRow { approval, ..back }]);
    assert!(policy.routes.may_ask(&region("frankfurt")), "whether it is honoured there is theirs to say");
    assert!(!policy.routes.may_ask(&region("singapore")));
}

#[test]
fn days_are_counted_from_1970_and_reviews_in_seconds() {
    for (text, day) in [("1970-01-01", 0), ("1970-01-02", 1), ("2000-03-01", 11_017), ("2027-06-01", 20_970)] {
        let date: jiff::civil::Date = text.parse().expect("a date");
        assert_eq!((day_of(date), date_of(Day(day)).as_str()), (Day(day), text));
    }
    assert_eq!(day_of(jiff::civil::date(1969, 12, 31)), Day(0));
    assert_eq!(date_of(Day(u32::MAX)), "-");
    let noon = Timestamp(43_200 * Timestamp::MICROS);
    assert_eq!((seconds_until(Day(1), noon), seconds_until(Day(0), noon)), (43_200, -43_200));
}
