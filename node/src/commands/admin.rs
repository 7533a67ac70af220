//! Tenants, streams, keys and dictionaries: commands to the metadata group, signed here where an officer must consent.

use std::time::Duration;

use anyhow::{Context, bail};
use domicile_proto::ids::{Name, Region, StreamId, TenantId};
use domicile_proto::metadata::{
    AccessKey, Applied, ApprovedValue, Change, Command, Personal, Roles, Rows, StreamPolicy,
};
use domicile_proto::privacy::Privacy;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};

use super::arguments::{DictionaryVerb, KeyVerb, Role, RowsArgument, StreamVerb, TenantVerb};
use super::door::Door;
use super::officer::Officer;
use super::profile::Profile;
use super::{noise, revoke, table};
use crate::admit::key_digest;

/// Has commands decided; one outcome for each, none of them a refusal.
pub(super) async fn submit(door: &Door, commands: &[Command]) -> anyhow::Result<Vec<Applied>> {
    let answer = door.post("/api/v1/admin/commands", &json!({ "commands": commands })).await?;
    let applied = answer.get("applied").cloned().unwrap_or_default();
    let applied: Vec<Applied> = serde_json::from_value(applied).context("the node answered with no outcomes")?;
    for outcome in &applied {
        if let Applied::Refused(refusal) = outcome {
            bail!("the metadata group refused the command: {refusal}");
        }
    }
    if applied.len() != commands.len() {
        bail!("the node answered {} of {} commands", applied.len(), commands.len());
    }
    Ok(applied)
}

/// A new access key: 256 random bits, and what the metadata group keeps of it.
pub(super) fn draw_key(
    region: &Region,
    id: Name,
    tenant: TenantId,
    roles: Roles,
    rows: Rows,
) -> anyhow::Result<(String, AccessKey)> {
    let mut bits = [0; 32];
    if SystemRandom::new().fill(&mut bits).is_err() {
        bail!("the machine gave no random numbers; try again");
    }
    let key = format!("dmc_{region}_{}", hex::encode(bits));
    let hash = key_digest(&key);
    Ok((key, AccessKey { id, tenant, hash, roles, rows }))
}

/// How long a node may be behind the others before what it does not know is not there.
const BEHIND: Duration = Duration::from_secs(3);
/// Pause between two looks at it.
const LOOK: Duration = Duration::from_millis(100);

