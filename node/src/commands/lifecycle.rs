//! `domicile lifecycle` and `domicile storage`: what should lie elsewhere and why, where everything lies, and whether it is whole.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use domicile_proto::ids::{Name, Region};
use serde_json::{Value, json};

use super::profile::Profile;
use super::table;

/// What moves, and when.
#[derive(Debug, Subcommand)]
pub(super) enum LifecycleVerb {
    /// Show what would move now and why; moves nothing
    Plan(At),
    /// Move it now, without waiting for the next look
    Run(At),
    /// Have a range of a stream restored from the archive, and searched for some days
    Restore(Restore),
    /// Show what is being restored, how far it is, and until when it is searched
    Status(At),
}

/// What is restored.
#[derive(Debug, Args)]
pub(super) struct Restore {
    /// The stream
    #[arg(long)]
    stream: Name,
    /// Its tenant's number, where several tenants have a stream of that name
    #[arg(long)]
    tenant: Option<u32>,
    /// First time, as `2026-11-20` or `2026-11-20T10:00:00Z`
    #[arg(long)]
    from: String,
    /// Last time; a day means all of it
    #[arg(long)]
    to: String,
    /// Days that it is searched; 1 to 90, default 7
    #[arg(long)]
    days: Option<u32>,
    #[command(flatten)]
    at: At,
}

/// Where everything lies.
#[derive(Debug, Subcommand)]
pub(super) enum StorageVerb {
    /// Show where every segment lies, with its object and checksum
    Ls(At),
    /// Show what each node of the region carries, what each stream asks of it, and which streams would move for that; moves nothing
    Plan(At),
    /// Read every segment again and compare it with its checksums; exit code 1 where one is damaged
    Verify {
        /// Only this segment
        segment: Option<String>,
        #[command(flatten)]
        at: At,
    },
    /// Show what a question would read of a segment of which nothing has been read
    Explain {
        /// The segment
        segment: String,
        /// A word the question looks for; default: all records
        #[arg(long)]
        word: Option<String>,
        #[command(flatten)]
        at: At,
    },
}

/// Where.
#[derive(Debug, Args)]
pub(super) struct At {
    /// Which region; every region is asked by itself
    #[arg(long)]
    region: Region,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub(super) async fn lifecycle(verb: LifecycleVerb, profile: &Profile) -> anyhow::Result<()> {
    match verb {
        LifecycleVerb::Plan(at) => {
            let answer = profile.door(&at.region)?.read("/api/v1/lifecycle").await?;
            if at.json {
                return print(&answer);
            }
            rows(&answer, "moves", &["stream", "segment", "bytes", "from", "to", "why"])
        }
        LifecycleVerb::Restore(Restore { stream, tenant, from, to, days, at }) => {
            let body = json!({"stream": stream, "tenant": tenant, "from": from, "to": to, "days": days});
            print(&profile.door(&at.region)?.post("/api/v1/lifecycle/restore", &body).await?)
        }
        LifecycleVerb::Status(at) => {
            let answer = profile.door(&at.region)?.read("/api/v1/lifecycle/restores").await?;
            if at.json {
                return print(&answer);
            }
            rows(&answer, "restores", &["stream", "segment", "state", "fetched", "bytes", "records", "until"])
        }
        LifecycleVerb::Run(at) => print(&profile.door(&at.region)?.post("/api/v1/lifecycle/run", &json!({})).await?),
    }
}

pub(super) async fn storage(verb: StorageVerb, profile: &Profile) -> anyhow::Result<ExitCode> {
    match verb {
        StorageVerb::Ls(at) => {
            let answer = profile.door(&at.region)?.read("/api/v1/storage").await?;
            if at.json {
                print(&answer)?;
            } else {
                println!("{}", place(&answer));
                rows(&answer, "segments", &["stream", "segment", "tier", "records", "bytes", "object", "sha256"])?;
            }
            Ok(ExitCode::SUCCESS)
        }
        StorageVerb::Plan(at) => {
            let answer = profile.door(&at.region)?.read("/api/v1/admin/placement").await?;
            if at.json {
                print(&answer)?;
                return Ok(ExitCode::SUCCESS);
            }
            if answer.get("enabled") != Some(&Value::Bool(true)) {
                println!(
                    "`placement.enabled` is false on node {}: it moves nothing",
                    answer.get("node").map(cell).unwrap_or_default()
                );
            }
            rows(&answer, "nodes", &["node", "standing", "streams", "millicores"])?;
            let stream = ["stream", "node", "bytes_per_second", "cpu_millicores", "millicores", "movable", "measured"];
            rows(&answer, "streams", &stream)?;
            rows(&answer, "moves", &["stream", "from", "to", "millicores", "why"])?;
            Ok(ExitCode::SUCCESS)
        }
        StorageVerb::Verify { segment, at } => verify(segment, &at, profile).await,
        StorageVerb::Explain { segment, word, at } => {
            let query = word.map_or_else(|| json!({"match_all": {}}), |word| json!({"match": {"message": word}}));
            let body = json!({"segment": segment, "query": query});
            print(&profile.door(&at.region)?.post("/api/v1/storage/explain", &body).await?)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn verify(segment: Option<String>, at: &At, profile: &Profile) -> anyhow::Result<ExitCode> {
    let door = profile.door(&at.region)?;
    let listed = door.read("/api/v1/storage").await?;
    let listed = listed.get("segments").and_then(Value::as_array).context("the node answered without `segments`")?;
    let of = |row: &Value, key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let durable = listed.iter().filter(|row| of(row, "tier") != "memory").map(|row| of(row, "segment"));
    let wanted: Vec<String> = segment.map_or_else(|| durable.collect(), |segment| vec![segment]);
    let (mut verified, mut damaged) = (Vec::new(), 0);
    for (done, segment) in wanted.iter().enumerate() {
        eprintln!("{} of {}: {segment}", done + 1, wanted.len());
        let answer = door.post("/api/v1/storage/verify", &json!({"segment": segment})).await?;
        if answer.get("is_whole") != Some(&Value::Bool(true)) {
            damaged += 1;
            eprintln!("damaged: {}", of(&answer, "damage"));
        }
        verified.push(answer);
    }
    print(&json!({"segments": verified.len(), "damaged": damaged, "verified": verified}))?;
    Ok(if damaged == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The bucket in a line.
fn place(answer: &Value) -> String {
    let of = |key: &str| answer.pointer(key).map(cell).unwrap_or_default();
    let bucket = match of("/bucket/kind").as_str() {
        "directory" => "a directory of this node".to_owned(),
        kind => format!("{kind} bucket `{}` in {}", of("/bucket/name"), of("/bucket/location")),
    };
    format!("region {}, node {}; cold segments in {bucket}", of("/region"), of("/node"))
}

fn rows(answer: &Value, key: &str, columns: &[&str]) -> anyhow::Result<()> {
    let listed = answer.get(key).and_then(Value::as_array);
    let listed = listed.context("the node answered without it; is it of another build?")?;
    let line = |row: &Value| columns.iter().map(|column| row.get(column).map(cell).unwrap_or_default()).collect();
    table::print(columns, &listed.iter().map(line).collect::<Vec<Vec<String>>>());
    Ok(())
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn print(answer: &Value) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(answer)?);
    Ok(())
}
