//! A region's node as a child process: it ends when its standard input ends, so none outlives its parent.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use domicile_proto::ids::Region;
use futures::future::join_all;
use std::io::Write;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::limits::STOP_DEADLINE;
use crate::tasks::{Kind, Tasks};

/// A running node.
pub(super) struct Child {
    pub(super) region: Region,
    pub(super) pid: u32,
    process: tokio::process::Child,
}

impl Child {
    /// Starts the node of a region: this same program.
    pub(super) fn start(region: Region, config: &Path, log: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("this program cannot find itself")?;
        let mut process = Command::new(program)
            .args(["node", "--parent-pipe", "--config"])
            .arg(config)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("the node of `{region}` did not start"))?;
        let pid = process.id().context("the node ended at once")?;
        let file = File::create(log).with_context(|| format!("`{}` cannot be written", log.display()))?;
        if let Some(said) = process.stderr.take() {
            Tasks::default().spawn(Kind::Follower, follow(region.clone(), said, file));
        }
        Ok(Self { region, pid, process })
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<String> {
        match self.process.try_wait() {
            Ok(status) => status.map(|status| status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    async fn stop(mut self) {
        drop(self.process.stdin.take());
        // A little more than the node allows itself.
        let patience = STOP_DEADLINE + Duration::from_secs(1);
        if timeout(patience, self.process.wait()).await.is_err() {
            eprintln!("region `{}` did not stop in {} s and is killed", self.region, patience.as_secs());
            if let Err(error) = self.process.kill().await {
                eprintln!("process {} could not be killed: {error}", self.pid);
            }
        }
    }
}

/// Ends all of them, at once and in an orderly way; what does not end is killed by its id.
pub(super) async fn stop(children: Vec<Child>) {
    join_all(children.into_iter().map(Child::stop)).await;
}

/// Keeps what a node says in its log, and shows what a person must see.
async fn follow(region: Region, said: impl AsyncRead + Unpin, mut log: File) {
    let mut lines = BufReader::new(said).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // A log that cannot be written is no reason to stop reading: the node would block.
        let _ = writeln!(log, "{line}");
        if is_serious(&line) {
            eprintln!("[{region}] {line}");
        }
    }
}

/// Whether a line of a node's log is a warning or worse, or no log line at all.
fn is_serious(line: &str) -> bool {
    let head: String = line.chars().take(48).collect();
    let is_event = ["TRACE", "DEBUG", " INFO"].iter().any(|level| head.contains(level));
    !is_event && !line.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_errors_and_panics_are_shown() {
        for (line, shown) in [
            ("2026-11-21T04:00:00.000Z  INFO domicile::node: ready", false),
            ("2026-11-21T04:00:00.000Z DEBUG x: y", false),
            ("2026-11-21T04:00:00.000Z  WARN x: y", true),
            ("2026-11-21T04:00:00.000Z ERROR x: y", true),
            ("thread 'main' panicked at", true),
            ("error: the configuration", true),
            ("", false),
        ] {
            assert_eq!(is_serious(line), shown, "{line}");
        }
    }
}
