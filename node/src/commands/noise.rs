//! `domicile stream noise`: how the numbers of a stream are moved before they leave a region. Turning it on or up narrows what the
//! region lets out; turning it off or down widens it, and the region's officer signs that.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use domicile_proto::ids::{Name, Region, StreamId};
use domicile_proto::metadata::{Change, Command, Personal, RegionalChange, StreamPolicy};
use domicile_proto::noise::{MAX_EPSILON, Mechanism, Noise};
use serde_json::Value;

use super::admin::{items, submit, tenant_id};
use super::officer::Officer;
use super::profile::Profile;
use super::revoke::part;

/// Noise of a stream that is created.
#[derive(Debug, Args)]
pub(super) struct NoiseArguments {
    /// Move every number that leaves the region by a draw of this law, gaussian or laplace; best with `--grid 3600`
    #[arg(long, value_name = "LAW", requires = "subject")]
    noise: Option<Mechanism>,
    /// What a subject may lose by one day's numbers: 0.001 to 1
    #[arg(long, value_name = "EPSILON", default_value = "1", value_parser = thousandths, requires = "noise")]
    noise_epsilon: u16,
    /// With how many records a subject counts in one cell at most
    #[arg(long, value_name = "RECORDS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_000), requires = "noise")]
    noise_records: u16,
}

impl NoiseArguments {
    pub(super) fn noise(&self) -> Option<Noise> {
        let (epsilon, records) = (self.noise_epsilon, self.noise_records);
        self.noise.map(|mechanism| Noise { mechanism, epsilon, records })
    }
}

/// A change of a stream's noise.
#[derive(Debug, Args)]
pub(super) struct NoiseChange {
    /// Its name
    name: Name,
    /// Its tenant
    #[arg(long, default_value = "default")]
    tenant: Name,
    /// The region whose numbers are moved
    #[arg(long)]
    region: Region,
    /// The law: gaussian or laplace
    #[arg(long, value_name = "LAW", required_unless_present = "off")]
    law: Option<Mechanism>,
    /// What a subject may lose by one day's numbers: 0.001 to 1
    #[arg(long, value_name = "EPSILON", default_value = "1", value_parser = thousandths)]
    epsilon: u16,
    /// With how many records a subject counts in one cell at most
    #[arg(long, value_name = "RECORDS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    records: u16,
    /// Tell numbers without noise
    #[arg(long, conflicts_with_all = ["law", "epsilon", "records"])]
    off: bool,
    /// Private key of the officer, where the change lets out more than before
    #[arg(long, value_name = "FILE")]
    officer_key: Option<PathBuf>,
}

pub(super) async fn change(change: NoiseChange, profile: &Profile) -> anyhow::Result<()> {
    let NoiseChange { name, tenant, region, law, epsilon, records, off: _, officer_key } = change;
    let door = profile.door_for(&region)?;
    let id = tenant_id(&door, &tenant).await?;
    let streams = door.read("/api/v1/admin/streams").await?;
    let is = |row: &Value, key: &str, wanted: &Name| row.get(key).and_then(Value::as_str) == Some(wanted.as_str());
    let found = items(&streams, "streams").find(|row| is(row, "name", &name) && is(row, "tenant", &tenant));
    let row = found.with_context(|| format!("tenant `{tenant}` has no stream `{name}`; see `domicile stream list`"))?;
    let (stream, before): (StreamId, StreamPolicy) = (part(row, "id")?, part(row, "policy")?);
    let noise = law.map(|mechanism| Noise { mechanism, epsilon, records });
    if noise.is_some() && !matches!(before.personal, Personal::Subject(_)) {
        bail!(
            "region `{region}` knows no subject field of stream `{name}`, so nobody's part in a number can be bounded; declare one with `domicile stream create {name} --subject FIELD --region {region}`"
        );
    }
    let policy = StreamPolicy { noise, ..before.clone() };
    let is_narrower = policy.is_within(&before);
    let change = Change::SetPolicy { tenant: id, stream, policy };
    let command = if is_narrower {
        Command::Regional(RegionalChange { region: region.clone(), change, signature: None })
    } else {
        Officer::read(&region, officer_key.as_deref())?.after_newest_at(&door).await?.consent(change)
    };
    submit(&door, &[command]).await?;
    match noise {
        None => eprintln!("region `{region}` tells numbers of stream `{name}` without noise from now on"),
        Some(noise) => eprintln!(
            "region `{region}` moves numbers of stream `{name}` by some {} records each; what was told before stays as it is",
            noise.deviation()
        ),
    }
    Ok(())
}

/// A number from 0.001 to 1 with at most three digits behind the point.
fn thousandths(text: &str) -> Result<u16, String> {
    let refused = || format!("`{text}` is not between 0.001 and 1, with three digits behind the point at most");
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_plain = part.len() <= 3 && format!("{whole}{part}").bytes().all(|byte| byte.is_ascii_digit());
    if !is_plain {
        return Err(refused());
    }
    let whole: u16 = whole.parse().map_err(|_| refused())?;
    let part: u16 = format!("{part:0<3}").parse().map_err(|_| refused())?;
    let epsilon = whole.checked_mul(1_000).and_then(|whole| whole.checked_add(part));
    epsilon.filter(|epsilon| (1..=MAX_EPSILON).contains(epsilon)).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_read_in_thousandths_and_never_above_one() {
        for (text, read) in [("1", 1_000), ("0.5", 500), ("0.001", 1), ("1.000", 1_000), ("0.25", 250)] {
            assert_eq!(thousandths(text), Ok(read), "{text}");
        }
        for text in ["0", "1.001", "2", "-1", "+1", "0.0001", "", ".", "1e0", "65.536", "0.-1"] {
            assert!(thousandths(text).is_err(), "{text}");
        }
    }
}
