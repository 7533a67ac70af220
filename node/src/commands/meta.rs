//! `domicile meta`: the metadata group's state in a file, and a new group that begins with one.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use domicile_meta::backup::{Backup, BackupError, Making};
use domicile_proto::ids::Region;
use serde_json::Value;

use super::profile::{Profile, write_secret};
use crate::config::NodeConfig;
use crate::node::{identity_of, take_dir};

/// The metadata group.
#[derive(Debug, Subcommand)]
pub(super) enum MetaVerb {
    /// Write the group's state, as one node has it, into a file
    Backup {
        /// The file, which must not be there yet
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The region whose node is asked; any has a copy
        #[arg(long)]
        region: Region,
    },
    /// Begin another group with a backup, on a node that never ran. Only where the old group is gone for good
    Restore {
        /// The backup
        file: PathBuf,
        /// The node's configuration, TOML
        #[arg(long, default_value = "/etc/domicile/node.toml", value_name = "FILE")]
        config: PathBuf,
        /// That no majority of the old group runs, or ever will again
        #[arg(long)]
        old_group_is_gone: bool,
    },
}

pub(super) async fn run(verb: MetaVerb, profile: impl FnOnce() -> anyhow::Result<Profile>) -> anyhow::Result<()> {
    match verb {
        MetaVerb::Backup { out, region } => backup(&out, &region, &profile()?).await,
        MetaVerb::Restore { file, config, old_group_is_gone } => restore(&file, &config, old_group_is_gone).await,
    }
}

async fn backup(out: &Path, region: &Region, profile: &Profile) -> anyhow::Result<()> {
    if out.try_exists().with_context(|| format!("`{}` cannot be looked at", out.display()))? {
        bail!("`{}` is there already; a backup replaces no file", out.display());
    }
    let answer = profile.door(region)?.read("/api/v1/admin/meta/backup").await?;
    let text = answer.get("backup").and_then(Value::as_str).context("the node answered without `backup`")?;
    let bytes = STANDARD.decode(text).context("the node answered with something that is no backup")?;
    let read = Backup::read(&bytes).map_err(coded)?;
    write_secret(out, &bytes)?;
    eprintln!("{} rows of the metadata group, {}, lie in `{}`", read.making.rows, place(&read.making), out.display());
    Ok(())
}

async fn restore(file: &Path, config: &Path, is_gone: bool) -> anyhow::Result<()> {
    let bytes = std::fs::read(file).with_context(|| format!("`{}` cannot be read", file.display()))?;
    let backup = Backup::read(&bytes).map_err(coded)?;
    eprintln!("the backup has {} rows, {}", backup.making.rows, place(&backup.making));
    if !is_gone {
        bail!(
            "nothing was done: a second group beside one that lives would decide otherwise. Where a majority of the old one is \
             lost for good say `--old-group-is-gone`; where it is not, let nodes join it"
        );
    }
    let config = NodeConfig::read(config)?;
    let us = identity_of(&config)?;
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("`{}` cannot be made", config.data_dir.display()))?;
    let _directory = take_dir(&config.data_dir)?;
    let meta = config.data_dir.join("meta");
    backup.restore(&meta, (us.node, config.link.advertise), &config.deployment).await.map_err(coded)?;
    eprintln!(
        "node {} of `{}` begins another group with it once it runs. Then: `domicile node join` for it and for every other node, each \
         under a number that was never used; `domicile region rebuild` in every region; and again whatever was revoked since {}",
        us.node,
        us.region,
        time(&backup.making)
    );
    Ok(())
}

fn place(making: &Making) -> String {
    let Making { deployment, region, node, index, term, .. } = making;
    format!("entry {index} of term {term} of `{deployment}`, made by node {node} of `{region}` at {}", time(making))
}

fn time(making: &Making) -> String {
    jiff::Timestamp::from_microsecond(making.at.0).map_or_else(|_| making.at.0.to_string(), |at| format!("{at:.0}"))
}

fn coded(error: BackupError) -> anyhow::Error {
    let code = error.code();
    anyhow::Error::new(error).context(format!("the backup was not taken ({code}, see docs/errors/{code}.md)"))
}
