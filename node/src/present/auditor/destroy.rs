//! The door through which the body of an entry is destroyed: by an administrator of the operator who brings an order that the region's
//! officer signed. No key of a node is enough for it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use domicile_proto::officer::{BodyOrder, OrderGround};
use serde_json::{Value, json};

use super::super::admin::OPERATORS;
use super::super::errors::PresentError;
use super::super::native::{Body, told};
use super::{Office, number};
use crate::audit::Order;
use crate::receive::Failure;

/// `POST /api/v1/ledger/destroy` `{"entry", "ground", "signature"}`.
pub(super) async fn destroy(State(office): State<Arc<Office>>, headers: HeaderMap, body: Body) -> Response {
    let destroyed = async {
        let parts = &office.desk.parts;
        let who = office.desk.holder(&headers, "admin", |roles| roles.admin)?;
        if who.tenant() != OPERATORS {
            return Err(PresentError::OtherTenant.into());
        }
        let body = body.0?;
        let entry = number(&body, "entry")?;
        let wanted = PresentError::Malformed { place: "ground", wanted: OrderGround::NAMES };
        let ground = body.get("ground").cloned().unwrap_or_default();
        let ground: OrderGround = serde_json::from_value(ground).map_err(|_| wanted)?;
        let signature = body.get("signature").and_then(Value::as_str).unwrap_or_default();
        let signed = BodyOrder { region: parts.region.clone(), node: parts.node, entry, ground };
        if !parts.officer.orders(&signed, signature) {
            return Err(PresentError::NeedsOfficer.into());
        }
        let order = Order { entry, ground, officer: parts.officer, signature: signature.into() };
        let told = parts.ledger.destroy(order, &parts.tasks).await.map_err(|error| Failure::of(&error))?;
        tracing::warn!(entry, told, ?ground, "the body of an entry of the ledger was destroyed by the officer's order");
        Ok(json!({"entry": entry, "told": told}))
    };
    told(destroyed.await)
}
