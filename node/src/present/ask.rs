//! A search and what is wanted of it -> one question to several regions, for the doors that ask them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domicile_proto::aggregate::date_grid::Grid;
use domicile_proto::aggregate::sum::SumLayout;
use domicile_proto::aggregate::{Aggregate, MAX_CELLS};
use domicile_proto::ids::{FieldId, Name, TimeRange, Timestamp};
use domicile_proto::message::question::Ask;
use domicile_proto::message::region::Asker;
use serde_json::{Value, json};

use super::desk::Desk;
use super::errors::PresentError;
use crate::audit::{Event, Why};
use crate::federate::{Answer, FederatedQuestion, OnMissing, Regions, group_field, translate};
use crate::limits::HOLDINGS_DEADLINE;
use crate::policy::StreamView;
use crate::query::Filter;
use crate::receive::Failure;

/// What is wanted of the matching records of all regions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Their number.
    Count,
    /// Their numbers by time; the width of a cell in seconds.
    Histogram(u32),
    /// Their numbers by value of a field.
    Terms(String),
    /// Their numbers by value of a field and time.
    TermsHistogram(String, u32),
    /// Their numbers between the declared bounds of a numeric field.
    Numbers(String),
    /// The sums of a numeric field, by value of a field and time as far as they are named.
    Sum {
        /// The numeric field.
        field: String,
        /// The group field.
        by: Option<String>,
        /// The width of a cell in seconds.
        step: Option<u32>,
    },
    /// Below which bound of a numeric field so many thousandths lie, region by region.
    Quantile(String, u16),
    /// How many values of a field there are, region by region.
    Distinct(String),
}

/// Where a question goes.
#[derive(Clone)]
pub(super) struct Whither {
    /// For whom; the tenant is theirs.
    pub(super) asker: Asker,
    pub(super) stream: Name,
    pub(super) regions: Regions,
    pub(super) on_missing: OnMissing,
    pub(super) deadline: Duration,
}

/// First and last time of the records of some streams.
type Ends = BTreeMap<Name, (Timestamp, Timestamp)>;

impl Wanted {
    /// Whether it has cells of time.
    const fn has_grid(&self) -> bool {
        matches!(self, Self::Histogram(_) | Self::TermsHistogram(..) | Self::Sum { step: Some(_), .. })
    }
}

impl Desk {
    /// Asks several regions, this one through its own gate like the others: each kind of number wanted is one question. All of
    /// them are put into words before the first is sent, so that a request which is refused here sends nothing.
    pub(super) async fn ask(&self, wanted: Vec<(Whither, Wanted)>, filter: &Filter) -> Result<Vec<Answer>, Failure> {
        let began = Instant::now();
        let ends = self.ends(&wanted, filter).await?;
        let mut answers = Vec::new();
        for (whither, wanted) in wanted {
            let ends = ends.get(&whither.stream).copied();
            let question = self.question(&whither, filter, &wanted, ends).await?;
            let deadline = question.deadline.saturating_sub(began.elapsed());
            answers.push(self.parts.federation.ask(FederatedQuestion { deadline, ..question }));
        }
        Ok(futures::future::try_join_all(answers).await?)
    }

    async fn question(
        &self,
        whither: &Whither,
        filter: &Filter,
        wanted: &Wanted,
        ends: Option<(Timestamp, Timestamp)>,
    ) -> Result<FederatedQuestion, Failure> {
        let policy = self.parts.policy.now();
        let stream = policy.stream(whither.asker.tenant, &whither.stream);
        let stream = stream.ok_or_else(|| PresentError::NoIndex { index: whither.stream.to_string() })?;
        let words = translate(filter, stream, &policy).map_err(|error| Failure::from(PresentError::from(error)));
        let words = words.and_then(|(range, filters)| Ok((range, filters, self.shape(stream, range, wanted, ends)?)));
        let (range, filters, ask) = match words {
            Ok(words) => words,
            Err(failure) => {
                self.record_unsaid(stream).await;
                return Err(failure);
            }
        };
        // A grid without a range of its own covers the newest cells there may be, and the question with it.
        let range = ask.grid().map_or(range, |grid| grid.range());
        Ok(FederatedQuestion {
            tenant: whither.asker.tenant,
            asker: whither.asker.clone(),
            stream: whither.stream.clone(),
            regions: whither.regions.clone(),
            range,
            filters,
            ask,
            on_missing: whither.on_missing,
            deadline: whither.deadline,
        })
    }

    /// A question that has no words in which it may travel was refused before anything left; that lies in the ledger.
    async fn record_unsaid(&self, stream: &StreamView) {
        let event = Event::RefusedQuestion { peer: None, stream: Some(stream.id), why: Why::NotExpressible };
        if let Err(error) = self.parts.ledger.record_of(stream.tenant, event).await {
            tracing::error!(error = &error as &dyn std::error::Error, "a refused question is not recorded");
        }
    }

