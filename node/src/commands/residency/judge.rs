//! The rules RES-001 to RES-008 over a Terraform plan: every resource that will be there is looked at, whoever planned it.
//!
//! What a plan does not know yet cannot be judged; a disk whose encryption is not known counts as plain. Who votes (RES-009) and
//! where the state lies are in no plan: the module `residency` judges them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::beyond;
use crate::config::RegionFacts;

/// The clouds, as the files of facts call them.
pub(super) const CLOUDS: [&str; 4] = ["aws", "gcp", "azure", "alicloud"];

/// One rule broken by one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Breach {
    pub(super) address: String,
    pub(super) rule: &'static str,
    pub(super) why: String,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Resources that were looked at.
    pub(super) judged: usize,
    /// Resources of providers that no rule knows.
    pub(super) strange: Vec<String>,
    pub(super) breaches: BTreeSet<Breach>,
}

/// Where the data of the chosen regions may lie, by cloud.
pub(super) struct Allowed(BTreeMap<&'static str, BTreeSet<String>>);

impl Allowed {
    pub(super) fn of(regions: &[&RegionFacts]) -> Self {
        let places =
            |cloud| regions.iter().flat_map(move |facts| facts.clouds().locations(cloud).iter().cloned()).collect();
        Self(CLOUDS.into_iter().map(|cloud| (cloud, places(cloud))).collect())
    }

    fn has(&self, cloud: &str, location: &str) -> bool {
        self.0.get(cloud).is_some_and(|places| places.contains(location))
    }
}

/// Judges a plan as `terraform show -json` prints it.
pub(super) fn judge(plan: &Value, allowed: &Allowed) -> Verdict {
    let mut verdict = Verdict::default();
    let mut machines: BTreeSet<(&str, String)> = BTreeSet::new();
    let mut stores = Vec::new();
    for resource in resources(plan) {
        let Some(cloud) = cloud_of(resource.kind) else {
            if !resource.kind.starts_with("terraform_") {
                verdict.strange.push(resource.address.to_owned());
            }
            continue;
        };
        verdict.judged += 1;
        let places = places(cloud, &resource);
        for place in &places {
            if MACHINES.contains(&resource.kind) {
                machines.insert((cloud, place.clone()));
            } else if STORES.contains(&resource.kind) {
                stores.push((cloud, resource.address, place.clone()));
            }
        }
        verdict.breaches.extend(of_resource(cloud, &resource, &places, allowed));
    }
    for (cloud, address, place) in stores {
        let beside = machines.iter().any(|(other, _)| *other == cloud) && !machines.contains(&(cloud, place.clone()));
        if beside && allowed.has(cloud, &place) {
            let why = format!("lies in {place}, where no node of the plan is");
            verdict.breaches.insert(Breach { address: address.to_owned(), rule: "RES-002", why });
        }
    }
    verdict.breaches.extend(of_providers(plan, allowed));
    verdict
}

/// A resource as it will be.
pub(super) struct Resource<'a> {
    address: &'a str,
    pub(super) kind: &'a str,
    pub(super) after: &'a Value,
}

impl<'a> Resource<'a> {
    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        self.after.get(key)?.as_str()
    }

    pub(super) fn is(&self, key: &str) -> bool {
        self.after.get(key).and_then(Value::as_bool) == Some(true)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        match self.after.get(key) {
            Some(Value::Array(list)) => !list.is_empty(),
            Some(value) => !value.is_null(),
            None => false,
        }
    }
}

fn resources(plan: &Value) -> impl Iterator<Item = Resource<'_>> {
    let mut modules: Vec<&Value> = plan.pointer("/planned_values/root_module").into_iter().collect();
    let mut found = Vec::new();
    while let Some(module) = modules.pop() {
        modules.extend(module.get("child_modules").and_then(Value::as_array).into_iter().flatten());
        found.extend(module.get("resources").and_then(Value::as_array).into_iter().flatten());
    }
    found.into_iter().filter_map(|resource| {
        if resource.get("mode").and_then(Value::as_str) == Some("data") {
            return None;
        }
        let text = |key| resource.get(key).and_then(Value::as_str);
        Some(Resource { address: text("address")?, kind: text("type")?, after: resource.get("values")? })
    })
}

fn cloud_of(kind: &str) -> Option<&'static str> {
    let (provider, _) = kind.split_once('_')?;
    match provider {
        "aws" => Some("aws"),
        "google" => Some("gcp"),
        "azurerm" => Some("azure"),
        "alicloud" => Some("alicloud"),
        _ => None,
    }
}

/// Machines, and the networks they are in: the place of a machine is often known only by its network.
const MACHINES: [&str; 8] = [
    "aws_instance",
    "aws_subnet",
    "google_compute_instance",
    "google_compute_subnetwork",
    "azurerm_linux_virtual_machine",
    "azurerm_virtual_network",
    "alicloud_instance",
    "alicloud_vswitch",
];
const STORES: [&str; 9] = [
    "aws_ebs_volume",
    "aws_s3_bucket",
    "google_compute_disk",
    "google_storage_bucket",
    "google_kms_key_ring",
    "azurerm_managed_disk",
    "azurerm_storage_account",
    "azurerm_key_vault",
    "alicloud_ecs_disk",
];
/// Resources that lie in more than one place by what they are.
const SPANNING: [&str; 8] = [
    "aws_kms_replica_key",
    "aws_kms_replica_external_key",
    "aws_s3control_multi_region_access_point",
    "aws_dynamodb_global_table",
    "aws_rds_global_cluster",
    "aws_cloudfront_distribution",
    "aws_globalaccelerator_accelerator",
    "azurerm_cdn_frontdoor_profile",
];

