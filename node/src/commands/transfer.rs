//! Routes of the transfer register: where what a region releases may go, on which legal basis, until which review.
//!
//! What is shown is what each region's own node honours. Opening is signed here by the officer of the region that sends;
//! closing needs no signature.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum};
use domicile_proto::ids::Region;
use domicile_proto::metadata::{Change, Command};
use domicile_proto::transfer::TransferBasis;
use serde_json::Value;

use super::admin::submit;
use super::door::Door;
use super::officer::Officer;
use super::profile::Profile;
use super::table;
use crate::policy::day_of;

/// How long a node may take to honour what was decided.
const HONOURED_WITHIN: Duration = Duration::from_secs(5);
/// Pause between two looks at it.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, Subcommand)]
pub(super) enum TransferVerb {
    /// Show the routes of each region of the profile, as its own node honours them
    List {
        /// JSON
        #[arg(long)]
        json: bool,
    },
    /// Open a route; the officer of the region that sends signs
    Approve {
        /// The region that sends
        from: Region,
        /// The region that receives
        to: Region,
        /// On which legal basis; the region's file says which of them its law takes
        #[arg(long, value_enum)]
        basis: BasisArgument,
        /// The day by which the basis is looked at again, as `2027-05-31`
        #[arg(long, value_name = "DATE")]
        review_by: jiff::civil::Date,
        /// Private key of the officer of the region that sends. Default: domicile-data/pki/REGION/officer.key, else
        /// pki/REGION/officer.key
        #[arg(long, value_name = "FILE")]
        officer_key: Option<std::path::PathBuf>,
    },
    /// Close a route: from now on neither answers nor questions go there
    Revoke {
        /// The region that sends
        from: Region,
        /// The region that receives
        to: Region,
    },
}

/// A legal basis, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum BasisArgument {
    /// The authority found the other country's protection adequate
    Adequacy,
    /// Standard contractual clauses
    StandardClauses,
    /// Binding corporate rules
    BindingRules,
    /// The recipient keeps measures that match the law's
    EquivalentMeasures,
    /// Informed consent of the persons
    Consent,
    /// A contract that binds the recipient and names the countries
    Contract,
    /// A certification that the law names
    Certification,
}

impl From<BasisArgument> for TransferBasis {
    fn from(basis: BasisArgument) -> Self {
        match basis {
            BasisArgument::Adequacy => Self::Adequacy,
            BasisArgument::StandardClauses => Self::StandardClauses,
            BasisArgument::BindingRules => Self::BindingRules,
            BasisArgument::EquivalentMeasures => Self::EquivalentMeasures,
            BasisArgument::Consent => Self::Consent,
            BasisArgument::Contract => Self::Contract,
            BasisArgument::Certification => Self::Certification,
        }
    }
}

pub(super) async fn run(verb: TransferVerb, profile: &Profile) -> anyhow::Result<()> {
    match verb {
        TransferVerb::List { json } => list(profile, json).await,
        TransferVerb::Approve { from, to, basis, review_by, officer_key } => {
            let door = profile.door(&from)?;
            let officer = Officer::read(&from, officer_key.as_deref())?.after_newest_at(&door).await?;
            let before = said(&door, &to).await?.get("policy").and_then(Value::as_u64);
            let change = Change::ApproveTransfer { to: to.clone(), basis: basis.into(), review_by: day_of(review_by) };
            submit(&door, &[officer.consent(change)]).await?;
            let route = honoured(&door, &to, before).await?;
            if let Some(shut) = route.get("shut").and_then(Value::as_str) {
                bail!("the approval is there, and nothing goes from `{from}` to `{to}` all the same: {shut}");
            }
            eprintln!("what `{from}` releases may go to `{to}`; the basis is looked at again by {review_by}");
            Ok(())
        }
        TransferVerb::Revoke { from, to } => {
            let door = profile.door(&from)?;
            let before = said(&door, &to).await?.get("policy").and_then(Value::as_u64);
            submit(&door, &[Command::RevokeTransfer { from: from.clone(), to: to.clone() }]).await?;
            let route = honoured(&door, &to, before).await?;
            if route.get("open").and_then(Value::as_bool) != Some(false) {
                bail!(
                    "the route was closed, and the node of `{from}` does not say so yet; look at `domicile transfer list`"
                );
            }
            eprintln!(
                "nothing of `{from}` goes to `{to}` any more; heads of ledgers and the metadata group's traffic go on"
            );
            Ok(())
        }
    }
}

async fn list(profile: &Profile, as_json: bool) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for region in profile.regions.keys() {
        let status = profile.door(region)?.read("/api/v1/status").await?;
        for route in routes(&status) {
            if as_json {
                println!("{}", serde_json::json!({ "from": region, "route": route }));
                continue;
            }
            let text = |key: &str| match route.get(key) {
                Some(Value::String(text)) => table::harmless(text),
                Some(Value::Null) | None => "-".to_owned(),
                Some(other) => other.to_string(),
            };
            let is_open = route.get("open").and_then(Value::as_bool) == Some(true);
            let is_signed = route.get("approved_by_officer").and_then(Value::as_bool) == Some(true);
            let by = if is_signed { "officer" } else { "file" };
            let state = if is_open { "open".to_owned() } else { format!("shut: {}", text("shut")) };
            let review = format!("{} ({} days)", text("review_by"), text("review_in_days"));
            rows.push(vec![region.to_string(), text("to"), state, text("basis"), by.to_owned(), review]);
        }
    }
    if !as_json {
        table::print(&["from", "to", "state", "basis", "decided by", "review by"], &rows);
    }
    Ok(())
}

fn routes(status: &Value) -> impl Iterator<Item = &Value> {
    status.get("transfers").and_then(Value::as_array).into_iter().flatten()
}

/// What the region's own node says of a route; nothing where it does not know it.
async fn said(door: &Door, to: &Region) -> anyhow::Result<Value> {
    let status = door.read("/api/v1/status").await?;
    let is_meant = |route: &&Value| route.get("to").and_then(Value::as_str) == Some(to.as_str());
    Ok(routes(&status).find(is_meant).cloned().unwrap_or_default())
}

/// Waits until the node speaks of the route under another version than before; what was so already stays as it is.
async fn honoured(door: &Door, to: &Region, before: Option<u64>) -> anyhow::Result<Value> {
    let waiting = async {
        loop {
            let route = said(door, to).await?;
            if route.get("policy").and_then(Value::as_u64) > before {
                return anyhow::Ok(route);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    match tokio::time::timeout(HONOURED_WITHIN, waiting).await {
        Ok(route) => route,
        Err(_) => said(door, to).await.context("the node does not say how the route stands"),
    }
}
