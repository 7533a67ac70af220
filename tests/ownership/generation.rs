//! Every node of the metadata group is lost. Another group begins with a backup, on a node that never ran; a region is rebuilt in it; and
//! an old node that comes back is none of it.

use std::time::Duration;

use domicile_tests::cluster::second::{SECOND, Second};
use domicile_tests::cluster::{Cluster, READY_WITHIN, REGIONS, http, wait_until};
use serde_json::{Value, json};

use crate::BINARY;
use crate::adopt::{refused, send};
use crate::rebuild::replace;

/// A machine that builds other things meanwhile.
const LONG: Duration = Duration::from_secs(180);

#[test]
fn another_group_begins_with_a_backup_and_nothing_of_the_old_one_comes_into_it() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    let node = Second::beside(&mut cluster, Second::share_bucket).unwrap();
    let (tokyo, new) = (cluster.region("tokyo"), node.region(&cluster));
    let create = ["stream", "create", "orders", "--no-personal-data", "--durability", "bucket", "--region", "tokyo"];
    cluster.command(&create).unwrap();
    for number in 0..4 {
        assert!(wait_until(READY_WITHIN, || send(&tokyo, "orders", number).then_some(())).is_some(), "{number}");
    }
    tokyo.refresh("orders");
    let count = tokyo.count("orders").unwrap();
    let backup = ["meta", "backup", "--out", "group.backup", "--region", "tokyo"];
    cluster.command(&backup).unwrap();
    assert!(refused(&cluster, &backup).contains("replaces no file"));
    let file = cluster.data().parent().unwrap().join("group.backup");
    let bytes = std::fs::read(&file).unwrap();
    for secret in ["keys.json", "profile.toml"] {
        let secrets = std::fs::read_to_string(cluster.data().join(secret)).unwrap();
        for secret in secrets.split('"').filter(|text| text.starts_with("dmc_")) {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "a key is in the backup");
        }
    }
    // Made after the backup: the number of its shard must not be given out twice.
    let late = ["stream", "create", "late", "--no-personal-data", "--durability", "bucket", "--region", "tokyo"];
    cluster.command(&late).unwrap();
    assert!(wait_until(READY_WITHIN, || send(&tokyo, "late", 0).then_some(())).is_some());

    REGIONS.iter().for_each(|region| cluster.kill(region).unwrap());
    let config = cluster.configuration(SECOND);
    replace(&config, "voter = false", "voter = true");
    let text = std::fs::read_to_string(&config).unwrap();
    let seeds = text.find("[[meta.seeds]]").unwrap();
    let behind = text[seeds + 1..].find("\n[").map_or(text.len(), |at| seeds + 1 + at);
    std::fs::write(&config, format!("{}{}", &text[..seeds], &text[behind..])).unwrap();
    let config = config.display().to_string();
    let restore = ["meta", "restore", "group.backup", "--config", &config];
    assert!(refused(&cluster, &restore).contains("--old-group-is-gone"));
    let restore = [&restore[..], &["--old-group-is-gone"]].concat();
    let old = cluster.configuration("tokyo").display().to_string();
    let refusal = refused(&cluster, &["meta", "restore", "group.backup", "--config", &old, "--old-group-is-gone"]);
    assert!(refusal.contains("DMC-META-16"), "{refusal}");
    let broken = file.with_file_name("broken.backup");
    std::fs::write(&broken, &bytes[..bytes.len() - 1]).unwrap();
    let refusal = refused(&cluster, &["meta", "restore", "broken.backup", "--config", &config, "--old-group-is-gone"]);
    assert!(refusal.contains("DMC-META-15"), "{refusal}");
    cluster.command(&restore).unwrap();
    assert!(refused(&cluster, &restore).contains("DMC-META-17"));

    cluster.launch(SECOND).unwrap();
    let is_up = || http::request("GET", &format!("{}/healthz", new.doors.api), &[], &[]).is_ok();
    wait_until(LONG, || is_up().then_some(())).expect("the node of the new group starts");
    let profile = cluster.data().join("profile.toml");
    replace(&profile, &tokyo.doors.api, &new.doors.api);
    replace(&profile, &tokyo.doors.es, &new.doors.es);
    let join = ["node", "join", "--region", "tokyo", "--node", "4", "--addr", &new.doors.link];
    wait_until(LONG, || cluster.command(&join).ok()).expect("the region's officer approves it with a key of before");
    let rebuild = ["region", "rebuild", "--region", "tokyo"];
    wait_until(LONG, || cluster.command(&rebuild).ok()).expect("what lay in the bucket is taken up");
    let counted = wait_until(LONG, || new.count("orders").ok().filter(|found| *found == count));
    assert_eq!(counted, Some(count), "every batch, once: {:?}", new.count("orders"));
    cluster.command(&late).unwrap();
    assert!(wait_until(READY_WITHIN, || send(&new, "late", 1).then_some(())).is_some(), "a new stream is new");
    new.refresh("late");
    assert_eq!(new.count("late").unwrap(), 25, "and not the one that the old group gave the next number");

    // An old node comes back with all that it remembers.
    cluster.launch("tokyo").unwrap();
    let is_up = || http::request("GET", &format!("{}/healthz", tokyo.doors.api), &[], &[]).is_ok();
    wait_until(LONG, || is_up().then_some(())).expect("the old node starts");
    for number in 5..8 {
        assert!(!send(&tokyo, "orders", number), "it writes nothing");
    }
    let status = new.api("admin", "GET", "/api/v1/status", &Value::Null).unwrap().json();
    assert_eq!(status["meta"]["leader"], json!(4), "{status}");
    assert_eq!(new.count("orders").unwrap(), count);
}