/// The places a resource names by itself: a location, or the one its zone lies in.
fn places(cloud: &str, resource: &Resource<'_>) -> Vec<String> {
    let mut found = BTreeSet::new();
    for key in ["location", "region"] {
        if let Some(place) = resource.text(key).filter(|place| !place.is_empty()) {
            found.insert(place.to_lowercase().replace(' ', ""));
        }
    }
    // Where snapshots are kept.
    let kept = resource.after.get("storage_locations").and_then(Value::as_array).into_iter().flatten();
    found.extend(kept.filter_map(Value::as_str).map(str::to_lowercase));
    for key in ["zone", "availability_zone", "zone_id"] {
        // In Azure a zone is a figure within a location.
        if let Some(zone) = resource.text(key).filter(|zone| cloud != "azure" && !zone.is_empty()) {
            let place = zone.trim_end_matches(|c: char| c.is_ascii_lowercase());
            let place = if place.len() < zone.len() { place.trim_end_matches('-') } else { zone };
            // `cn-hangzhou-h` ends in a word before its letter.
            let place = if place.ends_with(|c: char| c.is_ascii_digit()) {
                place
            } else {
                zone.rsplit_once('-').map_or(zone, |(head, _)| head)
            };
            found.insert(place.to_owned());
        }
    }
    found.into_iter().collect()
}

fn of_resource(cloud: &str, resource: &Resource<'_>, places: &[String], allowed: &Allowed) -> Vec<Breach> {
    let breach = |rule, why: String| Breach { address: resource.address.to_owned(), rule, why };
    let mut found = Vec::new();
    let spans = spans(resource);
    found.extend(spans.iter().map(|why| breach("RES-004", why.clone())));
    for place in places.iter().filter(|place| !allowed.has(cloud, place)) {
        // A continent is no place: that was said already.
        if spans.is_empty() && !HARMLESS.contains(&resource.kind) {
            found.push(breach(
                "RES-001",
                format!("would lie in {place}, which is no location of the region in {cloud}"),
            ));
        }
    }
    if beyond::copies(resource) {
        let why = "copies what it holds to somewhere else; no route of the register allows records".to_owned();
        found.push(breach("RES-003", why));
    }
    found.extend(open_doors(resource).into_iter().map(|door| breach("RES-005", format!("is open to {door}"))));
    found.extend(plain(resource).map(|what| breach("RES-008", what)));
    if beyond::is_shown(resource) {
        found.push(breach("RES-008", "would be open to everybody".to_owned()));
    }
    let mut named = BTreeSet::new();
    beyond::named(resource.after, &mut named);
    for (_, service, place) in named.iter().filter(|(cloud, _, place)| !allowed.has(cloud, place)) {
        let rule = if service == "kms" { "RES-008" } else { "RES-007" };
        found.push(breach(rule, format!("names something of {service} in {place}")));
    }
    found
}

/// Things without data, that are said to lie everywhere.
const HARMLESS: [&str; 2] = ["google_monitoring_alert_policy", "aws_route53_record"];

/// Why a resource lies in more than one place.
fn spans(resource: &Resource<'_>) -> Vec<String> {
    let mut why = Vec::new();
    if SPANNING.contains(&resource.kind) {
        why.push("lies in many places by what it is".to_owned());
    }
    if resource.is("multi_region") || resource.is("multi_region_enabled") {
        why.push("would be of many regions".to_owned());
    }
    if resource.kind.starts_with("google_")
        && let Some(place) = resource.text("location").filter(|place| !place.contains(|c: char| c.is_ascii_digit()))
    {
        why.push(format!("would lie in {place}, which is more than one place"));
    }
    if resource.has("custom_placement_config") {
        why.push("would lie in two places".to_owned());
    }
    if let Some(kind) =
        resource.text("account_replication_type").filter(|kind| kind.contains("GRS") || kind.contains("GZRS"))
    {
        why.push(format!("would be kept in another region as well ({kind})"));
    }
    if let Some(key) = beyond::second_place(resource) {
        why.push(format!("would be kept in a second place (`{key}`)"));
    }
    if resource.kind == "google_secret_manager_secret" && resource.after.pointer("/replication/0/auto/0").is_some() {
        why.push("would be replicated to wherever the cloud likes".to_owned());
    }
    if resource.after.pointer("/transfer_acceleration/0/enabled").and_then(Value::as_bool) == Some(true) {
        why.push("would be reached over the cloud's edge in other countries".to_owned());
    }
    why
}

/// How a firewall of Google Cloud says who may come in.
const SOURCES: [&str; 3] = ["source_ranges", "source_tags", "source_service_accounts"];

