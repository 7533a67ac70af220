//! One question, all regions at the same time, one answer that names each of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domicile_proto::aggregate::Aggregate;
use domicile_proto::aggregate::count::Count;
use domicile_proto::aggregate::date_grid::DateGrid;
use domicile_proto::aggregate::histogram::FixedHistogram;
use domicile_proto::aggregate::scalars::{DistinctEstimate, Quantile};
use domicile_proto::aggregate::sum::Sum;
use domicile_proto::aggregate::term_grid::TermGrid;
use domicile_proto::aggregate::terms::Terms;
use domicile_proto::border::{LiteralDetector, VettedQuestion};
use domicile_proto::ids::{DictionaryId, QuestionId, Region, RegionNumber};
use domicile_proto::link::identity::PeerAddr;
use domicile_proto::message::answer::{self, Outcome, RefusalCode};
use domicile_proto::message::gated::AskedBy;
use domicile_proto::message::question::{Ask, Question, QuestionError};
use domicile_proto::message::region::Asker;
use ring::rand::{SecureRandom, SystemRandom};

use super::coverage::{Coverage, RegionCoverage, Standing, cells};
use super::errors::FederateError;
use super::gate::{Gate, Put};
use super::question::{FederatedQuestion, OnMissing, Regions};
use super::reach::Reach;
use crate::audit::{Event, Ledger, Why};
use crate::policy::{Dictionary, Policy, PolicyWatch, StreamView};

/// What all regions together answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The question's id, under which it lies in the ledgers.
    pub(crate) question: QuestionId,
    /// Every published cell, added up.
    pub(crate) aggregate: Aggregate,
    /// What is said of every region that was asked.
    pub(crate) coverage: Coverage,
    /// Texts of the ids in the aggregate, as far as they are known here.
    pub(crate) dictionary: Arc<Dictionary>,
    /// Names of the regions that speak for themselves in the aggregate.
    pub(crate) names: BTreeMap<RegionNumber, Region>,
}

/// A number of records, and whether it is all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Total {
    pub(crate) value: u64,
    /// False where anything is withheld, missing or open: then there are at least this many.
    pub(crate) is_exact: bool,
}

impl Answer {
    /// The sum of what was published; never more than was released.
    pub(crate) fn total(&self) -> Total {
        let cells = cells(&self.aggregate);
        let value = cells.iter().fold(0_u64, |sum, cell| sum.saturating_add(cell.records.0));
        Total { value, is_exact: self.coverage.is_whole() && cells.iter().all(|cell| cell.is_exact()) }
    }

    /// Whether the aggregate is about a number of records at all.
    pub(crate) const fn has_total(&self) -> bool {
        !matches!(self.aggregate, Aggregate::Quantile(_) | Aggregate::DistinctEstimate(_))
    }

    /// The text of an id; `#id` where it is not known here yet.
    pub(crate) fn text(&self, id: DictionaryId) -> String {
        self.dictionary.texts.get(&id).cloned().unwrap_or_else(|| format!("#{id}"))
    }
}

/// Asks regions.
pub(crate) struct Federation {
    policy: PolicyWatch,
    gate: Gate,
    reach: Reach,
    ledger: Arc<Ledger>,
    detector: Arc<dyn LiteralDetector + Send + Sync>,
}

impl Federation {
    /// Over this region's gate and the way to the others.
    pub(crate) fn new(
        policy: PolicyWatch,
        gate: Gate,
        reach: Reach,
        ledger: Arc<Ledger>,
        detector: Arc<dyn LiteralDetector + Send + Sync>,
    ) -> Self {
        Self { policy, gate, reach, ledger, detector }
    }

