//! A search of this region's own records: what this node holds of it, and what the other nodes of the region do, as one answer.
//!
//! Whoever is asked answers for the whole region: with everything, or not at all. What a neighbour asks is answered with what lies
//! here and is passed on to nobody, so no question goes in a circle.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use domicile_proto::ids::{Name, NodeId, ShardId, StreamId};
use domicile_proto::message::region::NotSearched;
use domicile_proto::metadata::Rows;
use serde_json::Value;

use super::desk::{Desk, Permit};
use super::moving::{self, Missed};
use crate::admit::Principal;
use crate::erase::EraseError;
use crate::federate::OnMissing;
use crate::ownership::Patience;
use crate::policy::{StreamView, Unknown};
use crate::query::aggs::Aggs;
use crate::query::{Carried, Literals, Part, QueryError, Row, SearchRequest, Total, both, merged};
use crate::receive::Failure;
use crate::segment::{Segment, SegmentError, Unsearched};

/// A page of this region's own records. No `Debug`.
pub(crate) struct Found {
    pub(crate) rows: Vec<Row>,
    pub(crate) total: Option<Total>,
    pub(crate) aggregations: Option<Value>,
    /// What lies in the archive and was not searched, by stream.
    pub(crate) unsearched: Vec<(Name, Unsearched)>,
}

/// A search of this region's own records, and what it does where it cannot see all of them.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) request: SearchRequest,
    pub(crate) aggregations: Option<Value>,
    pub(crate) on_missing: OnMissing,
}

/// Streams of other nodes of the region, by who writes them.
pub(super) type Elsewhere = BTreeMap<NodeId, Vec<Arc<StreamView>>>;

/// Why this node does not find what it holds.
pub(super) enum Unfound {
    /// Somebody was erased of whom it does not know.
    Unaware(Unknown),
    /// Accepted records of a shard cannot be searched right now.
    NotWhole(ShardId),
    /// Records lie here that belong to no stream it knows of.
    Unclaimed(ShardId),
    /// All of it is wanted, and some of this stream lies in the archive.
    Archived(StreamId, Name, Unsearched),
    /// The search itself.
    Query(QueryError),
}

impl From<QueryError> for Unfound {
    fn from(error: QueryError) -> Self {
        Self::Query(error)
    }
}

impl From<Unfound> for Failure {
    fn from(unfound: Unfound) -> Self {
        match unfound {
            Unfound::Unaware(Unknown::Away) => Self::of(&EraseError::Away),
            Unfound::Unaware(Unknown::Order(order)) => {
                Self::of(&EraseError::Missing { order: order.to_string().into() })
            }
            Unfound::NotWhole(shard) => Self::of(&SegmentError::NotWhole { shard }),
            Unfound::Unclaimed(shard) => Self::of(&SegmentError::Unclaimed { shard }),
            Unfound::Archived(_, name, missing) => archived(&(name, missing)).into(),
            Unfound::Query(error) => error.into(),
        }
    }
}

impl Unfound {
    /// In the words of the link.
    pub(super) fn told(&self) -> NotSearched {
        match self {
            Self::Unaware(Unknown::Away) => NotSearched::Unaware(None),
            Self::Unaware(Unknown::Order(order)) => NotSearched::Unaware(Some(*order)),
            Self::NotWhole(shard) | Self::Unclaimed(shard) => NotSearched::NotWhole(*shard),
            Self::Archived(stream, _, missing) => NotSearched::Archived(*stream, missing.segments, missing.records),
            Self::Query(error) => error.told(),
        }
    }
}

impl Desk {
    /// Searches this region's own records of some streams, whichever of its nodes write them: all of them answer, or there is no
    /// answer, and none is smaller than it should be.
    /// Of a stream that is on its way from one node to another it is asked again where it lies then.
    pub(super) async fn search(
        &self,
        who: &Principal,
        streams: &[Arc<StreamView>],
        wanted: Wanted,
    ) -> Result<Found, Failure> {
        let permit = Arc::new(self.permit(who.tenant())?);
        let until = moving::until(wanted.request.budget.deadline.saturating_duration_since(Instant::now()));
        let (mut streams, mut patience) = (streams.to_vec(), Patience::until(until));
        loop {
            self.arrived(&streams, until).await;
            // What another try gathered is given back, and what it put on the page.
            let budget = wanted.request.budget.share(None);
            let request = SearchRequest { budget: budget.clone(), ..wanted.request.clone() };
            match self.search_once(&permit, who, &streams, Wanted { request, ..wanted.clone() }).await {
                Ok(found) => return Ok(found),
                Err(missed) => streams = self.once_more(missed, &streams, &mut patience).await?,
            }
            budget.clear_page();
        }
    }

