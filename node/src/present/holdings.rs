//! How much streams hold, as the nodes of the region say that write them: for lists of streams, and for the ends of a range.
//!
//! Whoever is asked says it of all the streams or of none. Numbers of a neighbour are told to whom that neighbour knows as one that
//! may search them, and to nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use domicile_proto::ids::{NodeId, StreamId, Timestamp};
use domicile_proto::message::region::{Asker, Holding, MAX_STREAMS, NotSearched, RegionAsk, RegionReply};
use futures::future::try_join_all;

use super::desk::Desk;
use super::moving::{self, Missed};
use super::owners::{heard, ids, no_word, unheard_of};
use crate::admit::Place;
use crate::ownership::Patience;
use crate::policy::StreamView;
use crate::query::{Arriving, Budget};
use crate::receive::Failure;

impl Desk {
    /// How much each of some streams holds, whichever nodes of the region write them.
    pub(super) async fn holdings(
        &self,
        asker: &Asker,
        streams: &[Arc<StreamView>],
        within: Duration,
    ) -> Result<BTreeMap<StreamId, Holding>, Failure> {
        let (deadline, until) = (Instant::now() + within, moving::until(within));
        let (mut streams, mut patience) = (streams.to_vec(), Patience::until(until));
        loop {
            self.arrived(&streams, until).await;
            let left = deadline.saturating_duration_since(Instant::now());
            match self.holdings_once(asker, &streams, left).await {
                Ok(told) => return Ok(told),
                Err(missed) => streams = self.once_more(missed, &streams, &mut patience).await?,
            }
        }
    }

    async fn holdings_once(
        &self,
        asker: &Asker,
        streams: &[Arc<StreamView>],
        within: Duration,
    ) -> Result<BTreeMap<StreamId, Holding>, Missed> {
        let (here, elsewhere) = self.by_owner(streams);
        let has_all = || self.has_all(&here).map_err(|unfound| self.missed(unfound, &here));
        // Asked before, for what comes, and behind, for what goes.
        has_all()?;
        let own: Vec<_> = here.iter().map(|stream| (stream.id, self.holding(stream))).collect();
        has_all()?;
        let told = elsewhere.iter().map(|(owner, streams)| self.holdings_of(asker, (*owner, streams), within));
        let told = try_join_all(told).await?;
        Ok(own.into_iter().chain(told.into_iter().flatten()).collect())
    }

    async fn holdings_of(
        &self,
        asker: &Asker,
        (owner, streams): (NodeId, &[Arc<StreamView>]),
        within: Duration,
    ) -> Result<Vec<(StreamId, Holding)>, Missed> {
        let Some(first) = streams.first() else { return Ok(Vec::new()) };
        let unheard = |why| no_word(first, owner, why);
        let arriving = Arriving::new(&Budget::until(Instant::now() + within));
        let ask = RegionAsk::Holdings(asker.clone(), ids(streams));
        match self.ask_node(owner, ask, (arriving, within)).await {
            Ok((_, RegionReply::Holdings(told))) if told.len() == streams.len() => {
                Ok(streams.iter().map(|stream| stream.id).zip(told).collect())
            }
            Ok((_, RegionReply::NotSearched(why))) => Err(heard(&why, (owner, streams), first)),
            Ok(_) => Err(unheard("gives an answer that is none").into()),
            Err(why) => Err(unheard_of(why, unheard)),
        }
    }

    /// How much a stream of this node holds.
    pub(super) fn holding(&self, stream: &StreamView) -> Holding {
        let Some((shard, _)) = stream.shard else { return Holding::default() };
        let totals = self.parts.catalog.totals(shard);
        Holding { records: totals.docs, bytes: totals.bytes, ends: self.ends_here(stream) }
    }

    /// First and last time of the records of a stream of this node, in the archive too.
    pub(super) fn ends_here(&self, stream: &StreamView) -> Option<(Timestamp, Timestamp)> {
        let (shard, _) = stream.shard?;
        // In this order, for what goes into the archive is listed there before it is shown no more.
        let (view, archive) = (self.parts.catalog.view(shard), self.parts.catalog.archive(shard));
        let shown = view.iter().map(|segment| (segment.docs, (segment.oldest, segment.newest)));
        let archived = archive.iter().map(|one| (one.row.docs, (one.row.oldest, one.row.newest)));
        let filled = shown.chain(archived).filter(|(docs, _)| *docs > 0).map(|(_, ends)| ends);
        filled.reduce(|(oldest, newest), (from, to)| (oldest.min(from), newest.max(to)))
    }

    /// What this node says to a neighbour that asks how much its streams hold, and the place that is held until that has gone.
    pub(super) fn holdings_here(&self, asker: &Asker, streams: &[StreamId]) -> (RegionReply, Option<Place>) {
        let said = || {
            let who = self.parts.admitter.vouched(asker).ok_or(NotSearched::Stranger)?;
            let place = self.lists.take(who.tenant()).ok_or(NotSearched::Busy)?;
            if streams.len() > MAX_STREAMS {
                return Err(NotSearched::Unread);
            }
            let distinct: BTreeSet<StreamId> = streams.iter().copied().collect();
            if distinct.len() < streams.len() {
                return Err(NotSearched::Unread);
            }
            let policy = self.parts.policy.now();
            let view = |id: &StreamId| {
                let view = policy.stream_by_id(who.tenant(), *id).filter(|view| self.writes(view));
                view.cloned().ok_or(NotSearched::NotMine(*id))
            };
            let views = streams.iter().map(view).collect::<Result<Vec<_>, _>>()?;
            let has_all = || self.has_all(&views).map_err(|unfound| unfound.told());
            has_all()?;
            let holdings = views.iter().map(|view| self.holding(view)).collect();
            has_all()?;
            Ok((holdings, place))
        };
        match said() {
            Ok((holdings, place)) => (RegionReply::Holdings(holdings), Some(place)),
            Err(why) => (RegionReply::NotSearched(why), None),
        }
    }
}
