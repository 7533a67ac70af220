//! Small secret files: mode 0600, refused when others may read them, replaced whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::errors::KeysError;

/// Largest secret file, in bytes: a token, a PIN or a list of root versions.
const MAX_BYTES: u64 = 1 << 20;

/// The contents of a secret file; `None` where there is none.
///
/// # Errors
/// [`KeysError::Unreadable`] and [`KeysError::Exposed`].
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, KeysError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(unreadable(path, source)),
    };
    let mode = file.metadata().map_err(|source| unreadable(path, source))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeysError::Exposed { path: path.to_owned(), mode });
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(|source| unreadable(path, source))?;
    Ok(Some(bytes))
}

/// A line of text in a secret file, as a token or a PIN.
pub(super) fn read_line(path: &Path) -> Result<Zeroizing<String>, KeysError> {
    let missing = || unreadable(path, io::Error::from(io::ErrorKind::NotFound));
    let bytes = read(path)?.ok_or_else(missing)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| KeysError::Damaged { path: path.to_owned() })?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// Puts new contents in place of a file, durably; a crash leaves the old or the new. What was there is overwritten, as far
/// as the disk lets a program do that.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), KeysError> {
    let failed = |source| unreadable(path, source);
    let draft = draft_of(path);
    let mut file = create(&draft).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    let old = OpenOptions::new().write(true).open(path).ok();
    std::fs::rename(&draft, path).map_err(failed)?;
    sync_dir_of(path).map_err(failed)?;
    if let Some(old) = old {
        // The name is gone from it already; what it held is of no use to anybody.
        let _ = blank(old);
    }
    Ok(())
}

/// Overwrites and unlinks a secret file.
pub(super) fn remove(path: &Path) -> Result<(), KeysError> {
    let failed = |source| unreadable(path, source);
    let old = OpenOptions::new().write(true).open(path).map_err(failed)?;
    std::fs::remove_file(path).and_then(|()| sync_dir_of(path)).map_err(failed)?;
    let _ = blank(old);
    Ok(())
}

/// An empty file that nobody else may read.
pub(super) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Makes a change of names in a file's directory durable.
pub(super) fn sync_dir_of(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or_else(|| Path::new("/")))?.sync_all()
}

pub(super) fn unreadable(path: &Path, source: io::Error) -> KeysError {
    KeysError::Unreadable { path: path.to_owned(), source }
}

fn draft_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".draft");
    path.with_file_name(name)
}

fn blank(mut file: File) -> io::Result<()> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(0))?;
    io::copy(&mut io::repeat(0).take(length), &mut file)?;
    file.sync_all()
}
