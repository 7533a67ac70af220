//! Ways by which a resource lets what it holds out of its place: copies, second places, open doors for readers, and names of keys
//! and targets abroad in each cloud's own words. It looks at one resource; what follows from it is said in `judge`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::judge::Resource;

/// Resources that copy what another one holds to a place that the plan does not show.
const COPIES: [&str; 13] = [
    "aws_s3_bucket_replication_configuration",
    "aws_ebs_snapshot_copy",
    "aws_ami_copy",
    "aws_ami_launch_permission",
    "aws_snapshot_create_volume_permission",
    "aws_db_instance_automated_backups_replication",
    "aws_ecr_replication_configuration",
    "google_storage_transfer_job",
    "azurerm_storage_object_replication",
    "azurerm_site_recovery_replicated_vm",
    "azurerm_snapshot_copy",
    "alicloud_oss_bucket_replication",
    "alicloud_oss_bucket_cross_region_replication",
];
/// Arguments that do the same, at any depth.
const COPYING: [&str; 6] = [
    "replication_configuration",
    "cross_region_copy_rule",
    "cross_region_copy",
    "copy_action",
    "destination_region",
    "target_region_id",
];
/// Arguments that name a second place of what is kept, and their values where only some of them do.
const SECOND_PLACES: [(&str, &[&str]); 5] = [
    ("geo_redundant_backup_enabled", &["true"]),
    ("cross_region_restore_enabled", &["true"]),
    ("geo_backup_enabled", &["true"]),
    ("redundancy", &["GeoRedundant"]),
    ("storage_mode_type", &["GeoRedundant"]),
];
/// Whom Google Cloud calls everybody.
const EVERYBODY: [&str; 2] = ["allUsers", "allAuthenticatedUsers"];

/// Whether a resource copies what it or another one holds.
pub(super) fn copies(resource: &Resource<'_>) -> bool {
    COPIES.contains(&resource.kind) || resource.has("replica") || any_key(resource.after, &COPYING)
}

/// Whether what a resource holds is kept a second time in another place.
pub(super) fn second_place(resource: &Resource<'_>) -> Option<&'static str> {
    let is_set = |(key, wanted): &&(&'static str, &[&str])| match resource.after.get(*key) {
        Some(Value::Bool(set)) => *set && wanted.contains(&"true"),
        Some(Value::String(text)) => wanted.contains(&text.as_str()),
        _ => false,
    };
    SECOND_PLACES.iter().find(is_set).map(|(key, _)| *key)
}

/// Whether everybody could read what a resource holds.
pub(super) fn is_shown(resource: &Resource<'_>) -> bool {
    match resource.kind {
        "azurerm_storage_account" => {
            resource.is("allow_nested_items_to_be_public") || resource.is("allow_blob_public_access")
        }
        "azurerm_storage_container" => {
            resource.text("container_access_type").is_some_and(|access| !access.eq_ignore_ascii_case("private"))
        }
        "aws_s3_bucket" | "alicloud_oss_bucket" => resource.text("acl").is_some_and(|acl| acl.starts_with("public")),
        "aws_s3_bucket_policy" | "alicloud_oss_bucket_policy" => resource.text("policy").is_some_and(lets_everybody),
        "aws_db_instance" | "aws_rds_cluster_instance" => resource.is("publicly_accessible"),
        kind if kind.starts_with("google_") => {
            let members = resource.after.get("members").and_then(Value::as_array).into_iter().flatten();
            let member = resource.after.get("member");
            members.chain(member).filter_map(Value::as_str).any(|member| EVERYBODY.contains(&member))
        }
        _ => false,
    }
}

/// Whether a policy allows something to everybody, whatever the day.
fn lets_everybody(policy: &str) -> bool {
    let Ok(policy) = serde_json::from_str::<Value>(policy) else { return false };
    let statements =
        policy.get("Statement").map(|said| said.as_array().map_or_else(|| std::slice::from_ref(said), Vec::as_slice));
    statements.unwrap_or_default().iter().any(|said| {
        let is_allowed = said.get("Effect").and_then(Value::as_str) == Some("Allow");
        let principal = said.get("Principal").map(|who| who.get("AWS").unwrap_or(who));
        let is_everybody = principal.is_some_and(|who| {
            who.as_str() == Some("*") || who.as_array().is_some_and(|list| list.iter().any(|one| one == "*"))
        });
        is_allowed && is_everybody && said.get("Condition").is_none()
    })
}

/// Something that a resource names: its cloud, its service and its place, as the clouds write names.
pub(super) type Named = (&'static str, String, String);

/// Everything that is named anywhere in a resource.
pub(super) fn named(value: &Value, found: &mut BTreeSet<Named>) {
    match value {
        Value::String(text) => {
            let words = text.split(|c: char| c == '"' || c.is_whitespace());
            found.extend(words.filter_map(of_name));
        }
        Value::Array(list) => list.iter().for_each(|value| named(value, found)),
        Value::Object(fields) => fields.values().for_each(|value| named(value, found)),
        _ => {}
    }
}

fn of_name(word: &str) -> Option<Named> {
    if let Some(arn) = word.strip_prefix("arn:") {
        // The partition comes first.
        return in_colons("aws", arn.split(':').skip(1));
    }
    if let Some(name) = word.strip_prefix("acs:") {
        return in_colons("alicloud", name.split(':'));
    }
    // `projects/P/locations/L/keyRings/…`, also as the end of an address.
    let mut parts = word.split_once("projects/")?.1.split('/').skip(1);
    let (scope, place, what) = (parts.next()?, parts.next()?, parts.next()?);
    let service = if what == "keyRings" { "kms" } else { what };
    (scope == "locations").then(|| ("gcp", service.to_owned(), place.to_owned()))
}

fn in_colons<'a>(cloud: &'static str, mut parts: impl Iterator<Item = &'a str>) -> Option<Named> {
    let (service, place) = (parts.next()?, parts.next()?);
    let place = place.strip_prefix("oss-").unwrap_or(place);
    (place.contains('-') && !place.contains('*')).then(|| (cloud, service.to_owned(), place.to_owned()))
}

/// Whether one of the keys stands anywhere in a value, with something in it.
fn any_key(value: &Value, keys: &[&str]) -> bool {
    match value {
        Value::Object(fields) => fields.iter().any(|(key, value)| {
            let is_empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty) || value == "";
            (keys.contains(&key.as_str()) && !is_empty) || any_key(value, keys)
        }),
        Value::Array(list) => list.iter().any(|value| any_key(value, keys)),
        _ => false,
    }
}
