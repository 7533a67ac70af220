//! The official Python clients, versions 8 and 9, as their users run them.

use std::process::Command;

use domicile_tests::cluster::Cluster;
use domicile_tests::cluster::require::require_python_client;

use crate::BINARY;

#[test]
fn the_python_clients_write_search_and_count() {
    let clients: Vec<_> =
        [8, 9].into_iter().filter_map(|version| Some((version, require_python_client(version)?))).collect();
    if clients.is_empty() {
        return;
    }
    let cluster = Cluster::start(BINARY, &[]).unwrap();
    let tokyo = cluster.region("tokyo");
    for (version, python) in clients {
        let output = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/clients/elasticsearch_client.py"))
            .args([tokyo.doors.es.as_str(), tokyo.keys["ingest"].as_str(), tokyo.keys["search"].as_str()])
            .arg(format!("client-{version}"))
            .output()
            .unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && out.trim_end().ends_with("all is well"), "client {version}: {out}\n{err}");
    }
}
