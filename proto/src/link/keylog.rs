//! The TLS key log: lets an auditor decrypt a capture of the links, in the format of NSS.
//!
//! Off unless `audit.tls_keylog` names a file. Whoever reads the file and the traffic reads everything that crossed, so the
//! link says loudly that it is on. It decrypts the traffic of this node alone and only from its start on.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::errors::LinkError;

/// Appends the secrets of every handshake to a file.
pub struct KeyLogFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl KeyLogFile {
    /// Opens the file, mode 0600, and says so at WARN.
    ///
    /// # Errors
    /// [`LinkError::KeyLog`] where it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, LinkError> {
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options
            .open(path)
            .map_err(|source| LinkError::KeyLog { path: path.to_owned(), source: Arc::new(source) })?;
        tracing::warn!(
            path = %path.display(),
            "TLS keys of all links are written to a file (`audit.tls_keylog`): whoever has it and the traffic reads \
             everything that crosses"
        );
        Ok(Self { path: path.to_owned(), file: Mutex::new(file) })
    }
}

impl fmt::Debug for KeyLogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyLogFile({})", self.path.display())
    }
}

impl rustls::KeyLog for KeyLogFile {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let line = format!("{label} {} {}\n", hex::encode(client_random), hex::encode(secret));
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(line.as_bytes()) {
            tracing::warn!(path = %self.path.display(), %error, "the TLS key log has a gap");
        }
    }
}
