//! `audit report`: asks each region for its statement and its ledger, makes the copy, checks it, writes the report from it, and
//! has the regions seal the whole.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use domicile_proto::ids::{Name, Region, Timestamp};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::super::door::{Door, Refusal};
use super::super::profile::Profile;
use super::super::rehearsal::{SEED, rehearse};
use super::check::{self, regions};
use super::compose::{FORMAT, Home, Request, attacked, compose};
use super::files::{ATTACKS, MANIFEST, REGIONS, REQUEST, derived, manifest, place_of, seal_of};
use super::open::{self, Trust};
use super::rules;
use super::tool;
use crate::audit::{Copy, Shown};
use crate::clock::Clock;

/// What a pack is made of.
pub(super) struct Wanted {
    pub(super) tenant: Name,
    pub(super) period: (Timestamp, Timestamp),
    pub(super) regions: Vec<Region>,
    pub(super) out: PathBuf,
}

/// Makes a pack; what its check found.
pub(super) async fn collect(wanted: &Wanted, profile: &Profile) -> anyhow::Result<check::Outcome> {
    let out = &wanted.out;
    if out.try_exists().unwrap_or(true) {
        bail!("`{}` is there already; a pack is made in a directory of its own, so name another", out.display());
    }
    let begun_at = Clock::system().now();
    let doors = copies(wanted, profile).await?;
    let ((from, to), made_at) = (wanted.period, Clock::system().now());
    let (tool, tenant) = (tool(), wanted.tenant.to_string());
    let request = Request { format: FORMAT, tool, tenant, from, to, begun_at, made_at };
    write(out, REQUEST, format!("{}\n", serde_json::to_string_pretty(&request)?).as_bytes())?;
    let trust = Trust::default();
    let homes = regions(out).into_iter().map(|place| open::home(out, &place, &request, &trust));
    let homes: Result<Vec<_>, _> = homes.collect();
    let homes = homes.map_err(|problem| anyhow::anyhow!("what a region gave does not hold: {problem}"))?;
    for (place, door) in &doors {
        if let Some(home) = homes.iter().find(|home| home.place == *place) {
            let missing = rules_of(home, door, &wanted.tenant, out, &wait).await?;
            if missing > 0 {
                eprintln!(
                    "ATTENTION: {} gave {missing} pages less of the rules that its answers were released by than its ledger names; the pack \
                     names each, and does not hold without them",
                    home.label()
                );
            }
        }
    }
    let evidence = rehearse(SEED, attacked(&homes)).await.context("the attacks on this program could not be run")?;
    write(out, ATTACKS, format!("{}\n", serde_json::to_string_pretty(&evidence)?).as_bytes())?;
    for (name, bytes) in derived(&compose(&request, &homes, Some(&evidence)))? {
        write(out, &name, &bytes)?;
    }
    let manifest = manifest(out)?;
    write(out, MANIFEST, manifest.as_bytes())?;
    let sha256 = hex::encode(digest(&SHA256, manifest.as_bytes()).as_ref());
    for (place, door) in &doors {
        let sealed = door.post_patiently("/api/v1/audit/seal", &json!({"sha256": sha256}), &wait).await?;
        write(out, &seal_of(place), text(&sealed, "note")?.as_bytes())?;
    }
    Ok(check::check(out, &trust, None))
}

/// A copy of every node of every region that the profile reaches, with its place in the pack. A region without its first node is no
/// region of the pack; another node that gives nothing is named, here and in the report.
async fn copies(wanted: &Wanted, profile: &Profile) -> anyhow::Result<Vec<(String, Door)>> {
    let mut doors = Vec::new();
    for region in &wanted.regions {
        let door = profile.door(region)?;
        let place = region.to_string();
        let failed = || format!("region `{region}` gave no whole copy");
        let mut known = vec![node_behind(&door, region).await.with_context(failed)?];
        copy(&door, &place, &wanted.tenant, &wanted.out).await.with_context(failed)?;
        doors.push((place, door));
        for door in profile.doors_beside(region)? {
            match beside(&door, region, &mut known, wanted).await {
                Ok(Some(place)) => doors.push((place, door)),
                Ok(None) => {}
                Err(error) => eprintln!(
                    "ATTENTION: a node of region `{region}` is not in the pack, and the report names it: {}",
                    super::super::chain(&error)
                ),
            }
        }
    }
    Ok(doors)
}

