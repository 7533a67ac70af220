//! What clients ask before they trust a server: who it is, its health, its licence. Shapes of Elasticsearch 8.

use domicile_proto::ids::{NodeId, Region};
use serde_json::{Value, json};

/// The version whose API is spoken. Clients of 7.16 to 9 take it; it is no claim of origin.
pub(super) const VERSION: &str = "8.17.0";

/// `GET /`.
pub(super) fn root(region: &Region, node: NodeId) -> Value {
    json!({
        "name": format!("{region}-{node}"),
        "cluster_name": region.as_str(),
        "cluster_uuid": format!("domicile-{region}"),
        "version": {
            "number": VERSION,
            "build_flavor": "default",
            "build_type": "tar",
            "build_hash": "domicile",
            "build_date": "2026-01-01T00:00:00.000000000Z",
            "build_snapshot": false,
            "lucene_version": "9.12.0",
            "minimum_wire_compatibility_version": "7.17.0",
            "minimum_index_compatibility_version": "7.0.0",
        },
        "tagline": "You Know, for Search",
    })
}

/// `GET /_license`.
pub(super) fn license() -> Value {
    json!({"license": {
        "status": "active",
        "uid": "00000000-0000-0000-0000-000000000000",
        "type": "basic",
        "issue_date": "2026-01-01T00:00:00.000Z",
        "issue_date_in_millis": 1_767_225_600_000_i64,
        "max_nodes": null,
        "max_resource_units": null,
        "issued_to": "domicile",
        "issuer": "domicile",
        "start_date_in_millis": -1,
    }})
}

/// `GET /_xpack`.
pub(super) fn xpack() -> Value {
    json!({
        "build": {"hash": "domicile", "date": "2026-01-01T00:00:00.000Z"},
        "license": {"uid": "00000000-0000-0000-0000-000000000000", "type": "basic", "mode": "basic", "status": "active"},
        "features": {"security": {"available": true, "enabled": true}},
        "tagline": "You know, for X",
    })
}

/// `GET /_cluster/health`. Yellow where the metadata group has no leader: local work goes on, new streams wait.
pub(super) fn health(region: &Region, shards: usize, has_leader: bool) -> Value {
    json!({
        "cluster_name": region.as_str(),
        "status": if has_leader { "green" } else { "yellow" },
        "timed_out": false,
        "number_of_nodes": 1,
        "number_of_data_nodes": 1,
        "active_primary_shards": shards,
        "active_shards": shards,
        "relocating_shards": 0,
        "initializing_shards": 0,
        "unassigned_shards": 0,
        "delayed_unassigned_shards": 0,
        "number_of_pending_tasks": 0,
        "number_of_in_flight_fetch": 0,
        "task_max_waiting_in_queue_millis": 0,
        "active_shards_percent_as_number": 100.0,
    })
}

/// `GET /_nodes/http`: clients that sniff find the address they came by.
pub(super) fn nodes(region: &Region, node: NodeId, host: Option<&str>) -> Value {
    let address = host.unwrap_or("127.0.0.1:9200");
    let name = format!("{region}-{node}");
    let about = json!({
        "name": name,
        "transport_address": address,
        "host": address.rsplit_once(':').map_or(address, |(host, _)| host),
        "version": VERSION,
        "build_flavor": "default",
        "build_type": "tar",
        "roles": ["data", "ingest", "master"],
        "http": {"bound_address": [address], "publish_address": address, "max_content_length_in_bytes": 104_857_600},
    });
    let mut nodes = serde_json::Map::new();
    nodes.insert(name, about);
    json!({
        "_nodes": {"total": 1, "successful": 1, "failed": 0},
        "cluster_name": region.as_str(),
        "nodes": nodes,
    })
}
