//! The API document: OpenAPI 3.1, kept by hand beside the routes it describes. A test holds every route against it.

use axum::Json;
use serde_json::{Value, json};

/// `GET /api/v1/openapi.json`. Needs no key: it tells nothing about this deployment.
pub(super) async fn document() -> Json<Value> {
    Json(whole())
}

/// The document.
pub(super) fn whole() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Domicile",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Logs stay at home. Answers travel.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"bearer": []}, {"basic": []}],
        "paths": paths(),
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An access key of this region."},
                "basic": {"type": "http", "scheme": "basic", "description": "Any name, the access key as password."},
            },
            "schemas": schemas(),
        },
    })
}

fn answer(description: &str) -> Value {
    let json_body = json!({"application/json": {"schema": {"type": "object"}}});
    let failed = json!({"description": "What failed and what to do.", "content": {
        "application/json": {"schema": {"$ref": "#/components/schemas/Failure"}},
    }});
    json!({"200": {"description": description, "content": json_body}, "default": failed})
}

fn read(summary: &str, description: &str) -> Value {
    json!({"summary": summary, "responses": answer(description)})
}

fn change(summary: &str, schema: &str, description: &str) -> Value {
    let schema = json!({"$ref": format!("#/components/schemas/{schema}")});
    json!({
        "summary": summary,
        "requestBody": {"required": true, "content": {"application/json": {"schema": schema}}},
        "responses": answer(description),
    })
}

/// Every path, in two parts: the macro takes only so many at once.
fn paths() -> Value {
    let mut all = asked();
    if let (Some(all), Value::Object(more)) = (all.as_object_mut(), administered()) {
        all.extend(more);
    }
    all
}

