//! The officer's consent, given on the officer's own machine: the key signs here and is never sent.
//!
//! Each consent has a serial above all before it: the time in milliseconds, or one more than the newest that is known, where
//! that is higher.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, bail};
use domicile_proto::ids::{ConsentSerial, Region};
use domicile_proto::link::pki::REGION_PUBLIC;
use domicile_proto::metadata::{Change, Command};
use domicile_proto::officer::{BodyOrder, OfficerKey};
use domicile_proto::region_key::RegionPublic;
use serde_json::{Value, json};

use super::door::Door;
use crate::clock::Clock;

/// The highest serial this process knows of, over all officers: one order is enough for all of them.
static NEWEST: AtomicU64 = AtomicU64::new(0);

/// Where `dev` and `pki init` put what they make, seen from where they are run.
const DIRECTORIES: [&str; 2] = ["domicile-data/pki", "pki"];

/// An officer and the region it answers for.
pub(super) struct Officer {
    region: Region,
    key: OfficerKey,
    /// The public half of the region's key, where it lies beside the officer's.
    spoken: Option<RegionPublic>,
}

impl Officer {
    /// Reads the key that was named, or the one `dev` or `pki init` made here.
    pub(super) fn read(region: &Region, named: Option<&Path>) -> anyhow::Result<Self> {
        let tried = named.map_or_else(
            || DIRECTORIES.map(|pki| in_directory(Path::new(pki), region)).to_vec(),
            |named| vec![named.to_owned()],
        );
        let there = tried.iter().find(|path| path.try_exists().unwrap_or(false));
        let Some(path) = there.or_else(|| tried.first().filter(|_| named.is_some())) else {
            let tried: Vec<_> = tried.iter().map(|path| format!("`{}`", path.display())).collect();
            bail!("there is no officer key of `{region}` at {}; name it with `--officer-key FILE`", tried.join(" or "));
        };
        let bytes = std::fs::read(path).with_context(|| {
            format!(
                "the officer key of `{region}` cannot be read at `{}`; name it with `--officer-key FILE`",
                path.display()
            )
        })?;
        let key = OfficerKey::from_pkcs8(&bytes).with_context(|| format!("`{}` is no officer key", path.display()))?;
        let spoken = match std::fs::read_to_string(path.with_file_name(REGION_PUBLIC)) {
            Ok(text) => Some(RegionPublic::from_hex(&text)?),
            Err(_) => None,
        };
        Ok(Self { region: region.clone(), key, spoken })
    }

    /// The signed command that makes the region's key known, where the officer has one to consent to.
    pub(super) fn region_key(&self) -> Option<Command> {
        self.spoken.map(|key| self.consent(Change::SetRegionKey { key }))
    }

    /// The same officer, about to sign with a serial above the newest that the node behind the door knows of it.
    pub(super) async fn after_newest_at(self, door: &Door) -> anyhow::Result<Self> {
        let status = door.read("/api/v1/status").await?;
        NEWEST.fetch_max(self.newest_in(&status), Ordering::SeqCst);
        Ok(self)
    }

    fn newest_in(&self, status: &Value) -> u64 {
        let (region, officer) = (json!(self.region), json!(self.key.public()));
        let consents = status.get("consents").and_then(Value::as_array).into_iter().flatten();
        let own = consents.filter(|row| row.get("region") == Some(&region) && row.get("officer") == Some(&officer));
        own.filter_map(|row| row.get("serial")?.as_u64()).max().unwrap_or(0)
    }

    /// The signature under an order to destroy a body.
    pub(super) fn order(&self, order: &BodyOrder) -> String {
        self.key.order(order)
    }

    /// The signed command.
    pub(super) fn consent(&self, change: Change) -> Command {
        let now = u64::try_from(Clock::system().now().0 / 1_000).unwrap_or(0);
        Command::Regional(self.key.sign(self.region.clone(), next(&NEWEST, now), change))
    }
}

/// The next serial: now in milliseconds, or one above the newest.
fn next(newest: &AtomicU64, now: u64) -> ConsentSerial {
    let above = |newest: u64| newest.saturating_add(1).max(now);
    let before = newest.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |newest| Some(above(newest)));
    ConsentSerial(above(before.unwrap_or(now)))
}

/// Where the officer key of a region lies in a directory of the development PKI.
pub(super) fn in_directory(pki: &Path, region: &Region) -> PathBuf {
    pki.join(region.as_str()).join("officer.key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_rise_whatever_the_clock_does() {
        let newest = AtomicU64::new(0);
        let serials = [5, 5, 9, 2, 2].map(|now| next(&newest, now).0);
        assert_eq!(serials, [5, 6, 9, 10, 11]);
    }

    #[test]
    fn the_newest_consent_is_read_for_this_region_and_this_key() {
        let key = || OfficerKey::from_pkcs8(&OfficerKey::generate().expect("random")).expect("just made");
        let officer = Officer { region: "tokyo".parse().expect("a name"), key: key(), spoken: None };
        let row = |region: &str, officer: &OfficerKey, serial: u64| json!({ "region": region, "officer": officer.public(), "serial": serial });
        let rows = [row("tokyo", &officer.key, 7), row("frankfurt", &officer.key, 8), row("tokyo", &key(), 9)];
        assert_eq!(officer.newest_in(&json!({ "consents": rows })), 7);
        assert_eq!(officer.newest_in(&json!({})), 0);
    }
}
