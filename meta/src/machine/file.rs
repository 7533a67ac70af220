//! A snapshot on the disk: one head and its rows, each a frame of its own.
//!
//! Written beside the old one, flushed, renamed into its place, and the directory flushed: after a crash there is the old
//! snapshot or the new one, whole.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::Path;

use domicile_proto::codec::{self, CodecError, HEADER_BYTES, Header, Message};
use domicile_proto::message::metadata::SnapshotHead;
use domicile_proto::metadata::Row;

use crate::convert;
use crate::error::MetaError;
use crate::raft::SnapshotMeta;
use crate::state::State;

/// Writes a snapshot durably.
pub(super) fn write(path: &Path, meta: &SnapshotMeta, state: &State) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = BufWriter::new(File::create(&beside)?);
    encode(&mut file, meta, state)?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Reads the snapshot, if there is one.
pub(super) fn read(path: &Path) -> Result<Option<(SnapshotMeta, State)>, MetaError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(MetaError::Io { path: path.to_owned(), source }),
    };
    decode(&bytes).map(Some).map_err(|found| MetaError::Damaged { path: path.to_owned(), found })
}

fn encode(file: &mut impl io::Write, meta: &SnapshotMeta, state: &State) -> io::Result<()> {
    file.write_all(&codec::encode(&convert::wire_head(meta, state.row_count())).map_err(io::Error::other)?)?;
    for row in state.rows() {
        file.write_all(&codec::encode(&row).map_err(io::Error::other)?)?;
    }
    Ok(())
}

/// The snapshot that these bytes are, or what is wrong with them.
fn decode(mut rest: &[u8]) -> Result<(SnapshotMeta, State), String> {
    let head: SnapshotHead = next(&mut rest).map_err(|error| error.to_string())?;
    let mut rows: Vec<Row> = Vec::new();
    while !rest.is_empty() {
        rows.push(next(&mut rest).map_err(|error| error.to_string())?);
    }
    if rows.len() as u64 != head.rows {
        return Err(format!("{} of {} rows", rows.len(), head.rows));
    }
    let state = State::from_rows(rows).map_err(|error| error.to_string())?;
    Ok((convert::snapshot_meta(head), state))
}

fn next<M: Message>(rest: &mut &[u8]) -> Result<M, CodecError> {
    let wanted = HEADER_BYTES + Header::read(rest)?.expect::<M>()?;
    let frame = rest.get(..wanted).ok_or(CodecError::Truncated { found: rest.len(), wanted })?;
    *rest = rest.get(wanted..).unwrap_or_default();
    codec::decode(frame)
}

#[cfg(test)]
#[path = "file_test.rs"]
mod tests;
