//! What keeps keys from being used. No message names a tenant's value, a token or a key.

use std::io;
use std::path::PathBuf;

use crate::errors::{Coded, Verdict};
use crate::limits::KEYS_WITHOUT_STORE;

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    /// The file cannot be read or made.
    #[error("the key file `{path}` cannot be opened; check the path in `[keys]`, the data directory and its owner")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file is not a key.
    #[error(
        "the key file `{path}` does not hold what it should; restore it from the region's backup, a new one changes every token and opens nothing that was sealed"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Others may read it.
    #[error("the key file `{path}` can be read by others (mode {mode:o}); set its mode to 600")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// The mode that was found.
        mode: u32,
    },
    /// The system gives no random bytes.
    #[error("the system gave no random bytes for a key; look at the machine")]
    NoRandomness,
    /// The keyring cannot be read or written.
    #[error("the keyring `{path}` cannot be read or written; look at its disk, and restart the node")]
    Keyring {
        /// The file.
        path: PathBuf,
        /// What the database says.
        #[source]
        source: Box<redb::Error>,
    },
    /// The journal of the keyring cannot be written.
    #[error("the journal of the keyring `{path}` cannot be written; look at its disk and make room, nothing is lost")]
    Journal {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The keyring is not this node's.
    #[error("the keyring `{path}` does not belong here: {found}; give this node its own data directory back")]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        found: &'static str,
    },
    /// The key store does not answer.
    #[error("the key store `{store}` is out of reach; bring it back, what needs a new key waits for it")]
    OutOfReach {
        /// Which kind.
        store: &'static str,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The key store says no.
    #[error("the key store `{store}` refused to {act} ({answer}); check what its token, PIN or policy allows")]
    Denied {
        /// Which kind.
        store: &'static str,
        /// What was asked.
        act: &'static str,
        /// Its status or error name.
        answer: String,
    },
    /// The key store was out of reach for too long.
    #[error(
        "the key store was out of reach for more than {minutes} min, so that nothing personal is sealed or revealed; bring it back and send again, lines without personal data are taken"
    )]
    Expired {
        /// How long keys are used without it.
        minutes: u64,
    },
    /// Something does not open under its key.
    #[error(
        "a key or original in `{place}` does not open under the key it belongs to; restore the keyring and its root together"
    )]
    DoesNotOpen {
        /// Where it lies.
        place: &'static str,
    },
}

impl KeysError {
    /// Keys in memory may no longer be used, or were forgotten for that reason.
    pub(super) const fn expired() -> Self {
        Self::Expired { minutes: KEYS_WITHOUT_STORE.as_secs() / 60 }
    }
}

impl Coded for KeysError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "DMC-KEYS-01",
            Self::Damaged { .. } => "DMC-KEYS-02",
            Self::Exposed { .. } => "DMC-KEYS-03",
            Self::NoRandomness => "DMC-KEYS-04",
            Self::Keyring { .. } => "DMC-KEYS-05",
            Self::NotOurs { .. } => "DMC-KEYS-06",
            Self::OutOfReach { .. } => "DMC-KEYS-07",
            Self::Denied { .. } => "DMC-KEYS-08",
            Self::Expired { .. } => "DMC-KEYS-09",
            Self::DoesNotOpen { .. } => "DMC-KEYS-10",
            Self::Journal { .. } => "DMC-KEYS-11",
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::OutOfReach { .. } | Self::Denied { .. } | Self::Expired { .. } => Verdict::NotNow(30),
            _ => Verdict::Broken,
        }
    }
}
