//! Routes out of this region, as its nodes honour them: what its own file opens, narrowed by what the metadata group says.
//!
//! A route is open where the file names it with a basis that somebody decided, and where the group says nothing of it, or an
//! approval that this region's officer signed on a basis the file takes. A route that was closed is remembered on the node's
//! own disk and is opened by a new approval only, whatever becomes of the row (RES-4). No clock is asked: a review that is
//! late is told of, and closes nothing (`docs/decisions/0022-a-late-review-is-told-of.md`).

use std::collections::{BTreeMap, BTreeSet};

use domicile_proto::ids::{ConsentSerial, PolicyVersion, Region, Timestamp};
use domicile_proto::metadata::{Change, RegionalChange};
use domicile_proto::transfer::{Day, TransferBasis, TransferRow};

use super::consent::Consents;
use super::honoured::Object;

/// A route as the region's file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileRoute {
    /// The basis that somebody decided.
    pub(crate) basis: Option<TransferBasis>,
    /// The bases that the law of this region takes for it.
    pub(crate) admissible: Vec<TransferBasis>,
    /// The day of the next review.
    pub(crate) review_by: Day,
}

/// Why nothing goes out on a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shut {
    /// The region's file does not name it.
    NotInFile,
    /// Nobody has decided on a basis.
    Undecided,
    /// It was closed.
    Revoked,
    /// It has an approval that is not this region's officer's, or an old one.
    NotHonoured,
    /// It is approved on a basis that the file does not take.
    NotAdmissible,
}

impl Shut {
    /// In words.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::NotInFile => "not in the region's file",
            Self::Undecided => "nobody has decided on a basis",
            Self::Revoked => "closed",
            Self::NotHonoured => "the approval is not of this region's officer, or an old one",
            Self::NotAdmissible => "approved on a basis that the region's file does not take",
        }
    }
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// Why it is shut; none where it is open.
    pub(crate) shut: Option<Shut>,
    /// On which basis; none where there is none.
    pub(crate) basis: Option<TransferBasis>,
    /// The day by which the basis is looked at again.
    pub(crate) review_by: Day,
    /// The version of the policy that speaks of it, and the officer's serial where it is an approval; none where the file
    /// alone does.
    pub(crate) said: Option<(PolicyVersion, Option<ConsentSerial>)>,
}

/// All routes of a region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Routes {
    /// Those out of it, by the region that receives.
    pub(crate) out: BTreeMap<Region, Route>,
    /// Regions that send this one nothing, as the group says.
    shut_there: BTreeSet<Region>,
}

impl Routes {
    /// Whether what is released here may go to a region.
    pub(crate) fn is_open_to(&self, to: &Region) -> bool {
        self.out.get(to).is_some_and(|route| route.shut.is_none())
    }

    /// Whether a question may go to a region: it may be sent there, and it is not known that no answer may come back.
    pub(crate) fn may_ask(&self, whom: &Region) -> bool {
        self.is_open_to(whom) && !self.shut_there.contains(whom)
    }

    /// Open both ways, until some day, to these.
    #[cfg(test)]
    pub(crate) fn open_to<'a>(regions: impl IntoIterator<Item = &'a str>) -> Self {
        let route = Route { shut: None, basis: Some(TransferBasis::Adequacy), review_by: Day(20_970), said: None };
        let out = regions.into_iter().map(|to| (to.parse().expect("a name"), route.clone())).collect();
        Self { out, shut_there: BTreeSet::new() }
    }

    /// Takes a row of the group's state.
    pub(super) fn take(&mut self, row: &TransferRow, consents: &mut Consents) {
        if row.to == *consents.region() && row.approval.is_none() {
            self.shut_there.insert(row.from.clone());
        }
        if row.from != *consents.region() {
            return;
        }
        let object = Object::route(&row.to);
        let file = consents.file_route(&row.to).cloned();
        let mut route = of_file(file.as_ref());
        route.said = Some((row.version, None));
        let approved = row.approval.as_ref().and_then(|change| approval(row, change));
        let later = match approved {
            None => Some(Shut::Revoked),
            Some((change, basis, review_by)) => {
                (route.basis, route.review_by) = (Some(basis), review_by);
                route.said = Some((row.version, change.signature.map(|consent| consent.serial())));
                if !consents.honour(object.clone(), change) {
                    Some(Shut::NotHonoured)
                } else if file.is_some_and(|file| !file.admissible.contains(&basis)) {
                    Some(Shut::NotAdmissible)
                } else {
                    None
                }
            }
        };
        // An approval that is honoured opens the route again, on whatever basis: what the file does not take stays shut by that.
        match later {
            Some(Shut::Revoked) => consents.shut(&object),
            Some(_) => {}
            None => consents.open(&object),
        }
        // What the file leaves shut stays so, but for a decision that the officer made instead of it.
        let by_file = route.shut.filter(|shut| *shut != Shut::Undecided || later.is_some());
        route.shut = later.or(by_file);
        self.out.insert(row.to.clone(), route);
    }

    /// Adds the routes that the file alone speaks of. What was closed once stays closed.
    pub(super) fn fill(&mut self, consents: &Consents) {
        for (to, file) in consents.file_routes() {
            if !self.out.contains_key(to) {
                let mut route = of_file(Some(file));
                if consents.is_shut(&Object::route(to)) {
                    route.shut = Some(Shut::Revoked);
                }
                self.out.insert(to.clone(), route);
            }
        }
    }
}

/// An approval with what it says, where it speaks of this very route.
fn approval<'a>(row: &TransferRow, change: &'a RegionalChange) -> Option<(&'a RegionalChange, TransferBasis, Day)> {
    match &change.change {
        Change::ApproveTransfer { to, basis, review_by } if *to == row.to && change.region == row.from => {
            Some((change, *basis, *review_by))
        }
        _ => None,
    }
}

fn of_file(file: Option<&FileRoute>) -> Route {
    let Some(file) = file else {
        return Route { shut: Some(Shut::NotInFile), basis: None, review_by: Day(0), said: None };
    };
    let shut = if file.basis.is_none() { Some(Shut::Undecided) } else { None };
    Route { shut, basis: file.basis, review_by: file.review_by, said: None }
}

/// The day of a date; dates before 1970 are the first of it.
pub(crate) fn day_of(date: jiff::civil::Date) -> Day {
    let days = jiff::civil::date(1970, 1, 1).until(date).map_or(0, |span| span.get_days());
    Day(u32::try_from(days).unwrap_or(0))
}

/// The date of a day, as `2027-05-31`.
pub(crate) fn date_of(day: Day) -> String {
    let days = jiff::Span::new().try_days(i64::from(day.0));
    let date = days.and_then(|days| jiff::civil::date(1970, 1, 1).checked_add(days));
    date.map_or_else(|_| "-".to_owned(), |date| date.to_string())
}

/// Seconds until the day begins, UTC; below zero where it has begun.
pub(crate) fn seconds_until(day: Day, now: Timestamp) -> i64 {
    i64::from(day.0) * 86_400 - now.0.div_euclid(Timestamp::MICROS)
}

/// How long before its day a review is told of. Source: the register's reviews are looked at every year, at eleven months.
pub(crate) const REVIEW_TOLD: i64 = 31 * 86_400;

#[cfg(test)]
#[path = "routes_test.rs"]
mod tests;