fn asked() -> Value {
    let plain =
        |summary: &str| json!({"summary": summary, "security": [], "responses": {"200": {"description": "Text."}}});
    json!({
        "/healthz": {"get": plain("Whether the process answers.")},
        "/readyz": {"get": plain("Whether the node takes and searches records; 503 names what it cannot do, and why.")},
        "/readyz/ingest": {"get": plain("Whether the node takes records.")},
        "/readyz/search": {"get": plain("Whether the node answers questions.")},
        "/metrics": {"get": plain("Own metrics in the OpenMetrics text format.")},
        "/api/v1/openapi.json": {"get": {
            "summary": "This document.", "security": [], "responses": {"200": {"description": "OpenAPI 3.1."}},
        }},
        "/api/v1/ingest/{stream}": {
            "parameters": [{"name": "stream", "in": "path", "required": true, "schema": {"type": "string"}}],
            "post": {
                "summary": "Sends JSON lines, or plain text lines with a `text/…` type.",
                "requestBody": {"required": true, "content": {
                    "application/x-ndjson": {"schema": {"type": "string"}}, "text/plain": {"schema": {"type": "string"}},
                }},
                "responses": answer("How many were accepted, and which were not."),
            },
        },
        "/api/v1/search": {"post": change(
            "Asks this region or several.", "Search",
            "Numbers with coverage of every region that was asked; rows of this region.",
        )},
        "/api/v1/reveal": {"post": change(
            "Reveals the original behind a token; role `reveal`, rows `full`. The ledger has the request before the answer.",
            "Reveal", "The original, and the entry of the ledger.",
        )},
        "/api/v1/ledger": {
            "parameters": [
                {"name": "after", "in": "query", "schema": {"type": "integer"}, "description": "Number of the last entry known."},
                {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 1_000}},
            ],
            "get": read(
                "The ledger's entries in their order, of the operator's tenant all and of another its own; role `audit`.",
                "Entries with their numbers, `next` to go on after, and the head.",
            ),
        },
        "/api/v1/audit/statement": {
            "parameters": [{"name": "tenant", "in": "query", "schema": {"type": "string"}}],
            "get": read("What the region states about itself for one tenant; role `audit`.", "The statement as a text, and a note signed over its SHA-256."),
        },
        "/api/v1/audit/log": {"get": read(
            "A checkpoint over all that was entered until now, those that were kept, and the key that checks them; role `audit`.",
            "Signed notes.",
        )},
        "/api/v1/audit/bodies": {
            "parameters": [
                {"name": "bundle", "in": "query", "required": true, "schema": {"type": "integer"}, "description": "256 entries each, from 0 on."},
                {"name": "size", "in": "query", "required": true, "schema": {"type": "integer"}, "description": "Size of the checkpoint."},
                {"name": "tenant", "in": "query", "schema": {"type": "string"}},
            ],
            "get": {
                "summary": "The entries of one bundle, those of other tenants as commitments alone; role `audit`.",
                "responses": {"200": {"description": "As docs/guide/officer.md says.", "content": {"application/octet-stream": {}}}},
            },
        },
        "/api/v1/audit/rules": {
            "parameters": [
                {"name": "shard", "in": "query", "required": true, "schema": {"type": "integer"}, "description": "As the entry of an answer names it."},
                {"name": "digest", "in": "query", "required": true, "schema": {"type": "string"}, "description": "SHA-256 of the rules, as that entry names it."},
                {"name": "tenant", "in": "query", "schema": {"type": "string"}},
            ],
            "get": read("The rules that an answer was released by, as they were kept; role `audit`.", "The rules as a text, or nothing where there are none."),
        },
        "/api/v1/audit/seal": {"post": change(
            "Signs that a pack with this manifest was made, when and with which key; role `audit`.", "Sealed", "The note.",
        )},
        "/api/v1/audit/replay": {"post": change(
            "Asks a question of another region again, over the records of then, and says whether the answer is the same; role `audit`.",
            "AskedAgain",
            "`found`: same, differs, other_rules, unreadable or elsewhere; never a number of the answer.",
        )},
        "/api/v1/audit/breaches": {
            "parameters": [{"name": "tenant", "in": "query", "schema": {"type": "string"}}],
            "get": read(
                "The register of breaches in this node's ledger; role `audit`.",
                "Breaches with their steps and the clocks of the region's laws.",
            ),
        },
        "/api/v1/breaches": {"post": change(
            "Opens a breach in the register, or notes a step of one; role `admin` of the operator. In the ledger before the answer.",
            "Breach", "The breach with its clocks.",
        )},
        "/api/v1/ledger/message": {
            "parameters": [{"name": "entry", "in": "query", "required": true, "schema": {"type": "integer"}}],
            "get": read(
                "What an officer signs to have the body of one entry of this node's ledger destroyed; role `admin` of the operator.",
                "Its commitment, which way it went, the node at the other end, its class and its question; nothing of what it says.",
            ),
        },
        "/api/v1/ledger/destroy": {"post": change(
            "Destroys the body of one entry of this node's ledger; role `admin` of the operator, and the signature of the region's officer. What is gone, why and by whose order is in the ledger before.",
            "BodyOrder", "The number of the entry that says so.",
        )},
        "/api/v1/status": {"get": read("How the node is.", "Region, node, its clock in Unix milliseconds, leader, round trips, shards, ledger head.")},
        "/api/v1/whoami": {"get": read("What the key opens.", "Tenant, roles and rows.")},
        "/api/v1/streams": {
            "get": read("The streams of the key's tenant.", "Streams with their policy in this region, which node writes them, in which epoch, and there whether a statement that they hold no personal data stands."),
            "post": change("Makes a stream.", "Named", "The stream, with the most restrictive policy."),
        },
    })
}

