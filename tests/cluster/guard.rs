//! Nothing is left running: a small shell waits on a pipe and ends the processes it was told of, by id, when the pipe closes,
//! so also when the test itself is killed.

use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;

/// Reads `+PID` and `-PID` lines; at the end of input asks what is left to end, and then ends it.
const SCRIPT: &str = r#"
pids=" "
while read -r line; do
  case "$line" in
    +*) pids="$pids${line#+} " ;;
    -*) before="${pids%% ${line#-} *}"; after="${pids#* ${line#-} }"; [ "$before" = "$pids" ] || pids="$before $after" ;;
  esac
done
for pid in $pids; do kill -INT "$pid" 2>/dev/null; done
n=0
while [ $n -lt 50 ]; do
  left=""
  for pid in $pids; do
    kill -0 "$pid" 2>/dev/null && ! grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null && left=1
  done
  [ -z "$left" ] && exit 0
  n=$((n + 1)); sleep 0.1
done
for pid in $pids; do kill -KILL "$pid" 2>/dev/null; done
"#;

/// Ends what it was told of, at the latest when this process ends.
pub struct Guard {
    shell: Mutex<Option<(Child, ChildStdin)>>,
    known: Mutex<Vec<u32>>,
}

impl Guard {
    /// A guard that knows nobody yet. Ctrl-C at the terminal is kept from it, so that it can still do its work.
    #[allow(clippy::new_without_default, reason = "it starts a process; that is no default")]
    pub fn new() -> Self {
        let script = format!("trap '' INT TERM HUP\n{SCRIPT}");
        let mut shell = Command::new("sh")
            .args(["-c", script.as_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let stdin = shell.stdin.take().expect("a piped input");
        Self { shell: Mutex::new(Some((shell, stdin))), known: Mutex::new(Vec::new()) }
    }

    /// Watches a process.
    pub fn add(&self, pid: u32) {
        self.known.lock().unwrap().push(pid);
        self.tell(&format!("+{pid}\n"));
    }

    /// No longer watches a process: it has ended, and its id may be given to another.
    pub fn forget(&self, pid: u32) {
        self.known.lock().unwrap().retain(|known| *known != pid);
        self.tell(&format!("-{pid}\n"));
    }

    /// No longer watches anybody.
    pub fn forget_all(&self) {
        let known = std::mem::take(&mut *self.known.lock().unwrap());
        known.into_iter().for_each(|pid| self.tell(&format!("-{pid}\n")));
    }

    /// Ends whatever is left, now.
    pub fn end_all(&self) {
        let known = std::mem::take(&mut *self.known.lock().unwrap());
        known.into_iter().filter(|pid| !is_alive(*pid)).for_each(|pid| self.tell(&format!("-{pid}\n")));
        if let Some((mut shell, stdin)) = self.shell.lock().unwrap().take() {
            drop(stdin);
            let _ = shell.wait();
        }
    }

    fn tell(&self, line: &str) {
        if let Some((_, stdin)) = self.shell.lock().unwrap().as_mut() {
            let _ = stdin.write_all(line.as_bytes());
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.end_all();
    }
}

/// Sends a signal to one process, by id.
pub fn signal(name: &str, pid: u32) {
    let _ = Command::new("sh")
        .args(["-c", &format!("kill -{name} {pid}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// Whether a process runs; one that has ended and waits to be collected does not.
pub fn is_alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::wait_until;
    use std::time::Duration;

    #[test]
    fn a_process_ends_with_its_guard_and_a_forgotten_one_does_not() {
        let mut watched = Command::new("sleep").arg("60").spawn().unwrap();
        let mut forgotten = Command::new("sleep").arg("60").spawn().unwrap();
        let guard = Guard::new();
        guard.add(watched.id());
        guard.add(forgotten.id());
        guard.forget(forgotten.id());
        drop(guard);
        let ended = wait_until(Duration::from_secs(5), || watched.try_wait().unwrap());
        let still_there = forgotten.try_wait().unwrap().is_none();
        forgotten.kill().unwrap();
        forgotten.wait().unwrap();
        assert!(ended.is_some() && still_there);
    }
}
