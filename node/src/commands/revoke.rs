//! Taking back: a tenant's keys, what a stream lets out, values of a dictionary. It narrows, so no officer signs, and it is
//! said to the region that it is about.

use anyhow::{Context, bail};
use clap::Args;
use domicile_proto::ids::{DictionaryId, KThreshold, Name, Region, StreamId};
use domicile_proto::metadata::{Change, Command, Personal, RegionalChange, StreamPolicy};
use serde_json::Value;

use super::admin::{items, submit, tenant_id};
use super::profile::Profile;

/// What is taken from a tenant.
#[derive(Debug, Args)]
pub(super) struct TenantRevocation {
    /// Its name
    name: Name,
    /// Region whose keys of the tenant become invalid; may be repeated. Default: all regions of the profile
    #[arg(long)]
    region: Vec<Region>,
}

/// What is taken from a stream.
#[derive(Debug, Args)]
pub(super) struct StreamRevocation {
    /// Its name
    name: Name,
    /// Its tenant
    #[arg(long, default_value = "default")]
    tenant: Name,
    /// Region that lets out nothing of it but counts of fifty and more; may be repeated. Default: all regions of the profile
    #[arg(long)]
    region: Vec<Region>,
}

/// What is taken from a dictionary.
#[derive(Debug, Args)]
pub(super) struct ValueRevocation {
    /// The region from which they may cross no more
    region: Region,
    /// The field
    field: Name,
    /// The values
    #[arg(required = true)]
    values: Vec<String>,
    /// Whose dictionary
    #[arg(long, default_value = "default")]
    tenant: Name,
}

/// Nobody sends or asks for the tenant any more; its records stay until their retention ends.
pub(super) async fn tenant(revocation: TenantRevocation, profile: &Profile) -> anyhow::Result<()> {
    let TenantRevocation { name, region } = revocation;
    for region in regions(region, profile)? {
        let door = profile.door(&region)?;
        tenant_id(&door, &name).await?;
        if text(&door.read("/api/v1/whoami").await?, "tenant") == Some(name.as_str()) {
            bail!(
                "the key of the profile is one of tenant `{name}` itself; take its keys back one by one, with `domicile key revoke`"
            );
        }
        let keys = door.read("/api/v1/admin/keys").await?;
        let own = items(&keys, "keys").filter(|row| text(row, "tenant") == Some(name.as_str()));
        let ids = own.filter_map(|row| text(row, "name")?.parse().ok());
        let commands: Vec<Command> = ids.map(|id| Command::RevokeKey { region: region.clone(), id }).collect();
        submit(&door, &commands).await?;
        eprintln!("{} key(s) of tenant `{name}` are no longer valid in region `{region}`", commands.len());
    }
    Ok(())
}

/// The region answers questions from abroad about the stream with nothing but counts of fifty subjects and more; of fifty records
/// where it has no subject.
pub(super) async fn stream(revocation: StreamRevocation, profile: &Profile) -> anyhow::Result<()> {
    let StreamRevocation { name, tenant, region } = revocation;
    for region in regions(region, profile)? {
        let door = profile.door(&region)?;
        let id = tenant_id(&door, &tenant).await?;
        let streams = door.read("/api/v1/admin/streams").await?;
        let is_meant =
            |row: &&Value| text(row, "name") == Some(name.as_str()) && text(row, "tenant") == Some(tenant.as_str());
        let found = items(&streams, "streams").find(is_meant);
        let row =
            found.with_context(|| format!("tenant `{tenant}` has no stream `{name}`; see `domicile stream list`"))?;
        let stream: StreamId = part(row, "id")?;
        let policy = narrowest(part(row, "policy")?);
        let change = Change::SetPolicy { tenant: id, stream, policy };
        let change = RegionalChange { region: region.clone(), change, signature: None };
        submit(&door, &[Command::Regional(change)]).await?;
        eprintln!("region `{region}` lets out no field, number or text of stream `{name}` any more");
    }
    Ok(())
}

/// The values fold into `__other__` in answers of the region from now on.
pub(super) async fn values(revocation: ValueRevocation, profile: &Profile) -> anyhow::Result<()> {
    let ValueRevocation { region, field, values, tenant } = revocation;
    let door = profile.door(&region)?;
    let id = tenant_id(&door, &tenant).await?;
    let known = door.read("/api/v1/admin/dictionary").await?;
    let mut commands = Vec::with_capacity(values.len());
    for value in &values {
        let is_meant = |row: &&Value| {
            let is_here = row.get("approved_here").and_then(Value::as_bool) == Some(true);
            let is_own = text(row, "tenant") == Some(tenant.as_str()) && text(row, "field") == Some(field.as_str());
            is_here && is_own && text(row, "value") == Some(value)
        };
        let Some(row) = items(&known, "dictionary").find(is_meant) else {
            bail!("`{value}` is no approved value of `{field}` in region `{region}`; see `domicile dictionary list`");
        };
        let value: DictionaryId = part(row, "id")?;
        commands.push(Command::RevokeValue { region: region.clone(), tenant: id, id: value });
    }
    submit(&door, &commands).await?;
    eprintln!("{} value(s) of `{field}` are no longer named outside region `{region}`", commands.len());
    Ok(())
}