    /// First and last time of each stream's records, where this region alone is asked and an end of the range is open: of whoever owns
    /// the stream, once for all that is wanted. An owner that is not heard fails the request: without the ends, the newest cells would
    /// pass for all there are. What other regions are asked never depends on the data of this one.
    async fn ends(&self, wanted: &[(Whither, Wanted)], filter: &Filter) -> Result<Ends, Failure> {
        let (range, _) = filter.clone().split_time();
        if range.from != TimeRange::ALL.from && range.to != TimeRange::ALL.to {
            return Ok(Ends::new());
        }
        let home = &self.parts.region;
        let is_home = |regions: &Regions| matches!(regions, Regions::Only(only) if only.iter().all(|one| one == home));
        let meant = wanted.iter().filter(|(whither, wanted)| wanted.has_grid() && is_home(&whither.regions));
        let meant: BTreeMap<&Name, &Whither> = meant.map(|(whither, _)| (&whither.stream, whither)).collect();
        // What one request wants, it wants for one asker and in one time.
        let Some(first) = meant.values().next() else { return Ok(Ends::new()) };
        let policy = self.parts.policy.now();
        let streams = meant.keys().filter_map(|name| policy.stream(first.asker.tenant, name).cloned());
        let streams: Vec<Arc<StreamView>> = streams.collect();
        let within = (first.deadline / 2).min(HOLDINGS_DEADLINE);
        let held = self.holdings(&first.asker, &streams, within).await?;
        // A stream without records has no ends.
        let ends_of = |stream: &Arc<StreamView>| Some((stream.name.clone(), held.get(&stream.id)?.ends?));
        Ok(streams.iter().filter_map(ends_of).collect())
    }

    fn shape(
        &self,
        stream: &StreamView,
        range: TimeRange,
        wanted: &Wanted,
        ends: Option<(Timestamp, Timestamp)>,
    ) -> Result<Ask, Failure> {
        let stays = |field: &String| PresentError::FieldStaysHere { field: field.chars().take(80).collect() };
        let field = |field: &String| group_field(stream, field).ok_or_else(|| stays(field));
        let number = |name: &String| stream.number_id(name).ok_or_else(|| stays(name));
        // Rows of a grid by value: one for each that is known here, and one for all others.
        let rows = |id: FieldId| {
            let policy = self.parts.policy.now();
            let known = stream.fields.get(usize::from(id.0)).map(|name| policy.dictionary(stream.tenant, name));
            known.map_or(1, |dictionary| dictionary.texts.len() + 1)
        };
        Ok(match wanted {
            Wanted::Count => Ask::Count,
            Wanted::Histogram(step) => Ask::DateGrid(self.grid(range, *step, 1, ends)?),
            Wanted::Terms(name) => Ask::Terms(field(name)?),
            Wanted::Numbers(name) => Ask::Numbers(number(name)?),
            Wanted::Quantile(name, per_mille) => Ask::Quantile(number(name)?, *per_mille),
            Wanted::Distinct(name) => Ask::Distinct(field(name)?),
            Wanted::TermsHistogram(name, step) => {
                let id = field(name)?;
                Ask::TermGrid(id, self.grid(range, *step, rows(id), ends)?)
            }
            Wanted::Sum { field: name, by, step } => {
                let by = by.as_ref().map(field).transpose()?;
                let grid = step.map(|step| self.grid(range, step, by.map_or(1, rows), ends)).transpose()?;
                Ask::Sum(SumLayout { field: number(name)?, by, grid })
            }
        })
    }

    /// Whole cells inside the range. An open end lies where the records end, if that is known, else at this moment; an open
    /// beginning where they begin, if that is known, and in any case where the newest cells fit into one answer.
    fn grid(
        &self,
        range: TimeRange,
        step: u32,
        rows: usize,
        ends: Option<(Timestamp, Timestamp)>,
    ) -> Result<Grid, PresentError> {
        let wrong = PresentError::Malformed {
            place: "interval",
            wanted: "whole minutes, and wide enough for at most 10,000 cells in one answer",
        };
        let width = i64::from(step).saturating_mul(Timestamp::MICROS);
        let most = i64::try_from(MAX_CELLS / rows.max(1)).unwrap_or(1);
        if width <= 0 {
            return Err(wrong);
        }
        let to = if range.to == TimeRange::ALL.to {
            let last = ends.map_or_else(|| self.parts.clock.now(), |(_, newest)| newest).0;
            last.div_euclid(width).saturating_add(1).saturating_mul(width)
        } else {
            range.to.0
        };
        let from = if range.from == TimeRange::ALL.from {
            let fitting = to.saturating_sub(width.saturating_mul(most.saturating_sub(1)));
            let first = ends.map_or(i64::MIN, |(oldest, _)| oldest.0.div_euclid(width).saturating_mul(width));
            fitting.max(first).min(to)
        } else {
            range.from.0
        };
        let grid = Grid::inside(TimeRange { from: Timestamp(from), to: Timestamp(to) }, step);
        grid.filter(|grid| grid.len as usize * rows <= MAX_CELLS).ok_or(wrong)
    }
}

/// What is said beside the cells of a search that left an end of its range open: which range they cover. `None` where both
/// ends were given, or the answer has no cells of time.
pub(super) fn chosen(filter: &Filter, aggregate: &Aggregate) -> Option<Value> {
    let (asked, _) = filter.clone().split_time();
    if asked.from != TimeRange::ALL.from && asked.to != TimeRange::ALL.to {
        return None;
    }
    let range = match aggregate {
        Aggregate::DateGrid(grid) => grid.grid.range(),
        Aggregate::TermGrid(grid) => grid.grid.range(),
        Aggregate::Sum(sum) => sum.layout.grid?.range(),
        _ => return None,
    };
    Some(json!({
        "from": range.from.as_millis(), "to": range.to.as_millis(),
        "reason": "the search leaves an end of its range open: cells outside of this range were not asked for",
    }))
}
