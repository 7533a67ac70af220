//! `GET /api/v1/ledger`: what crossed this region's border and what was refused, for those who audit it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Value, json};

use super::told;
use crate::audit::LedgerError;
use crate::present::desk::Desk;
use crate::receive::Failure;

/// Entries of one page, unless the caller wants fewer; and the most there are.
const PAGE: usize = 100;
const MOST: usize = 1_000;

/// A page of entries. What crossed stands in them whole, so the role is `audit` and no other.
pub(super) async fn entries(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    Query(parameters): Query<BTreeMap<String, String>>,
) -> Response {
    let number = |name: &str| parameters.get(name).and_then(|text| text.parse::<u64>().ok());
    let after = number("after").unwrap_or(0);
    let limit = number("limit").and_then(|limit| usize::try_from(limit).ok()).unwrap_or(PAGE).min(MOST);
    let read = async {
        desk.holder(&headers, "audit", |roles| roles.audit)?;
        let ledger = Arc::clone(&desk.parts.ledger);
        let head = ledger.head();
        let page = desk.parts.tasks.blocking(move || {
            let entries = ledger.entries()?;
            // An entry behind the head is still on its way to the disk.
            let wanted = entries.skip_while(|entry| entry.as_ref().is_ok_and(|(number, _)| *number <= after));
            wanted
                .take(limit)
                .take_while(|entry| entry.as_ref().is_ok_and(|(number, _)| *number <= head.size) || entry.is_err())
                .map(|entry| entry.map(|(number, entry)| json!({"number": number, "entry": entry})))
                .collect::<Result<Vec<Value>, LedgerError>>()
        });
        let page = page.await.map_err(|_| Failure::of(&LedgerError::Closed))?;
        let page = page.map_err(|error| Failure::of(&error))?;
        Ok(json!({"entries": page, "head": {"size": head.size, "root": hex::encode(head.root)}}))
    };
    told(read.await)
}
