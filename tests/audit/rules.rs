//! A policy that changes between two answers: a pack has the rules of both versions, each answer is judged by its own, a changed byte of
//! an old rule is seen, and rules that nobody kept are not passed over.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use domicile_tests::cluster::fixture::{DAY_MS, utc};
use domicile_tests::cluster::{Cluster, wait_until};
use serde_json::json;

use crate::BINARY;
use crate::later::{carts, restart, sign, take_rules};
use crate::pack::{files, said};
use crate::replay::{STREAM, ask};

fn verify(pack: &Path) -> Output {
    Command::new(BINARY).args(["audit", "verify"]).arg(pack).output().unwrap()
}

/// What is said of how many answers were judged under which version in a region: the newest version first.
fn judged(output: &Output, region: &str) -> Vec<(u64, u64)> {
    let begin = format!("answers of {region} judged by the rules of their policy version: ");
    let text = said(output);
    let told = text.lines().find_map(|line| line.trim().strip_prefix(&begin)).unwrap_or_default();
    let read = |part: &str| {
        let (answers, version) = part.split_once(" under ")?;
        Some((answers.parse().ok()?, version.parse().ok()?))
    };
    told.split(", ").filter_map(read).collect()
}

/// A new pack, and what its check says.
fn packed(cluster: &Cluster, name: &str) -> (std::path::PathBuf, Output) {
    let pack = cluster.data().parent().unwrap().join(name);
    std::fs::remove_dir_all(&pack).ok();
    // It fails where the pack does not hold; what it made is looked at here.
    cluster.command(&["audit", "report", "--tenant", "default", "--out", name]).ok();
    let output = verify(&pack);
    (pack, output)
}

#[test]
fn each_answer_is_judged_by_the_rules_of_its_own_version_and_an_old_rule_cannot_be_changed() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    carts(&mut cluster);
    let frankfurt = cluster.region("frankfurt");
    ask(&frankfurt, "service", 0);

    // By the rules of now the first answer would be an offence.
    sign(&cluster, "tokyo", &[]);
    cluster.command(&["dictionary", "revoke", "tokyo", "service", "cart", "--tenant", "default"]).unwrap();
    let by_service = json!({"stream": STREAM, "ask": {"terms": "service"}, "regions": ["tokyo"], "from": utc(DAY_MS),
        "to": utc(DAY_MS + 3_600_000), "on_missing": "fail"});
    let refused = wait_until(Duration::from_secs(30), || {
        let answer = frankfurt.api("search", "POST", "/api/v1/search", &by_service).ok()?;
        (answer.status != 200).then_some(())
    });
    refused.expect("tokyo tells nothing by service any more");
    ask(&frankfurt, "level", 0);
    let whole = wait_until(Duration::from_secs(60), || {
        let (pack, output) = packed(&cluster, "both");
        (output.status.success() && judged(&output, "tokyo").len() > 1).then_some((pack, output))
    });
    let (pack, output) = whole.expect("a sound pack with answers under two versions");
    let told = judged(&output, "tokyo");
    assert!(told[0].0 == 1 && told.is_sorted_by(|a, b| a.1 > b.1), "the newest has one answer: {}", said(&output));

    let rules: Vec<_> = files(&pack.join("regions/tokyo/rules"));
    assert!(rules.len() >= 2, "{rules:?}");
    let old = rules.iter().find(|path| std::fs::read_to_string(path).unwrap().contains("\"cart\""));
    let (old, text) = (old.expect("the rules of then"), "\"k\":5");
    let kept = std::fs::read_to_string(old).unwrap();
    assert!(kept.contains(text), "{kept}");
    std::fs::write(old, kept.replace(text, "\"k\":4")).unwrap();
    let first = said(&verify(&pack)).lines().next().unwrap_or_default().to_owned();
    let name = old.strip_prefix(&pack).unwrap().display().to_string();
    assert!(first.starts_with("NOT SOUND") && first.contains(&name), "{first}");
    std::fs::write(old, kept).unwrap();
    assert!(verify(&pack).status.success(), "as it was, it is sound");

    // The region lost the rules of then: those of now it makes again, for the others nothing stands.
    restart(&mut cluster, |cluster| drop(take_rules(cluster, "tokyo")));
    assert!(cluster.region("tokyo").is_ready());
    let (_, output) = packed(&cluster, "without");
    let first = said(&output).lines().next().unwrap_or_default().to_owned();
    assert!(!output.status.success() && first.contains(&name), "the old rule is missing: {first}");
    assert!(first.contains("these rules are missing"), "{first}");
}
