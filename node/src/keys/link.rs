//! A key that nobody keeps: whoever holds a link can open what it points to, and nobody else, the node itself included.
//!
//! What is sealed lies under a name that follows from the key and does not lead back to it. How long a link is good, and where
//! what it points to lies, is not decided here.

use ring::hmac;
use zeroize::Zeroizing;

use super::errors::KeysError;
use super::secret::Secret;

/// The secret of a link. No `Debug`; wiped when dropped.
pub(crate) struct LinkKey(Secret);

impl LinkKey {
    /// A new one.
    ///
    /// # Errors
    /// [`KeysError::NoRandomness`].
    pub(crate) fn random() -> Result<Self, KeysError> {
        Secret::random().map(Self)
    }

    /// Out of the link; `None` where it is not 64 hexadecimal digits.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(hex::decode(text).ok()?);
        Secret::from_slice(&bytes).map(Self)
    }

    /// As it stands in the link, 64 hexadecimal digits: shown once and kept nowhere.
    pub(crate) fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(self.0.bytes()))
    }

    /// The public name of what it opens, 32 hexadecimal digits.
    pub(crate) fn name(&self) -> String {
        let name = self.derived(b"domicile link name");
        hex::encode(name.as_ref().get(..16).unwrap_or_default())
    }

    /// Sealed for whoever has the link; `beside` is bound to it.
    ///
    /// # Errors
    /// [`KeysError::NoRandomness`].
    pub(crate) fn seal(&self, plain: &[u8], beside: &str) -> Result<Vec<u8>, KeysError> {
        self.key()?.seal(plain, beside.as_bytes())
    }

    /// What was sealed; `None` where anything about it is another.
    pub(crate) fn open(&self, sealed: &[u8], beside: &str) -> Option<Zeroizing<Vec<u8>>> {
        self.key().ok()?.open(sealed, beside.as_bytes())
    }

    fn key(&self) -> Result<Secret, KeysError> {
        Secret::from_slice(self.derived(b"domicile link key").as_ref()).ok_or(KeysError::NoRandomness)
    }

    fn derived(&self, label: &[u8]) -> hmac::Tag {
        hmac::sign(&self.0.hmac(), label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_opens_what_was_sealed_for_it_and_its_name_opens_nothing() {
        let (key, other) = (LinkKey::random().unwrap(), LinkKey::random().unwrap());
        let sealed = key.seal(b"all about erika", "place").unwrap();
        assert!(!sealed.windows(5).any(|part| part == b"erika"));
        let again = LinkKey::read(&key.text()).unwrap();
        assert_eq!(again.open(&sealed, "place").unwrap().as_slice(), b"all about erika");
        assert_eq!(again.name(), key.name());
        assert!(again.open(&sealed, "another place").is_none() && other.open(&sealed, "place").is_none());
        let of_name = LinkKey::read(&key.name().repeat(2)).unwrap();
        assert!(of_name.open(&sealed, "place").is_none());
        assert!(!key.text().contains(&key.name()));
        for wrong in ["", "00", &"0g".repeat(32), &"00".repeat(33)] {
            assert!(LinkKey::read(wrong).is_none(), "{wrong}");
        }
    }
}