    /// Asks every region the question names and waits for all of them, at most until the deadline.
    ///
    /// # Errors
    /// [`FederateError`]; with [`OnMissing::Fail`] also where a region gave no answer.
    pub(crate) async fn ask(&self, asked: FederatedQuestion) -> Result<Answer, FederateError> {
        let policy = self.policy.now();
        let regions = regions(&policy, &asked.regions)?;
        let stream = policy.stream(asked.tenant, &asked.stream);
        let stream = stream.ok_or_else(|| FederateError::UnknownStream { stream: asked.stream.clone() })?;
        let question = Question {
            id: draw()?,
            tenant: asked.tenant,
            stream: stream.id,
            range: asked.range,
            filters: asked.filters,
            ask: asked.ask,
            deadline_ms: u32::try_from(asked.deadline.as_millis()).unwrap_or(u32::MAX),
        };
        question.check_bounds().map_err(FederateError::Question)?;
        let goes_abroad = regions.iter().any(|region| *region != policy.region);
        let vetted = if goes_abroad { Some(self.vet(stream, &question).await) } else { None };
        let parts = regions.into_iter().map(|region| {
            self.ask_one(&policy, stream, region, &question, vetted.as_ref(), (&asked.asker, asked.deadline))
        });
        let parts = futures::future::join_all(parts).await;
        let dictionary = dictionary_of(&policy, stream, question.ask);
        let bounds = question.ask.number().and_then(|field| stream.number(field));
        let bounds = bounds.map(|number| number.bounds.clone()).unwrap_or_default();
        let (aggregate, coverage) = merge(question.ask, parts, &dictionary, bounds, &policy.regions)?;
        if asked.on_missing == OnMissing::Fail && !coverage.missing().is_empty() {
            return Err(FederateError::Missing(coverage));
        }
        let names = policy.regions.iter().map(|(name, number)| (*number, name.clone())).collect();
        Ok(Answer { question: question.id, aggregate, coverage, dictionary, names })
    }

    /// Decides once for all other regions whether the question may leave (RES-3).
    async fn vet(&self, stream: &StreamView, question: &Question) -> Result<VettedQuestion, RefusalCode> {
        let vetted = VettedQuestion::vet(question.clone(), &stream.question_rules(), self.detector.as_ref());
        let code = match vetted {
            Ok(vetted) => return Ok(vetted),
            Err(QuestionError::FieldNotAllowed) => RefusalCode::FieldNotAllowed,
            Err(QuestionError::TextNotAllowed) => RefusalCode::TextNotAllowed,
            Err(QuestionError::PersonalLiteral) => RefusalCode::PersonalLiteral,
            Err(
                QuestionError::LiteralLength
                | QuestionError::TooManyConditions
                | QuestionError::Quantile
                | QuestionError::Grid,
            ) => RefusalCode::OutOfBounds,
        };
        self.record_refusal(stream, code).await;
        Err(code)
    }

    /// A refusal of a question that was put here lies in the ledger with its reason.
    async fn record_refusal(&self, stream: &StreamView, code: RefusalCode) {
        let event = Event::RefusedQuestion { peer: None, stream: Some(stream.id), why: Why::Code(code) };
        if let Err(error) = self.ledger.record_of(stream.tenant, event).await {
            tracing::error!(error = &error as &dyn std::error::Error, "a refused question is not recorded");
        }
    }

    /// Whether a question may go to a region at this moment. A policy nobody can change any more may have been revoked: then
    /// nothing goes out, and the region is one that could not be asked.
    fn may_go(&self, to: &Region) -> Result<(), (Standing, RefusalCode)> {
        if !self.policy.now().routes.may_ask(to) || !self.ledger.lets_out_to(to) {
            return Err((Standing::Refused(RefusalCode::NoTransferBasis), RefusalCode::NoTransferBasis));
        }
        if self.policy.lease().is_over(Instant::now()) {
            return Err((Standing::Unreachable, RefusalCode::Unavailable));
        }
        Ok(())
    }

    /// A question that did not go to a region lies in the ledger with the region and the reason.
    async fn record_not_sent(&self, stream: &StreamView, to: &Region, code: RefusalCode) {
        let event = Event::NotSent { to: to.clone(), stream: stream.id, why: Why::Code(code) };
        if let Err(error) = self.ledger.record_of(stream.tenant, event).await {
            tracing::error!(error = &error as &dyn std::error::Error, "a question that was not sent is not recorded");
        }
    }

