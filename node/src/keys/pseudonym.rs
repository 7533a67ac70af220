//! The pseudonym key of this region: one secret on the node's disk, one derived key for each tenant.
//!
//! Under it the same value of a tenant gets the same token everywhere in the region, and never the same one as in another
//! region. Nodes of one region share the file. It does not reveal: tokens have no way back.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domicile_proto::ids::{Region, TenantId};
use parking_lot::RwLock;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use crate::errors::{Coded, Verdict};

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    /// The file cannot be read or made.
    #[error("the pseudonym key `{path}` cannot be opened; check the data directory and its owner")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file is not a key.
    #[error(
        "the pseudonym key `{path}` does not hold 32 bytes; restore it from the region's backup, a new one changes every token"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Others may read it.
    #[error("the pseudonym key `{path}` can be read by others (mode {mode:o}); set its mode to 600")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// The mode that was found.
        mode: u32,
    },
    /// The system gives no random bytes.
    #[error("the system gave no random bytes for the pseudonym key; look at the machine")]
    NoRandomness,
}

impl Coded for KeysError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "DMC-KEYS-01",
            Self::Damaged { .. } => "DMC-KEYS-02",
            Self::Exposed { .. } => "DMC-KEYS-03",
            Self::NoRandomness => "DMC-KEYS-04",
        }
    }

    fn verdict(&self) -> Verdict {
        Verdict::Broken
    }
}

/// The pseudonym keys of all tenants of a region. No `Debug`.
pub(crate) struct PseudonymKeys {
    root: hmac::Key,
    region: Region,
    tenants: RwLock<BTreeMap<TenantId, Arc<TenantPseudonyms>>>,
}

/// The keys of one tenant.
pub(crate) struct TenantPseudonyms {
    tokens: hmac::Key,
    subjects: hmac::Key,
}

impl PseudonymKeys {
    /// The key of a data directory; made on first use, with mode 0600, and flushed before it is used.
    ///
    /// # Errors
    /// [`KeysError`]: the file cannot be made or read, is damaged, or can be read by others.
    pub(crate) fn open(dir: &Path, region: Region) -> Result<Self, KeysError> {
        let path = dir.join(FILE);
        let unreadable = |source| KeysError::Unreadable { path: path.clone(), source };
        let secret = match File::open(&path) {
            Ok(file) => read(file, &path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(dir, &path)?,
            Err(error) => return Err(unreadable(error)),
        };
        Ok(Self::from_secret(&secret, region))
    }

    /// From a secret that is known already.
    pub(crate) fn from_secret(secret: &[u8; 32], region: Region) -> Self {
        Self { root: hmac::Key::new(hmac::HMAC_SHA256, secret), region, tenants: RwLock::default() }
    }

    /// The keys of a tenant.
    pub(crate) fn tenant(&self, tenant: TenantId) -> Arc<TenantPseudonyms> {
        if let Some(keys) = self.tenants.read().get(&tenant) {
            return Arc::clone(keys);
        }
        let derive = |purpose: &str| {
            let label = format!("domicile/{purpose}/1\0{}\0{tenant}", self.region);
            hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&self.root, label.as_bytes()).as_ref())
        };
        let keys = Arc::new(TenantPseudonyms { tokens: derive("token"), subjects: derive("subject") });
        Arc::clone(self.tenants.write().entry(tenant).or_insert(keys))
    }
}

impl TenantPseudonyms {
    /// The first 16 bytes of the keyed hash of a value of a class.
    pub(crate) fn token(&self, class: &str, value: &str) -> [u8; 16] {
        first(&self.tokens, class, value)
    }

    /// The keyed hash under which a subject is counted.
    pub(crate) fn subject(&self, field: &str, value: &str) -> u64 {
        u64::from_be_bytes(first(&self.subjects, field, value))
    }
}

fn first<const N: usize>(key: &hmac::Key, class: &str, value: &str) -> [u8; N] {
    let mut context = hmac::Context::with_key(key);
    context.update(class.as_bytes());
    context.update(&[0]);
    context.update(value.as_bytes());
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(context.sign().as_ref()) {
        *to = *from;
    }
    out
}

fn read(file: File, path: &Path) -> Result<[u8; 32], KeysError> {
    let unreadable = |source| KeysError::Unreadable { path: path.to_owned(), source };
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeysError::Exposed { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::with_capacity(33);
    Read::take(file, 33).read_to_end(&mut bytes).map_err(unreadable)?;
    bytes.try_into().map_err(|_| KeysError::Damaged { path: path.to_owned() })
}

/// Written under another name and linked, so that a crash leaves no half key and a second process no second one.
fn make(dir: &Path, path: &Path) -> Result<[u8; 32], KeysError> {
    let unreadable = |source| KeysError::Unreadable { path: path.to_owned(), source };
    let mut secret = [0; 32];
    SystemRandom::new().fill(&mut secret).map_err(|_| KeysError::NoRandomness)?;
    let draft = dir.join(format!("{FILE}.{}", std::process::id()));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft).map_err(unreadable)?;
    file.write_all(&secret).and_then(|()| file.sync_all()).map_err(unreadable)?;
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft).map_err(unreadable)?;
    match linked {
        Ok(()) => {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(unreadable)?;
            Ok(secret)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read(File::open(path).map_err(unreadable)?, path),
        Err(error) => Err(unreadable(error)),
    }
}

/// Name of the file.
const FILE: &str = "pseudonym.key";

#[cfg(test)]
mod tests {
    use super::*;

    fn region() -> Region {
        "tokyo".parse().unwrap()
    }

    #[test]
    fn the_key_is_made_once_with_mode_0600_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let first = PseudonymKeys::open(dir.path(), region()).unwrap().tenant(TenantId(1)).token("email", "a@b.de");
        let again = PseudonymKeys::open(dir.path(), region()).unwrap().tenant(TenantId(1)).token("email", "a@b.de");
        assert_eq!(first, again);
        let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_or_exposed_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        std::fs::write(&path, [7; 31]).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(PseudonymKeys::open(dir.path(), region()), Err(KeysError::Damaged { .. })));
        std::fs::write(&path, [7; 32]).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(PseudonymKeys::open(dir.path(), region()), Err(KeysError::Exposed { mode: 0o640, .. })));
    }

    #[test]
    fn tenants_regions_classes_and_purposes_never_share_a_token() {
        let keys = PseudonymKeys::from_secret(&[1; 32], region());
        let abroad = PseudonymKeys::from_secret(&[1; 32], "frankfurt".parse().unwrap());
        let token = keys.tenant(TenantId(1)).token("email", "a@b.de");
        assert_ne!(token, keys.tenant(TenantId(2)).token("email", "a@b.de"));
        assert_ne!(token, abroad.tenant(TenantId(1)).token("email", "a@b.de"));
        assert_ne!(token, keys.tenant(TenantId(1)).token("card", "a@b.de"));
        assert_ne!(token[..8], keys.tenant(TenantId(1)).subject("email", "a@b.de").to_be_bytes());
    }
}
