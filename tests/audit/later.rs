//! Answers that are asked again after the rules became others, and after their records were deleted at the end of retention: a
//! later policy excuses nothing, for the rules of then are kept; a deletion explains what is missing.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use domicile_tests::cluster::fixture::{DAY_MS, bulk, utc};
use domicile_tests::cluster::{Cluster, REGIONS, wait_until};
use serde_json::{Value, json};

use crate::BINARY;
use crate::pack::{files, said};
use crate::replay::{STREAM, ask, lie, pack, replay};
use crate::wire::now;

/// The policy of a stream in a region, signed anew.
pub(crate) fn sign(cluster: &Cluster, region: &str, more: &[&str]) {
    let create = ["stream", "create", STREAM, "--tenant", "default", "--subject", "uid", "--region", region];
    cluster.command(&[&create[..], more].concat()).unwrap();
}

fn first(output: &Output) -> String {
    said(output).lines().next().unwrap_or_default().to_owned()
}

/// Files of a region that lie under a directory of this name.
fn under(cluster: &Cluster, region: &str, name: &str) -> Vec<PathBuf> {
    let node = cluster.data().join("nodes").join(region);
    files(&node).into_iter().filter(|path| path.iter().any(|part| part == name)).collect()
}

/// Says of every segment of a region that does not run that its records came five days ago.
fn age(cluster: &Cluster, region: &str) {
    const FIVE_DAYS_US: i64 = 5 * 86_400 * 1_000_000;
    let mut aged = 0;
    let is_manifest =
        |path: &&PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("manifest-"));
    for path in under(cluster, region, "shards").iter().filter(is_manifest) {
        let mut manifest: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        for row in manifest["segments"].as_array_mut().unwrap() {
            for key in ["built_at", "received_until"] {
                row[key] = (row[key].as_i64().unwrap() - FIVE_DAYS_US).into();
            }
            aged += 1;
        }
        std::fs::write(path, serde_json::to_vec(&manifest).unwrap()).unwrap();
    }
    assert!(aged > 0, "there are segments");
}

/// Moves the rules of then out of the bucket of a region that does not run, and gives what brings them back.
pub(crate) fn take_rules(cluster: &Cluster, region: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let kept: Vec<(PathBuf, Vec<u8>)> =
        under(cluster, region, "rules").into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
    kept.iter().for_each(|(path, _)| std::fs::remove_file(path).unwrap());
    kept
}

pub(crate) fn restart(cluster: &mut Cluster, while_off: impl FnOnce(&Cluster)) {
    cluster.end("tokyo").unwrap();
    while_off(cluster);
    cluster.restart("tokyo").unwrap();
}

/// How often the ledger of tokyo in a pack tells of a new version of the policy.
fn policies_told(pack: &Path) -> usize {
    let history = std::fs::read_to_string(pack.join("csv/policy-history.csv")).unwrap();
    history.lines().filter(|line| line.contains("tokyo") && line.contains("policy changed")).count()
}

/// Replays of what was told since a moment.
struct Since(String);

impl Since {
    fn now(cluster: &Cluster) -> Self {
        Self(utc(now(cluster.data())))
    }

    fn replay(&self, cluster: &Cluster, pack: &Path) -> Output {
        replay(cluster, pack, &["--from", &self.0])
    }

    /// A new pack, with so many answers in it.
    fn pack(&self, cluster: &Cluster, name: &str, answers: usize) -> PathBuf {
        let whole = wait_until(Duration::from_secs(60), || {
            let pack = pack(cluster, name, 1);
            let told = said(&self.replay(cluster, &pack));
            (told.lines().filter(|line| line.starts_with("  ledger.")).count() >= answers).then_some(pack)
        });
        whole.unwrap_or_else(|| panic!("`{name}` has no {answers} answers"))
    }

    /// Makes packs until the replay of one says so: what was just recorded is in none before a checkpoint is over it.
    fn repacks(&self, cluster: &Cluster, (name, answers): (&str, usize), wanted: &str) -> Output {
        let found = wait_until(Duration::from_secs(60), || {
            let output = self.replay(cluster, &self.pack(cluster, name, answers));
            said(&output).contains(wanted).then_some(output)
        });
        found.unwrap_or_else(|| {
            panic!(
                "`{wanted}` is not said of `{name}`: {}",
                said(&self.replay(cluster, &self.pack(cluster, name, answers)))
            )
        })
    }

    /// Replays a pack until it says so: a node that has just started may not see all of its records yet.
    fn replays(&self, cluster: &Cluster, pack: &Path, wanted: &str) -> Output {
        let mut last = String::new();
        let found = wait_until(Duration::from_secs(60), || {
            let output = self.replay(cluster, pack);
            last = format!("{}{}", said(&output), String::from_utf8_lossy(&output.stderr));
            last.contains(wanted).then_some(output)
        });
        found.unwrap_or_else(|| panic!("`{wanted}` is not said: {last}"))
    }
}

