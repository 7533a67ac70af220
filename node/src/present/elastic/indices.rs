//! Streams as indexes: made, listed, refreshed; never deleted by a client.

use std::collections::BTreeMap;
use std::sync::Arc;

use domicile_proto::ids::Name;
use serde_json::{Value, json};

use super::names::parts;
use super::respond::Parameters;
use crate::admit::Principal;
use crate::limits::{HOLDINGS_DEADLINE, REFRESH_DEADLINE};
use crate::ownership::{Passing, Patience};
use crate::parse::stream_name;
use crate::policy::StreamView;
use crate::present::desk::Desk;
use crate::present::errors::PresentError;
use crate::present::moving::{self, Missed};
use crate::present::searching::Unfound;
use crate::receive::Failure;
use crate::receive::glob::fits;

impl Desk {
    /// `PUT /{index}`: a stream with the most restrictive policy.
    pub(super) async fn create_index(&self, who: &Principal, index: &str) -> Result<Value, Failure> {
        let name = stream_name(index)?;
        if self.streams(who.tenant()).contains_key(&name) {
            let error = PresentError::Taken { index: name.to_string() };
            return Err(error.into());
        }
        let may_create = who.roles().create || who.roles().admin;
        self.parts.ownership.stream(who.tenant(), &name, may_create).await?;
        Ok(json!({"acknowledged": true, "shards_acknowledged": true, "index": name.as_str()}))
    }

    /// `_refresh`: what was accepted is searchable when this returns, whichever node of the region accepted it.
    pub(super) async fn refresh_indices(
        &self,
        who: &Principal,
        expression: &str,
        parameters: &Parameters,
    ) -> Result<Value, Failure> {
        let targets = self.targets(who, expression, parameters)?;
        let mut streams: Vec<_> = targets.here.values().filter(|view| view.shard.is_some()).cloned().collect();
        let count = streams.len();
        let _permit = self.permit(who.tenant())?;
        let until = moving::until(REFRESH_DEADLINE);
        let mut patience = Patience::until(until);
        loop {
            self.arrived(&streams, until).await;
            match self.refresh_once(&streams).await {
                Ok(()) => return Ok(json!({"_shards": {"total": count, "successful": count, "failed": 0}})),
                Err(missed) => streams = self.once_more(missed, &streams, &mut patience).await?,
            }
        }
    }

    async fn refresh_once(&self, streams: &[Arc<StreamView>]) -> Result<(), Missed> {
        let (here, elsewhere) = self.by_owner(streams);
        let shards = here.iter().filter_map(|view| view.shard).map(|(shard, _)| shard);
        let (shards, first): (Vec<_>, _) = (shards.collect(), here.first());
        let own = async {
            (self.parts.around.refresh)(shards).await;
            // What went meanwhile may have been written elsewhere, and is not made searchable by this.
            let lost = first.filter(|_| !self.has_still(&here)).and_then(|view| view.shard);
            lost.map_or(Ok(()), |(shard, _)| Err(Missed::passing(Unfound::NotWhole(shard), Passing::Moving)))
        };
        futures::future::try_join(own, self.refresh_elsewhere(&elsewhere)).await.map(|_| ())
    }

    /// The streams an expression means that are in this region's sight.
    pub(super) fn indices(
        &self,
        who: &Principal,
        expression: &str,
        parameters: &Parameters,
    ) -> Result<BTreeMap<Name, Arc<StreamView>>, Failure> {
        Ok(self.targets(who, expression, parameters)?.here)
    }

