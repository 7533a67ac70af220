//! A signed command that somebody kept: after a revocation it opens nothing any more, through whichever door it comes.

use std::time::Duration;

use domicile_proto::ids::{ConsentSerial, TenantId};
use domicile_proto::metadata::{AccessKey, Change, Command, Roles, Rows};
use domicile_proto::officer::OfficerKey;
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::{http, wait_until};
use serde_json::{Value, json};

use crate::{calm_cluster, undisturbed};

/// A key of the region and the SHA-256 under which the metadata group knows it.
const VISITOR: (&str, &str) = (
    "dmc_tokyo_5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a",
    "d018e4d686985bcbf5a5960dc3bb37ce94f28f738f31003b19868eca00b3b1d7",
);
const MARKER: (&str, &str) = (
    "dmc_tokyo_3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c",
    "124fdb93232122afa2d0f5a71cf09b87abfa116923b0bfa9cf18b2d2c5e70659",
);

#[test]
fn a_revoked_key_stays_dead_when_its_old_consent_is_replayed() {
    let cluster = calm_cluster();
    let (tokyo, frankfurt) = (cluster.region("tokyo"), cluster.region("frankfurt"));
    let officer = std::fs::read(cluster.data().join("pki/tokyo/officer.key")).unwrap();
    let officer = OfficerKey::from_pkcs8(&officer).unwrap();
    let newest = newest_serial(&tokyo);
    let sign = |serial: u64, name: &str, (_, hash): (&str, &str)| {
        let roles = Roles { search: true, ..Roles::default() };
        let hash = hex::decode(hash).unwrap().try_into().unwrap();
        let key = AccessKey { id: name.parse().unwrap(), tenant: TenantId(1), hash, roles, rows: Rows::None };
        Command::Regional(officer.sign("tokyo".parse().unwrap(), ConsentSerial(serial), Change::AddKey(key)))
    };
    let kept = sign(newest + 1, "visitor", VISITOR);
    let opens = |key: (&str, &str)| wait_until(Duration::from_secs(30), || (status(&tokyo, key) == 200).then_some(()));
    assert_eq!(decide(&tokyo, &kept), json!("Done"));
    opens(VISITOR).expect("the visitor's key is valid");
    assert_eq!(decide(&tokyo, &kept), json!("Done"), "an answer may be lost");

    cluster.command(&["key", "revoke", "visitor", "--region", "tokyo"]).unwrap();
    let closes = wait_until(Duration::from_secs(30), || (status(&tokyo, VISITOR) == 401).then_some(()));
    closes.expect("the visitor's key is revoked");
    for door in [&tokyo, &frankfurt] {
        assert_eq!(decide(door, &kept), json!({"Refused": "OldSerial"}), "through `{}`", door.name);
    }
    // What is decided after the replay is in force: then the replay has had its time.
    assert_eq!(decide(&tokyo, &sign(newest + 2, "marker", MARKER)), json!("Done"));
    opens(MARKER).expect("a new key is valid");
    assert_eq!(status(&tokyo, VISITOR), 401);
    assert_eq!(decide(&frankfurt, &kept), json!({"Refused": "OldSerial"}));

    let Command::Regional(mut forged) = sign(newest + 3, "visitor", VISITOR) else { unreachable!() };
    if let Change::AddKey(key) = &mut forged.change {
        key.roles.admin = true;
    }
    assert_eq!(decide(&frankfurt, &Command::Regional(forged)), json!({"Refused": "Forged"}));
    assert_eq!(newest_serial(&tokyo), newest + 2, "what was refused used no serial up");

    // The officer's own tool goes on above the newest, and may grant again what was revoked.
    let again =
        cluster.command(&["key", "create", "visitor", "--tenant", "default", "--role", "search", "--region", "tokyo"]);
    let again = again.unwrap();
    opens((&again, "")).expect("signed again");
    assert_eq!(status(&tokyo, VISITOR), 401, "the old key is another one");
    undisturbed(&cluster);
}

fn status(region: &Region, (key, _): (&str, &str)) -> u16 {
    let key = format!("Bearer {key}");
    let url = format!("{}/api/v1/whoami", region.doors.api);
    http::request("GET", &url, &[("Authorization", &key)], &[]).unwrap().status
}

/// What became of one command.
#[track_caller]
fn decide(region: &Region, command: &Command) -> Value {
    let answer = region.api("admin", "POST", "/api/v1/admin/commands", &json!({"commands": [command]})).unwrap();
    assert_eq!(answer.status, 200, "{}: {}", region.name, answer.text());
    answer.json()["applied"][0].clone()
}

fn newest_serial(region: &Region) -> u64 {
    let status = region.api("admin", "GET", "/api/v1/status", &Value::Null).unwrap().json();
    let consents = status["consents"].as_array().expect("a list").clone();
    let own = consents.iter().find(|row| row["region"] == region.name.as_str());
    own.expect("the officer has signed at the beginning")["serial"].as_u64().expect("a number")
}