    async fn ask_one(
        &self,
        policy: &Arc<Policy>,
        stream: &Arc<StreamView>,
        region: Region,
        question: &Question,
        vetted: Option<&Result<VettedQuestion, RefusalCode>>,
        (asker, deadline): (&Asker, Duration),
    ) -> Part {
        let began = Instant::now();
        if region == policy.region {
            let crosses = vetted.is_some();
            let put = Put { crosses, ..self.put(policy, stream, question, deadline) };
            let Ok((answered, _)) = self.gate.ask(put, AskedBy::Key(asker.clone(), crosses)).await else {
                return Part::silent(region, Standing::Unreachable, began.elapsed());
            };
            // What was not let out is recorded already, for all regions at once.
            if let (Some(Ok(_)), Outcome::Refused(code)) = (vetted, &answered.answer().outcome) {
                self.record_refusal(stream, *code).await;
            }
            return Part::answered(region, answered.answer().clone(), began.elapsed());
        }
        let vetted = match vetted {
            Some(Ok(vetted)) => vetted,
            Some(Err(code)) => return Part::silent(region, Standing::Refused(*code), began.elapsed()),
            None => return Part::silent(region, Standing::Unreachable, began.elapsed()),
        };
        if let Err((standing, code)) = self.may_go(&region) {
            self.record_not_sent(stream, &region, code).await;
            return Part::silent(region, standing, began.elapsed());
        }
        match self.reach.ask(nodes_of(policy, &region, question.id), vetted, deadline).await {
            Ok(received) => Part::answered(region, received.answer().clone(), began.elapsed()),
            Err(_) => Part::silent(region, Standing::Unreachable, began.elapsed()),
        }
    }

    fn put(&self, policy: &Arc<Policy>, stream: &Arc<StreamView>, question: &Question, deadline: Duration) -> Put {
        let header = super::answerer::header(&self.ledger, question);
        Put {
            policy: Arc::clone(policy),
            stream: Arc::clone(stream),
            question: question.clone(),
            header,
            deadline,
            crosses: false,
        }
    }
}

/// What came of one region.
struct Part {
    coverage: RegionCoverage,
    aggregate: Option<Aggregate>,
}

impl Part {
    fn silent(region: Region, standing: Standing, took: Duration) -> Self {
        #[cfg(feature = "jepsen-bugs")]
        let standing = if crate::bugs::is_seeded("silent-partial") { Standing::Complete } else { standing };
        Self { coverage: RegionCoverage::silent(region, standing, took), aggregate: None }
    }

    fn answered(region: Region, answer: answer::Answer, took: Duration) -> Self {
        let coverage = RegionCoverage::of(region, &answer, took);
        let aggregate = match answer.outcome {
            Outcome::Aggregate(aggregate) => Some(aggregate),
            Outcome::Suppressed | Outcome::Refused(_) => None,
        };
        Self { coverage, aggregate }
    }
}

