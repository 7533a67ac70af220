//! `domicile ledger`: destroys the body of an entry, with an order that the region's officer signs here.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use domicile_proto::ids::{NodeId, Region};
use domicile_proto::officer::{BodyOrder, OrderGround};
use serde_json::{Value, json};

use super::door::Door;
use super::officer::Officer;
use super::profile::Profile;

#[derive(Debug, Subcommand)]
pub(super) enum LedgerVerb {
    /// Destroy what one entry says, for good: its place in the tree stays, and an entry of its own says why and by whose order
    DestroyBody(DestroyArguments),
}

/// Which body, and why.
#[derive(Debug, Args)]
pub(super) struct DestroyArguments {
    /// The region, as the profile names it
    #[arg(long)]
    region: Region,
    /// The node whose ledger it is, where the profile names several of the region; default: the first
    #[arg(long)]
    node: Option<u64>,
    /// Number of the entry: a question or an answer that crossed, as `audit crossings` lists them
    #[arg(long, value_name = "NUMBER")]
    entry: u64,
    /// Why
    #[arg(long, value_enum)]
    ground: Ground,
    /// The region's officer key, where it is not beside this directory
    #[arg(long, value_name = "FILE")]
    officer_key: Option<PathBuf>,
}

/// Why a body is destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Ground {
    /// It holds something about a person
    PersonalData,
    /// A court or an authority ordered it
    CourtOrder,
    /// The time for which it had to be kept is over
    RetentionOver,
}

impl From<Ground> for OrderGround {
    fn from(ground: Ground) -> Self {
        match ground {
            Ground::PersonalData => Self::PersonalData,
            Ground::CourtOrder => Self::CourtOrder,
            Ground::RetentionOver => Self::RetentionOver,
        }
    }
}

pub(super) async fn run(verb: LedgerVerb, profile: &Profile) -> anyhow::Result<()> {
    let LedgerVerb::DestroyBody(DestroyArguments { region, node, entry, ground, officer_key }) = verb;
    let officer = Officer::read(&region, officer_key.as_deref())?;
    let (door, node) = door_of(&region, node, profile).await?;
    let order = BodyOrder { region, node: NodeId(node), entry, ground: ground.into() };
    let body = json!({"entry": entry, "ground": order.ground, "signature": officer.order(&order)});
    let answer = door.post("/api/v1/ledger/destroy", &body).await?;
    let told =
        answer.get("told").and_then(Value::as_u64).context("the node answered without the number of its entry")?;
    println!("The body of entry {entry} is destroyed; entry {told} says so. Its place in the tree is as it was.");
    eprintln!(
        "The region at the other end has the same message in its own ledger: have it destroyed there too. Packs and copies that were given away hold it still."
    );
    Ok(())
}

/// The door to the node that is named, or the first of the region.
async fn door_of(region: &Region, wanted: Option<u64>, profile: &Profile) -> anyhow::Result<(Door, u64)> {
    for door in std::iter::once(profile.door(region)?).chain(profile.doors_beside(region)?) {
        let status = door.read("/api/v1/status").await?;
        let node = status.get("node").and_then(Value::as_u64).context("the node answered without its number")?;
        if wanted.is_none_or(|wanted| wanted == node) {
            return Ok((door, node));
        }
    }
    anyhow::bail!("no door of the profile leads to that node of region `{region}`; name it in `other_nodes`")
}