/// A copy of one more node of a region, and its place; none where it is there already.
async fn beside(door: &Door, region: &Region, known: &mut Vec<u64>, wanted: &Wanted) -> anyhow::Result<Option<String>> {
    let node = node_behind(door, region).await?;
    if known.contains(&node) {
        return Ok(None);
    }
    let place = place_of(region, node);
    if let Err(error) = copy(door, &place, &wanted.tenant, &wanted.out).await {
        // Half a copy is none.
        std::fs::remove_dir_all(wanted.out.join(REGIONS).join(&place)).ok();
        return Err(error);
    }
    known.push(node);
    Ok(Some(place))
}

/// Which node of the region answers at a door.
async fn node_behind(door: &Door, region: &Region) -> anyhow::Result<u64> {
    let status = door.read("/api/v1/status").await?;
    let found = text(&status, "region")?;
    if found != region.as_str() {
        bail!("the node there is one of region `{found}`");
    }
    status.get("node").and_then(Value::as_u64).context("the node answered without its number; is it of another build?")
}

/// The statement and the log of one node.
async fn copy(door: &Door, place: &str, tenant: &Name, out: &Path) -> anyhow::Result<()> {
    // The ledger first: the statement then knows everything that the ledger does.
    let dir = format!("{REGIONS}/{place}");
    let mut copy = Copy::begin(&out.join(&dir).join("log"), shown(door).await?)?;
    loop {
        if copy.wants_head() {
            copy.go_on(shown(door).await?)?;
        }
        let Some(bundle) = copy.wants() else { break };
        let path = format!("/api/v1/audit/bodies?bundle={bundle}&size={}&tenant={tenant}", copy.size());
        let bytes = door.patiently(&path, &wait).await?.bytes().await.with_context(|| door.unreachable())?;
        copy.add(bundle, &bytes)?;
    }
    copy.finish()?;
    let stated = door.read_patiently(&format!("/api/v1/audit/statement?tenant={tenant}"), &wait).await?;
    write(out, &format!("{dir}/statement.json"), text(&stated, "statement")?.as_bytes())?;
    write(out, &format!("{dir}/statement.note"), text(&stated, "note")?.as_bytes())
}

/// The rules that the answers in the ledger of a node were released by; how many pages of them the node has not got. They are missing in the
/// pack, and its check says so.
async fn rules_of(
    home: &Home,
    door: &Door,
    tenant: &Name,
    out: &Path,
    wait: &impl AsyncFn(Duration),
) -> anyhow::Result<usize> {
    let mut missing = 0;
    for (digest, shard) in home.tally.answers.pages() {
        let path = format!("/api/v1/audit/rules?shard={}&digest={}&tenant={tenant}", shard.0, hex::encode(digest));
        let answered = match door.read_patiently(&path, wait).await {
            Err(error) if error.downcast_ref::<Refusal>().is_some_and(Refusal::is_unknown) => Value::Null,
            answered => answered?,
        };
        match answered.get("rules").and_then(Value::as_str) {
            Some(page) => write(out, &rules::place_of(&home.place, &digest), page.as_bytes())?,
            None => missing += 1,
        }
    }
    Ok(missing)
}

async fn wait(pause: Duration) {
    tokio::time::sleep(pause).await;
}

/// What everybody may know of the log of a node.
async fn shown(door: &Door) -> anyhow::Result<Shown> {
    let log = door.read_patiently("/api/v1/audit/log", &wait).await?;
    let kept = log.get("kept").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let cosigned = text(&log, "cosigned").ok().zip(text(&log, "witnesses").ok());
    Ok(Shown {
        verifier: text(&log, "verifier")?.to_owned(),
        checkpoint: text(&log, "checkpoint")?.to_owned(),
        kept: kept.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        cosigned: cosigned.map(|(note, keys)| (note.to_owned(), keys.to_owned())),
    })
}

