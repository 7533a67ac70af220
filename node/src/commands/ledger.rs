//! `domicile ledger`: destroys the body of an entry, with an order that the region's officer signs here.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use domicile_proto::ids::{NodeId, QuestionId, Region};
use domicile_proto::officer::{BodyOrder, OrderGround, OrderedBody};
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
    let body = message(&door.read(&format!("/api/v1/ledger/message?entry={entry}")).await?);
    let body = body.context("the node answered without saying what the entry is; is it of another build?")?;
    let way = if body.left { "left for" } else { "arrived from" };
    let (other, at) = &body.peer;
    let digest = hex::encode(body.commitment);
    eprintln!(
        "Entry {entry}: {:?} that {way} {other} (node {at}), question {}; in the tree {digest}.",
        body.class, body.question
    );
    let order = BodyOrder { region, node: NodeId(node), entry, body, ground: ground.into() };
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

/// What a node says an entry is.
fn message(said: &Value) -> Option<OrderedBody> {
    let text = |key: &str| said.get(key)?.as_str();
    let mut commitment = [0; 32];
    hex::decode_to_slice(text("commitment")?, &mut commitment).ok()?;
    Some(OrderedBody {
        commitment,
        left: said.get("left")?.as_bool()?,
        peer: (text("region")?.parse().ok()?, NodeId(said.get("node")?.as_u64()?)),
        class: serde_json::from_value(said.get("class")?.clone()).ok()?,
        question: QuestionId(u128::from_str_radix(text("question")?, 16).ok()?),
    })
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
