//! The file behind what a node has honoured: one line for each change, flushed before the change counts.
//!
//! A line is a CRC-32 and a JSON list of what one state changed, so that all of it counts or none. A last line without its
//! end is what a crash leaves of something that never counted; it is cut off. Any other line that does not fit is damage, and the node does not start: it would forget revocations. Opening
//! writes the file anew with what still counts. Decides nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use domicile_proto::ids::{ConsentSerial, Name, PolicyVersion, TenantId};
use domicile_proto::officer::OfficerPublic;
use serde::{Deserialize, Serialize};

use super::errors::PolicyError;
use super::honoured::{FieldsOnce, Mark, Marks, Object, Protection};

/// One change of what is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Note {
    /// A consent is in force for an object.
    InForce(Object, Mark),
    /// None is.
    Gone(Object),
    /// The highest serial that was honoured, and the newest state that was looked at.
    Seen(ConsentSerial, PolicyVersion),
    /// So many days the last honoured policy of a stream keeps its records; none where the region's period holds.
    Kept(Object, Option<NonZeroU16>),
    /// A route was closed, or opened again.
    Shut(Object, bool),
    /// What the last honoured policy of a stream protects; nothing where it names nothing.
    Protected(Object, Protection),
    /// A field was the subject of a stream of the tenant.
    Subject(TenantId, Name),
    /// A field of a stream of the tenant was declared as personal.
    Declared(TenantId),
}

/// The open file.
#[derive(Debug)]
pub(super) struct Memory {
    path: PathBuf,
    file: File,
}

impl Memory {
    /// Opens the memory of an officer's consents, or begins one.
    pub(super) fn open(dir: &Path, officer: OfficerPublic) -> Result<(Self, Marks), PolicyError> {
        let officer = String::from(officer);
        let path = dir.join(format!("{NAME}{}", officer.get(..16).unwrap_or(&officer)));
        let failed = |source| PolicyError::Open { path: path.clone(), source };
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(error)),
        };
        let mut marks = read(&text).map_err(|line| PolicyError::Damaged { path: path.clone(), line })?;
        for (tenant, fields) in fields_beside(dir, &path)? {
            for field in fields.subjects {
                marks.add_subject(tenant, field);
            }
            if fields.declared {
                marks.add_declared(tenant);
            }
        }
        let mut file = rewrite(dir, &path, &marks).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok((Self { path, file }, marks))
    }

    /// Writes changes down; returns when they are on the disk. After an error nothing may be written any more.
    pub(super) fn write(&mut self, notes: &[Note], marks: &Marks) -> Result<(), PolicyError> {
        let mut text = Vec::new();
        line(&[notes, &[Note::Seen(marks.highest, marks.version)]].concat(), &mut text);
        let written = self.file.write_all(&text).and_then(|()| self.file.sync_data());
        written.map_err(|source| PolicyError::Write { path: self.path.clone(), source })
    }

    /// A memory that cannot be written.
    #[cfg(test)]
    pub(super) fn unwritable(path: &Path) -> Self {
        let file = File::open(path).expect("a file that is there");
        Self { path: path.to_owned(), file }
    }
}

/// What the memories of other officers, beside ours, say of fields: records outlive the key under which their policy was signed.
fn fields_beside(dir: &Path, ours: &Path) -> Result<Vec<(TenantId, FieldsOnce)>, PolicyError> {
    let failed = |source| PolicyError::Open { path: dir.to_owned(), source };
    let mut fields: Vec<(TenantId, FieldsOnce)> = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path == ours || !name.starts_with(NAME) || name.ends_with(DRAFT) {
            continue;
        }
        let text = std::fs::read(&path).map_err(|source| PolicyError::Open { path: path.clone(), source })?;
        let marks = read(&text).map_err(|line| PolicyError::Damaged { path: path.clone(), line })?;
        fields.extend(marks.fields);
    }
    Ok(fields)
}

/// The file again with what counts alone, in one step: either the old one is there or the new one.
fn rewrite(dir: &Path, path: &Path, marks: &Marks) -> io::Result<File> {
    let mut text = Vec::new();
    marks.in_force.iter().for_each(|(object, mark)| line(&[Note::InForce(object.clone(), mark.clone())], &mut text));
    marks.kept.iter().for_each(|(object, days)| line(&[Note::Kept(object.clone(), Some(*days))], &mut text));
    let protected = marks.protected.iter();
    protected.for_each(|(object, what)| line(&[Note::Protected(object.clone(), what.clone())], &mut text));
    marks.shut.iter().for_each(|object| line(&[Note::Shut(object.clone(), true)], &mut text));
    for (tenant, fields) in &marks.fields {
        fields.subjects.iter().for_each(|field| line(&[Note::Subject(*tenant, field.clone())], &mut text));
        if fields.declared {
            line(&[Note::Declared(*tenant)], &mut text);
        }
    }
    line(&[Note::Seen(marks.highest, marks.version)], &mut text);
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&new)?;
    file.write_all(&text)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    File::open(dir)?.sync_all()?;
    Ok(file)
}

fn line(notes: &[Note], text: &mut Vec<u8>) {
    // Notes always have a JSON form.
    let json = serde_json::to_vec(notes).unwrap_or_default();
    text.extend(format!("{:08x} ", crc32fast::hash(&json)).bytes());
    text.extend(json);
    text.push(b'\n');
}

/// What the lines leave; or the number of the line that is damaged, counted from 1.
fn read(text: &[u8]) -> Result<Marks, usize> {
    let mut marks = Marks::default();
    for (number, line) in (1_usize..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
        let Some(line) = line.strip_suffix(b"\n") else { break };
        for note in notes(line).ok_or(number)? {
            match note {
                Note::InForce(object, mark) => drop(marks.in_force.insert(object, mark)),
                Note::Gone(object) => drop(marks.in_force.remove(&object)),
                Note::Seen(highest, version) => (marks.highest, marks.version) = (highest, version),
                Note::Kept(object, days) => marks.set_period(object, days),
                Note::Shut(object, is_shut) => marks.set_shut(object, is_shut),
                Note::Protected(object, protection) => marks.set_protection(object, protection),
                Note::Subject(tenant, field) => {
                    marks.add_subject(tenant, field);
                }
                Note::Declared(tenant) => {
                    marks.add_declared(tenant);
                }
            }
        }
    }
    Ok(marks)
}

fn notes(line: &[u8]) -> Option<Vec<Note>> {
    let (sum, json) = line.split_at_checked(9)?;
    let sum = std::str::from_utf8(sum).ok()?.strip_suffix(' ')?;
    let sum = u32::from_str_radix(sum, 16).ok()?;
    serde_json::from_slice(json).ok().filter(|_| crc32fast::hash(json) == sum)
}

/// What the name of a memory begins with.
const NAME: &str = "honoured-";
/// Behind the name of one that is being written.
const DRAFT: &str = ".new";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_what_was_honoured_panics() {
        let mut text = Vec::new();
        line(&[Note::Seen(ConsentSerial(4), PolicyVersion(5))], &mut text);
        let good = vec![text[9..text.len() - 1].to_vec(), b"[]".to_vec()];
        bolero::check!().with_iterations(crate::fuzz::cases()).with_type::<crate::fuzz::Input>().for_each(|input| {
            let json = input.bytes(&good);
            let mut text = format!("{:08x} ", crc32fast::hash(&json)).into_bytes();
            text.extend_from_slice(&json);
            text.push(b'\n');
            let _ = (read(&text).is_ok(), read(&json).is_ok());
        });
    }
}
