//! The other nodes of the region: the way to those that write a stream, and what this one says to a node that asks it.
//!
//! Rows go from node to node of one region and no further (RES-1): only a neighbour is asked and answered. Who asks was looked at
//! where they came in, and is looked up again here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domicile_proto::ids::{NodeId, ShardId, StreamId};
use domicile_proto::link::connection::{Peer, RegionReplyTo};
use domicile_proto::link::endpoint::Link;
use domicile_proto::link::errors::LinkError;
use domicile_proto::link::identity::PeerAddr;
use domicile_proto::link::neighbour::Neighbour;
use domicile_proto::link::protocol::Protocol;
use domicile_proto::message::region::{
    MAX_STREAMS, NotSearched, RegionAsk, RegionReply, RowBytes, RowSearch, SearchBytes,
};
use domicile_proto::metadata::Rows;
use futures::future::{BoxFuture, join_all, try_join_all};

use super::desk::{Desk, Permit};
use super::errors::PresentError;
use super::moving::{self, Missed};
use super::searching::{Elsewhere, Unfound};
use crate::admit::{Place, Principal};
use crate::federate::OnMissing;
use crate::limits::{HOLDINGS_DEADLINE, REFRESH_DEADLINE, SEARCH_DEADLINE};
use crate::ownership::{OwnershipError, Passing};
use crate::policy::{StreamView, Unknown};
use crate::query::aggs::Aggs;
use crate::query::dates::DateContext;
use crate::query::{Arriving, Budget, Carried, Part, QueryError, SearchRequest, TrackTotal};
use crate::receive::Failure;
use crate::segment::SegmentError;

/// Why no word came.
pub(crate) enum NoWord {
    /// The node is out of reach, or broke off.
    Silent,
    /// The time was up.
    Late,
    /// There was no room for what came.
    Refused(QueryError),
}

type Said = Result<(Arriving, RegionReply), NoWord>;
type Ask = dyn Fn(PeerAddr, RegionAsk, Arriving, Duration) -> BoxFuture<'static, Said> + Send + Sync;

/// The way to the other nodes of the region.
#[derive(Clone)]
pub(crate) struct Owners(Arc<Ask>);

impl Owners {
    /// Over some way; the tests have their own.
    pub(crate) fn over<F>(ask: F) -> Self
    where
        F: Fn(PeerAddr, RegionAsk, Arriving, Duration) -> BoxFuture<'static, Said> + Send + Sync + 'static,
    {
        Self(Arc::new(ask))
    }

    /// Asks a node.
    pub(super) fn ask(
        &self,
        to: PeerAddr,
        ask: RegionAsk,
        arriving: Arriving,
        within: Duration,
    ) -> BoxFuture<'static, Said> {
        (self.0)(to, ask, arriving, within)
    }

    /// Over the link. A pooled connection may have died unnoticed: a loss is tried once more on a fresh one.
    pub(crate) fn by(link: Link) -> Self {
        Self::over(move |to, ask, mut arriving, within| {
            let link = link.clone();
            Box::pin(async move {
                let asking = async {
                    let said = ask_once(&link, &to, &ask, &mut arriving, within).await;
                    if !matches!(said, Err(LinkError::Lost { .. })) {
                        return said;
                    }
                    arriving.begin_again();
                    ask_once(&link, &to, &ask, &mut arriving, within).await
                };
                let error = match tokio::time::timeout(within, asking).await {
                    Ok(Ok(reply)) => return Ok((arriving, reply)),
                    Ok(Err(error)) => error,
                    Err(_) => return Err(NoWord::Late),
                };
                if let Some(refused) = arriving.refused() {
                    return Err(NoWord::Refused(refused));
                }
                tracing::info!(peer = %to.id, code = error.code(), %error, "a node of the region gave no rows");
                Err(if matches!(error, LinkError::Deadline { .. }) { NoWord::Late } else { NoWord::Silent })
            })
        })
    }
}

async fn ask_once(
    link: &Link,
    to: &PeerAddr,
    ask: &RegionAsk,
    arriving: &mut Arriving,
    within: Duration,
) -> Result<RegionReply, LinkError> {
    match link.peer(to, Protocol::Region).await? {
        Peer::Neighbour(neighbour) => neighbour.tell_pieces(ask, &mut |rows| arriving.take(&rows.0), within).await,
        Peer::Foreign(_) => Err(LinkError::Home { peer: to.id.clone() }),
    }
}

