//! What happened, in order: one recorder, one monotonic clock, one JSON object a line, so that any outside judge can read it.
//!
//! A process has one open operation. After `info` (nobody knows whether it happened) its number is retired. `fail` is only
//! said where the system proved that nothing happened.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a line says of its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It begins.
    Invoke,
    /// It happened.
    Ok,
    /// It certainly did not happen.
    Fail,
    /// Nobody knows; of the nemesis: a remark.
    Info,
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Process {
    /// A client.
    Client(u64),
    /// `nemesis`.
    Named(String),
}

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Who.
    pub process: Process,
    /// What became of it.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Which operation.
    pub f: String,
    /// On what.
    pub key: Value,
    /// With what, or what came of it.
    pub value: Value,
    /// Nanoseconds since the beginning.
    pub time: u64,
    /// At which region's door.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// Why not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub err: String,
}

/// Writes everything down while it happens.
pub struct Recorder {
    begun: Instant,
    written: Mutex<(BufWriter<File>, Vec<Event>)>,
    takers: Mutex<BTreeMap<String, Taker>>,
    next: AtomicU64,
}

/// Who took the last batch of a key, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taker {
    /// At whose door.
    pub door: String,
    /// In nanoseconds.
    pub time: u64,
}

impl Recorder {
    /// Begins a history; the file is replaced.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("{}", path.display()))?;
        let written = Mutex::new((BufWriter::new(file), Vec::new()));
        let (takers, next) = (Mutex::default(), AtomicU64::new(0));
        Ok(Self { begun: Instant::now(), written, takers, next })
    }

    /// A new client.
    pub fn client(&self) -> Client<'_> {
        Client { recorder: self, process: self.next.fetch_add(1, Ordering::Relaxed), open: None }
    }

    /// A remark of the nemesis.
    pub fn nemesis(&self, f: &str, key: Value, value: Value) {
        self.record(Process::Named("nemesis".to_owned()), Kind::Info, f, key, value, "", "");
    }

    /// Nanoseconds since the beginning.
    pub fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// What was recorded so far, after everything is in the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn events(&self) -> Result<Vec<Event>> {
        let mut written = self.written.lock().unwrap();
        written.0.flush()?;
        Ok(written.1.clone())
    }

    /// By key: who took the last batch.
    pub fn takers(&self) -> BTreeMap<String, Taker> {
        self.takers.lock().unwrap().clone()
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of a line, in their order")]
    fn record(&self, process: Process, kind: Kind, f: &str, key: Value, value: Value, region: &str, err: &str) {
        let mut written = self.written.lock().unwrap();
        // The time is taken under the lock: lines are in the order of their times.
        let time = self.now();
        if kind == Kind::Ok && f == "ingest" {
            self.takers.lock().unwrap().insert(key.to_string(), Taker { door: region.to_owned(), time });
        }
        let (f, region, err) = (f.to_owned(), region.to_owned(), err.to_owned());
        let event = Event { process, kind, f, key, value, time, region, err };
        let line = serde_json::to_string(&event).expect("plain data");
        writeln!(written.0, "{line}").expect("the history can be written");
        written.1.push(event);
    }
}

/// One process of the history, with at most one open operation.
pub struct Client<'a> {
    recorder: &'a Recorder,
    process: u64,
    open: Option<(String, Value, String)>,
}

impl Client<'_> {
    /// Begins an operation.
    ///
    /// # Panics
    /// When the last one was not ended.
    pub fn invoke(&mut self, region: &str, f: &str, key: Value, value: Value) {
        assert!(self.open.is_none(), "a process has one open operation");
        self.open = Some((f.to_owned(), key.clone(), region.to_owned()));
        self.recorder.record(Process::Client(self.process), Kind::Invoke, f, key, value, region, "");
    }

    /// It happened.
    pub fn ok(&mut self, value: Value) {
        self.end(Kind::Ok, value, "");
    }

    /// It certainly did not happen.
    pub fn fail(&mut self, why: &str) {
        self.end(Kind::Fail, Value::Null, why);
    }

    /// Nobody knows. The process is retired, and this client goes on as another.
    pub fn info(&mut self, why: &str) {
        self.end(Kind::Info, Value::Null, why);
        self.process = self.recorder.next.fetch_add(1, Ordering::Relaxed);
    }

    fn end(&mut self, kind: Kind, value: Value, why: &str) {
        let (f, key, region) = self.open.take().expect("an open operation");
        self.recorder.record(Process::Client(self.process), kind, &f, key, value, &region, why);
    }
}

