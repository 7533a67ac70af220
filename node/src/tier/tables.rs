//! The tables of ids that a copy has behind the engine's files: built when it is copied out, so that they cost a hot segment nothing.
//!
//! Each is written into a file without a name first, for its size is not known before; not more than a part is in memory.

use std::fs::{self, File};
use std::io::{BufWriter, Seek, Write};
use std::ops::Range;
use std::path::Path;

use super::errors::TierError;
use super::pack::{Reading, disk};
use crate::segment::lookup::{Columns, TABLES, file_of};

/// Adds the tables behind what is read; which ranges of all files together are read at open.
pub(super) fn add_tables(
    reading: &mut Reading,
    columns: &Columns,
    beside: &Path,
) -> Result<Vec<Range<u64>>, TierError> {
    let failed = |source| disk(beside, source);
    let mut at_open = Vec::new();
    for table in TABLES {
        let mut to = BufWriter::new(nameless(beside).map_err(failed)?);
        let Some((length, kept)) = columns.write(table, &mut to).map_err(failed)? else { continue };
        to.flush().map_err(failed)?;
        let mut file = to.into_inner().map_err(|error| failed(error.into_error()))?;
        file.rewind().map_err(failed)?;
        let end = reading.add(file_of(table), length, file);
        at_open.push(end - kept..end);
    }
    Ok(at_open)
}

/// A file that is gone with the last who holds it.
fn nameless(path: &Path) -> std::io::Result<File> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    fs::remove_file(path)?;
    Ok(file)
}