    async fn search_once(
        &self,
        permit: &Arc<Permit>,
        who: &Principal,
        streams: &[Arc<StreamView>],
        Wanted { request, aggregations, on_missing }: Wanted,
    ) -> Result<Found, Missed> {
        let (here, elsewhere) = self.by_owner(streams);
        // What another node shows is not shown here either where this one may show nothing.
        elsewhere.values().flatten().try_for_each(|stream| self.is_aware(stream.tenant))?;
        let dates = self.dates();
        let aggs = aggregations.as_ref().map(|wanted| Aggs::read(wanted, &dates)).transpose()?.unwrap_or_default();
        // Whoever hangs up ends the search: the token goes with this future.
        let budget = request.budget.clone();
        let _guard = budget.token.clone().drop_guard();
        let (sort, size, total) = (request.sort, request.size, request.total);
        let carried = Carried {
            request: request.clone(),
            aggregations: aggregations.filter(|_| !aggs.is_empty()).map(|aggregations| aggregations.to_string()),
            now: dates.now,
            is_wanted_whole: on_missing == OnMissing::Fail,
        };
        let own = async {
            if here.is_empty() && !elsewhere.is_empty() {
                return Ok(None);
            }
            let found = self.part_here(permit, who.rows(), &here, (request, aggs.clone()), on_missing).await;
            found.map(Some).map_err(|unfound| self.missed(unfound, &here))
        };
        let theirs = self.parts_elsewhere(who, &elsewhere, &carried, &aggs);
        let (own, theirs) = futures::future::try_join(own, theirs).await?;
        let parts: Vec<Part> = own.into_iter().chain(theirs).collect();
        let permit = Arc::clone(permit);
        let joined = self.parts.tasks.blocking(move || {
            let _permit = permit;
            let part = merged(parts, sort, size, total, &budget)?;
            let aggregations = part.gathered.as_ref().map(|gathered| gathered.shown(&aggs)).transpose()?;
            Ok::<_, QueryError>((part, aggregations.map(Value::Object)))
        });
        let (part, aggregations) = joined.await.map_err(|_| QueryError::Cancelled)??;
        // In the order of the streams, whichever nodes said so.
        let unsearched = streams.iter().filter_map(|stream| {
            let (_, missing) = part.unsearched.iter().find(|(id, _)| *id == stream.id)?;
            Some((stream.name.clone(), *missing))
        });
        let unsearched = unsearched.collect();
        Ok(Found { rows: part.rows, total: part.total, aggregations, unsearched })
    }

    /// Streams that this node writes, or nobody yet, and those of other nodes by who writes them.
    pub(super) fn by_owner(&self, streams: &[Arc<StreamView>]) -> (Vec<Arc<StreamView>>, Elsewhere) {
        let (mut here, mut elsewhere) = (Vec::new(), Elsewhere::new());
        for stream in streams {
            match stream.shard {
                Some((_, owner)) if owner != self.parts.node => {
                    elsewhere.entry(owner).or_default().push(Arc::clone(stream));
                }
                _ => here.push(Arc::clone(stream)),
            }
        }
        (here, elsewhere)
    }

    /// What this node holds of a search, of streams that it writes. The permit is given back when the work ends.
    pub(super) async fn part_here(
        &self,
        permit: &Arc<Permit>,
        rows: Rows,
        streams: &[Arc<StreamView>],
        (request, aggs): (SearchRequest, Aggs),
        on_missing: OnMissing,
    ) -> Result<Part, Unfound> {
        // Asked before, for what comes, and behind, for what goes: what leaves from then on is in these segments still.
        self.has_all(streams)?;
        let (segments, unsearched) = self.shown(streams, &request);
        self.has_all(streams)?;
        if let Some((stream, missing)) = unsearched.first().filter(|_| on_missing == OnMissing::Fail) {
            return Err(Unfound::Archived(stream.id, stream.name.clone(), *missing));
        }
        let unsearched: Vec<_> = unsearched.into_iter().map(|(stream, missing)| (stream.id, missing)).collect();
        let literals = Literals { classifier: &self.parts.classifier, streams, rows };
        let request = SearchRequest { filter: literals.in_filter(request.filter)?, ..request };
        let aggs = aggs.in_filters(&literals)?;
        let (engine, permit) = (self.parts.engine.clone(), Arc::clone(permit));
        let found = self.parts.tasks.blocking(move || {
            let _permit = permit;
            let hits = engine.search(&request, segments, rows)?;
            let gathered = (!aggs.is_empty()).then(|| hits.gather(&aggs)).transpose()?;
            let total = hits.total().map(|total| Total { is_exact: total.is_exact && unsearched.is_empty(), ..total });
            let rows = hits.rows()?;
            let on_page = rows.iter().map(|row| row.source.len()).sum();
            Ok::<_, QueryError>(Part { rows, total, gathered, unsearched, on_page })
        });
        Ok(found.await.map_err(|_| QueryError::Cancelled)??)
    }

    /// The segments of some streams, and what of the range of a search lies in the archive beside them.
    fn shown<'a>(
        &self,
        streams: &'a [Arc<StreamView>],
        request: &SearchRequest,
    ) -> (Vec<Arc<Segment>>, Vec<(&'a StreamView, Unsearched)>) {
        let (range, _) = request.filter.clone().split_time();
        let range = both(range, request.range);
        let (mut segments, mut unsearched) = (Vec::new(), Vec::new());
        for stream in streams {
            let Some((shard, _)) = stream.shard else { continue };
            let view = self.parts.catalog.view(shard);
            let missing = self.parts.catalog.unsearched(shard, range, &view);
            unsearched.extend(missing.map(|missing| (stream.as_ref(), missing)));
            segments.extend(view.iter().cloned());
        }
        (segments, unsearched)
    }
}

/// That a search cannot be whole.
pub(in crate::present) fn archived((stream, missing): &(Name, Unsearched)) -> QueryError {
    let Unsearched { segments, records, .. } = *missing;
    QueryError::Archived { stream: stream.clone(), segments, records }
}
