//! What `dev` leaves for others: the ready file, the client's profile, and one page for a person.

use std::path::Path;

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::super::profile::{Endpoint, Profile, write_secret};
use super::super::samples;
use super::child::Child;
use super::first;
use super::layout::{Keys, Layout};

/// Removes the ready file of an earlier start.
pub(super) fn forget(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("`{}` cannot be removed", path.display()))
        }
        _ => Ok(()),
    }
}

/// Writes the ready file, whole or not at all.
pub(super) fn write_ready(path: &Path, layout: &Layout, children: &[Child]) -> anyhow::Result<()> {
    let keys = first::keys(layout)?;
    let mut regions = Map::new();
    let mut opened = Map::new();
    for (place, child) in layout.regions.iter().zip(children) {
        let of = json!({
            "es": place.es(),
            "api": place.api(),
            "metrics": format!("{}/metrics", place.api()),
            "link": place.link().to_string(),
            "pid": child.pid,
        });
        regions.insert(place.region.to_string(), of);
        let key = |role: &str| Value::from(keys.of(&place.region, role));
        let of = json!({
            "admin": key("admin"), "ingest": key("ingest"), "search": key("search"), "audit": key("audit"),
        });
        opened.insert(place.region.to_string(), of);
    }
    let ready = json!({ "regions": regions, "keys": opened, "data": layout.data });
    write_secret(path, &serde_json::to_vec_pretty(&ready)?)
}

/// Writes the client's profile.
pub(super) fn write_profile(layout: &Layout, keys: &Keys) -> anyhow::Result<()> {
    let mut profile = Profile::default();
    for place in &layout.regions {
        let key = keys.of(&place.region, "profile").to_owned();
        profile.regions.insert(
            place.region.clone(),
            Endpoint { api: place.api(), es: place.es(), key, other_nodes: Vec::new(), ca: None },
        );
    }
    profile.write(&layout.data.join("profile.toml"))
}

/// The one page.
pub(super) fn print(layout: &Layout, has_samples: bool) {
    let Some(first) = layout.regions.first() else { return };
    println!("\nThree regions are running. Logs stay at home; answers travel.\n");
    for place in &layout.regions {
        println!(
            "  {:<10} Elasticsearch API {}   native API {}   link {}",
            place.region.as_str(),
            place.es(),
            place.api(),
            place.link()
        );
    }
    println!("\nAsk the whole world; rows come from each region's own endpoint and are merged here:\n");
    let profile = layout.data.join("profile.toml");
    println!("  domicile --profile {} search 'level:ERROR' --regions all --last 1h", profile.display());
    println!("\nSee what crosses: counts and what each region says of its part, no line:\n");
    println!(
        "  curl -s {}/api/v1/search -H \"Authorization: Bearer $(jq -r .{}.search {})\" \\",
        first.api(),
        first.region,
        layout.data.join("keys.json").display()
    );
    println!("    -H 'Content-Type: application/json' \\");
    println!("    -d '{{\"stream\":\"shop\",\"regions\":[\"*\"],\"ask\":{{\"terms\":\"level\"}}}}'");
    if has_samples {
        println!(
            "\n{} sample lines of nobody are in the streams `{}` and `{}`; something went wrong with payments in one region.",
            samples::COUNT,
            samples::SHOP_STREAM,
            samples::INFRA_STREAM
        );
    }
    println!(
        "\nEverything lies in {0}. Ctrl-C stops the regions; `domicile dev --clean --data {0}` removes them.\n",
        layout.data.display()
    );
}