/// One operation: its beginning and its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// Which.
    pub f: String,
    /// On what.
    pub key: Value,
    /// At which region's door.
    pub region: String,
    /// With what.
    pub input: Value,
    /// What came of it; null unless `Ok`.
    pub output: Value,
    /// `Ok`, `Fail` or `Info`.
    pub kind: Kind,
    /// When it began, in nanoseconds.
    pub began: u64,
    /// When it ended; of `Info` nobody knows, so the end of time.
    pub ended: u64,
    /// Why not.
    pub err: String,
}

/// Reads a history file.
///
/// # Errors
/// When a line is none.
pub fn read(path: &Path) -> Result<Vec<Event>> {
    let file = File::open(path).with_context(|| format!("{}", path.display()))?;
    let line = |line: std::io::Result<String>| Ok(serde_json::from_str(&line?)?);
    BufReader::new(file).lines().map(line).collect()
}

/// Pairs beginnings with ends. An operation without an end is one of which nobody knows.
pub fn operations(events: &[Event]) -> Vec<Operation> {
    let mut open = BTreeMap::new();
    let mut all: Vec<Operation> = Vec::new();
    for event in events {
        let Process::Client(process) = event.process else { continue };
        if event.kind == Kind::Invoke {
            open.insert(process, all.len());
            all.push(Operation {
                f: event.f.clone(),
                key: event.key.clone(),
                region: event.region.clone(),
                input: event.value.clone(),
                output: Value::Null,
                kind: Kind::Info,
                began: event.time,
                ended: u64::MAX,
                err: "no end".to_owned(),
            });
        } else if let Some(at) = open.remove(&process) {
            let operation = &mut all[at];
            operation.kind = event.kind;
            operation.output = event.value.clone();
            operation.err.clone_from(&event.err);
            operation.ended = if event.kind == Kind::Info { u64::MAX } else { event.time };
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_history_is_read_as_it_was_written_and_a_process_is_retired_after_a_doubt() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.jsonl");
        let recorder = Recorder::create(&path).unwrap();
        let mut client = recorder.client();
        client.invoke("tokyo", "write", json!("x"), json!(1));
        client.info("timed out");
        client.invoke("tokyo", "write", json!("x"), json!(2));
        client.ok(json!({"done": true}));
        assert!(recorder.takers().is_empty(), "no batch was taken yet");
        client.invoke("singapore", "ingest", json!("s"), json!(1));
        client.ok(json!({}));
        let taker = recorder.takers().remove("\"s\"").unwrap();
        assert_eq!((taker.door.as_str(), taker.time > 0), ("singapore", true));
        client.invoke("tokyo", "write", json!("x"), json!(3));
        recorder.nemesis("kill", json!("tokyo"), Value::Null);
        let events = recorder.events().unwrap();
        assert_eq!(read(&path).unwrap(), events);
        assert!(events.is_sorted_by_key(|event| event.time));
        let line = serde_json::to_value(&events[0]).unwrap();
        assert_eq!((&line["process"], &line["type"], &line["f"]), (&json!(0), &json!("invoke"), &json!("write")));
        assert_eq!(events.last().unwrap().process, Process::Named("nemesis".to_owned()));
        let operations = operations(&events);
        let ends: Vec<_> = operations.iter().map(|one| (one.kind, one.ended == u64::MAX)).collect();
        assert_eq!(ends, [(Kind::Info, true), (Kind::Ok, false), (Kind::Ok, false), (Kind::Info, true)]);
        assert_ne!(events[0].process, events[2].process, "retired");
    }
}
