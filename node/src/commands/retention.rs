//! `domicile retention`: what is past its period, what a hold keeps, and the evidence of what was deleted; in one region.

use anyhow::Context;
use clap::Subcommand;
use serde_json::{Value, json};

use super::profile::Profile;
use super::subject::Place;

/// What is done about records that have been kept long enough.
#[derive(Debug, Subcommand)]
pub(super) enum RetentionVerb {
    /// Show what is past its retention, what a hold keeps, and when the next is due; deletes nothing
    Plan(Place),
    /// Delete what is past its retention now, for good, without waiting for the hourly look
    Run(Place),
    /// Show what was deleted, with the signed evidence
    Status(Place),
}

pub(super) async fn run(verb: RetentionVerb, profile: &Profile) -> anyhow::Result<()> {
    let (shown, place) = match &verb {
        RetentionVerb::Plan(place) => ("streams", place),
        RetentionVerb::Run(place) => {
            let body = json!({"tenant": place.tenant});
            return print(&profile.door(&place.region)?.post("/api/v1/retention/run", &body).await?);
        }
        RetentionVerb::Status(place) => ("deletions", place),
    };
    let path = match &place.tenant {
        Some(tenant) => format!("/api/v1/retention?tenant={tenant}"),
        None => "/api/v1/retention".to_owned(),
    };
    let answer = profile.door(&place.region)?.read(&path).await?;
    print(answer.get(shown).context("the node answered without it; is it of another build?")?)
}

fn print(answer: &Value) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(answer)?);
    Ok(())
}