fn administered() -> Value {
    json!({
        "/api/v1/subjects/erase": {"post": change(
            "Erases a person in this region; role `admin`, as all of these.", "Whom", "How the erasure stands.",
        )},
        "/api/v1/subjects/status": {
            "parameters": [{"name": "id", "in": "query", "schema": {"type": "string"}}],
            "get": read("How erasures stand.", "State of the region and of each of its nodes, percent, estimate and receipts; holds; nodes that say nothing, and what to do."),
        },
        "/api/v1/subjects/purge": {"post": read("Makes segments anew now, at every node of the region.", "How many erasures are gone here, and which other nodes have begun.")},
        "/api/v1/subjects/hold": {"post": change("Sets a legal hold.", "Whom", "Its id.")},
        "/api/v1/subjects/release": {"post": change("Releases a legal hold.", "Held", "Done.")},
        "/api/v1/subjects/export": {"post": change(
            "Everything about a person at every node of the region, as JSON lines; with `link_hours` the export stays in the region behind a link. Needs `rows: redacted` or `full`, and `full` where a value is named.",
            "Whom", "A record on each line, with its stream; or the path of the link, shown once, and until when it is good.",
        )},
        "/api/v1/exports/{link}": {
            "parameters": [{"name": "link", "in": "path", "required": true, "schema": {"type": "string"}}],
            "get": {
                "summary": "The export behind a link, for whoever has it.", "security": [],
                "responses": {
                    "200": {"description": "A record on each line.", "content": {"application/x-ndjson": {}}},
                    "404": {"description": "It has expired, was taken back, or never was."},
                },
            },
        },
        "/api/v1/retention": {
            "parameters": [{"name": "tenant", "in": "query", "schema": {"type": "string"}}],
            "get": read(
                "What is past its retention, what a hold keeps, what was deleted.",
                "Streams with what is due, held and kept; deletions with their evidence.",
            ),
        },
        "/api/v1/lifecycle": {"get": read(
            "What should lie elsewhere and why, and how it goes; roles `admin` and `audit`.", "Moves, oldest first.",
        )},
        "/api/v1/lifecycle/run": {"post": read("Moves it now; an admin of the operator.", "How many segments moved.")},
        "/api/v1/lifecycle/restore": {"post": change(
            "Has a range of a stream restored from the archive for some days; role `admin`.", "Restore",
            "What is restored, and until when it is searched.",
        )},
        "/api/v1/lifecycle/restores": {"get": read(
            "What is being restored from the archive, how far it is, and until when it is searched; role `admin`.",
            "Restores, with bytes wanted and fetched.",
        )},
        "/api/v1/storage": {"get": read(
            "Where every segment of this node lies; roles `admin` and `audit`.", "The bucket and the segments.",
        )},
        "/api/v1/storage/verify": {"post": change(
            "Reads a segment again and compares it with its checksums.", "Segment", "Whether it is whole; else what is damaged.",
        )},
        "/api/v1/storage/explain": {"post": change(
            "What a question reads of a segment of which nothing has been read.", "Segment", "Requests and bytes.",
        )},
        "/api/v1/admin/meta/backup": {"get": read(
            "The metadata group's state as this node has it; an admin of the operator.", "`backup`: the file, in base64.",
        )},
        "/api/v1/admin/shards/adopt": {"post": change(
            "Takes a stream from a node that is gone for good; says what is lost, and goes on with `accept_loss`.", "Adoption",
            "What is kept and lost, and how far it is.",
        )},
        "/api/v1/admin/region/rebuild": {"post": change(
            "The same for every stream whose node is gone, some in each call: `left` are to come.", "Adoption",
            "What is kept and lost of each, and how far it is.",
        )},
        "/api/v1/retention/run": {"post": change(
            "Deletes what is past its retention now.", "Tenanted", "The ids of the deletions.",
        )},
        "/api/v1/admin/commands": {"post": change(
            "Has commands decided by the metadata group; role `admin`.", "Commands", "What became of each.",
        )},
        "/api/v1/admin/cluster/init": {"post": change(
            "Begins a deployment on a node that knows none.", "Commands", "The deployment has begun.",
        )},
        "/api/v1/admin/node/drain": {"post": read(
            "Gives up leading the metadata group, and streams of durability `bucket` to other nodes of the region.",
            "How many were handed over, and which stay.",
        )},
        "/api/v1/admin/placement": {"get": read(
            "What each node of the region carries, what each stream asks of its node, and which would move for that; the operator's.",
            "Nodes, streams and moves, each move with its reason.",
        )},
        "/api/v1/admin/node/leave": {"post": read("Leaves the metadata group.", "Done.")},
        "/api/v1/admin/keys/rotate": {"post": read(
            "Makes new keys for everything sealed, up to the root; the operator's.", "How the keys are.",
        )},
        "/api/v1/admin/tenants": {"get": read("Tenants.", "Names and ids.")},
        "/api/v1/admin/streams": {"get": read("Streams of the tenants this key administers.", "With their policy here.")},
        "/api/v1/admin/keys": {"get": read("Keys of this region.", "Names, tenants, roles; never a key.")},
        "/api/v1/admin/dictionary": {"get": read("Approved values.", "By field; which may leave this region.")},
    })
}

