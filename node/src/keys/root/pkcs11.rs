//! A root in a PKCS#11 module: AES-256 keys that the module makes and never gives out, one for each version.
//!
//! A version is a key object with the configured label and the version as its id. Keys are wrapped with AES-GCM under it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::{AuthPin, Ulong};
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::super::file;
use super::{KeyStore, OpenedKey, WrappableKey, Wrapped};
use crate::config::Pkcs11Config;
use crate::keys::errors::KeysError;
use crate::keys::secret::Secret;

/// The module with one session, opened again after a failure.
pub(super) struct Hsm {
    module: Pkcs11,
    token: String,
    label: Vec<u8>,
    pin_file: PathBuf,
    session: Mutex<Option<Session>>,
}

impl Hsm {
    /// Loads the module, logs in, and makes the first version where there is none.
    ///
    /// # Errors
    /// [`KeysError::OutOfReach`], [`KeysError::Denied`], or what is wrong with the PIN file.
    pub(super) fn open(config: &Pkcs11Config) -> Result<Self, KeysError> {
        let module = Pkcs11::new(&config.module).map_err(failed)?;
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(failed(error)),
        }
        let hsm = Self {
            module,
            token: config.token.clone(),
            label: config.key.as_str().as_bytes().to_vec(),
            pin_file: config.pin_file.clone(),
            session: Mutex::new(None),
        };
        if hsm.with(|session| hsm.versions(session))?.is_empty() {
            hsm.rotate()?;
        }
        Ok(hsm)
    }

    /// Does something in the session; one that failed is not used again.
    fn with<T>(&self, act: impl FnOnce(&Session) -> Result<T, KeysError>) -> Result<T, KeysError> {
        let mut kept = self.session.lock();
        let session = match kept.take() {
            Some(session) => session,
            None => self.log_in()?,
        };
        let done = act(&session);
        if !matches!(done, Err(KeysError::OutOfReach { .. })) {
            *kept = Some(session);
        }
        done
    }

    fn log_in(&self) -> Result<Session, KeysError> {
        let slots = self.module.get_slots_with_token().map_err(failed)?;
        let is_ours = |slot: &cryptoki::slot::Slot| {
            self.module.get_token_info(*slot).is_ok_and(|info| info.label().trim_end() == self.token)
        };
        let slot = slots.into_iter().find(is_ours).ok_or_else(|| {
            let words = format!("no token has the label `{}`", self.token);
            failed_with(std::io::Error::new(std::io::ErrorKind::NotFound, words))
        })?;
        let session = self.module.open_rw_session(slot).map_err(failed)?;
        let pin = file::read_line(&self.pin_file)?;
        match session.login(UserType::User, Some(&AuthPin::new(pin.as_str().into()))) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(Error::Pkcs11(error, _)) => {
                Err(KeysError::Denied { store: KIND, act: "log in", answer: format!("{error:?}") })
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn versions(&self, session: &Session) -> Result<BTreeMap<u32, ObjectHandle>, KeysError> {
        let ours = [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Label(self.label.clone())];
        let mut versions = BTreeMap::new();
        for object in session.find_objects(&ours).map_err(failed)? {
            for attribute in session.get_attributes(object, &[AttributeType::Id]).map_err(failed)? {
                if let Attribute::Id(id) = attribute
                    && let Ok(id) = id.try_into()
                {
                    versions.insert(u32::from_be_bytes(id), object);
                }
            }
        }
        Ok(versions)
    }
}

impl KeyStore for Hsm {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn wrap(&self, key: &WrappableKey<'_>, label: &[u8]) -> Result<Wrapped, KeysError> {
        let mut nonce = [0; NONCE];
        SystemRandom::new().fill(&mut nonce).map_err(|_| KeysError::NoRandomness)?;
        let mut bytes = nonce.to_vec();
        self.with(|session| {
            let versions = self.versions(session)?;
            let (version, root) = versions.last_key_value().ok_or_else(no_key)?;
            let how = GcmParams::new(&mut nonce, label, Ulong::new(128)).map_err(failed)?;
            let sealed = session.encrypt(&Mechanism::AesGcm(how), *root, key.0.bytes()).map_err(failed)?;
            bytes.extend_from_slice(&sealed);
            Ok(Wrapped { version: *version, bytes: bytes.clone() })
        })
    }

    fn open(&self, wrapped: &Wrapped, label: &[u8]) -> Result<OpenedKey, KeysError> {
        let does_not_open = || KeysError::DoesNotOpen { place: "the PKCS#11 token" };
        let (nonce, sealed) = wrapped.bytes.split_first_chunk::<NONCE>().ok_or_else(does_not_open)?;
        let mut nonce = *nonce;
        self.with(|session| {
            let root = *self.versions(session)?.get(&wrapped.version).ok_or_else(does_not_open)?;
            let how = GcmParams::new(&mut nonce, label, Ulong::new(128)).map_err(failed)?;
            let plain = match session.decrypt(&Mechanism::AesGcm(how), root, sealed) {
                Ok(plain) => Zeroizing::new(plain),
                Err(Error::Pkcs11(code, _)) if is_about_the_data(code) => return Err(does_not_open()),
                Err(error) => return Err(failed(error)),
            };
            Secret::from_slice(&plain).map(OpenedKey).ok_or_else(does_not_open)
        })
    }

    fn rotate(&self) -> Result<u32, KeysError> {
        self.with(|session| {
            let next = self.versions(session)?.last_key_value().map_or(1, |(version, _)| version.saturating_add(1));
            let template = [
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::AES),
                Attribute::ValueLen(Ulong::new(32)),
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Encrypt(true),
                Attribute::Decrypt(true),
                Attribute::Label(self.label.clone()),
                Attribute::Id(next.to_be_bytes().to_vec()),
            ];
            session.generate_key(&Mechanism::AesKeyGen, &template).map_err(failed)?;
            Ok(next)
        })
    }

    fn retire_before(&self, version: u32) -> Result<(), KeysError> {
        self.with(|session| {
            for (_, object) in self.versions(session)?.range(..version) {
                session.destroy_object(*object).map_err(failed)?;
            }
            Ok(())
        })
    }
}

/// Whether the module says that the ciphertext is not its own, and not that it is unwell.
const fn is_about_the_data(code: RvError) -> bool {
    // `GeneralError` is what SoftHSM answers to a tag that does not fit.
    matches!(code, RvError::EncryptedDataInvalid | RvError::EncryptedDataLenRange | RvError::GeneralError)
}

fn failed(error: Error) -> KeysError {
    failed_with(error)
}

fn failed_with(error: impl std::error::Error + Send + Sync + 'static) -> KeysError {
    KeysError::OutOfReach { store: KIND, source: Box::new(error) }
}

fn no_key() -> KeysError {
    KeysError::Denied { store: KIND, act: "find its key", answer: "no such key".to_owned() }
}

const KIND: &str = "pkcs11";
/// Bytes of a nonce.
const NONCE: usize = 12;
