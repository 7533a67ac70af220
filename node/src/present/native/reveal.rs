//! `POST /api/v1/reveal`: the original behind a token, for whoever has the role, full rows and a purpose.
//!
//! The ledger has the request before the original is looked up, found or not. A token that never was and one that was erased
//! are answered alike. A key is valid in one region, and this node's keyring is the only one that is asked; where the region has others, the answer says so.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use domicile_proto::metadata::Rows;
use serde_json::{Value, json};

use super::{Body, told};
use crate::audit::{Event, Purpose};
use crate::errors::{Coded, Verdict};
use crate::keys::KeysError;
use crate::policy::Policy;
use crate::present::desk::Desk;
use crate::present::errors::PresentError;
use crate::receive::{Failure, ReceiveError};

/// Longest token, in bytes: class, 26 characters and marks, with room.
const MAX_TOKEN_BYTES: usize = 256;

/// Why nothing is revealed.
#[derive(Debug, thiserror::Error)]
enum RevealError {
    /// The key does not see full rows.
    #[error(
        "the key may not see originals, for its rows are not `full`; ask the region's officer for a key with `--role reveal --rows full`"
    )]
    NotCleared,
    /// No purpose, or one that is not in the set.
    #[error("`purpose` should be {}; say what the original is needed for", Purpose::NAMES)]
    NoPurpose,
    /// Unknown or erased.
    #[error("there is no original behind this token here; it was erased, was never sealed, or is another region's")]
    Nothing,
    /// Nothing here, and other nodes of the region were not asked: originals lie with the node that took the record.
    #[error(
        "this node has no original behind this token, and {others} of its region were not asked: an original lies with the node that took its record, so ask there as well; or it was erased, was never sealed, or is another region's"
    )]
    NothingHere {
        /// Which nodes.
        others: String,
    },
}

impl Coded for RevealError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotCleared => "DMC-REVEAL-01",
            Self::NoPurpose => "DMC-REVEAL-02",
            Self::Nothing => "DMC-REVEAL-03",
            Self::NothingHere { .. } => "DMC-REVEAL-04",
        }
    }

    fn verdict(&self) -> Verdict {
        Verdict::Refused
    }
}

impl From<RevealError> for Failure {
    fn from(error: RevealError) -> Self {
        let (status, kind) = match error {
            RevealError::NotCleared => (403, "security_exception"),
            RevealError::NoPurpose => (400, "illegal_argument_exception"),
            RevealError::Nothing | RevealError::NothingHere { .. } => (404, "resource_not_found_exception"),
        };
        Self::new(&error, status, kind)
    }
}

pub(super) async fn reveal(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Body) -> Response {
    let revealed = async { revealed(&desk, &headers, &body.0?).await };
    let mut response = told(revealed.await);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn revealed(desk: &Arc<Desk>, headers: &HeaderMap, body: &Value) -> Result<Value, Failure> {
    let who = desk.holder(headers, "reveal", |roles| roles.reveal)?;
    if who.rows() != Rows::Full {
        return Err(RevealError::NotCleared.into());
    }
    let purpose = body.get("purpose").cloned().unwrap_or_default();
    let purpose: Purpose = serde_json::from_value(purpose).map_err(|_| RevealError::NoPurpose)?;
    let token = body.get("token").and_then(Value::as_str).filter(|token| token.len() <= MAX_TOKEN_BYTES);
    let token: Box<str> =
        token.ok_or(PresentError::Malformed { place: "token", wanted: "a token of a record" })?.into();
    let (tenant, vault) = (who.tenant(), &desk.parts.vault);
    desk.is_aware(tenant)?;
    let commitment = vault.commitment(tenant, &token);
    let event = Event::Reveal { key: who.key().clone(), tenant, purpose, token: commitment };
    let entry = desk.parts.ledger.record(event).await.map_err(|error| Failure::of(&error))?;
    let (vault, asked) = (Arc::clone(vault), token.clone());
    let found = desk.parts.tasks.blocking(move || vault.reveal(tenant, &asked));
    let found = found.await.map_err(|_| ReceiveError::NoReply)?.map_err(|error: KeysError| Failure::of(&error))?;
    let policy = desk.parts.policy.now();
    let found = found.ok_or_else(|| nothing(desk, &policy))?;
    let stream = policy.stream_by_id(tenant, found.stream).map(|view| view.name.clone());
    Ok(json!({
        "token": token, "value": found.text.as_str(), "stream": stream, "region": desk.parts.region,
        "ledger": {"entry": entry, "token": hex::encode(commitment)},
    }))
}

/// The same for every token, whatever became of it.
fn nothing(desk: &Desk, policy: &Policy) -> RevealError {
    let others = policy.nodes.values().filter(|row| row.region == desk.parts.region && row.node != desk.parts.node);
    let others: Vec<String> = others.map(|row| format!("node {}", row.node)).collect();
    if others.is_empty() { RevealError::Nothing } else { RevealError::NothingHere { others: others.join(", ") } }
}

#[cfg(test)]
#[path = "reveal_test.rs"]
mod tests;
