//! `audit report`: asks each region for its statement and its ledger, makes the copy, checks it, writes the report from it, and
//! has the regions seal the whole.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use domicile_proto::ids::{Name, Region, Timestamp};
use reqwest::Method;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::super::door::Door;
use super::super::profile::Profile;
use super::check::{self, regions};
use super::compose::{Request, compose};
use super::files::{MANIFEST, REGIONS, REQUEST, derived, manifest, seal_of};
use super::open::{self, Trust};
use super::tool;
use crate::audit::{Copy, Shown};
use crate::clock::Clock;

/// What a pack is made of.
pub(super) struct Wanted {
    pub(super) tenant: Name,
    pub(super) period: (Timestamp, Timestamp),
    pub(super) regions: Vec<Region>,
    pub(super) out: PathBuf,
}

/// Makes a pack; what its check found.
pub(super) async fn collect(wanted: &Wanted, profile: &Profile) -> anyhow::Result<check::Outcome> {
    let out = &wanted.out;
    if out.try_exists().unwrap_or(true) {
        bail!("`{}` is there already; a pack is made in a directory of its own, so name another", out.display());
    }
    let doors: Vec<(Region, Door)> = wanted
        .regions
        .iter()
        .map(|region| Ok((region.clone(), profile.door(region)?)))
        .collect::<anyhow::Result<_>>()?;
    for (region, door) in &doors {
        copy(door, region, &wanted.tenant, out)
            .await
            .with_context(|| format!("region `{region}` gave no whole copy"))?;
    }
    let (from, to) = wanted.period;
    let request = Request { tool: tool(), tenant: wanted.tenant.to_string(), from, to, made_at: Clock::system().now() };
    write(out, REQUEST, format!("{}\n", serde_json::to_string_pretty(&request)?).as_bytes())?;
    let trust = Trust::default();
    let homes = regions(out).into_iter().map(|region| open::home(out, &region, &request, &trust));
    let homes: Result<Vec<_>, _> = homes.collect();
    let homes = homes.map_err(|problem| anyhow::anyhow!("what a region gave does not hold: {problem}"))?;
    for (name, bytes) in derived(&compose(&request, &homes))? {
        write(out, &name, &bytes)?;
    }
    let manifest = manifest(out)?;
    write(out, MANIFEST, manifest.as_bytes())?;
    let sha256 = hex::encode(digest(&SHA256, manifest.as_bytes()).as_ref());
    for (region, door) in &doors {
        let sealed = door.post("/api/v1/audit/seal", &json!({"sha256": sha256})).await?;
        write(out, &seal_of(region.as_str()), text(&sealed, "note")?.as_bytes())?;
    }
    Ok(check::check(out, &trust, None))
}

/// The statement and the log of one region.
async fn copy(door: &Door, region: &Region, tenant: &Name, out: &Path) -> anyhow::Result<()> {
    // The ledger first: the statement then knows everything that the ledger does.
    let log = door.read("/api/v1/audit/log").await?;
    let kept = log.get("kept").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let shown = Shown {
        verifier: text(&log, "verifier")?.to_owned(),
        checkpoint: text(&log, "checkpoint")?.to_owned(),
        kept: kept.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
    };
    let dir = format!("{REGIONS}/{region}");
    let mut copy = Copy::begin(&out.join(&dir).join("log"), &shown)?;
    for bundle in 0..copy.bundles() {
        let path = format!("/api/v1/audit/bodies?bundle={bundle}&size={}&tenant={tenant}", copy.size());
        let response = door.request(Method::GET, &path).send().await.with_context(|| door.unreachable())?;
        let bytes = door.checked(response, &path).await?.bytes().await.with_context(|| door.unreachable())?;
        copy.add(&bytes)?;
    }
    copy.finish()?;
    let stated = door.read(&format!("/api/v1/audit/statement?tenant={tenant}")).await?;
    write(out, &format!("{dir}/statement.json"), text(&stated, "statement")?.as_bytes())?;
    write(out, &format!("{dir}/statement.note"), text(&stated, "note")?.as_bytes())
}

fn text<'a>(answer: &'a Value, key: &str) -> anyhow::Result<&'a str> {
    answer
        .get(key)
        .and_then(Value::as_str)
        .with_context(|| format!("the node answered without `{key}`; is it of another build?"))
}

fn write(out: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let path = out.join(name);
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(&path, bytes)).with_context(|| format!("`{}` cannot be written", path.display()))
}
