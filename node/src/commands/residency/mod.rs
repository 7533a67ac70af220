//! `domicile residency`: what the files in `regions/` say of where data may lie, and whether a Terraform plan keeps to it.
//!
//! The modules under deploy/terraform judge what they are told before anything is planned; this judges what was planned, by
//! whatever module. It speaks to no node and to no cloud.

mod beyond;
mod judge;
mod report;

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::arguments::{FactsPlace, PlanFormat, ResidencyVerb};
use crate::config::Regions;
use crate::limits::PLAN_BYTES;
use judge::Allowed;

pub(super) fn run(verb: &ResidencyVerb) -> anyhow::Result<ExitCode> {
    match verb {
        ResidencyVerb::CheckPlan { plan, region, facts, format } => {
            let regions = read(facts)?;
            let chosen = match region.as_slice() {
                [] => regions.iter().collect(),
                names => names.iter().map(|name| regions.facts(name)).collect::<Result<Vec<_>, _>>()?,
            };
            let verdict = judge::judge(&plan_in(plan)?, &Allowed::of(&chosen));
            match format {
                PlanFormat::Text => print!("{}", report::text(&verdict)),
                PlanFormat::Json => println!("{:#}", report::json(&verdict)),
                PlanFormat::Sarif => println!("{:#}", report::sarif(&verdict, &plan.to_string_lossy())),
            }
            Ok(if verdict.breaches.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        ResidencyVerb::Facts { facts, json } => {
            show(&read(facts)?, *json);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn read(place: &FactsPlace) -> anyhow::Result<Regions> {
    Ok(place.regions_dir.as_deref().map_or_else(Regions::built_in, Regions::read)?)
}

fn plan_in(path: &Path) -> anyhow::Result<Value> {
    let name = path.display().to_string();
    if path.as_os_str() == "-" {
        return plan_from(std::io::stdin(), &name, PLAN_BYTES);
    }
    let file = std::fs::File::open(path).with_context(|| format!("`{name}` cannot be read"))?;
    plan_from(file, &name, PLAN_BYTES)
}

fn plan_from(source: impl Read, name: &str, limit: u64) -> anyhow::Result<Value> {
    let mut text = Vec::new();
    let read = source.take(limit + 1).read_to_end(&mut text).with_context(|| format!("`{name}` cannot be read"))?;
    if read as u64 > limit {
        bail!("`{name}` is longer than {limit} bytes; judge the plan of one region at a time");
    }
    let plan: Value = serde_json::from_slice(&text).with_context(|| format!("`{name}` is not JSON"))?;
    // A state, or a plan as it lies on the disk, has no planned values: silence about it would pass for consent.
    if plan.get("planned_values").is_none() || plan.get("format_version").is_none() {
        bail!("`{name}` is no plan: give what `terraform show -json PLAN` prints");
    }
    Ok(plan)
}

fn show(regions: &Regions, as_json: bool) {
    let facts: Vec<Value> = regions
        .iter()
        .map(|facts| {
            let ways = facts.transfers.iter().map(|way| json!([way.to.as_str(), way.basis, way.review_by]));
            json!({
                "name": facts.name.as_str(),
                "jurisdiction": facts.jurisdiction,
                "clouds": facts.clouds(),
                "retention_days": facts.retention_days(),
                "transfers": ways.collect::<Vec<_>>(),
            })
        })
        .collect();
    if as_json {
        println!("{:#}", Value::Array(facts));
        return;
    }
    for facts in regions.iter() {
        println!("{} ({})", facts.name, facts.jurisdiction);
        for cloud in judge::CLOUDS {
            println!("  {cloud:9} {}", facts.clouds().locations(cloud).join(", "));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_plan_within_the_limit_is_judged() {
        let plan = br#"{"format_version":"1.2","planned_values":{}}"#;
        let limit = plan.len() as u64;
        assert!(plan_from(&plan[..], "p", limit).is_ok());
        for (text, limit, wanted) in [
            (&plan[..], limit - 1, "is longer than"),
            (&plan[..limit as usize - 1], limit, "is not JSON"),
            (br#"{"format_version":"1.0","values":{}}"#, limit, "is no plan"),
            (b"PK\x03\x04", limit, "is not JSON"),
        ] {
            let error = plan_from(text, "p", limit).expect_err("it is no plan");
            assert!(error.to_string().contains(wanted), "{error}");
        }
    }
}
