//! What one shard has taken in since its last refresh.
//!
//! A little is kept as it came; much is fed to a builder at once, so that memory holds terms and columns and not parsed
//! events. Knows no clock but the instants it is given, and does not decide where segments lie.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use domicile_proto::ids::Timestamp;

use super::builder::{Builder, Built, Layout};
use super::errors::IndexError;
use crate::limits::{REFRESH_LONGEST, REFRESH_SHORTEST, SPILL_BYTES};
use crate::wal::Durable;

/// Records of one shard on their way into a segment. There is none for a shard that is idle.
pub(crate) struct Growing {
    gathered: Vec<Durable>,
    gathered_bytes: usize,
    json_bytes: usize,
    /// First and last place, both inclusive.
    places: Option<(u64, u64)>,
    received_until: Option<Timestamp>,
    builder: Option<(Builder, PathBuf)>,
    due: Instant,
    refresh: Duration,
    began: Instant,
}

impl Growing {
    /// Begins with the first record.
    pub(crate) fn begin(now: Instant) -> Self {
        Self {
            gathered: Vec::new(),
            gathered_bytes: 0,
            json_bytes: 0,
            places: None,
            received_until: None,
            builder: None,
            due: now + REFRESH_LONGEST,
            refresh: REFRESH_LONGEST,
            began: now,
        }
    }

    /// Takes records. They become searchable at the next refresh.
    pub(crate) fn take(&mut self, durable: Durable) {
        self.refresh = self.refresh.min(durable.refresh.max(REFRESH_SHORTEST));
        self.due = self.began + self.refresh;
        let first = self.places.map_or(durable.first_seq, |(first, _)| first);
        self.places = Some((first, durable.last_seq()));
        self.received_until = self.received_until.max(Some(durable.accepted_at));
        let bytes = durable.json_bytes();
        self.json_bytes += bytes;
        self.gathered_bytes += bytes;
        self.gathered.push(durable);
    }

    /// The places taken in, from the first to the last.
    pub(crate) fn places(&self) -> Option<RangeInclusive<u64>> {
        self.places.map(|(first, last)| first..=last)
    }

    /// When the last of its records was accepted.
    pub(crate) const fn received_until(&self) -> Option<Timestamp> {
        self.received_until
    }

    /// The directory of its builder, where it has one.
    pub(crate) fn dir(&self) -> Option<&PathBuf> {
        self.builder.as_ref().map(|(_, dir)| dir)
    }

    /// When the next refresh is due.
    pub(crate) const fn due(&self) -> Instant {
        self.due
    }

    /// JSON taken in since the last refresh, in bytes.
    pub(crate) const fn json_bytes(&self) -> usize {
        self.json_bytes
    }

    /// Whether enough was gathered to be fed to a builder.
    pub(crate) const fn is_to_spill(&self) -> bool {
        self.gathered_bytes >= SPILL_BYTES
    }

    /// Feeds what was gathered to a builder in a directory that `place` names. Blocks and computes.
    pub(crate) fn spill(&mut self, layout: &Layout, place: impl FnOnce() -> PathBuf) -> Result<(), IndexError> {
        if self.builder.is_none() {
            let dir = place();
            // As much again as was gathered so far is to be expected before the refresh.
            self.builder = Some((Builder::on_disk(layout, &dir, self.json_bytes * 4)?, dir));
        }
        if let Some((builder, _)) = &mut self.builder {
            self.gathered_bytes = 0;
            for durable in self.gathered.drain(..) {
                builder.add(durable)?;
            }
        }
        Ok(())
    }

    /// Finishes the segment: in memory where little came, else in its directory. Blocks and computes.
    pub(crate) fn finish(mut self, layout: &Layout) -> Result<Option<(Built, Option<PathBuf>)>, IndexError> {
        let (mut builder, dir) = match self.builder.take() {
            Some((builder, dir)) => (builder, Some(dir)),
            None => (Builder::in_memory(layout, self.json_bytes)?, None),
        };
        for durable in self.gathered {
            builder.add(durable)?;
        }
        Ok(builder.finish()?.map(|built| (built, dir)))
    }
}
