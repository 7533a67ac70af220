//! One run from records to a pack: samples in, asked across regions, a person erased, segments moved, a policy changed; then the
//! pack, its check, and one bit changed in every file of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use domicile_tests::cluster::fixture::{DAY_MS, bulk, utc};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::require::{everything_is_required, require, require_python_with};
use domicile_tests::cluster::second::{SECOND, Second};
use domicile_tests::cluster::{Cluster, REGIONS, wait_until};
use serde_json::{Value, json};

use crate::BINARY;
use crate::page::a_browser_shows_the_report;

const STREAM: &str = "people";
/// Stands in every record, and must stand nowhere in a pack.
const CANARY: &str = "hrqwzkvbnplmxctyfd";

fn fill(region: &Region) {
    let events: Vec<Value> = (0..200)
        .map(|n| {
            json!({"timestamp": utc(DAY_MS + n * 100), "level": "INFO", "uid": format!("visitor-{}", n % 20),
                "message": format!("order {n} with {CANARY}")})
        })
        .collect();
    assert_eq!(region.bulk(STREAM, &bulk(&events, None), &[]).unwrap().status, 200);
    region.refresh(STREAM);
}

pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let (mut open, mut found) = (vec![dir.to_path_buf()], Vec::new());
    while let Some(dir) = open.pop() {
        for path in std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

fn verify(pack: &Path, more: &[&str]) -> Output {
    Command::new(BINARY).args(["audit", "verify"]).arg(pack).args(more).output().unwrap()
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The key of an auditor opens the doors of auditors and none else; no other key opens those.
fn an_auditor_reads_the_ledger_and_nothing_else(region: &Region) {
    let rules = format!("/api/v1/audit/rules?shard=1&digest={}", "00".repeat(32));
    let audits = ["/api/v1/audit/log", "/api/v1/audit/statement", "/api/v1/audit/bodies?bundle=0&size=1", &rules];
    for path in audits {
        assert_eq!(region.api("audit", "GET", path, &Value::Null).unwrap().status, 200, "{path}");
        for role in ["admin", "search", "ingest"] {
            assert_eq!(region.api(role, "GET", path, &Value::Null).unwrap().status, 403, "{role} {path}");
        }
    }
    let digest = json!({"sha256": "00".repeat(32)});
    assert_eq!(region.api("search", "POST", "/api/v1/audit/seal", &digest).unwrap().status, 403);
    let others = [
        ("POST", "/api/v1/search", json!({"stream": STREAM})),
        ("POST", "/api/v1/ingest/people", json!({"message": "x"})),
        ("POST", "/api/v1/reveal", json!({"token": "x", "purpose": "fraud"})),
        ("POST", "/api/v1/streams", json!({"name": "new"})),
        ("POST", "/api/v1/subjects/erase", json!({"subject": "visitor-1"})),
        ("POST", "/api/v1/subjects/export", json!({"subject": "visitor-1"})),
        ("POST", "/api/v1/admin/commands", json!({"commands": []})),
        ("POST", "/api/v1/admin/keys/rotate", json!({})),
        ("GET", "/api/v1/subjects/status", Value::Null),
        ("GET", "/api/v1/retention", Value::Null),
        ("GET", "/api/v1/lifecycle", Value::Null),
        ("POST", "/api/v1/lifecycle/run", json!({})),
        ("GET", "/api/v1/storage", Value::Null),
        ("POST", "/api/v1/storage/verify", json!({"segment": "0"})),
        ("POST", "/api/v1/storage/explain", json!({"segment": "0", "query": {"match": {"message": "x"}}})),
        ("POST", "/api/v1/breaches", json!({"step": "opened"})),
        ("GET", "/api/v1/ledger/message?entry=1", Value::Null),
        ("POST", "/api/v1/ledger/destroy", json!({"entry": 1, "ground": "court_order", "signature": ""})),
        ("GET", "/api/v1/admin/keys", Value::Null),
        ("GET", "/api/v1/admin/streams", Value::Null),
        ("GET", "/api/v1/admin/tenants", Value::Null),
        ("GET", "/api/v1/admin/dictionary", Value::Null),
    ];
    for (method, path, body) in others {
        assert_eq!(region.api("audit", method, path, &body).unwrap().status, 403, "{path}");
    }
    for path in [format!("/{STREAM}/_search"), format!("/{STREAM}/_count"), "/_search".to_owned()] {
        assert_eq!(region.es("audit", "POST", &path, &json!({})).unwrap().status, 403, "{path}");
    }
    let other = region.api("audit", "GET", "/api/v1/audit/statement?tenant=nobody", &Value::Null).unwrap();
    assert_eq!(other.status, 403, "no word about whether there is one");
}

/// What an act entered lies under the checkpoint that is shown a moment later, also in the second before one would be signed.
fn a_checkpoint_is_over_all_that_was_entered_before_it_was_asked_for(region: &Region) {
    for _ in 0..5 {
        let opened = region.api("admin", "POST", "/api/v1/breaches", &json!({"step": "opened"})).unwrap();
        assert_eq!(opened.status, 200, "{}", opened.text());
        let entered = region.api("audit", "GET", "/api/v1/ledger?limit=1", &Value::Null).unwrap().json();
        let entered = entered["head"]["size"].as_u64().expect("a head");
        let shown = region.api("audit", "GET", "/api/v1/audit/log", &Value::Null).unwrap().json();
        let size = shown["checkpoint"].as_str().and_then(|note| note.lines().nth(1)?.parse::<u64>().ok());
        assert!(size.is_some_and(|size| size >= entered), "{entered} entries and the checkpoint is of {size:?}");
    }
}

/// One bit changed, in every file in turn and at places that follow from a fixed seed: the check fails and names the file.
/// `DOMICILE_FLIPS` of them; 300 without it.
fn a_changed_bit_is_seen_in_every_file(pack: &Path) {
    let files: Vec<(PathBuf, Vec<u8>)> =
        files(pack).into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
    let files: Vec<_> = files.into_iter().filter(|(_, whole)| !whole.is_empty()).collect();
    let wanted = std::env::var("DOMICILE_FLIPS").ok().and_then(|text| text.parse().ok()).unwrap_or(300_usize);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for (path, whole) in files.iter().cycle().take(wanted.max(files.len())) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let place = usize::try_from(state >> 8).unwrap() % whole.len();
        let mut flipped = whole.clone();
        flipped[place] ^= 1 << (state % 8);
        std::fs::write(path, &flipped).unwrap();
        let output = verify(pack, &[]);
        let name = path.strip_prefix(pack).unwrap().display().to_string();
        let first = said(&output).lines().next().unwrap_or_default().to_owned();
        assert!(!output.status.success() && first.starts_with("NOT SOUND"), "{name}, byte {place}: {first}");
        assert!(first.contains(&name), "{name}, byte {place} is named: {first}");
        std::fs::write(path, whole).unwrap();
    }
    assert!(verify(pack, &[]).status.success(), "as it was, it is sound");
}

/// The manifest by `sha256sum`, and each ledger by a script that shares nothing with the product.
fn others_find_the_same(pack: &Path) {
    let sums =
        Command::new("sha256sum").args(["--check", "--quiet", "--strict", "SHA256SUMS"]).current_dir(pack).output();
    let sums = sums.unwrap();
    assert!(sums.status.success(), "{}", String::from_utf8_lossy(&sums.stdout));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/check_ledger.py");
    for region in REGIONS {
        let log = pack.join("regions").join(region).join("log");
        let output = Command::new("python3").arg(&script).arg(&log).output().unwrap();
        assert!(output.status.success(), "{region}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(said(&output).contains(&format!("/{region}/")), "{}", said(&output));
    }
}

/// Trees, proofs and signatures by pymerkle and PyNaCl, which share nothing with the product: they find the same, and find a
/// changed byte wherever it is.
fn others_verify_it(pack: &Path) {
    let Some(python) = require_python_with("DOMICILE_PYMERKLE", "pymerkle, nacl") else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/check_pack.py");
    let log = pack.join("regions/tokyo/log");
    let check = |more: &[&str]| Command::new(&python).arg(&script).arg(pack).args(more).output().unwrap();
    let output = check(&[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for region in REGIONS {
        let log = pack.join("regions").join(region).join("log");
        let head = said(&Command::new(BINARY).args(["audit", "verify"]).arg(log).output().unwrap());
        let root = head.lines().find_map(|line| line.trim().strip_prefix("root ")).expect("a root").to_owned();
        assert!(said(&output).contains(&root), "{region}: {root} is not in {}", said(&output));
    }
    for number in ["1", "7"] {
        let proof = pack.with_extension("proof");
        let made = Command::new(BINARY).args(["audit", "prove"]).arg(&log).args(["--entry", number]).output().unwrap();
        std::fs::write(&proof, made.stdout).unwrap();
        let (log, proof) = (log.display().to_string(), proof.display().to_string());
        let output = check(&[&log, number, &proof]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let other = if number == "1" { "2" } else { "1" };
        assert!(!check(&[&log, other, &proof]).status.success(), "the proof is of another entry");
    }
    let home = files(&log).into_iter().filter(|path| !path.iter().any(|part| part == "0" || part == "1"));
    let told: Vec<PathBuf> = home.filter(|path| !path.ends_with("cosigned") && !path.ends_with("witnesses")).collect();
    assert!(told.len() >= 4, "key, checkpoint, bundle and bodies: {told:?}");
    for path in told.iter().chain([&pack.join("regions/tokyo/statement.json")]) {
        let whole = std::fs::read(path).unwrap();
        let mut changed = whole.clone();
        let place = changed.len() / 2;
        changed[place] ^= 1;
        std::fs::write(path, &changed).unwrap();
        assert!(!check(&[]).status.success(), "{} was changed", path.display());
        std::fs::write(path, whole).unwrap();
    }
    assert!(check(&[]).status.success(), "as it was, it holds");
}

/// The evidence of attacks is made again by the same program, to the same numbers.
fn the_attacks_come_to_the_same_again(pack: &Path) {
    let output = Command::new(BINARY).args(["audit", "selftest", "--pack"]).arg(pack).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("The same program came to the same numbers"), "{words}{}", said(&output));
}

/// Whom the nodes honour is told, and held against the officers' public keys as `pki init` made them; of a ledger alone likewise.
fn the_officers_are_held_against_their_keys(cluster: &Cluster, pack: &Path, unheld: &str) {
    let file = |region: &str| cluster.data().join("pki").join(region).join("officer.pub").display().to_string();
    let given = |region: &str, of: &str| ["--officer".to_owned(), format!("{region}={}", file(of))];
    let run = |dir: &Path, given: &[String]| verify(dir, &given.iter().map(String::as_str).collect::<Vec<_>>());
    for region in REGIONS {
        let key = std::fs::read_to_string(file(region)).unwrap();
        assert!(unheld.lines().any(|line| line.contains(&format!("officer of {region}")) && line.contains(key.trim())));
    }
    let right = REGIONS.map(|region| given(region, region)).concat();
    let held = run(pack, &right);
    assert!(held.status.success() && said(&held).matches("(as you gave it)").count() == 3, "{}", said(&held));
    let wrong = given("tokyo", "frankfurt");
    let log = pack.join("regions/tokyo/log");
    for dir in [pack, &log] {
        let refused = run(dir, &wrong);
        let text = said(&refused);
        assert!(!refused.status.success() && text.contains("no key that you gave for the officer of tokyo"), "{text}");
    }
    assert!(run(&log, &given("tokyo", "tokyo")).status.success());
    assert!(!run(&log, &given("frankfurt", "frankfurt")).status.success(), "there is no ledger of it");
}

/// Under strace: no socket is made, nobody is connected to.
fn no_network_is_used(pack: &Path) {
    let Some(strace) = require("strace") else { return };
    let trace = pack.with_extension("trace");
    let mut traced = Command::new(strace);
    traced.args(["-f", "-qq", "-e", "trace=%network", "-o"]).arg(&trace);
    let output = traced.arg(BINARY).args(["audit", "verify"]).arg(pack).output().unwrap();
    if !trace.is_file() || said(&output).is_empty() {
        // A container may forbid it; where everything is required this must not pass for a measurement.
        assert!(!everything_is_required(), "strace may not trace here: {}", String::from_utf8_lossy(&output.stderr));
        eprintln!("SKIPPED: no_network_is_used: strace may not trace here");
        return;
    }
    assert!(output.status.success(), "{}", said(&output));
    let trace = std::fs::read_to_string(trace).unwrap();
    let calls: Vec<&str> = trace.lines().filter(|line| line.contains('(')).collect();
    // The runtime makes a pair of connected sockets to wake itself: they lead nowhere.
    let used: Vec<&&str> = calls.iter().filter(|line| !line.contains(" socketpair(")).collect();
    assert!(used.is_empty(), "{used:?}");
}

/// Makes a region's disk full by its configuration, so that segments are due to move to its bucket.
fn fill_disk(cluster: &Cluster, region: &str) {
    let path = cluster.configuration(region);
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, lifecycle) = text.split_once("[lifecycle]\n").expect("`dev` writes every section");
    let rest = lifecycle.find("\n[").map_or("", |end| &lifecycle[end + 1..]);
    let full = "[lifecycle]\ndisk_mark_bytes = 1\nmove_bytes_per_second = 1000000000\n\n";
    std::fs::write(path, format!("{before}{full}{rest}")).unwrap();
}

/// The segments are made anew without whom was erased, and every one of them goes to the region's bucket.
fn segments_are_purged_and_moved(cluster: &Cluster, region: &str) {
    let mut last = String::new();
    let moved = wait_until(Duration::from_secs(60), || {
        cluster.command(&["subject", "purge", "--region", region]).ok()?;
        cluster.command(&["lifecycle", "run", "--region", region]).ok()?;
        last = cluster.command(&["storage", "ls", "--region", region, "--json"]).ok()?;
        let listed: Value = serde_json::from_str(&last).unwrap();
        let rows = listed["segments"].as_array().unwrap();
        (!rows.is_empty() && rows.iter().all(|row| row["tier"] == "cold")).then_some(())
    });
    moved.unwrap_or_else(|| panic!("not all of it is moved: {last}"));
}

/// A route is closed, so that a question is refused; another is signed; and the register of breaches has one with a clock that runs
/// and one that ran out.
fn a_policy_is_changed_and_a_breach_is_opened(cluster: &Cluster, asked: &Value) {
    cluster.command(&["transfer", "revoke", "singapore", "tokyo"]).unwrap();
    let approve = ["transfer", "approve", "tokyo", "frankfurt", "--basis", "adequacy", "--review-by", "2029-01-31"];
    cluster.command(&approve).unwrap();
    let tokyo = cluster.region("tokyo");
    let refused = wait_until(Duration::from_secs(30), || {
        let answer = tokyo.api("search", "POST", "/api/v1/search", asked).unwrap().json();
        (answer["coverage"]["singapore"]["status"] == "refused").then_some(answer)
    });
    let refused = refused.expect("Singapore's answers may not come to Tokyo");
    assert_eq!(refused["coverage"]["singapore"]["code"], "NoTransferBasis", "{refused}");
    let id = cluster.command(&["breach", "open", "--region", "tokyo"]).unwrap();
    assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    let judge = ["breach", "assess", &id, "--notifiable", "--malicious", "--region", "tokyo"];
    cluster.command(&judge).unwrap();
    cluster.command(&["breach", "notified", &id, "--whom", "appi-first", "--region", "tokyo"]).unwrap();
    let old = ["breach", "open", "--region", "frankfurt", "--when", "2026-01-01T00:00:00Z"];
    assert_ne!(cluster.command(&old).unwrap(), id);
    let unknown = ["breach", "close", &id, "--region", "frankfurt"];
    assert!(cluster.command(&unknown).is_err(), "another region's breach is none of this one's");
    let body = json!({"tenant": "default", "step": "opened"});
    for role in ["audit", "search", "ingest"] {
        assert_eq!(tokyo.api(role, "POST", "/api/v1/breaches", &body).unwrap().status, 403, "{role}");
    }
    let listed = tokyo.api("audit", "GET", "/api/v1/audit/breaches", &Value::Null).unwrap().json();
    assert_eq!(listed["breaches"].as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(listed["breaches"][0]["told"][0]["whom"], "appi_first", "{listed}");
}

/// What the registers of the pack say of it.
fn the_registers_say_what_happened(pack: &Path) {
    let table = |name: &str| std::fs::read_to_string(pack.join("csv").join(name)).unwrap();
    for (name, wanted) in [
        ("transfers.csv", "closed: nothing may go this way"),
        ("transfers.csv", "the region's officer, consent"),
        ("transfers.csv", "ATTENTION: open by the region's file"),
        ("policy-history.csv", "to tokyo: closed"),
        ("refused.csv", "singapore"),
        ("breaches.csv", "notifiable, malice likely"),
        ("breach-clocks.csv", "runs, "),
        ("breach-clocks.csv", "ATTENTION: "),
        ("buckets.csv", "in its region"),
        ("segments.csv", "bucket of the region alone"),
        ("entries.csv", "segment moved"),
        ("attacks.csv", "one user with ten thousand records"),
        ("attacked-rules.csv", "tokyo/people"),
        ("attacks-by.csv", "every node of this pack"),
        ("cosigners.csv", "witness."),
        ("cosigners.csv", "none; the ledgers are vouched for by their own operator alone"),
    ] {
        assert!(table(name).contains(wanted), "{name} has no `{wanted}`: {}", table(name));
    }
    let segments = table("segments.csv");
    let durable: Vec<&str> =
        segments.lines().skip(1).filter(|row| !row.contains("memory and write-ahead log")).collect();
    assert!(durable.iter().all(|row| row.contains("(entry ")), "of each it is told what it was made of: {segments}");
    let anew = durable.iter().filter(|row| row.starts_with("tokyo,") && !row.contains("the log (entry "));
    assert!(anew.count() > 0, "what was made anew is told to be: {segments}");
    let missing = table("missing.csv");
    assert_eq!(missing.lines().count(), 1, "no node is missing: {missing}");
}

/// A pack of all nodes of a region; and of those that answer, with the other one named.
#[test]
fn a_pack_holds_the_ledger_of_every_node_that_is_reached_and_names_the_others() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    fill(&cluster.region("tokyo"));
    let node = Second::prepare(&cluster).unwrap();
    node.approve(&cluster).unwrap();
    cluster.launch(SECOND).unwrap();
    let second = node.region(&cluster);
    let profile = cluster.data().join("profile.toml");
    let text = std::fs::read_to_string(&profile).unwrap();
    let head = "[regions.tokyo]\n";
    assert!(text.contains(head), "the profile has another form");
    let beside = format!("{head}other_nodes = [\"{}\"]\n", second.doors.api);
    std::fs::write(&profile, text.replace(head, &beside)).unwrap();
    let pack = cluster.data().parent().unwrap().join("pack");
    let report = |cluster: &Cluster, dir: &Path| {
        std::fs::remove_dir_all(dir).ok();
        let name = dir.file_name().unwrap().to_string_lossy().into_owned();
        cluster.command(&["audit", "report", "--regions", "tokyo", "--out", &name])
    };
    let told = wait_until(Duration::from_secs(120), || {
        let told = report(&cluster, &pack).ok()?;
        let is_whole =
            pack.join("regions/tokyo+4/log/cosigned").is_file() && pack.join("regions/tokyo/log/cosigned").is_file();
        is_whole.then_some(told)
    });
    let told = told.expect("both nodes are in the pack, cosigned");
    assert!(told.contains("SOUND"), "{told}");
    let output = verify(&pack, &[]);
    assert!(output.status.success(), "{}", said(&output));
    let ledgers = std::fs::read_to_string(pack.join("csv/ledgers.csv")).unwrap();
    assert!(ledgers.contains("/tokyo/1") && ledgers.contains("/tokyo/4"), "{ledgers}");
    let missing = std::fs::read_to_string(pack.join("csv/missing.csv")).unwrap();
    assert!(!missing.contains("tokyo"), "{missing}");
    assert!(missing.contains("singapore"), "a region that was left out is named: {missing}");
    // One byte of the second node's own ledger, and its cosignatures.
    for name in ["regions/tokyo+4/log/checkpoint", "regions/tokyo+4/log/cosigned", "regions/tokyo+4/statement.json"] {
        let (path, whole) = (pack.join(name), std::fs::read(pack.join(name)).unwrap());
        let mut changed = whole.clone();
        let last = changed.len() - 3;
        changed[last] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        let first = said(&verify(&pack, &[])).lines().next().unwrap_or_default().to_owned();
        assert!(first.starts_with("NOT SOUND") && first.contains(name), "{name}: {first}");
        std::fs::write(&path, whole).unwrap();
    }
    cluster.kill(SECOND).unwrap();
    let partial = pack.with_file_name("partial");
    let told = report(&cluster, &partial).unwrap();
    assert!(told.contains("SOUND"), "{told}");
    let missing = std::fs::read_to_string(partial.join("csv/missing.csv")).unwrap();
    assert!(missing.contains("tokyo,4"), "the node that was not reached is named: {missing}");
    assert!(!partial.join("regions/tokyo+4").try_exists().unwrap(), "half a copy is none");
}

#[test]
fn a_whole_run_ends_in_a_pack_that_holds_until_a_byte_of_it_is_changed() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    for region in REGIONS {
        cluster
            .command(&["stream", "create", STREAM, "--tenant", "default", "--subject", "uid", "--region", region])
            .ok();
        fill(&cluster.region(region));
    }
    cluster
        .split_with(|cluster| {
            fill_disk(cluster, "tokyo");
            Ok(())
        })
        .unwrap();
    let tokyo = cluster.region("tokyo");
    let asked =
        json!({"stream": STREAM, "ask": "count", "regions": ["*"], "from": utc(DAY_MS), "to": utc(DAY_MS + 3_600_000)});
    for _ in 0..3 {
        assert_eq!(tokyo.api("search", "POST", "/api/v1/search", &asked).unwrap().status, 200);
    }
    let erased = tokyo.api("admin", "POST", "/api/v1/subjects/erase", &json!({"subject": "visitor-7"})).unwrap();
    assert_eq!(erased.status, 200, "{}", erased.text());
    segments_are_purged_and_moved(&cluster, "tokyo");
    cluster.command(&["dictionary", "approve", "frankfurt", "level", "NOTICE"]).unwrap();
    a_policy_is_changed_and_a_breach_is_opened(&cluster, &asked);
    an_auditor_reads_the_ledger_and_nothing_else(&tokyo);
    a_checkpoint_is_over_all_that_was_entered_before_it_was_asked_for(&tokyo);

    let pack = cluster.data().parent().unwrap().join("pack");
    // Others cosign every ten seconds; the order must be in the pack.
    let said_first = wait_until(Duration::from_secs(60), || {
        std::fs::remove_dir_all(&pack).ok();
        let told = cluster.command(&["audit", "report", "--tenant", "default", "--out", "pack"]).ok()?;
        let report = std::fs::read_to_string(pack.join("csv/erasures.csv")).ok()?;
        let has_crossings = std::fs::read_to_string(pack.join("csv/crossings.csv")).ok()?.contains("question");
        let places = REGIONS.map(|region| pack.join("regions").join(region).join("log/cosigned"));
        let is_cosigned = places.iter().all(|path| path.is_file());
        let is_moved = std::fs::read_to_string(pack.join("csv/entries.csv")).ok()?.contains("segment moved");
        let is_whole = has_crossings && is_cosigned && is_moved && report.contains("tokyo");
        (is_whole && told.contains("SOUND")).then_some(told)
    });
    let said_first = said_first.expect("a sound pack with the order in it");
    assert!(said_first.contains("SOUND: the audit pack of tenant `default`"), "{said_first}");

    let output = verify(&pack, &[]);
    let text = said(&output);
    assert!(output.status.success() && text.starts_with("SOUND:"), "{text}");
    assert_eq!(text.lines().filter(|line| line.contains("holds  ")).count(), 10, "{text}");
    assert_eq!(text.lines().filter(|line| line.contains("not applicable")).count(), 3, "{text}");
    for path in files(&pack) {
        let bytes = std::fs::read(&path).unwrap();
        let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(!has(CANARY) && !has("visitor-7"), "{}", path.display());
    }
    the_registers_say_what_happened(&pack);
    assert!(text.contains("not independent: no witness outside"), "{text}");
    others_find_the_same(&pack);
    others_verify_it(&pack);
    no_network_is_used(&pack);
    the_attacks_come_to_the_same_again(&pack);
    a_browser_shows_the_report(&pack);
    let keys: Vec<String> = REGIONS
        .iter()
        .map(|region| pack.join("regions").join(region).join("log/log.vkey").display().to_string())
        .collect();
    let all: Vec<&str> = keys.iter().flat_map(|key| ["--key", key.as_str()]).collect();
    assert!(verify(&pack, &all).status.success());
    assert!(!verify(&pack, &all[..4]).status.success(), "a log without a pinned key is not believed");
    the_officers_are_held_against_their_keys(&cluster, &pack, &text);
    let release = cluster.data().parent().unwrap().join("release");
    std::fs::write(&release, format!("{}  domicile\n", "00".repeat(32))).unwrap();
    assert!(said(&verify(&pack, &["--release", &release.display().to_string()])).contains(" 12  FAILS"));
    let breach = ["audit", "breach", "pack", "--from", "2020-01-01T00:00:00Z", "--to", "2030-01-01T00:00:00Z"];
    let facts = cluster.command(&breach).unwrap();
    for wanted in ["GDPR Art. 33", "PDPA s. 26D", "PPC", "stream `people`: at most"] {
        assert!(facts.contains(wanted), "{wanted}: {facts}");
    }
    a_changed_bit_is_seen_in_every_file(&pack);
    std::fs::write(pack.join("csv/more.csv"), "").unwrap();
    assert!(said(&verify(&pack, &[])).contains("`csv/more.csv`: the manifest does not name this file"));
}