fn text<'a>(answer: &'a Value, key: &str) -> anyhow::Result<&'a str> {
    answer
        .get(key)
        .and_then(Value::as_str)
        .with_context(|| format!("the node answered without `{key}`; is it of another build?"))
}

fn write(out: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let path = out.join(name);
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(&path, bytes)).with_context(|| format!("`{}` cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::super::super::door::tests::door;
    use super::super::answers::tests::{MINUTE, asked, by, changed};
    use super::super::rules::tests::wide;
    use super::super::specimen::home;
    use super::*;
    use crate::aggregate::Rules;
    use crate::audit::Entry;
    use crate::tasks::Tasks;

    /// A node whose answers were released by two sets of rules, and these.
    fn answering() -> (Home, [Rules; 2]) {
        let (one, mut home) = (wide(), home("tokyo", "APPI"));
        let other = serde_json::to_string(&one).expect("plain").replace("\"k\":5", "\"k\":6");
        let other: Rules = serde_json::from_str(&other).expect("rules");
        let answers = [&one, &other].map(|rules| by(rules, asked(1, &[64], 10 * MINUTE, 2)));
        for (number, event) in (1..).zip([vec![changed(2)], answers.concat()].concat()) {
            home.tally.take(number, &Entry::specimen(Timestamp(1), None, event));
        }
        (home, [one, other])
    }

    #[tokio::test]
    async fn a_page_of_rules_that_is_refused_for_now_is_waited_for_and_one_that_is_not_there_is_left_out() {
        let (tasks, tenant) = (Tasks::default(), "default".parse().expect("a name"));
        let (home, known) = answering();
        let pages = home.tally.answers.pages();
        let mut pages: Vec<Value> = pages
            .keys()
            .map(|digest| {
                let page = known.iter().find(|rules| rules.digest() == *digest).expect("one of them");
                json!({"rules": serde_json::to_string(page).expect("plain")})
            })
            .collect();
        let (second, first) = (pages.pop().expect("two"), pages.pop().expect("two"));
        let busy = |after| (429, Some(after), json!({"error": "busy"}));
        let unknown = (404, None, json!({"error": {"message": "there is nothing here"}}));
        for (says, waited, missing) in [
            (vec![busy("3"), (200, None, first.clone()), busy("2"), (200, None, second.clone())], vec![3, 2], 0),
            (vec![(200, None, json!({"rules": null})), busy("1"), (200, None, second.clone())], vec![1], 1),
            (vec![(200, None, first.clone()), unknown.clone()], vec![], 1),
            (vec![unknown], vec![], 2),
        ] {
            let (dir, waits) = (tempfile::tempdir().expect("a directory"), Mutex::new(Vec::new()));
            let (door, script) = door(&tasks, says.clone()).await;
            let wait = async |pause: Duration| waits.lock().push(pause.as_secs());
            let found = rules_of(&home, &door, &tenant, dir.path(), &wait).await.expect("all asked for");
            assert_eq!((found, waits.lock().clone()), (missing, waited.clone()), "{says:?}");
            assert_eq!(script.asked.lock().len(), 2 + waited.len(), "each once and once more");
            let there = known.iter().filter(|one| rules::page(dir.path(), "tokyo", &one.digest()).is_ok());
            assert_eq!(there.count(), 2 - missing);
        }
        // What is refused for good ends it with the words of the node.
        let (door, _) = door(&tasks, [(403, None, json!({"error": "no auditor"}))]).await;
        let dir = tempfile::tempdir().expect("a directory");
        let refused = rules_of(&home, &door, &tenant, dir.path(), &async |_: Duration| {}).await.expect_err("refused");
        assert!(format!("{refused:#}").contains("no auditor"), "{refused:#}");
    }
}