/// That the owner of a stream gives no answer.
pub(super) fn no_word(stream: &StreamView, owner: NodeId, why: &'static str) -> Failure {
    OwnershipError::NoWord { stream: stream.name.clone(), owner, why }.into()
}

pub(super) fn ids(streams: &[Arc<StreamView>]) -> Vec<StreamId> {
    streams.iter().map(|stream| stream.id).collect()
}

/// Asking.
impl Desk {
    /// What other nodes of the region hold of a search: a part of each of them, or why one gives none.
    pub(super) async fn parts_elsewhere(
        &self,
        who: &Principal,
        elsewhere: &Elsewhere,
        carried: &Carried,
        aggs: &Aggs,
    ) -> Result<Vec<Part>, Missed> {
        if elsewhere.is_empty() {
            return Ok(Vec::new());
        }
        carried.request.filter.check_bounds()?;
        let wanted = SearchBytes(carried.write());
        let request = &carried.request;
        let asked =
            elsewhere.iter().map(|(owner, streams)| self.part_of(who, (*owner, streams), &wanted, (aggs, request)));
        try_join_all(asked).await
    }

    async fn part_of(
        &self,
        who: &Principal,
        (owner, streams): (NodeId, &[Arc<StreamView>]),
        wanted: &SearchBytes,
        (aggs, request): (&Aggs, &SearchRequest),
    ) -> Result<Part, Missed> {
        let Some(first) = streams.first() else { return Ok(Part::default()) };
        let unheard = |why| no_word(first, owner, why);
        let left = request.budget.deadline.saturating_duration_since(Instant::now());
        let wait_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
        let search = RowSearch { asker: who.asker(), streams: ids(streams), wait_ms, wanted: wanted.clone() };
        if !search.is_bounded() {
            return Err(QueryError::TooCostly.into());
        }
        let said = self.ask_node(owner, RegionAsk::Search(search), (Arriving::new(&request.budget), left)).await;
        let (arriving, rows) = match said {
            Ok((arriving, RegionReply::RowsEnd(rows))) => (arriving, rows),
            Ok((_, RegionReply::NotSearched(why))) => return Err(heard(&why, (owner, streams), first)),
            Ok(_) => return Err(unheard("gives an answer that is none").into()),
            Err(why) => return Err(unheard_of(why, unheard)),
        };
        let wanted_aggs = aggs.clone();
        let read = self.parts.tasks.blocking(move || arriving.read(rows, &wanted_aggs));
        let part = read.await.map_err(|_| QueryError::Cancelled)??;
        let fits = |part: &Part| {
            let shards: BTreeSet<ShardId> =
                streams.iter().filter_map(|stream| stream.shard).map(|(at, _)| at).collect();
            let most = if who.rows() == Rows::None { 0 } else { request.size };
            part.rows.len() <= most
                && part.rows.iter().all(|row| shards.contains(&row.tie.0))
                && part.total.is_some() == (request.total != TrackTotal::No)
                && part.unsearched.iter().all(|(id, _)| streams.iter().any(|stream| stream.id == *id))
                && part.gathered.is_none() == aggs.is_empty()
        };
        part.filter(fits).ok_or_else(|| unheard("gives an answer that does not read here").into())
    }

    pub(super) async fn ask_node(
        &self,
        owner: NodeId,
        ask: RegionAsk,
        (arriving, within): (Arriving, Duration),
    ) -> Said {
        let policy = self.parts.policy.now();
        let to = policy.nodes_of(&self.parts.region).find(|to| to.id.node == owner);
        match to {
            Some(to) => self.parts.owners.ask(to, ask, arriving, within).await,
            None => Err(NoWord::Silent),
        }
    }

