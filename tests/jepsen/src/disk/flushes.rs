//! Flushes that fail or take their time: strace stands between a node and its kernel for a while.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use domicile_tests::cluster::require::runs;
use domicile_tests::cluster::{guard, wait_until};

/// How long it may take to come between, and to go away.
const WITHIN: Duration = Duration::from_secs(20);

/// What becomes of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// It is not done, and the node is told of an error of the disk.
    Fails,
    /// It is done 200 ms later.
    Lasts,
}

impl Flush {
    const fn injected(self) -> &'static str {
        match self {
            Self::Fails => "inject=fsync,fdatasync:error=EIO",
            Self::Lasts => "inject=fsync,fdatasync:delay_enter=200000",
        }
    }

    /// What strace writes behind such a call.
    const fn mark(self) -> &'static str {
        match self {
            Self::Fails => "(INJECTED)",
            Self::Lasts => "(DELAYED)",
        }
    }
}

/// Somebody between a node and its kernel; goes away when dropped.
pub struct Between {
    tracer: Child,
    told: PathBuf,
    flush: Flush,
}

impl Between {
    /// Comes between a process and its kernel. What is done is written down in `directory`.
    ///
    /// # Errors
    /// When we may not.
    pub fn come(process: u32, flush: Flush, directory: &Path) -> Result<Self> {
        let told = directory.join(format!("{process}.flushes"));
        let tracer = Command::new("strace")
            .args(["--follow-forks", "--quiet=all", "-e", "trace=fsync,fdatasync", "-e", flush.injected()])
            .arg(format!("--attach={process}"))
            .arg("--output")
            .arg(&told)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting strace")?;
        let mut between = Self { tracer, told, flush };
        let mine = format!("TracerPid:\t{}\n", between.tracer.id());
        let is_there = wait_until(WITHIN, || {
            let tasks = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
            let states: Vec<String> =
                tasks.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok()).collect();
            let is_over = between.tracer.try_wait().ok().flatten().is_some();
            (is_over || !states.is_empty() && states.iter().all(|state| state.contains(&mine))).then_some(!is_over)
        });
        ensure!(is_there == Some(true), "strace does not come between process {process} and its kernel");
        Ok(between)
    }

    /// Goes away. How many flushes became something else.
    ///
    /// # Errors
    /// When it does not go.
    pub fn go(mut self) -> Result<u64> {
        self.leave()?;
        let told = std::fs::read_to_string(&self.told)?;
        Ok(told.lines().filter(|line| line.ends_with(self.flush.mark())).count() as u64)
    }

    fn leave(&mut self) -> Result<()> {
        if self.tracer.try_wait()?.is_none() {
            guard::signal("INT", self.tracer.id());
        }
        let gone = wait_until(WITHIN, || self.tracer.try_wait().ok().flatten());
        gone.map(drop).context("strace does not go away")
    }

    /// What this machine lacks; none where it lacks nothing.
    pub fn missing() -> Option<String> {
        (!runs("strace")).then(|| "flushes that fail: no strace".to_owned())
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        if self.leave().is_err() {
            let _ = self.tracer.kill();
            let _ = self.tracer.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};

    use domicile_tests::cluster::require;

    use super::*;

    #[test]
    fn flushes_fail_or_last_as_long_as_somebody_stands_between() {
        if let Some(lack) = Between::missing() {
            require::missing(&lack);
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        let mut shell = Command::new("sh")
            .args(["-c", "while read -r line; do sync --data \"$0\" 2>/dev/null; echo $?; done"])
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::fs::write(&file, "x").unwrap();
        let (mut input, output) = (shell.stdin.take().unwrap(), shell.stdout.take().unwrap());
        let mut output = BufReader::new(output);
        let mut flush = || {
            input.write_all(b"now\n").unwrap();
            let mut code = String::new();
            output.read_line(&mut code).unwrap();
            code.trim().to_owned()
        };
        assert_eq!(flush(), "0");
        for (what, code) in [(Flush::Fails, "1"), (Flush::Lasts, "0")] {
            let between = Between::come(shell.id(), what, directory.path()).unwrap();
            assert_eq!((flush().as_str(), flush().as_str()), (code, code));
            assert_eq!(between.go().unwrap(), 2);
            assert_eq!(flush(), "0", "it went away");
        }
        drop(input);
        assert!(shell.wait().unwrap().success());
    }
}
