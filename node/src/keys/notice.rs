//! What the ledger is to be told of keys: kept in the keyring, in the transaction that made it true, until the ledger has it.

use std::path::Path;

use domicile_proto::ids::{StreamId, TenantId};
use redb::{ReadableTable, Table};
use serde::{Deserialize, Serialize};

use super::errors::KeysError;
use super::ring::{At, Day};

/// Something that happened to keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notice {
    /// What.
    pub(crate) what: NoticeKind,
    /// Whose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<TenantId>,
    /// Of which stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stream: Option<StreamId>,
    /// Of which day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) day: Option<Day>,
    /// How many, or which version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) number: Option<u64>,
}

/// What can happen to keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NoticeKind {
    /// The keyring with the roots of pseudonyms and look-ups.
    KeyringCreated,
    /// The key of a tenant.
    TenantKeyCreated,
    /// The key of a stream and day.
    DayKeyCreated,
    /// Keys of subjects, or single originals; `number` of them.
    OriginalsDestroyed,
    /// The keyring was rewritten under version `number` of the root, with new keys of tenants and of the days concerned.
    KeyringRewritten,
    /// Versions of the root before `number`.
    RootDestroyed,
}

impl Notice {
    pub(super) const fn of(what: NoticeKind) -> Self {
        Self { what, tenant: None, stream: None, day: None, number: None }
    }

    pub(super) fn from_row(row: &[u8]) -> Option<Self> {
        serde_json::from_slice(row).ok()
    }

    /// Behind those that wait already.
    pub(super) fn put(&self, notices: &mut Table<'_, u64, &[u8]>, path: &Path) -> Result<(), KeysError> {
        let next = notices.last().at(path)?.map_or(0, |(number, _)| number.value().saturating_add(1));
        // Plain data always serialises.
        let row = serde_json::to_vec(self).unwrap_or_default();
        notices.insert(next, row.as_slice()).at(path)?;
        Ok(())
    }
}
