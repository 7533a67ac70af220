//! What an operator may change: thin translations to commands of the metadata group.
//!
//! What widens a region carries its officer's signature already when it arrives; a command of this region without it is
//! refused here, so that nobody waits for something that every node would ignore. Signs nothing itself.

pub(crate) mod adoption;
mod archive;
mod commands;
pub(crate) mod export;
pub(crate) mod lifecycle;
mod links;
mod lists;
pub(crate) mod placement;
mod retention;
pub(crate) mod subjects;
#[cfg(test)]
mod subjects_test;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domicile_proto::ids::TenantId;
use serde_json::json;

use super::desk::Desk;
use super::native::{self, Body, Listed, told};
use crate::admit::Principal;
use crate::receive::{Failure, ReceiveError};

/// The tenant that is made with the deployment: its admins are the operator's.
pub(super) const OPERATORS: TenantId = TenantId(1);

/// Commands, lists, and this node's place in the group.
pub(crate) fn router(desk: Arc<Desk>) -> Router {
    listed().into_iter().fold(Router::new(), |router, (path, method)| router.route(path, method)).with_state(desk)
}

/// Routes by path; every one stands in the API document.
pub(super) fn listed() -> Listed {
    vec![
        ("/api/v1/admin/cluster/init", post(begin)),
        ("/api/v1/admin/commands", post(commands::decide)),
        ("/api/v1/admin/node/leave", post(leave)),
        ("/api/v1/admin/keys/rotate", post(rotate)),
        ("/api/v1/admin/meta/backup", get(backup)),
        ("/api/v1/admin/tenants", get(lists::tenants)),
        ("/api/v1/admin/streams", get(lists::streams)),
        ("/api/v1/admin/keys", get(lists::keys)),
        ("/api/v1/admin/dictionary", get(lists::dictionary)),
    ]
}

/// An administrator, and for which tenants.
struct Admin(Principal);

impl Admin {
    fn of(desk: &Desk, headers: &HeaderMap) -> Result<Self, Failure> {
        desk.holder(headers, "admin", |roles| roles.admin).map(Self)
    }

    /// Whether every tenant is theirs.
    fn is_operator(&self) -> bool {
        self.0.tenant() == OPERATORS
    }

    fn may(&self, tenant: TenantId) -> bool {
        self.is_operator() || self.0.tenant() == tenant
    }

    /// What concerns the whole deployment is the operator's.
    fn operator(self) -> Result<Self, Failure> {
        if self.is_operator() { Ok(self) } else { Err(super::errors::PresentError::OtherTenant.into()) }
    }
}

/// There is no key yet that anybody could show; whoever begins a deployment shows the consent of the node's own officer,
/// which the node checks against its own configuration.
async fn begin(State(desk): State<Arc<Desk>>, body: Body) -> Response {
    let begun = async { (desk.parts.around.begin)(commands::read(&body.0?)?).await.map(|()| json!({})) };
    told(begun.await)
}

async fn leave(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    let left = async {
        Admin::of(&desk, &headers)?.operator()?;
        (desk.parts.around.leave)().await.map(|()| json!({}))
    };
    told(left.await)
}

/// The metadata group's state in one file. No key is in it; who is told of all tenants is the operator's.
async fn backup(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    let made = async {
        Admin::of(&desk, &headers)?.operator()?;
        let backup = Arc::clone(&desk.parts.around.backup);
        let making = desk.parts.tasks.blocking(move || STANDARD.encode(backup()));
        Ok(json!({"backup": making.await.map_err(|_| ReceiveError::NoReply)?}))
    };
    told(made.await)
}

/// New keys for everything sealed, up to the root.
async fn rotate(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    let rotated = async {
        let admin = Admin::of(&desk, &headers)?.operator()?;
        let vault = Arc::clone(&desk.parts.vault);
        let rotating = desk.parts.tasks.blocking(move || vault.rotate());
        rotating.await.map_err(|_| ReceiveError::NoReply)?.map_err(|error| Failure::of(&error))?;
        Ok(native::about_keys(&desk, &admin.0))
    };
    told(rotated.await)
}

#[cfg(test)]
mod admin_test;
