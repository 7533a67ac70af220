//! Answers of one region, asked again for an auditor: the same while nobody touches them; explained once a person is erased;
//! found out once a number of the release journal was changed on the disk.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use domicile_tests::cluster::fixture::{DAY_MS, bulk, utc};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::{Cluster, REGIONS, wait_until};
use serde_json::{Value, json};

use crate::BINARY;
use crate::pack::{files, said};

const STREAM: &str = "people";
/// What a number in the journal is raised by.
const LIE: u64 = 40;

fn ask(region: &Region, ask: &str, from: i64) {
    let to = utc(DAY_MS + 3_600_000);
    let ask = if ask == "terms" { json!({"terms": "level"}) } else { json!(ask) };
    let asked = json!({"stream": STREAM, "ask": ask, "regions": ["tokyo"], "from": utc(DAY_MS + from), "to": to, "on_missing": "fail"});
    // A link that was just made may not reach the other region yet.
    let answered = wait_until(Duration::from_secs(30), || {
        region.api("search", "POST", "/api/v1/search", &asked).ok().filter(|answer| answer.status == 200)
    });
    answered.expect("tokyo answers");
}

/// A new pack, with at least so many answers of tokyo in it.
fn pack(cluster: &Cluster, name: &str, answers: usize) -> PathBuf {
    let pack = cluster.data().parent().unwrap().join(name);
    let whole = wait_until(Duration::from_secs(60), || {
        std::fs::remove_dir_all(&pack).ok();
        cluster.command(&["audit", "report", "--tenant", "default", "--out", name]).ok()?;
        let output = replay(cluster, &pack, &[]);
        let lines = said(&output).lines().filter(|line| line.starts_with("  ledger.")).count();
        (lines >= answers).then_some(())
    });
    whole.expect("a pack with all answers in it");
    pack
}

fn replay(cluster: &Cluster, pack: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    let sample: &[&str] = if more.contains(&"--sample") { &[] } else { &["--sample", "1000"] };
    command.args(["audit", "replay"]).arg(pack).args(sample).args(more);
    command.current_dir(cluster.data().parent().unwrap()).output().unwrap()
}

/// Raises every released number of a table in the journal of a region that does not run.
fn lie(cluster: &Cluster) {
    let is_entry = |path: &PathBuf| path.iter().any(|part| part == "released") && path.is_file();
    let mut lies = 0;
    for path in files(&cluster.data().join("nodes/tokyo")).into_iter().filter(is_entry) {
        let Ok(mut entry) = serde_json::from_slice::<Value>(&std::fs::read(&path).unwrap()) else { continue };
        for row in entry["tables"].as_array_mut().into_iter().flatten() {
            for cell in row["cells"].as_array_mut().into_iter().flatten() {
                cell[1] = (cell[1].as_u64().unwrap() + LIE).into();
                lies += 1;
            }
        }
        std::fs::write(&path, serde_json::to_vec(&entry).unwrap()).unwrap();
    }
    assert!(lies > 0, "there are numbers to change");
}

#[test]
fn an_honest_answer_is_the_same_a_lost_one_is_explained_and_a_changed_one_is_named() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    for region in REGIONS {
        let create = ["stream", "create", STREAM, "--tenant", "default", "--subject", "uid"];
        cluster.command(&[&create[..], &["--region", region]].concat()).ok();
    }
    let (tokyo, frankfurt) = (cluster.region("tokyo"), cluster.region("frankfurt"));
    let events = (0..200).map(|n| {
        json!({"timestamp": utc(DAY_MS + n * 3_000), "level": "INFO", "uid": format!("u-{}", n % 20), "message": "paid"})
    });
    let events: Vec<Value> = events.collect();
    assert_eq!(tokyo.bulk(STREAM, &bulk(&events, None), &[]).unwrap().status, 200);
    tokyo.refresh(STREAM);
    ask(&frankfurt, "count", 0);
    ask(&frankfurt, "terms", 0);
    // Records that come later, and of the same minutes, change nothing of what was told.
    assert_eq!(tokyo.bulk(STREAM, &bulk(&events, None), &[]).unwrap().status, 200);
    tokyo.refresh(STREAM);
    ask(&frankfurt, "count", 60_000);

    let honest = pack(&cluster, "honest", 3);
    let output = replay(&cluster, &honest, &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).starts_with("SOUND: ") && said(&output).contains("; 0 cannot"), "{}", said(&output));
    let seeded = |seed: &str| {
        let output = replay(&cluster, &honest, &["--sample", "1", "--seed", seed]);
        assert!(output.status.success(), "{}{}", said(&output), String::from_utf8_lossy(&output.stderr));
        said(&output)
    };
    assert_eq!(seeded("a"), seeded("a"));
    let none = replay(&cluster, &honest, &["--to", "2001-01-01T00:00:00Z"]);
    assert!(!none.status.success() && said(&none).starts_with("NOTHING ASKED"), "{}", said(&none));
    let denied = tokyo.api("search", "POST", "/api/v1/audit/replay", &json!({"question": 1, "answer": 2})).unwrap();
    assert_eq!(denied.status, 403);
    let none = tokyo.api("audit", "POST", "/api/v1/audit/replay", &json!({"question": 1, "answer": 2})).unwrap();
    assert_eq!(none.status, 400, "two entries that are no pair");

    let erased = tokyo.api("admin", "POST", "/api/v1/subjects/erase", &json!({"subject": "u-7"})).unwrap();
    assert_eq!(erased.status, 200, "{}", erased.text());
    let gone = wait_until(Duration::from_secs(60), || {
        let pack = pack(&cluster, "erased", 3);
        let output = replay(&cluster, &pack, &[]);
        said(&output).contains("not replayable: erasure, entry").then_some(output)
    });
    let gone = gone.expect("the erasure stands in the ledger");
    assert!(gone.status.success(), "what is explained is no failure: {}", said(&gone));

    cluster
        .split_with(|cluster| {
            lie(cluster);
            Ok(())
        })
        .unwrap();
    let (tokyo, frankfurt) = (cluster.region("tokyo"), cluster.region("frankfurt"));
    assert!(tokyo.is_ready());
    ask(&frankfurt, "terms", 0);
    // The newest answer stands in a pack once a checkpoint is over it.
    let told = wait_until(Duration::from_secs(60), || {
        let output = replay(&cluster, &pack(&cluster, "changed", 4), &[]);
        (!output.status.success()).then_some(output)
    });
    let output = told.expect("a lie is no answer that comes out again");
    let first = said(&output).lines().next().unwrap_or_default().to_owned();
    assert!(!output.status.success() && first.starts_with("NOT SOUND"), "{}", said(&output));
    assert!(first.contains("/tokyo/") && first.contains(", entry "), "it says which: {first}");
    let lies = said(&output).lines().filter(|line| line.contains("DIFFERS")).count();
    assert!(lies > 0 && said(&output).contains("not replayable: erasure"), "{}", said(&output));
}
