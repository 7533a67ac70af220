//! No key, a wrong key, another region's key, a revoked key, a key of another role or tenant: refused, and told so.

use std::time::Duration;

use domicile_tests::cluster::fixture::{bulk, events};
use domicile_tests::cluster::{http, wait_until};
use serde_json::json;

use crate::{calm_cluster, undisturbed};

#[test]
fn only_the_right_key_opens_a_door() {
    let cluster = calm_cluster();
    let (tokyo, frankfurt) = (cluster.region("tokyo"), cluster.region("frankfurt"));
    let url = format!("{}/calm/_count", tokyo.doors.es);
    let status = |headers: &[(&str, &str)]| http::request("POST", &url, headers, b"{}").unwrap();

    let none = status(&[]);
    assert_eq!(none.status, 401, "no key: {}", none.text());
    for (what, key) in [
        ("a wrong key", "Bearer AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned()),
        ("an empty key", "Bearer ".to_owned()),
        ("no known scheme", "Digest x".to_owned()),
        ("broken Basic", "Basic %%%".to_owned()),
        ("another region's key", frankfurt.authorization("search")),
        ("a key with more at its end", format!("{}x", tokyo.authorization("search"))),
        ("a very long key", format!("Bearer {}", "k".repeat(6_000))),
    ] {
        let answer = status(&[("Authorization", key.as_str())]);
        assert!([401, 403].contains(&answer.status), "{what}: {} {}", answer.status, answer.text());
        let shown = key.split(' ').next_back().filter(|secret| secret.len() > 8);
        assert!(shown.is_none_or(|secret| !answer.text().contains(secret)), "{what} is repeated in the answer");
    }
    let ingest = status(&[("Authorization", &tokyo.authorization("ingest"))]);
    assert_eq!(ingest.status, 403, "an ingest key that asks: {}", ingest.text());
    let search = http::request(
        "POST",
        &format!("{}/calm/_bulk", tokyo.doors.es),
        &[("Authorization", &tokyo.authorization("search")), ("Content-Type", "application/x-ndjson")],
        b"{\"create\":{}}\n{\"message\":\"x\"}\n",
    );
    assert_eq!(search.unwrap().status, 403, "a search key that writes");
    let admin = tokyo.api("search", "POST", "/api/v1/admin/commands", &json!({"commands": []})).unwrap();
    assert_eq!(admin.status, 403, "a search key that administers: {}", admin.text());
    undisturbed(&cluster);
}

#[test]
fn a_revoked_key_opens_nothing_and_another_tenant_sees_nothing() {
    let cluster = calm_cluster();
    let tokyo = cluster.region("tokyo");
    cluster.command(&["tenant", "create", "rival", "--at", "tokyo"]).unwrap();
    let key = |name: &str, roles: &[&str]| {
        let mut arguments = vec!["key", "create", name, "--tenant", "rival", "--region", "tokyo"];
        roles.iter().for_each(|role| arguments.extend(["--role", role]));
        cluster.command(&arguments).unwrap()
    };
    let (ingest, search) = (key("rival-in", &["ingest", "create"]), key("rival-out", &["search"]));
    let mut rival = tokyo.clone();
    rival.keys.insert("ingest".to_owned(), ingest);
    rival.keys.insert("search".to_owned(), search);

    let foreign = rival.es("search", "POST", "/calm/_count", &json!({})).unwrap();
    assert_eq!(foreign.status, 404, "another tenant's stream is no stream: {}", foreign.text());
    let (some, _) = events(71, 5, 1);
    assert_eq!(rival.bulk("calm", &bulk(&some, None), &[]).unwrap().status, 200, "the same name, its own stream");
    rival.refresh("calm");
    assert_eq!(rival.count("calm").unwrap(), 5);
    undisturbed(&cluster);

    cluster.command(&["key", "revoke", "rival-out", "--region", "tokyo"]).unwrap();
    let refused = wait_until(Duration::from_secs(10), || {
        let answer = rival.es("search", "POST", "/calm/_count", &json!({})).unwrap();
        ([401, 403].contains(&answer.status)).then_some(())
    });
    refused.expect("a revoked key is refused");
    undisturbed(&cluster);
}

#[test]
fn what_a_command_has_done_holds_for_the_next_request() {
    let cluster = calm_cluster();
    for number in 0..16 {
        let mut tokyo = cluster.region("tokyo");
        let name = format!("quick-{number}");
        cluster.command(&["tenant", "create", &name, "--at", "tokyo"]).unwrap();
        let create = ["key", "create", &name, "--tenant", &name, "--region", "tokyo", "--role", "ingest"];
        let key = cluster.command(&[&create[..], &["--role", "create"]].concat()).unwrap();
        tokyo.keys.insert("ingest".to_owned(), key);
        let (some, _) = events(72, 1, 1);
        let taken = tokyo.bulk("app", &bulk(&some, None), &[]).unwrap();
        assert_eq!(taken.status, 200, "{name}: {}", taken.text());
        cluster.command(&["key", "revoke", &name, "--region", "tokyo"]).unwrap();
        let refused = tokyo.bulk("app", &bulk(&some, None), &[]).unwrap();
        assert_eq!(refused.status, 401, "{name}: {}", refused.text());
    }
    let unknown = cluster.command(&["key", "revoke", "nobody", "--region", "tokyo"]).unwrap_err().to_string();
    assert!(unknown.contains("knew no key `nobody`"), "{unknown}");
    undisturbed(&cluster);
}