/// The same treatment of records, and nothing more let out of them than of a stream that nobody declared. The subject and the
/// declared fields stay: without them they would be stored in the clear from now on.
fn narrowest(policy: StreamPolicy) -> StreamPolicy {
    // A threshold above that of undeclared streams stays.
    let k = Some(policy.threshold().max(KThreshold::RECORDS));
    let personal = match policy.personal {
        Personal::Subject(field) => Personal::Subject(field),
        Personal::Undeclared | Personal::No => Personal::Undeclared,
    };
    StreamPolicy { personal, k, group_fields: Vec::new(), numbers: Vec::new(), text_questions: false, ..policy }
}

fn regions(named: Vec<Region>, profile: &Profile) -> anyhow::Result<Vec<Region>> {
    if named.is_empty() { profile.select("all") } else { Ok(named) }
}

fn text<'a>(row: &'a Value, key: &str) -> Option<&'a str> {
    row.get(key).and_then(Value::as_str)
}

pub(super) fn part<T: serde::de::DeserializeOwned>(row: &Value, key: &str) -> anyhow::Result<T> {
    let part = row.get(key).cloned().unwrap_or_default();
    serde_json::from_value(part)
        .with_context(|| format!("the node answered with no `{key}`; is it of another version?"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use domicile_proto::ids::{Level, TenantId, Timestamp};
    use domicile_proto::privacy::Privacy;
    use serde_json::json;

    use super::*;
    use crate::classify::{Classifier, Defaults, RuleFiles};
    use crate::keys::PseudonymKeys;
    use crate::parse::{Envelope, Record};
    use crate::policy::StreamView;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    #[test]
    fn after_a_revocation_the_subject_and_the_declared_fields_are_replaced_as_before() {
        let privacy = Privacy::new([], vec![name("seat")]);
        let personal = Personal::Subject(name("user"));
        let before = StreamPolicy { personal, privacy, text_questions: true, ..StreamPolicy::default() };
        let after = narrowest(before.clone());
        assert!(after.is_within(&before) && !after.text_questions);
        let keys = PseudonymKeys::from_secret(&[9; 32], "tokyo".parse().expect("a name"));
        let classifier = Classifier::new(Arc::new(keys), Defaults::new("JP", []), RuleFiles::default());
        let stored = |policy: StreamPolicy| {
            let (id, tenant, fields) = (StreamId(1), TenantId(1), Vec::new());
            let view = StreamView { id, tenant, name: name("shop"), fields, policy, shard: None };
            let Value::Object(source) = json!({"user": "canary-u-17", "seat": "canary-12F", "n": 1}) else {
                panic!("an object")
            };
            let envelope = Envelope::locate(&source);
            let record = Record { timestamp: Timestamp(0), level: Level::Info, id: None, envelope, source };
            let classified = classifier.classify(record, &view).expect("one subject").expect("kept");
            (String::from_utf8(classified.json().to_vec()).expect("text"), classified.subject())
        };
        let (text, subject) = stored(after);
        assert!(!text.contains("canary") && subject.is_some(), "{text}");
        assert_eq!(stored(before), (text, subject), "under the same tokens, so that an erasure finds all of it");
    }

    #[test]
    fn the_narrowest_policy_needs_no_officer_and_lets_nothing_out() {
        let threshold = |k: u32| std::num::NonZeroU32::new(k).map(KThreshold);
        let declared = StreamPolicy {
            personal: Personal::No,
            group_fields: vec!["service".parse().expect("a name")],
            text_questions: true,
            close_after_s: 600,
            retention_days: std::num::NonZeroU16::new(30),
            ..StreamPolicy::default()
        };
        let subject = Personal::Subject("user".parse().expect("a name"));
        let strict = StreamPolicy { personal: subject, k: threshold(200), ..declared.clone() };
        for policy in [StreamPolicy::default(), declared, strict] {
            let narrow = narrowest(policy.clone());
            assert!(narrow.is_within(&policy), "{policy:?}");
            assert!(narrow.group_fields.is_empty() && narrow.numbers.is_empty() && !narrow.text_questions);
            assert!(narrow.threshold() >= KThreshold::RECORDS && narrow.threshold() >= policy.threshold());
            assert_eq!(narrowest(narrow.clone()), narrow, "twice is once");
        }
    }
}
