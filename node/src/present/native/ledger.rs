//! `GET /api/v1/ledger`: what crossed this region's border and what was refused, for those who audit it.
//!
//! What crossed stands in the entries whole, of all tenants. An auditor of the operator's tenant reads all of them; one of
//! another tenant what is about that tenant's own streams: the questions, in either direction, and what was refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use domicile_proto::border::EgressClass;
use domicile_proto::codec;
use domicile_proto::ids::TenantId;
use domicile_proto::message::question::Question;
use serde_json::{Value, json};

use super::told;
use crate::audit::{Event, LedgerError};
use crate::policy::Policy;
use crate::present::admin::OPERATORS;
use crate::present::desk::Desk;
use crate::receive::Failure;

/// Entries of one page, unless the caller wants fewer; and the most there are.
const PAGE: usize = 100;
const MOST: usize = 1_000;
/// Entries that are looked at for one page: of a busy region few may be a tenant's own.
const LOOKED_AT: usize = 10_000;

/// A page of entries, for the role `audit` and no other. `next` is what to say for `after`, to go on.
pub(super) async fn entries(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    Query(parameters): Query<BTreeMap<String, String>>,
) -> Response {
    let number = |name: &str| parameters.get(name).and_then(|text| text.parse::<u64>().ok());
    let after = number("after").unwrap_or(0);
    let limit = number("limit").and_then(|limit| usize::try_from(limit).ok()).unwrap_or(PAGE).min(MOST);
    let read = async {
        let tenant = desk.holder(&headers, "audit", |roles| roles.audit)?.tenant();
        let permit = desk.permit(tenant)?;
        let (ledger, policy) = (Arc::clone(&desk.parts.ledger), desk.parts.policy.now());
        let head = ledger.head();
        let page = desk.parts.tasks.blocking(move || {
            let _permit = permit;
            let mut page = Vec::new();
            let mut next = after;
            for entry in ledger.entries_after(after)?.take(LOOKED_AT) {
                let (number, entry) = entry?;
                // An entry behind the head is still on its way to the disk.
                if number > head.size || page.len() == limit {
                    break;
                }
                next = number;
                if tenant == OPERATORS || is_about(&entry.event, tenant, &policy) {
                    page.push(json!({"number": number, "entry": entry}));
                }
            }
            Ok::<(Vec<Value>, u64), LedgerError>((page, next))
        });
        let page = page.await.map_err(|_| Failure::of(&LedgerError::Closed))?;
        let (page, next) = page.map_err(|error| Failure::of(&error))?;
        Ok(json!({"entries": page, "next": next, "head": {"size": head.size, "root": hex::encode(head.root)}}))
    };
    told(read.await)
}

/// Whether an entry is about a stream of the tenant, and about no other tenant.
fn is_about(event: &Event, tenant: TenantId, policy: &Policy) -> bool {
    match event {
        Event::RefusedQuestion { stream: Some(stream), .. } => policy.stream_by_id(tenant, *stream).is_some(),
        Event::Egress(passage) | Event::Ingress(passage) if passage.class == EgressClass::Question => {
            codec::decode::<Question>(&passage.body).is_ok_and(|question| question.tenant == tenant)
        }
        _ => false,
    }
}