fn search() -> Value {
    let text = json!({"type": "string"});
    json!({
        "type": "object", "required": ["stream"], "additionalProperties": false,
        "properties": {
            "stream": text,
            "query": {"type": "string", "description": "As a person types it: `level:ERROR checkout \"time out\" -debug`."},
            "filter": {"type": "object", "description": "A query of the Elasticsearch DSL, beside or instead of `query`."},
            "range": {"type": "object", "required": ["from", "to"], "properties": {"from": text, "to": text}},
            "from": text,
            "to": text,
            "last": {"type": "string", "description": "Up to now: `15m`, `1h`, `7d`."},
            "regions": {"type": "array", "items": text, "description": "Names, or `*`; without it this region alone."},
            "on_missing": {"enum": ["partial", "fail"], "default": "partial"},
            "ask": {"description": "`count`, or `terms` (a field), `histogram` (a width), both of them, `sum` (a numeric field) with them or alone, `numbers` (a numeric field), `quantile` (a numeric field) with `percent`, or `distinct` (a field); answered as `result`."},
            "aggregations": {"type": "object", "properties": {
                "count": {"type": "object"},
                "histogram": {"type": "object", "properties": {"interval": text}},
                "terms": {"type": "object", "properties": {"field": text}},
                "numbers": {"type": "object", "properties": {"field": text}},
                "sum": {"type": "object", "properties": {"field": text, "by": text, "interval": text}},
                "quantile": {"type": "object", "properties": {"field": text, "percent": {"type": "number"}}},
                "distinct": {"type": "object", "properties": {"field": text}},
                "terms_histogram": {"type": "object", "properties": {"field": text, "interval": text}},
            }},
            "size": {"type": "integer", "minimum": 0, "maximum": 10_000, "description": "Rows of this region."},
            "sort": {"enum": ["newest", "oldest", "score"], "default": "newest"},
            "deadline_ms": {"type": "integer", "minimum": 0, "maximum": 10_000},
        },
    })
}

fn schemas() -> Value {
    let text = json!({"type": "string"});
    json!({
        "Failure": {"type": "object", "required": ["error"], "properties": {"error": {
            "type": "object", "required": ["code", "message", "action"],
            "properties": {"code": text, "message": text, "action": text},
        }}},
        "Whom": {"type": "object", "properties": {
            "tenant": text, "subject": text, "value": text, "token": text,
            "streams": {"type": "array", "items": text},
            "values": {"type": "array", "items": text, "description": "For an export: the person's own values, shown instead of their tokens."},
            "link_hours": {"type": "integer", "maximum": 168, "description": "For an export: keep it in the region behind a link that is good for so long."},
            "id": {"type": "string", "description": "For an erasure: the one of another node of the region whose keys are others."},
        }},
        "Held": {"type": "object", "required": ["id"], "properties": {"id": text, "tenant": text}},
        "AskedAgain": {"type": "object", "required": ["question", "answer"], "properties": {
            "question": {"type": "integer"}, "answer": {"type": "integer"}, "tenant": text,
        }},
        "Breach": {"type": "object", "properties": {
            "tenant": text, "breach": text, "when": {"type": "integer", "description": "Microseconds since 1970."},
            "step": {"type": ["object", "string"], "description": "`opened`, `assessed`, `notified` with `whom`, or `closed`."},
        }},
        "BodyOrder": {"type": "object", "required": ["entry", "ground", "signature"], "properties": {
            "entry": {"type": "integer"}, "ground": {"type": "string", "description": "`personal_data`, `court_order` or `retention_over`."},
            "signature": {"type": "string", "description": "The officer's, 128 hexadecimal digits; `domicile ledger destroy-body` makes it."},
        }},
        "Sealed": {"type": "object", "required": ["sha256"], "properties": {"sha256": text}},
        "Restore": {"type": "object", "required": ["stream", "from", "to"], "properties": {
            "stream": text, "from": text, "to": text, "days": {"type": "integer", "minimum": 1, "maximum": 90},
            "tenant": {"type": "integer"},
        }},
        "Segment": {"type": "object", "required": ["segment"], "properties": {"segment": text, "query": {"type": "object"}}},
        "Adoption": {"type": "object", "properties": {
            "stream": text, "tenant": text, "accept_loss": {"type": "boolean"}, "plan": {"type": "boolean"},
        }},
        "Tenanted": {"type": "object", "properties": {"tenant": text}},
        "Named": {"type": "object", "required": ["name"], "properties": {"name": text}},
        "Commands": {"type": "object", "required": ["commands"], "properties": {
            "commands": {"type": "array", "maxItems": 256, "items": {"type": ["object", "string"]}},
        }},
        "Reveal": {"type": "object", "required": ["token", "purpose"], "properties": {
            "token": text,
            "purpose": {"enum": ["security_incident", "fraud", "legal_request", "subject_request", "customer_support"]},
        }},
        "Search": search(),
    })
}
