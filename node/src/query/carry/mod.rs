//! A search on its way to the node of the same region that holds the records, and what that node found on its way back: the query
//! stage's own codec.
//!
//! [`wanted`] is the question, [`part`] the answer, both behind a version byte. What does not read to the last byte is not taken;
//! what is read is bounded by what arrived, by the bounds of a search, and by the room that searches have. Crosses no border:
//! only `Neighbour` carries it (RES-1).

mod part;
mod refusal;
mod wanted;

use super::QueryError;

pub(crate) use part::{Arriving, Part, merged};
pub(crate) use wanted::Carried;

/// Of both layouts. With 1 a sum of fractions was one number, rounded at each addition.
const VERSION: u8 = 2;

/// Writes.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(super) fn flag(&mut self, flag: bool) {
        self.byte(u8::from(flag));
    }

    pub(super) fn short(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    pub(super) fn long(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    pub(super) fn count(&mut self, count: usize) {
        self.short(u32::try_from(count).unwrap_or(u32::MAX));
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Nothing, or something behind a byte that says so.
    pub(super) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }
}

/// Reads what a [`Writer`] wrote; `None` as soon as it is anything else.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    /// Why it could be read and is not taken.
    pub(super) refused: Option<QueryError>,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, refused: None }
    }

    fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*bytes)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.fixed::<1>().map(u8::from_be_bytes)
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(super) fn short(&mut self) -> Option<u32> {
        self.fixed().map(u32::from_be_bytes)
    }

    pub(super) fn long(&mut self) -> Option<u64> {
        self.fixed().map(u64::from_be_bytes)
    }

    /// A number of things, each of which takes so many bytes at least: never more of them than there can be.
    pub(super) fn count(&mut self, least: usize) -> Option<usize> {
        let count = usize::try_from(self.short()?).ok()?;
        (count.checked_mul(least)? <= self.rest.len()).then_some(count)
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.count(1)?;
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }

    pub(super) fn text(&mut self) -> Option<String> {
        std::str::from_utf8(self.bytes()?).ok().map(str::to_owned)
    }

    pub(super) fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.flag()? { read(self).map(Some) } else { Some(None) }
    }

    /// So many things.
    pub(super) fn list<T>(&mut self, least: usize, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.count(least)?;
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(read(self)?);
        }
        Some(list)
    }

    /// Whether a cost is borne; what keeps it from being so is remembered.
    pub(super) fn bears(&mut self, cost: Result<(), QueryError>) -> Option<()> {
        cost.map_err(|error| self.refused = Some(error)).ok()
    }

    pub(super) const fn is_over(&self) -> bool {
        self.rest.is_empty()
    }
}

#[cfg(test)]
mod carry_test;