/// Every region lets out `service`, of which `cart` may be named, and Tokyo has records of it.
pub(crate) fn carts(cluster: &mut Cluster) {
    for region in REGIONS {
        sign(cluster, region, &["--group-field", "service"]);
        cluster.command(&["dictionary", "approve", region, "service", "cart", "--tenant", "default"]).unwrap();
    }
    cluster.split().unwrap();
    let tokyo = cluster.region("tokyo");
    let events = (0..200).map(|n| {
        json!({"timestamp": utc(DAY_MS + n * 3_000), "level": "INFO", "service": "cart", "uid": format!("u-{}", n % 20),
            "message": "paid"})
    });
    assert_eq!(tokyo.bulk(STREAM, &bulk(&events.collect::<Vec<_>>(), None), &[]).unwrap().status, 200);
    tokyo.refresh(STREAM);
}

#[test]
fn a_later_policy_excuses_no_answer_for_the_rules_of_then_are_kept() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    carts(&mut cluster);
    let frankfurt = cluster.region("frankfurt");
    let since = Since::now(&cluster);
    for by in ["level", "service"] {
        ask(&frankfurt, by, 0);
    }
    let before = since.pack(&cluster, "before", 2);
    since.replays(&cluster, &before, "SOUND: 2 sampled answers");

    // Now nothing may be told by service any more: by the rules of now the second answer would be a refusal.
    sign(&cluster, "tokyo", &[]);
    cluster.command(&["dictionary", "revoke", "tokyo", "service", "cart", "--tenant", "default"]).unwrap();
    let known = policies_told(&before);
    // What was just recorded is in no pack before a checkpoint is over it.
    let later = wait_until(Duration::from_secs(60), || {
        Some(since.pack(&cluster, "later", 2)).filter(|pack| policies_told(pack) > known)
    });
    let later = later.expect("a pack that knows of the later policy");
    let output = since.replays(&cluster, &later, "SOUND: 2 sampled answers");
    assert!(output.status.success() && said(&output).contains("; 0 cannot"), "{}", said(&output));

    // Without the rules of then nobody can say, and that is not called sound; a pack that is made then is not either.
    let mut kept = Vec::new();
    restart(&mut cluster, |cluster| kept = take_rules(cluster, "tokyo"));
    assert!(!kept.is_empty(), "rules are kept");
    let output = since.replays(&cluster, &later, "the rules of then were not kept");
    assert!(!output.status.success() && first(&output).starts_with("NOT JUDGED: "), "{}", said(&output));

    // With them a changed number is found out, though the policy is another since.
    restart(&mut cluster, |cluster| {
        kept.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
        lie(cluster);
    });
    let (tokyo, frankfurt) = (cluster.region("tokyo"), cluster.region("frankfurt"));
    assert!(tokyo.is_ready());
    ask(&frankfurt, "level", 0);
    sign(&cluster, "tokyo", &["--number", "ms=10,100"]);
    let output = since.repacks(&cluster, ("changed", 3), "DIFFERS");
    assert!(!output.status.success() && first(&output).starts_with("NOT SOUND: "), "{}", said(&output));
}

#[test]
fn a_deletion_at_the_end_of_retention_explains_what_is_missing() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    for region in REGIONS {
        sign(&cluster, region, &["--retention-days", "1"]);
    }
    cluster.split().unwrap();
    let (tokyo, frankfurt) = (cluster.region("tokyo"), cluster.region("frankfurt"));
    let events = (0..200).map(|n| {
        json!({"timestamp": utc(DAY_MS + n * 3_000), "level": "INFO", "service": "cart", "uid": format!("u-{}", n % 20),
            "message": "paid"})
    });
    assert_eq!(tokyo.bulk(STREAM, &bulk(&events.collect::<Vec<_>>(), None), &[]).unwrap().status, 200);
    tokyo.refresh(STREAM);
    let since = Since::now(&cluster);
    ask(&frankfurt, "level", 0);
    since.replays(&cluster, &since.pack(&cluster, "before", 1), "SOUND: 1 sampled answer");

    restart(&mut cluster, |cluster| age(cluster, "tokyo"));
    assert!(cluster.region("tokyo").is_ready());
    let deleted = wait_until(Duration::from_secs(60), || {
        cluster.command(&["retention", "run", "--region", "tokyo"]).ok()?;
        cluster.command(&["retention", "status", "--region", "tokyo"]).ok().filter(|told| told.trim() != "[]")
    });
    deleted.expect("what is past its retention is deleted");
    let output = since.repacks(&cluster, ("gone", 1), "not replayable: retention, entry");
    assert!(output.status.success() && first(&output).starts_with("SOUND: 0 sampled"), "{}", said(&output));
}
