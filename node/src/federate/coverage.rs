//! What an answer says of every region that was asked (HON-1).

use std::time::Duration;

use domicile_proto::aggregate::Aggregate;
use domicile_proto::aggregate::cell::Cell;
use domicile_proto::ids::{PolicyVersion, Region, TimeRange, Timestamp};
use domicile_proto::message::answer::{Answer, Outcome, RefusalCode};
use domicile_proto::noise::Noise;

/// How a region stands in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Everything it may tell is in.
    Complete,
    /// What it told is in and more may follow: cells are open, or a value's text is not known here yet.
    Partial,
    /// It could not be asked, or did not answer in time.
    Unreachable,
    /// It does not answer such a question.
    Refused(RefusalCode),
    /// It answered and may tell nothing.
    Suppressed,
}

impl Standing {
    /// As answers spell it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Unreachable => "unreachable",
            Self::Refused(_) => "refused",
            Self::Suppressed => "suppressed",
        }
    }

    /// Whether nothing of the region is in the answer although it may have something to tell.
    pub(crate) const fn is_missing(self) -> bool {
        matches!(self, Self::Unreachable | Self::Refused(_))
    }
}

/// One region in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RegionCoverage {
    pub(crate) region: Region,
    pub(crate) standing: Standing,
    /// From asking to the answer's arrival.
    pub(crate) took: Duration,
    /// Cells it withheld.
    pub(crate) withheld_cells: u64,
    /// The range it really covered: the question's, shrunk to its grid.
    pub(crate) covered: Option<TimeRange>,
    /// From here on its cells are still open.
    pub(crate) open_from: Option<Timestamp>,
    /// Whether records came in late and are withheld until there are enough of them.
    pub(crate) late_withheld: bool,
    /// The version of its policy.
    pub(crate) policy: Option<PolicyVersion>,
    /// Size and root of its ledger when it answered.
    pub(crate) ledger: Option<(u64, [u8; 32])>,
    /// The noise that its numbers are told with.
    pub(crate) noise: Option<Noise>,
}

impl RegionCoverage {
    /// A region that did not answer.
    pub(crate) const fn silent(region: Region, standing: Standing, took: Duration) -> Self {
        let (covered, open_from, policy, ledger, late_withheld) = (None, None, None, None, false);
        let (withheld_cells, noise) = (0, None);
        Self { region, standing, took, withheld_cells, covered, open_from, late_withheld, policy, ledger, noise }
    }

    /// A region that answered.
    pub(crate) fn of(region: Region, answer: &Answer, took: Duration) -> Self {
        let header = &answer.header;
        let (standing, withheld_cells) = match &answer.outcome {
            Outcome::Refused(code) => (Standing::Refused(*code), 0),
            Outcome::Suppressed => (Standing::Suppressed, 0),
            Outcome::Aggregate(aggregate) => {
                let (told, withheld) = census(aggregate);
                let standing = match (told, withheld, header.open_from) {
                    (0, 1.., _) => Standing::Suppressed,
                    (_, _, Some(_)) => Standing::Partial,
                    _ => Standing::Complete,
                };
                (standing, withheld)
            }
        };
        let has_answered = !matches!(standing, Standing::Refused(_));
        Self {
            region,
            standing,
            took,
            withheld_cells,
            covered: has_answered.then_some(header.covered),
            open_from: header.open_from,
            late_withheld: header.late_withheld,
            policy: Some(header.policy),
            ledger: (header.ledger_size > 0).then_some((header.ledger_size, header.ledger_root)),
            noise: header.noise,
        }
    }
}

/// All regions that were asked, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Coverage(pub(crate) Vec<RegionCoverage>);

impl Coverage {
    /// Whether every region told everything: nothing missing, partial, suppressed or withheld.
    pub(crate) fn is_whole(&self) -> bool {
        let is_whole = |region: &RegionCoverage| {
            region.standing == Standing::Complete && region.withheld_cells == 0 && !region.late_withheld
        };
        self.0.iter().all(is_whole)
    }

    /// The regions of which nothing is in the answer.
    pub(crate) fn missing(&self) -> Vec<(Region, Standing)> {
        let missing = self.0.iter().filter(|region| region.standing.is_missing());
        missing.map(|region| (region.region.clone(), region.standing)).collect()
    }
}

/// Every cell of an aggregate of a question's shape.
pub(super) fn cells(aggregate: &Aggregate) -> Vec<Cell> {
    match aggregate {
        Aggregate::Count(count) => vec![count.cell],
        Aggregate::DateGrid(grid) => grid.cells.clone(),
        Aggregate::Terms(terms) => terms.cells.iter().map(|(_, cell)| *cell).chain([terms.other]).collect(),
        Aggregate::TermGrid(grid) => grid.rows.iter().flat_map(|(_, row)| row).chain(&grid.other).copied().collect(),
        Aggregate::FixedHistogram(histogram) => histogram.cells.clone(),
        Aggregate::Sum(sum) => sum.all().map(|cell| Cell { records: cell.records, withheld: cell.withheld }).collect(),
        Aggregate::Quantile(quantile) => quantile.regions.iter().map(|(_, value)| scalar(value.is_some())).collect(),
        Aggregate::DistinctEstimate(estimate) => {
            estimate.regions.iter().map(|(_, value)| scalar(value.is_some())).collect()
        }
    }
}

/// A scalar is about no number of records that could be added up: it is told or withheld.
const fn scalar(is_told: bool) -> Cell {
    if is_told { Cell::EMPTY } else { Cell::WITHHELD }
}

/// How many cells tell something, and how many have something withheld from them: one may do both.
fn census(aggregate: &Aggregate) -> (u64, u64) {
    let cells = cells(aggregate);
    let withheld = cells.iter().filter(|cell| !cell.is_exact()).count() as u64;
    let told = cells.iter().filter(|cell| cell.is_exact() || cell.records.0 > 0).count() as u64;
    (told, withheld)
}
