//! `POST /api/v1/admin/commands`: checked for consent, tenant and personal text, then put to the metadata group one by one.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use domicile_proto::ids::{Name, StreamId, TenantId};
use domicile_proto::metadata::{Change, Command, MAX_BATCH, Personal, RegionalChange, StreamPolicy};
use serde_json::{Value, json};

use super::Admin;
use crate::present::desk::Desk;
use crate::present::errors::PresentError;
use crate::present::native::{Body, told};
use crate::receive::Failure;

/// Reads the commands of a body.
pub(super) fn read(body: &Value) -> Result<Vec<Command>, Failure> {
    let wrong = |wanted| Failure::from(PresentError::Malformed { place: "commands", wanted });
    let commands = body.get("commands").cloned().ok_or_else(|| wrong("a list of commands"))?;
    let commands: Vec<Command> = serde_json::from_value(commands).map_err(|_| wrong("a list of commands"))?;
    if commands.len() > MAX_BATCH { Err(wrong("at most 256 commands")) } else { Ok(commands) }
}

pub(super) async fn decide(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Body) -> Response {
    let decided = async {
        let admin = Admin::of(&desk, &headers)?;
        let commands = read(&body.0?)?;
        for command in &commands {
            desk.check(&admin, command)?;
        }
        let mut applied = Vec::with_capacity(commands.len());
        for command in commands {
            #[cfg(feature = "jepsen-bugs")]
            if let Some(stale) = stale::answer(&command) {
                applied.push(stale);
                continue;
            }
            applied.push(desk.parts.propose.decide(command).await.map_err(|_| PresentError::NotDecided)?);
        }
        Ok(json!({"applied": applied}))
    };
    told(decided.await)
}

impl Desk {
    /// All checks come before the first proposal: nothing of a list is done where one of it may not be.
    fn check(&self, admin: &Admin, command: &Command) -> Result<(), PresentError> {
        let may = |tenant: TenantId| if admin.may(tenant) { Ok(()) } else { Err(PresentError::OtherTenant) };
        match command {
            Command::CreateStream { tenant, stream } => {
                may(*tenant)?;
                self.clean([stream])
            }
            Command::Regional(change) => {
                self.consent(change)?;
                self.check_change(admin, &change.change)
            }
            Command::RevokeValue { tenant, .. } => may(*tenant),
            Command::RevokeKey { region, id } => {
                let policy = self.parts.policy.now();
                let is_own =
                    *region == policy.region && policy.keys.values().any(|key| key.id == *id && admin.may(key.tenant));
                if is_own || admin.is_operator() { Ok(()) } else { Err(PresentError::OtherTenant) }
            }
            Command::RevokeTransfer { .. } if admin.is_operator() => Ok(()),
            Command::CreateTenant { tenant } if admin.is_operator() => self.clean([tenant]),
            Command::AddRegion { region } if admin.is_operator() => self.clean([&region.0]),
            // A node leaves by its own word; whoever takes one out gives others what it holds, and needs the officer.
            Command::RemoveNode { .. } if admin.is_operator() => Err(PresentError::NeedsOfficer),
            Command::AssignShard { .. } | Command::RecordHead(_) if admin.is_operator() => Ok(()),
            _ => Err(PresentError::OtherTenant),
        }
    }

    fn check_change(&self, admin: &Admin, change: &Change) -> Result<(), PresentError> {
        let may = |tenant: TenantId| if admin.may(tenant) { Ok(()) } else { Err(PresentError::OtherTenant) };
        match change {
            Change::AddNode { .. }
            | Change::SetRegionKey { .. }
            | Change::RemoveNode { .. }
            | Change::ApproveTransfer { .. } => {
                if admin.is_operator() {
                    Ok(())
                } else {
                    Err(PresentError::OtherTenant)
                }
            }
            Change::AddKey(key) => {
                may(key.tenant)?;
                self.clean([&key.id])
            }
            Change::SetPolicy { tenant, policy, .. } => {
                may(*tenant)?;
                let subject = match &policy.personal {
                    Personal::Subject(field) => Some(field),
                    Personal::Undeclared | Personal::No => None,
                };
                let numbers = policy.numbers.iter().map(|number| &number.field);
                self.clean(policy.group_fields.iter().chain(subject).chain(numbers))
            }
            Change::ApproveValues { tenant, field, values } => {
                may(*tenant)?;
                self.clean([field])?;
                let is_personal = |text: &str| self.parts.detector.finds_personal_data(text);
                if values.iter().any(|value| is_personal(value.as_str())) {
                    return Err(PresentError::PersonalText);
                }
                Ok(())
            }
        }
    }

    /// Nothing personal becomes metadata (RES-2).
    fn clean<'a>(&self, names: impl IntoIterator<Item = &'a Name>) -> Result<(), PresentError> {
        let is_personal = |name: &&Name| self.parts.detector.finds_personal_data(name.as_str());
        if names.into_iter().any(|name| is_personal(&name)) { Err(PresentError::PersonalText) } else { Ok(()) }
    }

    /// A change of this region needs its officer, unless it only narrows a policy. One of another region needs the officer
    /// who let that region's nodes in, and the first node of a region and its key whoever signs for them: that region's own nodes
    /// decide whether they honour it.
    fn consent(&self, change: &RegionalChange) -> Result<(), PresentError> {
        let is_ours = change.region == self.parts.region;
        let is_fit = match (&change.signature, &change.change) {
            (Some(_), _) if is_ours => self.parts.officer.consents(change),
            (Some(consent), wanted) => {
                let policy = self.parts.policy.now();
                let nodes = policy.nodes.values().filter(|row| row.region == change.region);
                let mut hosts = nodes.filter_map(|row| row.signature).map(|consent| consent.officer()).peekable();
                // They come in one list: the first node, and the key it speaks with.
                let is_first =
                    hosts.peek().is_none() && matches!(wanted, Change::AddNode { .. } | Change::SetRegionKey { .. });
                is_first || hosts.any(|host| host == consent.officer())
            }
            (None, Change::SetPolicy { tenant, stream, policy }) => !is_ours || self.narrows(*tenant, *stream, policy),
            (None, _) => false,
        };
        if is_fit { Ok(()) } else { Err(PresentError::NeedsOfficer) }
    }

    fn narrows(&self, tenant: TenantId, stream: StreamId, policy: &StreamPolicy) -> bool {
        let now = self.parts.policy.now();
        now.stream_by_id(tenant, stream).is_some_and(|view| policy.is_within(&view.policy))
    }
}

/// A bug on purpose: what a shard's epoch was once is told for ever.
#[cfg(feature = "jepsen-bugs")]
mod stale {
    use domicile_proto::ids::{Epoch, ShardId};
    use domicile_proto::metadata::{Applied, Command};

    pub(super) fn answer(command: &Command) -> Option<Applied> {
        let Command::AssignShard { seen, .. } = command else { return None };
        let is_old = crate::bugs::is_seeded("stale-read") && seen.0 == 3;
        is_old.then_some(Applied::Shard(ShardId(1), Epoch(4)))
    }
}