    /// Has other nodes of the region make searchable what they accepted into their streams.
    pub(super) async fn refresh_elsewhere(&self, elsewhere: &Elsewhere) -> Result<(), Missed> {
        let told = elsewhere.iter().map(async |(owner, streams)| {
            let arriving = Arriving::new(&Budget::until(Instant::now() + REFRESH_DEADLINE));
            let ask = RegionAsk::Refresh(ids(streams));
            let said = self.ask_node(*owner, ask, (arriving, REFRESH_DEADLINE)).await;
            match (said, streams.first()) {
                (Ok((_, RegionReply::Refreshed)), _) | (_, None) => Ok(()),
                (Ok(_), Some(first)) => Err(Missed::passing(no_word(first, *owner, MOVING), Passing::Moving)),
                (Err(why), Some(first)) => Err(unheard_of(why, |why| no_word(first, *owner, why))),
            }
        });
        join_all(told).await.into_iter().collect()
    }
}

const MOVING: &str = "says that it does not write it; it may be on its way to another one";

pub(super) fn unheard_of(why: NoWord, unheard: impl FnOnce(&'static str) -> Failure) -> Missed {
    match why {
        NoWord::Silent => Missed::passing(unheard("does not answer"), Passing::Elsewhere),
        NoWord::Late => QueryError::Deadline.into(),
        NoWord::Refused(error) => error.into(),
    }
}

/// What another node refuses is refused here in the same words; a stream that it does not write may be on its way.
pub(super) fn heard(why: &NotSearched, of: (NodeId, &[Arc<StreamView>]), first: &StreamView) -> Missed {
    let passing = if matches!(why, NotSearched::NotMine(_)) { Passing::Moving } else { Passing::No };
    Missed::passing(in_its_words(why, of, first), passing)
}

fn in_its_words(why: &NotSearched, (owner, streams): (NodeId, &[Arc<StreamView>]), first: &StreamView) -> Failure {
    if let Some(error) = QueryError::heard(why) {
        return error.into();
    }
    let of = |id: StreamId| streams.iter().find(|stream| stream.id == id).map_or(first, Arc::as_ref);
    match *why {
        NotSearched::Busy => PresentError::Busy.into(),
        NotSearched::NotWhole(shard) => Failure::of(&SegmentError::NotWhole { shard }),
        NotSearched::Unaware(None) => Unfound::Unaware(Unknown::Away).into(),
        NotSearched::Unaware(Some(order)) => Unfound::Unaware(Unknown::Order(order)).into(),
        NotSearched::Archived(stream, segments, records) => {
            QueryError::Archived { stream: of(stream).name.clone(), segments, records }.into()
        }
        NotSearched::NotMine(stream) => no_word(of(stream), owner, MOVING),
        NotSearched::Stranger => no_word(first, owner, "does not know this key yet, or no more"),
        _ => no_word(first, owner, "does not read the question; give all nodes of the region the same build"),
    }
}

/// What is held of a search until its rows have gone.
type Held = (Arc<Permit>, Budget);

/// Being asked.
impl Desk {
    /// Answers what a node of the region asks about rows that this one holds. Where that one waits no more, the work ends and its place is
    /// free.
    pub(crate) async fn answer(&self, neighbour: &Neighbour, ask: RegionAsk, mut to: RegionReplyTo) {
        // Places and memory are held until the answer has gone.
        let Some((pieces, reply, _held)) = moving::wanted_still(self.said(ask), to.given_up()).await else {
            tracing::debug!("a neighbour gave up what it had asked here");
            return;
        };
        let sending = async {
            for piece in pieces {
                neighbour.send_rows(&mut to, RowBytes(piece)).await?;
            }
            neighbour.say(to, &reply).await
        };
        match tokio::time::timeout(SEARCH_DEADLINE, sending).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(code = error.code(), %error, "a neighbour did not get its answer"),
            Err(_) => tracing::debug!("a neighbour took too long to take its answer"),
        }
    }

    async fn said(&self, ask: RegionAsk) -> (Vec<Vec<u8>>, RegionReply, (Option<Held>, Option<Place>)) {
        match ask {
            RegionAsk::Search(search) => match self.searched(search).await {
                Ok((pieces, rows, held)) => (pieces, RegionReply::RowsEnd(rows), (Some(held), None)),
                Err(why) => (Vec::new(), RegionReply::NotSearched(why), (None, None)),
            },
            RegionAsk::Refresh(streams) => (Vec::new(), self.refreshed(&streams).await, (None, None)),
            RegionAsk::Holdings(asker, streams) => {
                self.arrived_of(Some(asker.tenant), &streams, moving::until(HOLDINGS_DEADLINE * 4 / 5)).await;
                let (reply, place) = self.holdings_here(&asker, &streams);
                (Vec::new(), reply, (None, place))
            }
            _ => (Vec::new(), RegionReply::NotSearched(NotSearched::Unread), (None, None)),
        }
    }

    /// What this node holds of a search that a neighbour carries here, and how many rows it is.
    pub(super) async fn searched(&self, search: RowSearch) -> Result<(Vec<Vec<u8>>, u64, Held), NotSearched> {
        let who = self.parts.admitter.vouched(&search.asker).ok_or(NotSearched::Stranger)?;
        if !search.is_bounded() {
            return Err(NotSearched::Unread);
        }
        let permit = Arc::new(self.permit(who.tenant()).map_err(|_| NotSearched::Busy)?);
        let within = Duration::from_millis(search.wait_ms.into()).min(SEARCH_DEADLINE);
        let deadline = Instant::now() + within;
        // So that its word still reaches whoever waits for it.
        self.arrived_of(Some(who.tenant()), &search.streams, moving::until(within * 4 / 5)).await;
        let mut seen = BTreeSet::new();
        let streams = search.streams.iter().filter(|id| seen.insert(**id)).map(|id| {
            let id = *id;
            let policy = self.parts.policy.now();
            let view = policy.stream_by_id(who.tenant(), id).filter(|view| self.writes(view));
            view.cloned().ok_or(NotSearched::NotMine(id))
        });
        let streams = streams.collect::<Result<Vec<_>, _>>()?;
        let budget = Budget::until(deadline);
        let read = Carried::read(&search.wanted.0, budget.clone()).ok_or(NotSearched::Unread)?;
        let Carried { request, aggregations, now, is_wanted_whole } = read;
        let aggs = aggregations.map(|text| {
            let wanted = serde_json::from_str(&text).ok()?;
            Aggs::read(&wanted, &DateContext::utc(now)).ok()
        });
        let aggs = aggs.unwrap_or_else(|| Some(Aggs::default())).ok_or(NotSearched::Unread)?;
        let on_missing = if is_wanted_whole { OnMissing::Fail } else { OnMissing::Partial };
        let _guard = budget.token.clone().drop_guard();
        let part = self.part_here(&permit, who.rows(), &streams, (request, aggs), on_missing).await;
        let part = part.map_err(|unfound| match unfound {
            // It has gone meanwhile, and lies elsewhere whole.
            Unfound::NotWhole(_) if !self.has_still(&streams) => {
                streams.first().map_or(NotSearched::Unread, |stream| NotSearched::NotMine(stream.id))
            }
            unfound => unfound.told(),
        })?;
        let rows = u64::try_from(part.rows.len()).unwrap_or(u64::MAX);
        let room = budget.clone();
        let pieces = self.parts.tasks.blocking(move || part.pieces(&room));
        let pieces = pieces.await.unwrap_or(Err(QueryError::Cancelled)).map_err(|error| error.told())?;
        Ok((pieces, rows, (permit, budget)))
    }

    pub(super) fn writes(&self, stream: &StreamView) -> bool {
        stream.shard.is_some_and(|(_, owner)| owner == self.parts.node)
    }

    /// Makes searchable what this node accepted into streams that it writes.
    pub(super) async fn refreshed(&self, streams: &[StreamId]) -> RegionReply {
        self.arrived_of(None, streams, moving::until(REFRESH_DEADLINE * 4 / 5)).await;
        let (shards, views) = {
            let policy = self.parts.policy.now();
            let wanted: BTreeSet<StreamId> = streams.iter().take(MAX_STREAMS).copied().collect();
            let meant = policy.streams.values().filter(|stream| wanted.contains(&stream.id) && self.writes(stream));
            let views: Vec<Arc<StreamView>> = meant.cloned().collect();
            let shards: Vec<ShardId> = views.iter().filter_map(|stream| stream.shard).map(|(shard, _)| shard).collect();
            if shards.len() < wanted.len() {
                return RegionReply::NotSearched(NotSearched::Unread);
            }
            (shards, views)
        };
        (self.parts.around.refresh)(shards).await;
        // What went meanwhile may have been written elsewhere, and is not made searchable by this.
        if self.has_still(&views) { RegionReply::Refreshed } else { RegionReply::NotSearched(NotSearched::Unread) }
    }
}
