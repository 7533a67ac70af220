//! The state as rows, and back: what a snapshot is on the wire and on the disk.
//!
//! The order is fixed (counters, then each table by its key), so that equal states give equal rows. Reading checks that
//! every row has its place exactly once and points at rows that exist; what a row may say is decided elsewhere.

use domicile_proto::ids::{Region, StreamId};
use domicile_proto::metadata::{KeyRow, Row, ShardRow, StreamRow, ValueRow};

use super::State;

/// Why a sequence of rows is not a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RowsError {
    /// The first row does not hold the counters, or another one does.
    #[error("the counters are not exactly the first of the rows")]
    Counters,
    /// A row stands there twice.
    #[error("two rows have the same id or name")]
    Twice,
    /// A row names something that no row before it defines.
    #[error("a row names a region, tenant or stream that no row before it defines")]
    Dangling,
}

impl State {
    /// Number of rows.
    pub fn row_count(&self) -> u64 {
        let tables = [
            self.regions.len(),
            self.nodes.len(),
            self.tenants.len(),
            self.streams.len(),
            self.policies.len(),
            self.shards.len(),
            self.keys.len(),
            self.values.len(),
            self.heads.len(),
            self.officers.len(),
            self.region_keys.len(),
            self.erasures.len(),
            self.transfers.len(),
        ];
        1 + tables.iter().sum::<usize>() as u64
    }

