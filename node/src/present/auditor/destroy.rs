//! The door through which the body of an entry is destroyed: by an administrator of the operator who brings an order that the region's
//! officer signed. No key of a node is enough for it.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use domicile_proto::officer::{BodyOrder, OrderGround, OrderedBody};
use serde_json::{Value, json};

use super::super::admin::OPERATORS;
use super::super::errors::PresentError;
use super::super::native::{Body, told};
use super::{Office, Parameters, number};
use crate::audit::Order;
use crate::receive::Failure;

/// `GET /api/v1/ledger/message?entry=`: what an officer signs to have the body of the entry destroyed. Nothing of what it says.
pub(super) async fn message(
    State(office): State<Arc<Office>>,
    headers: HeaderMap,
    Query(asked): Parameters,
) -> Response {
    let described = async {
        office.of_operator(&headers)?;
        let entry = asked.get("entry").and_then(|text| text.parse().ok());
        let entry = entry.ok_or(PresentError::Malformed { place: "entry", wanted: "a number" })?;
        let parts = &office.desk.parts;
        let body = parts.ledger.to_destroy(entry, &parts.tasks).await.map_err(|error| Failure::of(&error))?;
        let OrderedBody { commitment, left, peer: (region, node), class, question } = body;
        Ok(json!({"entry": entry, "commitment": hex::encode(commitment), "left": left, "region": region, "node": node,
            "class": class, "question": format!("{:032x}", question.0)}))
    };
    told(described.await)
}

/// `POST /api/v1/ledger/destroy` `{"entry", "ground", "signature"}`.
pub(super) async fn destroy(State(office): State<Arc<Office>>, headers: HeaderMap, body: Body) -> Response {
    let destroyed = async {
        office.of_operator(&headers)?;
        let parts = &office.desk.parts;
        let body = body.0?;
        let entry = number(&body, "entry")?;
        let wanted = PresentError::Malformed { place: "ground", wanted: OrderGround::NAMES };
        let ground = body.get("ground").cloned().unwrap_or_default();
        let ground: OrderGround = serde_json::from_value(ground).map_err(|_| wanted)?;
        let signature = body.get("signature").and_then(Value::as_str).unwrap_or_default();
        let body = parts.ledger.to_destroy(entry, &parts.tasks).await.map_err(|error| Failure::of(&error))?;
        let order = BodyOrder { region: parts.region.clone(), node: parts.node, entry, body, ground };
        if !parts.officer.orders(&order, signature) {
            return Err(PresentError::NeedsOfficer.into());
        }
        let order = Order { order, officer: parts.officer, signature: signature.into() };
        let told = parts.ledger.destroy(order, &parts.tasks).await.map_err(|error| Failure::of(&error))?;
        Ok(json!({"entry": entry, "told": told}))
    };
    told(destroyed.await)
}

impl Office {
    /// Only an administrator of the operator.
    fn of_operator(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let who = self.desk.holder(headers, "admin", |roles| roles.admin)?;
        if who.tenant() == OPERATORS { Ok(()) } else { Err(PresentError::OtherTenant.into()) }
    }
}
