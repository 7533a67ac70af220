//! The rules that answers were released by, for the pack of an auditor: pages under their digest, which the entries of the answers name.
//!
//! What holds now is in the statement; a page holds what held then. It says what a region lets out and nothing of a record.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use domicile_proto::ids::ShardId;
use serde_json::json;

use super::super::desk::Desk;
use super::super::errors::PresentError;
use super::super::native::told;
use super::{Office, Parameters};
use crate::aggregate::RulesDigest;
use crate::receive::Failure;

/// `GET /api/v1/audit/rules?shard=&digest=&tenant=`: the page as a text, so that its bytes stay what was kept; nothing where there is none.
/// One page is read and nothing searched, so that no search is waited for. Of shards of another tenant there is none. Shard 0 stands for streams without a shard, of which nothing was ever told.
pub(super) async fn rules(State(office): State<Arc<Office>>, headers: HeaderMap, Query(asked): Parameters) -> Response {
    let read = async {
        let (tenant, ..) = office.asked(&headers, asked.get("tenant"))?;
        let shard = asked.get("shard").and_then(|text| text.parse().ok()).map(ShardId);
        let shard = shard.ok_or(PresentError::Malformed { place: "shard", wanted: "a number" })?;
        let digest = asked.get("digest").and_then(|text| hex::decode(text).ok());
        let digest: Option<RulesDigest> = digest.and_then(|bytes| bytes.try_into().ok());
        let digest = digest.ok_or(PresentError::Malformed { place: "digest", wanted: "64 hexadecimal digits" })?;
        let policy = office.desk.parts.policy.now();
        let is_asked = |of: Option<ShardId>| of.unwrap_or(ShardId(0)) == shard;
        let own = Desk::streams_under(&policy, tenant).into_values();
        let own: Vec<_> = own.filter(|view| is_asked(view.shard.map(|(shard, _)| shard))).collect();
        if own.is_empty() && shard != ShardId(0) {
            return Ok(json!({"rules": null}));
        }
        let page = office.releases.page_of_rules((shard, digest), &policy, own).await;
        let page = page.map_err(|error| Failure::of(&error))?;
        Ok(json!({"rules": page.map(|page| String::from_utf8_lossy(&page).into_owned())}))
    };
    told(read.await)
}