    /// All rows in their one order.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        let regions =
            self.regions.iter().map(|(region, number)| Row::Region { region: region.clone(), number: *number });
        let tenants = self.tenants.iter().map(|(id, name)| Row::Tenant { id: *id, name: name.clone() });
        std::iter::once(Row::Counters(self.counters))
            .chain(regions)
            .chain(self.nodes().cloned().map(Row::Node))
            .chain(tenants)
            .chain(self.streams().cloned().map(Row::Stream))
            .chain(self.policies().cloned().map(Row::Policy))
            .chain(self.shards().cloned().map(Row::Shard))
            .chain(self.keys().cloned().map(Row::Key))
            .chain(self.values().cloned().map(Row::Value))
            .chain(self.heads().copied().map(Row::Head))
            .chain(self.officers().cloned().map(Row::Officer))
            .chain(self.region_keys().cloned().map(Row::RegionKey))
            .chain(self.erasures.iter().map(|(_, row)| Row::Erasure(row.clone())))
            .chain(self.transfers.iter().map(|(_, row)| Row::Transfer(row.clone())))
    }

    /// Builds the state that has these rows.
    ///
    /// # Errors
    /// [`RowsError`] where they are not the rows of any state.
    pub fn from_rows(rows: impl IntoIterator<Item = Row>) -> Result<Self, RowsError> {
        let mut rows = rows.into_iter();
        let Some(Row::Counters(counters)) = rows.next() else { return Err(RowsError::Counters) };
        let mut state = Self { counters, ..Self::default() };
        for row in rows {
            state.take(row)?;
        }
        Ok(state)
    }

    fn take(&mut self, row: Row) -> Result<(), RowsError> {
        match row {
            Row::Counters(_) => Err(RowsError::Counters),
            Row::Region { region, number } => {
                fresh(self.region(&region).is_none() && self.region_numbered(number).is_none())?;
                self.regions.insert(region, number);
                Ok(())
            }
            Row::Node(row) => {
                fresh(self.node(row.node).is_none())?;
                known(self.region(&row.region).is_some())?;
                self.nodes.insert(row.node, row);
                Ok(())
            }
            Row::Tenant { id, name } => {
                fresh(self.tenant(&name).is_none() && self.tenant_name(id).is_none())?;
                self.tenant_names.insert(name.clone(), id);
                self.tenants.insert(id, name);
                Ok(())
            }
            Row::Stream(row) => self.take_stream(row),
            Row::Policy(row) => {
                self.take_place(row.stream, &row.region, self.policy(row.stream, &row.region).is_none())?;
                self.policies.insert((row.stream, row.region.clone()), row);
                Ok(())
            }
            Row::Shard(row) => self.take_shard(row),
            Row::Key(row) => self.take_key(row),
            Row::Value(row) => self.take_value(row),
            Row::Head(head) => {
                fresh(self.head(head.region).is_none())?;
                known(self.region_numbered(head.region).is_some())?;
                self.heads.insert(head.region, head);
                Ok(())
            }
            Row::Officer(row) => {
                let officer = row.newest.officer();
                fresh(self.officer(&row.region, officer).is_none())?;
                known(self.region(&row.region).is_some())?;
                self.officers.insert((row.region.clone(), officer), row);
                Ok(())
            }
            Row::RegionKey(row) => {
                fresh(self.region_key(&row.region).is_none())?;
                known(self.region(&row.region).is_some())?;
                self.region_keys.insert(row.region.clone(), row);
                Ok(())
            }
            Row::Erasure(row) => {
                fresh(self.erasure(&row.region, row.id).is_none())?;
                known(self.region(&row.region).is_some() && self.tenant_name(row.tenant).is_some())?;
                self.erasures.insert((row.region.clone(), row.id), row);
                Ok(())
            }
            Row::Transfer(row) => {
                fresh(self.transfer(&row.from, &row.to).is_none())?;
                known(self.region(&row.from).is_some() && self.region(&row.to).is_some())?;
                self.transfers.insert((row.from.clone(), row.to.clone()), row);
                Ok(())
            }
        }
    }

    fn take_stream(&mut self, row: StreamRow) -> Result<(), RowsError> {
        known(self.tenant_name(row.tenant).is_some())?;
        fresh(self.stream(row.id).is_none() && self.stream_named(row.tenant, &row.name).is_none())?;
        self.put_stream(row);
        Ok(())
    }

    fn take_shard(&mut self, row: ShardRow) -> Result<(), RowsError> {
        let free = self.shard(row.stream, &row.region).is_none() && self.shard_with_id(row.id).is_none();
        self.take_place(row.stream, &row.region, free)?;
        self.put_shard(row);
        Ok(())
    }

    fn take_key(&mut self, row: KeyRow) -> Result<(), RowsError> {
        known(self.region(&row.region).is_some() && self.tenant_name(row.key.tenant).is_some())?;
        let free = self.key(&row.region, &row.key.id).is_none();
        fresh(free && self.key_hashed(&row.region, &row.key.hash).is_none())?;
        self.put_key(row);
        Ok(())
    }

    fn take_value(&mut self, row: ValueRow) -> Result<(), RowsError> {
        known(self.tenant_name(row.tenant).is_some())?;
        fresh(self.value(row.id).is_none() && self.value_id(row.tenant, &row.field, &row.value).is_none())?;
        self.put_value(row);
        Ok(())
    }

    fn take_place(&self, stream: StreamId, region: &Region, free: bool) -> Result<(), RowsError> {
        known(self.stream(stream).is_some() && self.region(region).is_some())?;
        fresh(free)
    }

    /// Puts a stream in its table and under its name.
    pub(crate) fn put_stream(&mut self, row: StreamRow) {
        if self.stream_named(row.tenant, &row.name).is_none() {
            self.stream_names.entry(row.tenant).insert(row.name.clone(), row.id);
        }
        self.streams.insert(row.id, row);
    }

    /// Puts a shard in its table and under its id.
    pub(crate) fn put_shard(&mut self, row: ShardRow) {
        let place = (row.stream, row.region.clone());
        self.shard_places.insert(row.id, place.clone());
        self.shards.insert(place, row);
    }

    /// Puts a key in its table and under its hash.
    pub(crate) fn put_key(&mut self, row: KeyRow) {
        self.key_hashes.insert((row.region.clone(), row.key.hash), row.key.id.clone());
        self.keys.insert((row.region.clone(), row.key.id.clone()), row);
    }

    /// Puts a dictionary value in its table and under its text.
    pub(crate) fn put_value(&mut self, row: ValueRow) {
        if self.value_id(row.tenant, &row.field, &row.value).is_none() {
            let fields = self.dictionaries.entry(row.tenant);
            fields.entry(row.field.clone()).or_default().insert(row.value.clone(), row.id);
        }
        self.values.insert(row.id, row);
    }

    /// Takes a dictionary value out of its table and from under its text.
    pub(crate) fn drop_value(&mut self, row: &ValueRow) {
        let fields = self.dictionaries.entry(row.tenant);
        if let Some(texts) = fields.get_mut(&row.field) {
            texts.remove(&row.value);
            if texts.is_empty() {
                fields.remove(&row.field);
            }
        }
        if fields.is_empty() {
            self.dictionaries.remove(&row.tenant);
        }
        self.values.remove(&row.id);
    }
}

fn fresh(is_fresh: bool) -> Result<(), RowsError> {
    if is_fresh { Ok(()) } else { Err(RowsError::Twice) }
}

fn known(is_known: bool) -> Result<(), RowsError> {
    if is_known { Ok(()) } else { Err(RowsError::Dangling) }
}
