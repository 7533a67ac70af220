//! Who asks: the holder of an access key of this region.

use domicile_proto::ids::{Name, TenantId};
use domicile_proto::message::region::Asker;
use domicile_proto::metadata::{AccessKey, Roles, Rows};

/// The holder of a valid key. Its one constructor is in `admit`.
#[derive(Clone, Debug)]
pub(crate) struct Principal {
    key: Name,
    tenant: TenantId,
    roles: Roles,
    rows: Rows,
}

impl Principal {
    /// The holder of a key that was found in the policy.
    pub(super) fn of(key: &AccessKey) -> Self {
        Self { key: key.id.clone(), tenant: key.tenant, roles: key.roles, rows: key.rows }
    }

    /// The same, who sees no more rows than this.
    pub(super) fn seeing(self, rows: Rows) -> Self {
        Self { rows: self.rows.min(rows), ..self }
    }

    /// The public name of the key.
    pub(crate) const fn key(&self) -> &Name {
        &self.key
    }

    /// In the words of the link: for whom a node asks another one of its region.
    pub(crate) fn asker(&self) -> Asker {
        Asker { key: self.key.clone(), tenant: self.tenant, rows: self.rows }
    }

    /// Whose records it opens.
    pub(crate) const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// What it may do.
    pub(crate) const fn roles(&self) -> Roles {
        self.roles
    }

    /// Which rows it may see.
    pub(crate) const fn rows(&self) -> Rows {
        self.rows
    }
}
