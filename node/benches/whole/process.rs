//! Three regions as real processes, and what the kernel says of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// The regions of `dev`.
pub(crate) const REGIONS: [&str; 3] = ["tokyo", "singapore", "frankfurt"];

/// `domicile dev` with its ready file; ended on drop.
pub(crate) struct Dev {
    child: Child,
    ready: Value,
    data: PathBuf,
    pub(crate) ready_s: f64,
    _dir: tempfile::TempDir,
}

impl Dev {
    pub(crate) fn start(wan: bool) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let (data, ready_file) = (dir.path().join("domicile-data"), dir.path().join("ready.json"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_domicile"));
        command.args(["dev", "--no-samples"]).arg("--data").arg(&data).arg("--ready-file").arg(&ready_file);
        if wan {
            command.arg("--wan");
        }
        let begun = Instant::now();
        let child = command.stdout(Stdio::null()).spawn().context("cannot start the binary")?;
        let mut dev = Self { child, ready: Value::Null, data, ready_s: 0.0, _dir: dir };
        loop {
            if let Ok(text) = std::fs::read_to_string(&ready_file) {
                dev.ready = serde_json::from_str(&text)?;
                dev.ready_s = begun.elapsed().as_secs_f64();
                return Ok(dev);
            }
            if let Some(status) = dev.child.try_wait()? {
                bail!("the regions ended before they were ready: {status}");
            }
            ensure!(begun.elapsed() < Duration::from_secs(60), "the regions were not ready within 60 s");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn text(&self, pointer: &str) -> Result<String> {
        let value = self.ready.pointer(pointer).and_then(Value::as_str);
        value.map(str::to_owned).with_context(|| format!("the ready file has no `{pointer}`"))
    }

    pub(crate) fn es(&self, region: &str) -> Result<String> {
        self.text(&format!("/regions/{region}/es")).map(|url| url.trim_end_matches('/').to_owned())
    }

    pub(crate) fn api(&self, region: &str) -> Result<String> {
        self.text(&format!("/regions/{region}/api")).map(|url| url.trim_end_matches('/').to_owned())
    }

    pub(crate) fn key(&self, region: &str, role: &str) -> Result<String> {
        self.text(&format!("/keys/{region}/{role}"))
    }

    pub(crate) fn pid(&self, region: &str) -> Result<u32> {
        let pid = self.ready.pointer(&format!("/regions/{region}/pid")).and_then(Value::as_u64);
        pid.and_then(|pid| u32::try_from(pid).ok()).context("the ready file has no pid")
    }

    /// Where everything lies.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Runs a command as an operator would type it; what it printed.
    pub(crate) fn command(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(env!("CARGO_BIN_EXE_domicile"))
            .current_dir(self.data.parent().unwrap_or(&self.data))
            .args(arguments)
            .arg("--profile")
            .arg(self.data.join("profile.toml"))
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`domicile {}` failed: {said}", arguments.join(" "));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Creates the stream with its refresh; classes that are kept are not looked for.
    pub(crate) fn create_stream(&self, stream: &str, refresh_ms: u64, kept: &[&str]) -> Result<()> {
        let refresh = refresh_ms.to_string();
        let mut arguments = vec!["stream", "create", stream, "--no-personal-data", "--refresh-ms", &refresh];
        arguments.extend(["--region", "tokyo", "--region", "singapore", "--region", "frankfurt"]);
        arguments.extend(kept.iter().flat_map(|class| ["--keep", class]));
        if !kept.is_empty() {
            arguments.extend(["--because", "not_personal"]);
        }
        self.command(&arguments).map(drop)
    }

    /// Ends everything as Ctrl-C does, and waits for it.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let asked = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status()?;
        ensure!(asked.success(), "`dev` is gone");
        self.child.wait()?;
        Ok(())
    }

    /// Bytes of the region's segments on disk, by ending of the files; only this stream has any.
    pub(crate) fn segment_bytes(&self, region: &str) -> Result<BTreeMap<String, u64>> {
        let mut bytes = BTreeMap::new();
        add_bytes(&self.data.join("nodes").join(region).join("data/segments"), &mut bytes)?;
        Ok(bytes)
    }

    /// Bytes of the region's ledger on disk: the log, without the tail that a new one replaces.
    pub(crate) fn ledger_bytes(&self, region: &str) -> Result<u64> {
        let mut bytes = BTreeMap::new();
        add_bytes(&self.data.join("nodes").join(region).join("data/ledger/log"), &mut bytes)?;
        Ok(bytes.values().sum())
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(15) {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn add_bytes(dir: &Path, bytes: &mut BTreeMap<String, u64>) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot list `{}`", dir.display()))? {
        let entry = entry?;
        // A file that is replaced or grows whole meanwhile is not there any more.
        let Ok(kind) = entry.metadata() else { continue };
        if kind.is_dir() {
            add_bytes(&entry.path(), bytes)?;
        } else {
            let ending = entry.path().extension().unwrap_or_default().to_string_lossy().into_owned();
            *bytes.entry(ending).or_default() += kind.len();
        }
    }
    Ok(())
}

/// A client without a proxy and with enough connections.
pub(crate) fn client() -> Result<reqwest::Client> {
    domicile_proto::link::crypto::install_default_provider();
    Ok(reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(600)).build()?)
}

/// CPU seconds of a process, user and system. Source: proc(5), fields 14 and 15 of `stat`.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |place: usize| fields.get(place).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((ticks(11) + ticks(12)) / TICKS_PER_SECOND)
}

/// Largest resident memory of a process so far, in MiB. Source: proc(5), `VmHWM`.
pub(crate) fn peak_rss_mib(pid: u32) -> Result<u64> {
    memory_mib(pid, "VmHWM:")
}

/// Resident memory of a process now, in MiB. Source: proc(5), `VmRSS`.
pub(crate) fn rss_mib(pid: u32) -> Result<u64> {
    memory_mib(pid, "VmRSS:")
}

fn memory_mib(pid: u32, which: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(which)).unwrap_or_default();
    Ok(line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024)
}
