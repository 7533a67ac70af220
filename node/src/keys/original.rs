//! A personal value on its way from the detectors to the keyring.
//!
//! It exists only between the two: nothing writes it, prints it or sends it.

/// A personal value that a token stands for, on its way to be sealed. No `Debug`, no `Serialize`; wiped when dropped.
pub(crate) struct Original {
    pub(crate) token: Box<str>,
    pub(crate) subject: Option<u64>,
    pub(crate) text: zeroize::Zeroizing<String>,
}