    /// `_cat/indices`: the streams of the region with what they hold, whichever of its nodes write them; all of them or none.
    pub(super) async fn cat_indices(
        &self,
        who: &Principal,
        streams: &BTreeMap<Name, Arc<StreamView>>,
    ) -> Result<Vec<Vec<(&'static str, String)>>, Failure> {
        let _permit = self.permit(who.tenant())?;
        self.is_aware(who.tenant())?;
        let views: Vec<_> = streams.values().cloned().collect();
        let holdings = self.holdings(&who.asker(), &views, HOLDINGS_DEADLINE).await?;
        let row = |(name, view): (&Name, &Arc<StreamView>)| {
            let holding = holdings.get(&view.id).copied().unwrap_or_default();
            vec![
                ("health", "green".to_owned()),
                ("status", "open".to_owned()),
                ("index", name.to_string()),
                ("uuid", format!("stream-{}", view.id)),
                ("pri", "1".to_owned()),
                ("rep", "0".to_owned()),
                ("docs.count", holding.records.to_string()),
                ("docs.deleted", "0".to_owned()),
                ("store.size", format!("{}b", holding.bytes)),
                ("pri.store.size", format!("{}b", holding.bytes)),
            ]
        };
        Ok(streams.iter().map(row).collect())
    }

    /// `_cat/health`.
    pub(super) fn cat_health(&self) -> Vec<Vec<(&'static str, String)>> {
        let now = self.parts.clock.now().as_millis();
        let time = jiff::Timestamp::from_millisecond(now).map(|at| at.strftime("%H:%M:%S").to_string());
        let shards = self.parts.catalog.shards().len().to_string();
        let has_leader = (self.parts.around.facts)().leader.is_some();
        vec![vec![
            ("epoch", (now / 1_000).to_string()),
            ("timestamp", time.unwrap_or_default()),
            ("cluster", self.parts.region.to_string()),
            ("status", if has_leader { "green" } else { "yellow" }.to_owned()),
            ("node.total", "1".to_owned()),
            ("node.data", "1".to_owned()),
            ("shards", shards.clone()),
            ("pri", shards),
            ("relo", "0".to_owned()),
            ("init", "0".to_owned()),
            ("unassign", "0".to_owned()),
            ("pending_tasks", "0".to_owned()),
            ("max_task_wait_time", "-".to_owned()),
            ("active_shards_percent", "100.0%".to_owned()),
        ]]
    }

    /// `_resolve/cluster`: every region by name, whether the link to one of its nodes stands at this moment, and whether its
    /// streams fit the expression. All regions share one list of streams, so nobody has to be asked for it.
    ///
    /// # Errors
    /// Beyond the bounds of [`parts`].
    pub(super) fn resolve_clusters(&self, who: &Principal, expression: Option<&str>) -> Result<Value, Failure> {
        let wanted = expression.map(parts).transpose()?;
        let streams = self.streams(who.tenant());
        let policy = self.parts.policy.now();
        let linked = (self.parts.around.facts)().round_trips;
        let is_linked = |region: &domicile_proto::ids::Region| {
            *region == self.parts.region
                || linked.keys().any(|node| policy.nodes.get(node).is_some_and(|row| row.region == *region))
        };
        let about = |region: &domicile_proto::ids::Region| {
            let matching = wanted.as_ref().is_none_or(|wanted| {
                wanted.iter().any(|part| {
                    let (cluster, index) = part.split_once(':').unwrap_or((self.parts.region.as_str(), part));
                    fits(cluster, region.as_str()) && streams.keys().any(|name| fits(index, name.as_str()))
                })
            });
            json!({
                "connected": is_linked(region), "skip_unavailable": true, "matching_indices": matching,
                "version": {"number": super::about::VERSION, "build_flavor": "default"},
            })
        };
        Ok(Value::Object(policy.regions.keys().map(|region| (region.to_string(), about(region))).collect()))
    }

    /// `_resolve/index`.
    pub(super) fn resolve_indices(&self, streams: &BTreeMap<Name, Arc<StreamView>>) -> Value {
        let indices: Vec<Value> =
            streams.keys().map(|name| json!({"name": name.as_str(), "attributes": ["open"]})).collect();
        json!({"indices": indices, "aliases": [], "data_streams": []})
    }
}