/// The number of a tenant, by name. A tenant that was made through another region may reach this one a moment later.
pub(super) async fn tenant_id(door: &Door, name: &Name) -> anyhow::Result<TenantId> {
    let known = async {
        loop {
            let tenants = door.read("/api/v1/admin/tenants").await?;
            let mut rows = items(&tenants, "tenants");
            let found = rows.find(|row| row.get("name").and_then(Value::as_str) == Some(name.as_str()));
            let id = found.and_then(|row| row.get("id")).and_then(Value::as_u64);
            if let Some(id) = id.and_then(|id| u32::try_from(id).ok()) {
                return Ok(TenantId(id));
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let missing = || format!("there is no tenant `{name}`; make it with `domicile tenant create {name}`");
    tokio::time::timeout(BEHIND, known).await.with_context(missing)?
}

pub(super) async fn tenant(verb: TenantVerb, profile: &Profile) -> anyhow::Result<()> {
    match verb {
        TenantVerb::Create { name, at } => {
            let door = profile.door_at(at.at.as_ref())?;
            submit(&door, &[Command::CreateTenant { tenant: name.clone() }]).await?;
            eprintln!("tenant `{name}` is there, in all regions; give it a key with `domicile key create`");
            Ok(())
        }
        TenantVerb::List(at) => {
            let answer = profile.door_at(at.at.as_ref())?.read("/api/v1/admin/tenants").await?;
            list(&answer, "tenants", &["name", "id"]);
            Ok(())
        }
        TenantVerb::Revoke(revocation) => revoke::tenant(revocation, profile).await,
    }
}

pub(super) async fn stream(verb: StreamVerb, profile: &Profile) -> anyhow::Result<()> {
    match verb {
        StreamVerb::Create {
            name,
            tenant,
            subject,
            no_personal_data,
            group_field,
            number,
            text_questions,
            privacy,
            durability,
            noise,
            refresh_ms,
            grid,
            close_after,
            retention_days,
            tiers,
            region,
            officer_key,
        } => {
            if region.len() > 1 && officer_key.is_some() {
                bail!("one officer key cannot consent for {} regions; give one `--region` at a time", region.len());
            }
            let privacy = privacy.privacy();
            let has_privacy = privacy != Privacy::default();
            let is_wider = text_questions || has_privacy || !group_field.is_empty() || !number.is_empty();
            let standard = StreamPolicy::default();
            let (close_after_s, is_own_pace) = (close_after, refresh_ms != standard.refresh_ms);
            let is_own_grid = grid != standard.grid || close_after_s != standard.close_after_s;
            let has_policy = subject.is_some() || no_personal_data || is_wider || is_own_pace || is_own_grid;
            let lifecycle = tiers.lifecycle()?;
            let has_policy = has_policy || retention_days.is_some() || lifecycle != standard.lifecycle;
            let has_policy = has_policy || durability != standard.durability;
            if has_policy && region.is_empty() {
                bail!("a policy widens what a region lets out; say which with `--region`");
            }
            let door = region.first().map_or_else(|| profile.door_at(None), |region| profile.door_for(region))?;
            let id = tenant_id(&door, &tenant).await?;
            let stream = create_stream(&door, id, &name).await?;
            let personal = match subject {
                Some(field) => Personal::Subject(field),
                None if no_personal_data => Personal::No,
                None => Personal::Undeclared,
            };
            let group_fields = group_field;
            let kept = StreamPolicy { retention_days, lifecycle, durability, ..standard };
            let cells = StreamPolicy { grid, close_after_s, numbers: number, ..kept };
            let noise = noise.noise();
            let policy = StreamPolicy { personal, group_fields, text_questions, privacy, refresh_ms, noise, ..cells };
            for region in &region {
                let officer = Officer::read(region, officer_key.as_deref())?.after_newest_at(&door).await?;
                let change = Change::SetPolicy { tenant: id, stream, policy: policy.clone() };
                submit(&door, &[officer.consent(change)]).await?;
            }
            eprintln!(
                "stream `{name}` of tenant `{tenant}` is there; send to it with `domicile ingest --stream {name}`"
            );
            Ok(())
        }
        StreamVerb::List(at) => {
            let answer = profile.door_at(at.at.as_ref())?.read("/api/v1/admin/streams").await?;
            list(&answer, "streams", &["tenant", "name", "id", "personal", "k", "group_fields", "text_questions"]);
            Ok(())
        }
        StreamVerb::Noise(changed) => noise::change(changed, profile).await,
        StreamVerb::Revoke(revocation) => revoke::stream(revocation, profile).await,
    }
}

/// Creates a stream; its number.
pub(super) async fn create_stream(door: &Door, tenant: TenantId, name: &Name) -> anyhow::Result<StreamId> {
    match submit(door, &[Command::CreateStream { tenant, stream: name.clone() }]).await?.as_slice() {
        [Applied::Stream(stream)] => Ok(*stream),
        _ => bail!("the node answered with no number of the stream"),
    }
}

pub(super) async fn key(verb: KeyVerb, profile: &Profile) -> anyhow::Result<()> {
    match verb {
        KeyVerb::Create { name, tenant, role, rows, consent } => {
            let door = profile.door_for(&consent.region)?;
            let officer =
                Officer::read(&consent.region, consent.officer_key.as_deref())?.after_newest_at(&door).await?;
            let tenant = tenant_id(&door, &tenant).await?;
            let (secret, key) = draw_key(&consent.region, name.clone(), tenant, roles(&role), rows_of(rows))?;
            submit(&door, &[officer.consent(Change::AddKey(key))]).await?;
            eprintln!("key `{name}` is valid in region `{}`; it is shown this once:", consent.region);
            println!("{secret}");
            Ok(())
        }
        KeyVerb::List(at) => {
            let answer = profile.door_at(at.at.as_ref())?.read("/api/v1/admin/keys").await?;
            list(&answer, "keys", &["name", "tenant", "roles", "rows"]);
            Ok(())
        }
        KeyVerb::Revoke { name, region } => {
            let door = profile.door_for(&region)?;
            // Only its own region lists a region's keys; a name that nobody knows is most likely a mistake in typing.
            let known = match &door.region {
                Some(own) if *own == region => Some(door.read("/api/v1/admin/keys").await?),
                _ => None,
            };
            submit(&door, &[Command::RevokeKey { region: region.clone(), id: name.clone() }]).await?;
            let is_named = |row: &Value| row.get("name").and_then(Value::as_str) == Some(name.as_str());
            if known.is_some_and(|known| !items(&known, "keys").any(is_named)) {
                bail!(
                    "region `{region}` knew no key `{name}`; `domicile key list --region {region}` shows those it knows"
                );
            }
            eprintln!("key `{name}` is no longer valid in region `{region}`");
            Ok(())
        }
    }
}

pub(super) async fn dictionary(verb: DictionaryVerb, profile: &Profile) -> anyhow::Result<()> {
    let (region, field, values, tenant, officer_key) = match verb {
        DictionaryVerb::Approve { region, field, values, tenant, officer_key } => {
            (region, field, values, tenant, officer_key)
        }
        DictionaryVerb::List(at) => {
            let answer = profile.door_at(at.at.as_ref())?.read("/api/v1/admin/dictionary").await?;
            list(&answer, "dictionary", &["tenant", "field", "value", "approved_here"]);
            return Ok(());
        }
        DictionaryVerb::Revoke(revocation) => return revoke::values(revocation, profile).await,
    };
    let door = profile.door_for(&region)?;
    let officer = Officer::read(&region, officer_key.as_deref())?.after_newest_at(&door).await?;
    let tenant = tenant_id(&door, &tenant).await?;
    let count = values.len();
    submit(&door, &approvals(&officer, tenant, &field, values)?).await?;
    eprintln!("{count} value(s) of `{field}` may now be named outside region `{region}`");
    Ok(())
}

/// The signed approvals of values, in pieces the metadata group takes.
pub(super) fn approvals(
    officer: &Officer,
    tenant: TenantId,
    field: &Name,
    values: Vec<String>,
) -> anyhow::Result<Vec<Command>> {
    let checked = values
        .into_iter()
        .map(|value| ApprovedValue::try_from(value.clone()).with_context(|| format!("`{value}` cannot be approved")))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let pieces = checked.chunks(domicile_proto::metadata::MAX_VALUES_PER_APPROVAL);
    let command = |values: &[ApprovedValue]| {
        officer.consent(Change::ApproveValues { tenant, field: field.clone(), values: values.to_vec() })
    };
    Ok(pieces.map(command).collect())
}

fn roles(named: &[Role]) -> Roles {
    let has = |role| named.contains(&role);
    Roles {
        ingest: has(Role::Ingest),
        search: has(Role::Search),
        audit: has(Role::Audit),
        admin: has(Role::Admin),
        create: has(Role::Create),
        reveal: has(Role::Reveal),
    }
}

const fn rows_of(rows: RowsArgument) -> Rows {
    match rows {
        RowsArgument::None => Rows::None,
        RowsArgument::Redacted => Rows::Redacted,
        RowsArgument::Full => Rows::Full,
    }
}

pub(super) fn items<'a>(answer: &'a Value, under: &str) -> impl Iterator<Item = &'a Value> {
    answer.get(under).and_then(Value::as_array).into_iter().flatten()
}

/// A table on a terminal, JSON lines when piped.
fn list(answer: &Value, under: &str, columns: &[&str]) {
    use std::io::IsTerminal;
    if !std::io::stdout().is_terminal() {
        items(answer, under).for_each(|row| println!("{row}"));
        return;
    }
    let cell = |row: &Value, column: &str| match row.get(column) {
        Some(Value::String(text)) => table::harmless(text),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    let rows: Vec<Vec<String>> =
        items(answer, under).map(|row| columns.iter().map(|column| cell(row, column)).collect()).collect();
    table::print(columns, &rows);
}

/// The regions of a profile that a person may have meant, for messages.
pub(super) fn names(regions: &[Region]) -> String {
    regions.iter().map(Region::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_key_has_256_bits_and_is_kept_as_its_hash() {
        let id: Name = "k".parse().expect("a name");
        let region: Region = "tokyo".parse().expect("a name");
        let draw = || draw_key(&region, id.clone(), TenantId(1), Roles::default(), Rows::None).expect("random");
        let ((first, kept), (second, _)) = (draw(), draw());
        assert_ne!(first, second);
        let bits = first.strip_prefix("dmc_tokyo_").expect("the region it is valid in");
        assert_eq!(hex::decode(bits).expect("hexadecimal").len(), 32);
        assert_eq!(key_digest(&first), kept.hash);
    }
}