/// Ranges wider than any declared peer or client that may come in.
fn open_doors(resource: &Resource<'_>) -> Vec<String> {
    let lists: &[&str] = match resource.kind {
        "aws_vpc_security_group_ingress_rule" => &["cidr_ipv4", "cidr_ipv6"],
        "aws_security_group_rule" if resource.text("type") == Some("ingress") => &["cidr_blocks", "ipv6_cidr_blocks"],
        "aws_security_group" | "aws_default_security_group" => &["ingress"],
        "google_compute_firewall" if resource.text("direction") != Some("EGRESS") && resource.has("allow") => {
            if !SOURCES.iter().any(|key| resource.has(key)) {
                return vec!["everybody, for it names no source".to_owned()];
            }
            &["source_ranges"]
        }
        "azurerm_network_security_group" => &["security_rule"],
        "azurerm_network_security_rule" if is_entrance(resource.after) => {
            &["source_address_prefix", "source_address_prefixes"]
        }
        "alicloud_security_group_rule"
            if resource.text("type") == Some("ingress") && resource.text("policy") != Some("drop") =>
        {
            &["cidr_ip", "ipv6_cidr_ip"]
        }
        _ => return Vec::new(),
    };
    let mut texts = Vec::new();
    for key in lists {
        if let Some(value) = resource.after.get(key) {
            ranges(value, &mut texts);
        }
    }
    texts.retain(|range| is_wide(range));
    texts
}

fn is_entrance(rule: &Value) -> bool {
    let is = |key: &str, wanted: &str| {
        rule.get(key).and_then(Value::as_str).is_some_and(|value| value.eq_ignore_ascii_case(wanted))
    };
    is("direction", "Inbound") && is("access", "Allow")
}

fn ranges(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(list) => list.iter().for_each(|value| ranges(value, found)),
        Value::Object(rule) if !rule.contains_key("access") || is_entrance(value) => {
            let keys = ["cidr_blocks", "ipv6_cidr_blocks", "source_address_prefix", "source_address_prefixes"];
            keys.iter().filter_map(|key| rule.get(*key)).for_each(|value| ranges(value, found));
        }
        _ => {}
    }
}

/// Everybody, in each cloud's words, or a range that only somebody who means everybody writes.
fn is_wide(range: &str) -> bool {
    let bits = range.rsplit_once('/').and_then(|(_, bits)| bits.parse::<u8>().ok());
    matches!(range, "*" | "Internet" | "Any") || bits.is_some_and(|bits| bits < 8)
}

/// What a resource would keep in the clear, or show to everybody.
fn plain(resource: &Resource<'_>) -> Option<String> {
    let flag = match resource.kind {
        "aws_ebs_volume" | "aws_efs_file_system" | "alicloud_ecs_disk" | "alicloud_disk" => "encrypted",
        "aws_db_instance" | "aws_rds_cluster" => "storage_encrypted",
        "alicloud_instance" => "system_disk_encrypted",
        "aws_s3_bucket_public_access_block" => {
            let keys = ["block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"];
            return keys.iter().find(|key| !resource.is(key)).map(|key| format!("does not say `{key}`"));
        }
        "alicloud_oss_bucket_public_access_block" => "block_public_access",
        "aws_instance" => {
            let root = resource.after.pointer("/root_block_device/0/encrypted").and_then(Value::as_bool);
            return (root != Some(true)).then(|| "would keep its root disk in the clear".to_owned());
        }
        "aws_s3_bucket_acl" | "alicloud_oss_bucket_acl" => {
            let acl = resource.text("acl").unwrap_or_default();
            return acl.starts_with("public").then(|| "would be open to everybody".to_owned());
        }
        "google_storage_bucket" => {
            let open = resource.text("public_access_prevention") == Some("inherited");
            return open.then(|| "may be opened to everybody".to_owned());
        }
        _ => return None,
    };
    (!resource.is(flag)).then(|| format!("says `{flag}` neither in the plan nor as true"))
}

/// Providers that are configured for a place outside, where the plan says which.
fn of_providers(plan: &Value, allowed: &Allowed) -> Vec<Breach> {
    let configured = plan.pointer("/configuration/provider_config").and_then(Value::as_object);
    let mut found = Vec::new();
    for (name, provider) in configured.into_iter().flatten() {
        let kind = provider.get("name").and_then(Value::as_str).unwrap_or_default();
        let Some(cloud) = cloud_of(&format!("{kind}_")) else { continue };
        let Some(region) = provider.pointer("/expressions/region") else { continue };
        let variable =
            region.pointer("/references/0").and_then(Value::as_str).and_then(|name| name.strip_prefix("var."));
        let place = region.get("constant_value").or_else(|| plan.pointer(&format!("/variables/{}/value", variable?)));
        if let Some(place) = place.and_then(Value::as_str).filter(|place| !allowed.has(cloud, place)) {
            let why = format!("is configured for {place}, which is no location of the region in {cloud}");
            found.push(Breach { address: format!("provider.{name}"), rule: "RES-006", why });
        }
    }
    found
}

#[cfg(test)]
#[path = "judge_test.rs"]
mod tests;
