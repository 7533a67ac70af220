//! An operator of one region who speaks for another, through the product's own door: nobody listens.

use std::time::Duration;

use domicile_proto::metadata::Command;
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::speaker::Speaker;
use domicile_tests::cluster::wait_until;
use serde_json::{Value, json};

use crate::{calm_cluster, undisturbed};

#[test]
fn an_operator_of_frankfurt_decides_nothing_of_tokyo() {
    let cluster = calm_cluster();
    let (tokyo, frankfurt) = (cluster.region("tokyo"), cluster.region("frankfurt"));
    let speaker = |region: &str| Speaker::of(cluster.data(), region).unwrap();
    let (tokyos, frankfurts) = (speaker("tokyo"), speaker("frankfurt"));
    let calm = stream(&tokyo, "calm");
    let bare = json!({"AssignShard": {"stream": calm, "region": "tokyo", "owner": 1, "seen": 1, "word": null}});
    for (command, refusal) in [
        (bare, "Unsigned"),
        (frankfurts.assign_in("tokyo", calm, 1, 1), "Forged"),
        (json!({"RevokeKey": {"region": "tokyo", "id": "dev-search"}}), "OtherRegion"),
        (json!({"RevokeValue": {"region": "tokyo", "tenant": 1, "id": 64}}), "OtherRegion"),
        (json!({"RevokeTransfer": {"from": "tokyo", "to": "frankfurt"}}), "OtherRegion"),
    ] {
        assert_eq!(decide(&frankfurt, &command), json!({"Refused": refusal}), "{command}");
    }
    // Nobody takes out a node of any region without its officer: that is refused at the door.
    let remove = json!({"commands": [{"RemoveNode": {"node": 1}}]});
    let answer = frankfurt.api("admin", "POST", "/api/v1/admin/commands", &remove).unwrap();
    assert!(answer.status == 403 && answer.text().contains("DMC-PRESENT-10"), "{}: {}", answer.status, answer.text());
    undisturbed(&cluster);
    // What Tokyo said itself may come through any door: the word is Tokyo's.
    let applied = decide(&frankfurt, &tokyos.assign(calm, 1, 1));
    assert_eq!(applied["Shard"][1], 2, "{applied}");
    // Until its owner has taken the shard up again it says so, and counts nothing short.
    wait_until(Duration::from_secs(30), || tokyo.count("calm").ok()).expect("taken up again");
    undisturbed(&cluster);
}

/// The id of a stream, asked for by making it again.
fn stream(region: &Region, name: &str) -> u64 {
    let command = Command::CreateStream { tenant: domicile_proto::ids::TenantId(1), stream: name.parse().unwrap() };
    decide(region, &json!(command))["Stream"].as_u64().expect("an id")
}

#[track_caller]
fn decide(region: &Region, command: &Value) -> Value {
    let answer = region.api("admin", "POST", "/api/v1/admin/commands", &json!({"commands": [command]})).unwrap();
    assert_eq!(answer.status, 200, "{}: {}", region.name, answer.text());
    answer.json()["applied"][0].clone()
}
