//! Opening the log: nothing of it is used before all of it was looked at.
//!
//! The database checks its pages only after an unclean end, and then goes back to the commit before in silence where the
//! newest one is damaged. So every page is compared with its checksum here, every entry is decoded and stands in its
//! place, and the number of writes is compared with the mark beside the file. Repairs nothing: a voter whose vote or log went
//! back must not take part.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use domicile_proto::codec;
use domicile_proto::ids::NodeId;
use domicile_proto::message::metadata as wire;
use redb::{Database, ReadableDatabase, ReadableTable, WriteTransaction};

use super::mark::Mark;
use super::{ENTRIES, FACTS, FORMAT, FORMAT_VERSION, NODE, PLACES, PURGED, VOTE, VOTES, WRITES};
use crate::error::MetaError;

/// Opens the log of `node` and its mark, or creates both.
pub(super) fn open(path: &Path, node: NodeId) -> Result<(Database, Mark), MetaError> {
    // The database trusts some of its pages more than their checksums allow, and panics over what it finds in them.
    let opened = catch_unwind(AssertUnwindSafe(|| open_whole(path, node)));
    opened.unwrap_or_else(|_| {
        let found = "the database cannot make sense of one of its pages".to_owned();
        Err(MetaError::Damaged { path: path.to_owned(), found })
    })
}

fn open_whole(path: &Path, node: NodeId) -> Result<(Database, Mark), MetaError> {
    let mut database = Database::create(path).map_err(|error| failed(path, error))?;
    // Whether it had to go back for that is seen by the mark.
    database.check_integrity().map_err(|error| failed(path, error))?;
    let transaction = database.begin_write().map_err(|error| failed(path, error))?;
    let facts = prepare(&transaction, node).map_err(|error| failed(path, error))?;
    if facts.format != FORMAT_VERSION {
        let found = format!("format {}, this build reads format {FORMAT_VERSION}", facts.format);
        return Err(MetaError::Damaged { path: path.to_owned(), found });
    }
    if facts.owner != node.0 {
        return Err(MetaError::OtherNode { path: path.to_owned(), owner: NodeId(facts.owner) });
    }
    let mark = compare(path, facts.writes)?;
    transaction.commit().map_err(|error| failed(path, error))?;
    look_through(&database, path)?;
    Ok((database, mark))
}

/// What the file says of itself.
struct Facts {
    format: u64,
    owner: u64,
    /// `None` in one that was made before there was a mark, or that is new.
    writes: Option<u64>,
}

/// Makes the tables where they are missing.
fn prepare(transaction: &WriteTransaction, node: NodeId) -> Result<Facts, redb::Error> {
    transaction.open_table(ENTRIES)?;
    transaction.open_table(VOTES)?;
    transaction.open_table(PLACES)?;
    let mut facts = transaction.open_table(FACTS)?;
    let fact = |key: &str| facts.get(key).map(|fact| fact.map(|fact| fact.value()));
    let found = (fact(FORMAT)?, fact(NODE)?, fact(WRITES)?);
    if let (Some(format), Some(owner), writes) = found {
        return Ok(Facts { format, owner, writes });
    }
    facts.insert(FORMAT, FORMAT_VERSION)?;
    facts.insert(NODE, node.0)?;
    Ok(Facts { format: FORMAT_VERSION, owner: node.0, writes: None })
}

/// Holds the number of writes against the mark; a log that never had one gets it.
fn compare(path: &Path, writes: Option<u64>) -> Result<Mark, MetaError> {
    let beside = Mark::path_of(path);
    let unusable = |source: io::Error| match source.kind() {
        io::ErrorKind::InvalidData => MetaError::Damaged { path: beside.clone(), found: source.to_string() },
        _ => MetaError::Io { path: beside.clone(), source },
    };
    let found = writes.unwrap_or(0);
    match Mark::read(&beside).map_err(unusable)? {
        Some(written) if found < written => return Err(MetaError::WentBack { path: path.to_owned(), written, found }),
        Some(_) => {}
        None if writes.is_some() => {
            let found = "it is gone, and says how far the log beside it was written".to_owned();
            return Err(MetaError::Damaged { path: beside, found });
        }
        None => Mark::create(&beside, 0).map_err(unusable)?,
    }
    Mark::open(&beside, found).map_err(unusable)
}

/// Reads everything once.
fn look_through(database: &Database, path: &Path) -> Result<(), MetaError> {
    let damaged = |found: String| MetaError::Damaged { path: path.to_owned(), found };
    let looked = || -> Result<Result<(), String>, redb::Error> {
        let transaction = database.begin_read()?;
        if let Some(frame) = transaction.open_table(VOTES)?.get(VOTE)?
            && let Err(error) = codec::decode::<wire::Vote>(frame.value())
        {
            return Ok(Err(format!("the vote: {error}")));
        }
        let mut next = transaction.open_table(PLACES)?.get(PURGED)?.map(|place| place.value().2.saturating_add(1));
        for row in transaction.open_table(ENTRIES)?.iter()? {
            let (index, frame) = row?;
            let index = index.value();
            match codec::decode::<wire::Entry>(frame.value()) {
                Err(error) => return Ok(Err(format!("entry {index}: {error}"))),
                Ok(entry) if entry.place.index != index => {
                    return Ok(Err(format!("entry {} stands in the place of entry {index}", entry.place.index)));
                }
                Ok(_) if next.is_some_and(|next| next != index) => {
                    return Ok(Err(format!("entry {index} stands where entry {} belongs", next.unwrap_or(0))));
                }
                Ok(_) => next = Some(index.saturating_add(1)),
            }
        }
        Ok(Ok(()))
    };
    looked().map_err(|error| failed(path, error))?.map_err(damaged)
}

/// What is wrong with the file is damage; everything else may be a matter of the moment.
fn failed(path: &Path, error: impl Into<redb::Error>) -> MetaError {
    match error.into() {
        redb::Error::Corrupted(found) => MetaError::Damaged { path: path.to_owned(), found },
        error => MetaError::Open { path: path.to_owned(), source: Box::new(error) },
    }
}
