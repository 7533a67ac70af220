//! Reads one region out of a pack: its statement, its seal and its log, each checked with the key of the log.

use std::path::Path;

use domicile_proto::ids::TenantId;

use super::super::honoured::Officers;
use super::check::Problem;
use super::compose::{Home, Request};
use super::files::{BESIDE, MANIFEST, REGIONS, digest_of, read, seal_of};
use super::tally::Tally;
use crate::audit::{Broken, Verifier, verify};
use crate::present::auditor::{PACK_TITLE, STATEMENT_TITLE, Statement};

/// What the reader brings along.
#[derive(Default)]
pub(in super::super) struct Trust {
    /// Keys that were handed over; without any the ones in the pack are believed.
    pub(in super::super) keys: Vec<Verifier>,
    /// Checkpoints that were kept: where from, and the note.
    pub(in super::super) saved: Vec<(String, String)>,
    /// Keys of witnesses outside the deployment that were handed over, each `name+id+key`.
    pub(in super::super) witnesses: Vec<String>,
    /// Keys of officers that were handed over.
    pub(in super::super) officers: Officers,
}

/// A node of a pack in a directory, by its place.
pub(super) fn home(dir: &Path, at: &str, request: &Request, trust: &Trust) -> Result<Home, Problem> {
    let (region, beside) = at.split_once(BESIDE).map_or((at, None), |(region, node)| (region, Some(node)));
    let place = |name: &str| format!("{REGIONS}/{at}/{name}");
    let log = dir.join(place("log"));
    let said = text(dir, &place("log/log.vkey"))?;
    let own = Verifier::read(said.trim_end());
    let own = own.ok_or_else(|| Problem::new(1, place("log/log.vkey"), "this is no key that checks a log"))?;
    let pinned = trust.keys.iter().find(|key| key.name() == own.name());
    if pinned.is_none() && !trust.keys.is_empty() {
        return Err(Problem::new(1, place("log/log.vkey"), "no key that you gave is for this log"));
    }
    if pinned.is_some_and(|pinned| *pinned != own) {
        return Err(Problem::new(1, place("log/log.vkey"), "this is another key than the one you trust"));
    }
    let statement = statement(dir, &place, &own)?;
    let is_other = beside.is_some_and(|node| *node != statement.node.to_string());
    if statement.region != region || is_other || statement.tenant != request.tenant {
        return Err(Problem::new(1, place("statement.json"), "it is about another region, node or tenant"));
    }
    if !own.name().ends_with(&format!("/{region}/{}", statement.node)) {
        return Err(Problem::new(1, place("log/log.vkey"), "the log is another node's than the statement"));
    }
    let origin = |note: &str| note.lines().next().unwrap_or_default().to_owned();
    let saved: Vec<_> = trust.saved.iter().filter(|(_, note)| origin(note) == own.name()).cloned().collect();
    let mut tally = Tally::new(request.period(), TenantId(u32::try_from(statement.tenant_id).unwrap_or(u32::MAX)));
    let checked = verify(&log, Some(&own), &saved, &mut |number, entry| tally.take(number, entry));
    let checked = checked.map_err(|broken| of_log(at, &broken))?;
    if checked.unsigned.bytes > 0 {
        let why = "a body lies behind the last entry that is signed; a pack has none";
        return Err(Problem::new(4, place("log/bodies"), why));
    }
    let (size, root) = checked.head.map_or((0, String::new()), |head| (head.size, hex::encode(head.root)));
    Ok(Home {
        place: at.to_owned(),
        statement,
        tally,
        origin: checked.origin,
        size,
        root,
        withheld: checked.withheld,
        destroyed: checked.destroyed,
        checkpoints: checked.checkpoints,
        officers: checked.officers,
        findings: checked.findings,
        cosigned: checked.cosigned,
        cosigners: checked.cosigners,
        cosigner_keys: checked.cosigner_keys,
    })
}

fn text(dir: &Path, name: &str) -> Result<String, Problem> {
    let bytes =
        read(dir, name).map_err(|_| Problem::new(0, name.to_owned(), "this file is missing or cannot be read"))?;
    String::from_utf8(bytes).map_err(|_| Problem::new(0, name.to_owned(), "this file is no text"))
}

fn statement(dir: &Path, place: &dyn Fn(&str) -> String, key: &Verifier) -> Result<Statement, Problem> {
    let note = text(dir, &place("statement.note"))?;
    let said = key.said(STATEMENT_TITLE, &note);
    let said = said.ok_or_else(|| Problem::new(1, place("statement.note"), "the region's key did not sign this"))?;
    let digest = digest_of(&dir.join(place("statement.json"))).unwrap_or_default();
    if said != [digest] {
        return Err(Problem::new(1, place("statement.json"), "this is not the statement that the region signed"));
    }
    let read = serde_json::from_str(&text(dir, &place("statement.json"))?);
    read.map_err(|_| Problem::new(6, place("statement.json"), "this build does not know such a statement"))
}

/// Whether the region sealed the manifest.
pub(super) fn sealed(dir: &Path, region: &str) -> Result<(), Problem> {
    let (note, key) = (text(dir, &seal_of(region))?, text(dir, &format!("{REGIONS}/{region}/log/log.vkey"))?);
    let said = Verifier::read(key.trim_end()).and_then(|key| key.said(PACK_TITLE, &note));
    let said = said.ok_or_else(|| Problem::new(1, seal_of(region), "the region's key did not sign this seal"))?;
    let digest = digest_of(&dir.join(MANIFEST)).unwrap_or_default();
    if said.first() == Some(&digest) {
        Ok(())
    } else {
        Err(Problem::new(1, MANIFEST.to_owned(), "this is not the manifest that the region sealed"))
    }
}

/// Which of the checks a broken log fails.
fn of_log(region: &str, broken: &Broken) -> Problem {
    let place = format!("{REGIONS}/{region}/log/{}", broken.place);
    let says = |words: &str| broken.why.contains(words);
    let point = match () {
        () if says("key") || says("witness") => 1,
        () if says("does not go on") || says("entries were removed") => 3,
        () if says("withheld") => 5,
        () if says("frame") || says("no entry that this build knows") => 6,
        () if says("body") || says("bodies") => 4,
        () => 2,
    };
    Problem::new(point, place, broken.why)
}
