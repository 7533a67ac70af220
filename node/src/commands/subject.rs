//! `domicile subject`: erasure, legal hold and the subject's access to their data, in one region at a time.
//!
//! A value may come from standard input (`-`), so that it is in no list of processes and no shell history.

use std::io::{Read, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use domicile_proto::ids::{ErasureId, Name, Region};
use reqwest::Method;
use serde_json::{Value, json};

use super::door::Door;
use super::profile::Profile;

/// What is done about a person.
#[derive(Debug, Subcommand)]
pub(super) enum SubjectVerb {
    /// Erase everything of a person: unreadable at once, physically gone with the next purge
    Erase {
        #[command(flatten)]
        whom: Whom,
        /// Id of an erasure that another node of the region took and could not make understood by this one
        #[arg(long)]
        id: Option<ErasureId>,
    },
    /// How erasures stand, with their receipts; and which holds there are
    Status {
        /// Id of one erasure; default: all of the tenant
        id: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Make segments anew now, without waiting for the window
    Purge {
        /// Which region
        #[arg(long)]
        region: Region,
    },
    /// Set a legal hold: no erasure touches it until it is released
    Hold(Whom),
    /// Release a legal hold
    Release {
        /// Its id
        id: String,
        #[command(flatten)]
        place: Place,
    },
    /// Write everything about a person as JSON lines
    Export {
        #[command(flatten)]
        whom: Whom,
        /// A value that is the person's own: its token is replaced by it; may be repeated. Takes a key with `--rows full`
        #[arg(long)]
        own: Vec<String>,
        #[command(flatten)]
        to: Destination,
    },
}

/// Where an export goes.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Destination {
    /// File to write; must not be there yet
    #[arg(long)]
    out: Option<PathBuf>,
    /// Keep it in the region and print a link that whoever has it can read it with, for so many hours; 72 where none are said
    #[arg(long, value_name = "HOURS", num_args = 0..=1, default_missing_value = "72")]
    link: Option<u64>,
}

/// Where.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// Which region; every region is asked by itself
    #[arg(long)]
    pub(super) region: Region,
    /// Whose; default: the tenant of the key
    #[arg(long)]
    pub(super) tenant: Option<Name>,
}

/// Who.
#[derive(Debug, Args)]
pub(super) struct Whom {
    #[command(flatten)]
    place: Place,
    /// Value of the declared subject field; `-` reads it from standard input
    #[arg(long)]
    subject: Option<String>,
    /// A personal value that records hold as a token, such as an e-mail address; `-` reads it from standard input
    #[arg(long)]
    value: Option<String>,
    /// A token as it stands in records
    #[arg(long)]
    token: Option<String>,
    /// Only in this stream; may be repeated
    #[arg(long)]
    stream: Vec<Name>,
}

impl Whom {
    fn body(&self) -> anyhow::Result<Value> {
        let written = |value: &Option<String>| match value.as_deref() {
            Some("-") => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).context("standard input cannot be read")?;
                Ok::<_, anyhow::Error>(Some(text.trim().to_owned()))
            }
            other => Ok(other.map(str::to_owned)),
        };
        if [&self.subject, &self.value].iter().filter(|value| value.as_deref() == Some("-")).count() > 1 {
            bail!("only one value can come from standard input");
        }
        Ok(json!({
            "tenant": self.place.tenant, "subject": written(&self.subject)?, "value": written(&self.value)?,
            "token": self.token, "streams": self.stream,
        }))
    }
}

pub(super) async fn run(verb: SubjectVerb, profile: &Profile) -> anyhow::Result<()> {
    match verb {
        SubjectVerb::Erase { whom, id } => {
            let mut body = whom.body()?;
            if let (Some(body), Some(id)) = (body.as_object_mut(), id) {
                body.insert("id".to_owned(), json!(id.to_string()));
            }
            let answer = profile.door(&whom.place.region)?.post("/api/v1/subjects/erase", &body).await?;
            print(&answer)
        }
        SubjectVerb::Status { id, place } => {
            let mut path = "/api/v1/subjects/status?".to_owned();
            if let Some(tenant) = &place.tenant {
                path.push_str(&format!("tenant={tenant}&"));
            }
            if let Some(id) = id.filter(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit())) {
                path.push_str(&format!("id={id}"));
            }
            print(&profile.door(&place.region)?.read(&path).await?)
        }
        SubjectVerb::Purge { region } => {
            print(&profile.door(&region)?.post("/api/v1/subjects/purge", &json!({})).await?)
        }
        SubjectVerb::Hold(whom) => {
            print(&profile.door(&whom.place.region)?.post("/api/v1/subjects/hold", &whom.body()?).await?)
        }
        SubjectVerb::Release { id, place } => {
            let body = json!({"id": id, "tenant": place.tenant});
            profile.door(&place.region)?.post("/api/v1/subjects/release", &body).await?;
            eprintln!("hold `{id}` is released");
            Ok(())
        }
        SubjectVerb::Export { whom, own, to } => {
            let mut body = whom.body()?;
            if let Some(body) = body.as_object_mut() {
                body.insert("values".to_owned(), json!(own));
                body.insert("link_hours".to_owned(), json!(to.link));
            }
            let (door, path) = (profile.door(&whom.place.region)?, "/api/v1/subjects/export");
            let Some(out) = to.out else { return linked(&door, &door.post(path, &body).await?) };
            let sent = door.request(Method::POST, path).json(&body).send().await;
            let response = door.checked(sent.with_context(|| door.unreachable())?, path).await?;
            let lines = response.bytes().await.context("the answer broke off")?;
            let made = std::fs::OpenOptions::new().write(true).create_new(true).open(&out);
            let mut file = made.with_context(|| format!("{} cannot be made", out.display()))?;
            file.write_all(&lines).with_context(|| format!("{} cannot be written", out.display()))?;
            eprintln!("{} records written to {}", lines.iter().filter(|byte| **byte == b'\n').count(), out.display());
            Ok(())
        }
    }
}

/// The link goes to standard output and all else does not, so that it can be piped.
fn linked(door: &Door, answer: &Value) -> anyhow::Result<()> {
    let path = answer.get("path").and_then(Value::as_str).context("the region gave no link")?;
    println!("{}{path}", door.url);
    let until = answer.get("until").and_then(Value::as_i64).unwrap_or_default();
    let until = jiff::Timestamp::from_microsecond(until).map_or_else(|_| until.to_string(), |until| until.to_string());
    let records = answer.get("records").and_then(Value::as_u64).unwrap_or_default();
    eprintln!(
        "{records} records are kept in the region until {until}; the link is shown this once, and whoever has it reads them"
    );
    Ok(())
}

fn print(answer: &Value) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(answer)?);
    Ok(())
}