/// Adds up what the regions published; a region that used ids without a known text is partial.
fn merge(
    ask: Ask,
    parts: Vec<Part>,
    dictionary: &Dictionary,
    bounds: Vec<i64>,
    numbers: &BTreeMap<Region, RegionNumber>,
) -> Result<(Aggregate, Coverage), FederateError> {
    let mut sum = match ask {
        Ask::Count => Aggregate::Count(Count::EMPTY),
        Ask::DateGrid(grid) => Aggregate::DateGrid(DateGrid::empty(grid)),
        Ask::Terms(field) => Aggregate::Terms(Terms::empty(field)),
        Ask::TermGrid(field, grid) => Aggregate::TermGrid(TermGrid::empty(field, grid)),
        Ask::Numbers(field) => Aggregate::FixedHistogram(FixedHistogram::empty(field, bounds)),
        Ask::Sum(layout) => Aggregate::Sum(Sum::empty(layout)),
        Ask::Quantile(field, per_mille) => Aggregate::Quantile(Quantile::empty(field, per_mille)),
        Ask::Distinct(field) => Aggregate::DistinctEstimate(DistinctEstimate::empty(field)),
    };
    let mut coverage = Coverage::default();
    for Part { coverage: mut region, aggregate } in parts {
        if let (Aggregate::FixedHistogram(ours), Some(Aggregate::FixedHistogram(theirs))) = (&sum, &aggregate)
            && ours.bounds != theirs.bounds
        {
            coverage.0.push(RegionCoverage::silent(
                region.region,
                Standing::Refused(RefusalCode::OtherBounds),
                region.took,
            ));
            continue;
        }
        if let Some(aggregate) = aggregate {
            let aggregate = spoken_by(aggregate, numbers.get(&region.region).copied());
            let is_unknown = |id: &DictionaryId| !dictionary.texts.contains_key(id);
            if region.standing == Standing::Complete && ids(&aggregate).iter().any(is_unknown) {
                region.standing = Standing::Partial;
            }
            sum = sum.merge(aggregate).map_err(FederateError::Merge)?;
        }
        coverage.0.push(region);
    }
    Ok((sum, coverage))
}

/// A region speaks for itself, whatever number it gives: what it says of itself is put under the number it has here.
fn spoken_by(mut aggregate: Aggregate, number: Option<RegionNumber>) -> Aggregate {
    if let Some(number) = number {
        match &mut aggregate {
            Aggregate::Quantile(quantile) => quantile.regions.iter_mut().for_each(|(region, _)| *region = number),
            Aggregate::DistinctEstimate(estimate) => {
                estimate.regions.iter_mut().for_each(|(region, _)| *region = number);
            }
            _ => {}
        }
    }
    aggregate
}

fn ids(aggregate: &Aggregate) -> Vec<DictionaryId> {
    match aggregate {
        Aggregate::Sum(sum) => sum.rows.iter().map(|(id, _)| *id).collect(),
        Aggregate::Terms(terms) => terms.cells.iter().map(|(id, _)| *id).collect(),
        Aggregate::TermGrid(grid) => grid.rows.iter().map(|(id, _)| *id).collect(),
        _ => Vec::new(),
    }
}

fn dictionary_of(policy: &Policy, stream: &StreamView, ask: Ask) -> Arc<Dictionary> {
    let field = ask.field().and_then(|field| stream.fields.get(usize::from(field.0)));
    field.map(|field| policy.dictionary(stream.tenant, field)).unwrap_or_default()
}

fn regions(policy: &Policy, wanted: &Regions) -> Result<Vec<Region>, FederateError> {
    match wanted {
        Regions::All => Ok(policy.regions.keys().cloned().collect()),
        Regions::Only(regions) => {
            if let Some(unknown) = regions.iter().find(|region| !policy.regions.contains_key(*region)) {
                let known: Vec<String> = policy.regions.keys().map(|region| format!("`{region}`")).collect();
                return Err(FederateError::UnknownRegion { region: unknown.clone(), known: known.join(", ") });
            }
            Ok(regions.iter().cloned().collect())
        }
    }
}

/// The nodes of a region, begun with another one at each question so that all of them have their share.
fn nodes_of(policy: &Policy, region: &Region, question: QuestionId) -> Vec<PeerAddr> {
    let mut nodes: Vec<PeerAddr> = policy.nodes_of(region).collect();
    if !nodes.is_empty() {
        let first = usize::try_from(question.0 % nodes.len() as u128).unwrap_or(0);
        nodes.rotate_left(first);
    }
    nodes
}

fn draw() -> Result<QuestionId, FederateError> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| FederateError::Random)?;
    Ok(QuestionId(u128::from_be_bytes(bytes)))
}

#[cfg(test)]
#[path = "federation_test.rs"]
mod tests;
