//! `domicile shard` and `domicile region`: what a node left behind that is gone for good is taken up by another one.
//!
//! Says what is lost before anything changes; the node does the rest, and records it.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use domicile_proto::ids::{Name, Region};
use serde_json::{Value, json};

use super::profile::Profile;
use super::table;

/// Shards of a region.
#[derive(Debug, Subcommand)]
pub(super) enum ShardVerb {
    /// Take a stream from a node that is gone for good. The node of the profile writes it from then on
    Adopt {
        /// The stream
        stream: Name,
        /// Whose stream
        #[arg(long)]
        tenant: Option<Name>,
        #[command(flatten)]
        at: Loss,
    },
}

/// A region as a whole.
#[derive(Debug, Subcommand)]
pub(super) enum RegionVerb {
    /// Take up everything that nodes left in the region's bucket that are gone for good. May be repeated after any end
    Rebuild {
        #[command(flatten)]
        at: Loss,
    },
}

/// Where, and what is accepted.
#[derive(Debug, Args)]
pub(super) struct Loss {
    /// Which region; its node in the profile takes up
    #[arg(long)]
    region: Region,
    /// Only say what would be kept and lost
    #[arg(long)]
    plan: bool,
    /// Go on although records are lost
    #[arg(long, conflicts_with = "plan")]
    accept_loss: bool,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub(super) async fn shard(verb: ShardVerb, profile: &Profile) -> anyhow::Result<ExitCode> {
    let ShardVerb::Adopt { stream, tenant, at } = verb;
    let mut body = json!({"stream": stream, "plan": at.plan, "accept_loss": at.accept_loss});
    if let (Some(tenant), Some(body)) = (tenant, body.as_object_mut()) {
        body.insert("tenant".to_owned(), json!(tenant));
    }
    let answer = profile.door(&at.region)?.post("/api/v1/admin/shards/adopt", &body).await?;
    let streams = streams_of(&answer)?;
    if streams.is_empty() {
        bail!(
            "stream `{stream}` lies with this node already, or was never written in `{}`: nothing was done",
            at.region
        );
    }
    tell(&answer, &streams, &at)
}

pub(super) async fn region(verb: RegionVerb, profile: &Profile) -> anyhow::Result<ExitCode> {
    let RegionVerb::Rebuild { at } = verb;
    let door = profile.door(&at.region)?;
    let body = json!({"plan": at.plan, "accept_loss": at.accept_loss});
    let mut all = Vec::new();
    loop {
        let answer = door.post("/api/v1/admin/region/rebuild", &body).await?;
        all.extend(streams_of(&answer)?);
        let left = answer.get("left").and_then(Value::as_u64).unwrap_or(0);
        if left == 0 {
            warn_of_keys(&answer);
            return tell(&told_as(&answer, &all), &all, &at);
        }
        eprintln!("{} streams are taken up, {left} are to come", all.len());
    }
}

fn told_as(answer: &Value, all: &[Value]) -> Value {
    let mut answer = answer.clone();
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("streams".to_owned(), json!(all));
    }
    answer
}

/// What was sealed before cannot be opened without the keys of then.
fn warn_of_keys(answer: &Value) {
    if answer.pointer("/keys/originals").and_then(Value::as_u64) == Some(0) {
        eprintln!(
            "this node's keyring holds no original: if the region had any, it was started without `data_dir/keys` of the \
             backup, and nothing that was sealed can be revealed. Stop it, put the keys there, start it again"
        );
    }
}

fn streams_of(answer: &Value) -> anyhow::Result<Vec<Value>> {
    let streams = answer.get("streams").and_then(Value::as_array).cloned();
    streams.context("the node answered without `streams`; is it of another build?")
}

fn tell(answer: &Value, streams: &[Value], at: &Loss) -> anyhow::Result<ExitCode> {
    let is_done = answer.get("is_done").and_then(Value::as_bool).unwrap_or(false);
    let number = |row: &Value, key: &str| row.pointer(key).and_then(Value::as_u64).unwrap_or(0);
    if at.json {
        println!("{}", serde_json::to_string_pretty(answer)?);
    } else {
        let text = |row: &Value, key: &str| row.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
        let line = |row: &Value| {
            vec![
                text(row, "stream"),
                number(row, "/owner").to_string(),
                text(row, "durability"),
                number(row, "/kept/records").to_string(),
                number(row, "/lost/records").to_string(),
                text(row, "unpublished"),
                until(row),
                text(row, "state"),
            ]
        };
        let head = ["stream", "owner", "durability", "kept", "lost", "not published", "published until", "state"];
        table::print(&head, &streams.iter().map(line).collect::<Vec<_>>());
    }
    let has_loss = streams.iter().any(|row| row.get("durability").and_then(Value::as_str) != Some("bucket"));
    if has_loss {
        eprintln!(
            "of streams of durability `disk` everything is lost that lay on their owner's disk alone: what its manifest \
             names as lost, and whatever was accepted and not published yet"
        );
    } else {
        eprintln!("nothing that was acknowledged is lost");
    }
    if !is_done && !at.plan {
        eprintln!("nothing was changed; say `--accept-loss` if that is meant");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// The time until which the newest manifest names what was received.
fn until(row: &Value) -> String {
    let micros = row.get("named_until").and_then(Value::as_i64);
    let time = micros.and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok());
    time.map_or_else(|| "never".to_owned(), |time| format!("{time:.0}"))
}
