//! A root in a local file, for development: whoever has the disk has the root.
//!
//! A line for each version: its number and 64 hexadecimal digits.

use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::super::file;
use super::{KeyStore, OpenedKey, WrappableKey, Wrapped};
use crate::keys::errors::KeysError;
use crate::keys::secret::Secret;

/// The file. Read at each use, so that a file that is gone is a store that is down.
pub(in crate::keys) struct Local {
    path: PathBuf,
    changing: Mutex<()>,
}

impl Local {
    /// A file, made with its first version where there is none.
    ///
    /// # Errors
    /// [`KeysError`]: it cannot be made or read, is damaged, or can be read by others.
    pub(in crate::keys) fn open(path: &Path) -> Result<Self, KeysError> {
        let local = Self { path: path.to_owned(), changing: Mutex::new(()) };
        match file::read(path)? {
            Some(_) => drop(local.versions()?),
            None => local.write(&[(1, Secret::random()?)])?,
        }
        Ok(local)
    }

    fn versions(&self) -> Result<Vec<(u32, Secret)>, KeysError> {
        let missing = || file::unreadable(&self.path, std::io::Error::from(std::io::ErrorKind::NotFound));
        let bytes = file::read(&self.path)?.ok_or_else(missing)?;
        let versions = std::str::from_utf8(&bytes).ok().and_then(|text| text.lines().map(parsed).collect());
        let versions: Option<Vec<(u32, Secret)>> = versions;
        let damaged = || KeysError::Damaged { path: self.path.clone() };
        versions.filter(|versions| !versions.is_empty()).ok_or_else(damaged)
    }

    fn write(&self, versions: &[(u32, Secret)]) -> Result<(), KeysError> {
        let mut text = Zeroizing::new(String::with_capacity(versions.len() * 80));
        for (number, secret) in versions {
            text.push_str(&number.to_string());
            text.push(' ');
            text.push_str(&Zeroizing::new(hex::encode(secret.bytes())));
            text.push('\n');
        }
        file::replace(&self.path, text.as_bytes())
    }
}

fn parsed(line: &str) -> Option<(u32, Secret)> {
    let (number, secret) = line.split_once(' ')?;
    let mut bytes = Zeroizing::new([0; 32]);
    hex::decode_to_slice(secret, bytes.as_mut_slice()).ok()?;
    Some((number.parse().ok()?, Secret::from_slice(bytes.as_slice())?))
}

impl KeyStore for Local {
    fn kind(&self) -> &'static str {
        "local"
    }

    fn wrap(&self, key: &WrappableKey<'_>, label: &[u8]) -> Result<Wrapped, KeysError> {
        let versions = self.versions()?;
        let (version, root) = versions.last().ok_or_else(|| KeysError::Damaged { path: self.path.clone() })?;
        Ok(Wrapped { version: *version, bytes: root.wrap(key.0, label)? })
    }

    fn open(&self, wrapped: &Wrapped, label: &[u8]) -> Result<OpenedKey, KeysError> {
        let versions = self.versions()?;
        let root = versions.iter().find(|(version, _)| *version == wrapped.version);
        let key = root.and_then(|(_, root)| root.open_key(&wrapped.bytes, label));
        key.map(OpenedKey).ok_or(KeysError::DoesNotOpen { place: "the local root" })
    }

    fn rotate(&self) -> Result<u32, KeysError> {
        let _one_at_a_time = self.changing.lock();
        let mut versions = self.versions()?;
        let next = versions.last().map_or(1, |(version, _)| version.saturating_add(1));
        versions.push((next, Secret::random()?));
        self.write(&versions)?;
        Ok(next)
    }

    fn retire_before(&self, version: u32) -> Result<(), KeysError> {
        let _one_at_a_time = self.changing.lock();
        let mut versions = self.versions()?;
        let before = versions.len();
        versions.retain(|(number, _)| *number >= version);
        if versions.len() == before { Ok(()) } else { self.write(&versions) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn versions_wrap_in_turn_and_a_retired_one_opens_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root.key");
        let store = Local::open(&path).unwrap();
        let key = Secret::random().unwrap();
        let first = store.wrap(&WrappableKey(&key), b"x").unwrap();
        assert_eq!(store.rotate().unwrap(), 2);
        let second = Local::open(&path).unwrap().wrap(&WrappableKey(&key), b"x").unwrap();
        assert_eq!((first.version, second.version), (1, 2));
        assert_eq!(store.open(&first, b"x").unwrap().0.bytes(), key.bytes());
        assert!(store.open(&first, b"y").is_err(), "made for something else");
        store.retire_before(2).unwrap();
        store.retire_before(2).unwrap();
        assert!(matches!(store.open(&first, b"x"), Err(KeysError::DoesNotOpen { .. })));
        assert_eq!(store.open(&second, b"x").unwrap().0.bytes(), key.bytes());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_damaged_exposed_or_missing_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root.key");
        let store = Local::open(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Local::open(&path), Err(KeysError::Exposed { mode: 0o640, .. })));
        assert!(store.rotate().is_err(), "at each use");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        for damaged in ["", "1 00\n", "one 00", "\u{0}"] {
            std::fs::write(&path, damaged).unwrap();
            assert!(matches!(Local::open(&path), Err(KeysError::Damaged { .. })), "{damaged:?}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(store.rotate(), Err(KeysError::Unreadable { .. })));
    }
}
