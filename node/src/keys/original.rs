//! A personal value on its way from the stage that replaced it to the keyring that seals it. It is never written as it is.

use super::known::Sight;

/// A personal value that a token stands for, on its way to be sealed. No `Debug`, no `Serialize`; wiped when dropped.
pub(crate) struct Original {
    /// The whole mark that stands in the record, as `‹email:…›`.
    pub(crate) token: Box<str>,
    /// Keyed hash of the record's subject, where its stream names one.
    pub(crate) subject: Option<u64>,
    /// The value as it was sent.
    pub(crate) text: zeroize::Zeroizing<String>,
    /// Where it was met, and the hash in its token: once it is sealed it is not handed on again. `None` where nobody remembers.
    pub(crate) met: Option<(Sight, [u8; 16])>,
}
