//! The mover over what this node owns: its rules come from the policy that holds now, its holds from those on record.

use std::sync::Arc;

use super::NodeError;
use super::base::Base;
use crate::config::NodeConfig;
use crate::erase::Erasure;
use crate::segment::Shards;
use crate::tasks::Kind;
use crate::tier::{Mover, MoverParts, Room, Rule, Tier};

/// Starts it.
pub(super) fn start(
    base: &Base,
    config: &NodeConfig,
    (tier, shards): (Tier, &Shards),
    erasure: &Arc<Erasure>,
) -> Result<Arc<Mover>, NodeError> {
    let facts = base.regions.facts(&base.us.region)?;
    let ((warm, cold), (archive, archive_for)) = (facts.tier_days(), facts.archive_days());
    let kept = facts.retention_days();
    let (policy, us) = (base.policy.clone(), base.us.node);
    let rules = move || {
        let policy = policy.now();
        let rule = |view: &Arc<crate::policy::StreamView>| {
            let (shard, _) = view.shard.filter(|(_, owner)| *owner == us)?;
            let days =
                |own: Option<std::num::NonZeroU16>, of_region| own.map_or(of_region, |days| u32::from(days.get()));
            let lifecycle = view.policy.lifecycle;
            Some(Rule {
                tenant: view.tenant,
                stream: view.id,
                name: view.name.clone(),
                shard,
                warm_after: days(lifecycle.warm_after_days, warm),
                cold_after: days(lifecycle.cold_after_days, cold),
                archive_after: days(lifecycle.archive_after_days, archive),
                archive_for: policy.archive_for(view, archive_for),
                delete_after: policy.days_kept(view, kept),
            })
        };
        policy.streams.values().filter_map(rule).collect()
    };
    let held = Arc::clone(erasure);
    let lifecycle = &config.lifecycle;
    let room = lifecycle
        .disk_mark_bytes
        .map(|mark| Room { mark, down_to: lifecycle.disk_down_to_bytes.unwrap_or(mark / 10 * 9) });
    let mover = Arc::new(Mover::new(MoverParts {
        tier,
        shards: shards.clone(),
        clock: base.clock.clone(),
        rules: Arc::new(rules),
        holds: Arc::new(move || held.stream_holds()),
        room,
        pace: lifecycle.move_bytes_per_second,
    }));
    base.tasks.spawn(Kind::Timer, Arc::clone(&mover).keep_moving(base.tasks.token().clone()));
    Ok(mover)
}
