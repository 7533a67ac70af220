//! The officer's consent, given on the officer's own machine: the key signs here and is never sent.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use domicile_proto::ids::Region;
use domicile_proto::metadata::{Change, Command};
use domicile_proto::officer::OfficerKey;

/// Where `dev` and `pki init` put what they make, seen from where they are run.
const DIRECTORIES: [&str; 2] = ["domicile-data/pki", "pki"];

/// An officer and the region it answers for.
pub(super) struct Officer {
    region: Region,
    key: OfficerKey,
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
        Ok(Self { region: region.clone(), key })
    }

    /// The signed command.
    pub(super) fn consent(&self, change: Change) -> Command {
        Command::Regional(self.key.sign(self.region.clone(), change))
    }
}

/// Where the officer key of a region lies in a directory of the development PKI.
pub(super) fn in_directory(pki: &Path, region: &Region) -> PathBuf {
    pki.join(region.as_str()).join("officer.key")
}
