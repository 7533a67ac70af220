//! A root in the Transit engine of Vault or OpenBao, spoken to over its HTTP API.
//!
//! The token is read from its file at each request, so that an agent may renew it. Requests never follow a redirect. What a
//! key wraps travels to the engine and back, and lies in this process in copies of the HTTP client that cannot be wiped.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domicile_proto::link::crypto;
use reqwest::{Certificate, Client, Method, StatusCode, redirect};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use super::super::file;
use super::{KeyStore, OpenedKey, WrappableKey, Wrapped};
use crate::config::TransitConfig;
use crate::keys::errors::KeysError;
use crate::keys::secret::Secret;
use crate::limits::KEY_STORE_DEADLINE;

/// The engine, and the one key of it that belongs to this node.
pub(super) struct Transit {
    client: Client,
    runtime: Handle,
    base: String,
    key: String,
    token_file: PathBuf,
    namespace: Option<String>,
}

impl Transit {
    /// Asks for the key, and makes it where there is none. Blocks; must not be called on a thread of the runtime.
    ///
    /// # Errors
    /// [`KeysError::OutOfReach`], [`KeysError::Denied`], or what is wrong with a file.
    pub(super) fn open(config: &TransitConfig, runtime: Handle) -> Result<Self, KeysError> {
        crypto::install_default_provider();
        let mut builder = Client::builder().timeout(KEY_STORE_DEADLINE).no_proxy().redirect(redirect::Policy::none());
        if let Some(path) = &config.ca {
            let pem = std::fs::read(path).map_err(|source| file::unreadable(path, source))?;
            let certificate = Certificate::from_pem(&pem).map_err(|_| KeysError::Damaged { path: path.clone() })?;
            builder = builder.tls_certs_merge([certificate]);
        }
        let client = builder.build().map_err(out_of_reach)?;
        let transit = Self {
            client,
            runtime,
            base: format!("{}/v1/{}", config.address.trim_end_matches('/'), config.mount),
            key: config.key.to_string(),
            token_file: config.token_file.clone(),
            namespace: config.namespace.clone(),
        };
        if transit.described()?.is_none() {
            transit.ask(Method::POST, "keys", "", Some(json!({"type": "aes256-gcm96"})), "make the key")?;
        }
        Ok(transit)
    }

    /// What the engine says of the key; `None` where there is no such key.
    fn described(&self) -> Result<Option<Value>, KeysError> {
        self.ask(Method::GET, "keys", "", None, "read the key")
    }

    fn number(&self, field: &str) -> Result<u32, KeysError> {
        let described = self.described()?;
        let number = described.as_ref().and_then(|key| key.get("data")?.get(field)?.as_u64());
        number.and_then(|number| u32::try_from(number).ok()).ok_or_else(|| denied("read the key", "no such key"))
    }

    /// `None` for 404.
    fn ask(
        &self,
        method: Method,
        verb: &str,
        after: &str,
        body: Option<Value>,
        act: &'static str,
    ) -> Result<Option<Value>, KeysError> {
        let token = file::read_line(&self.token_file)?;
        let url = format!("{}/{verb}/{}{after}", self.base, self.key);
        let mut request = self.client.request(method, url).header("X-Vault-Token", token.as_str());
        if let Some(namespace) = &self.namespace {
            request = request.header("X-Vault-Namespace", namespace);
        }
        if let Some(body) = &body {
            request = request.json(body);
        }
        let asked = async {
            let response = request.send().await?;
            Ok::<_, reqwest::Error>((response.status(), response.bytes().await?))
        };
        let (status, bytes) = self.runtime.block_on(asked).map_err(|error| out_of_reach(error.without_url()))?;
        let answer = serde_json::from_slice::<Value>(&bytes).unwrap_or_default();
        match status {
            status if status.is_success() => Ok(Some(answer)),
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Err(out_of_reach(std::io::Error::other(status.to_string())))
            }
            status => Err(denied(act, status.as_str())),
        }
    }

    fn field(&self, verb: &str, body: Value, field: &str, act: &'static str) -> Result<Zeroizing<String>, KeysError> {
        let answer = self.ask(Method::POST, verb, "", Some(body), act)?;
        let text = answer.as_ref().and_then(|answer| answer.get("data")?.get(field)?.as_str());
        text.map(|text| Zeroizing::new(text.to_owned())).ok_or_else(|| denied(act, "no such key"))
    }
}

impl KeyStore for Transit {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn wrap(&self, key: &WrappableKey<'_>, label: &[u8]) -> Result<Wrapped, KeysError> {
        let plain = Zeroizing::new(STANDARD.encode(key.0.bytes()));
        let body = json!({"plaintext": plain.as_str(), "associated_data": STANDARD.encode(label)});
        let text = self.field("encrypt", body, "ciphertext", "wrap a key")?;
        // `vault:v7:…`: the version stands in the middle.
        let version = text.split(':').nth(1).and_then(|part| part.strip_prefix('v')?.parse().ok());
        let version = version.ok_or_else(|| denied("wrap a key", "a ciphertext in another form"))?;
        Ok(Wrapped { version, bytes: text.as_bytes().to_vec() })
    }

    fn open(&self, wrapped: &Wrapped, label: &[u8]) -> Result<OpenedKey, KeysError> {
        let does_not_open = || KeysError::DoesNotOpen { place: "the Transit engine" };
        let text = std::str::from_utf8(&wrapped.bytes).map_err(|_| does_not_open())?;
        let body = json!({"ciphertext": text, "associated_data": STANDARD.encode(label)});
        let plain = match self.field("decrypt", body, "plaintext", "open a key") {
            // A ciphertext that is not its own, or of a version that was destroyed.
            Err(KeysError::Denied { answer, .. }) if answer == "400" => return Err(does_not_open()),
            plain => plain?,
        };
        let bytes = Zeroizing::new(STANDARD.decode(plain.as_bytes()).map_err(|_| does_not_open())?);
        Secret::from_slice(&bytes).map(OpenedKey).ok_or_else(does_not_open)
    }

    fn rotate(&self) -> Result<u32, KeysError> {
        let rotated = self.ask(Method::POST, "keys", "/rotate", Some(json!({})), "rotate the key")?;
        rotated.ok_or_else(|| denied("rotate the key", "no such key"))?;
        self.number("latest_version")
    }

    /// Forbids the older versions and has the engine throw them away.
    fn retire_before(&self, version: u32) -> Result<(), KeysError> {
        if version <= self.number("min_available_version")?.max(1) {
            return Ok(());
        }
        let least = json!({"min_decryption_version": version, "min_encryption_version": version});
        self.ask(Method::POST, "keys", "/config", Some(least), "forbid older versions")?;
        let least = json!({"min_available_version": version});
        self.ask(Method::POST, "keys", "/trim", Some(least), "trim older versions")?;
        Ok(())
    }
}

fn out_of_reach(source: impl std::error::Error + Send + Sync + 'static) -> KeysError {
    KeysError::OutOfReach { store: KIND, source: Box::new(source) }
}

fn denied(act: &'static str, answer: &str) -> KeysError {
    KeysError::Denied { store: KIND, act, answer: answer.to_owned() }
}

const KIND: &str = "transit";

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::mpsc;

    use super::*;
    use crate::errors::Coded;

    #[test]
    fn a_key_store_that_takes_a_request_and_says_nothing_is_out_of_reach_after_the_deadline() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let token_file = dir.path().join("token");
        std::fs::write(&token_file, "t\n").unwrap();
        std::fs::set_permissions(&token_file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let config = TransitConfig {
            address: format!("http://{}", silent.local_addr().unwrap()),
            mount: "transit".to_owned(),
            key: "domicile".parse().unwrap(),
            token_file,
            ca: None,
            namespace: None,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let (done, ended) = mpsc::channel();
        let handle = runtime.handle().clone();
        std::thread::spawn(move || done.send(Transit::open(&config, handle).err().map(|error| error.code())));
        // Whoever takes the connection away would be the one who ends the wait.
        let _connection = silent.accept().unwrap();
        let code = ended.recv_timeout(KEY_STORE_DEADLINE * 20).expect("it does not wait for ever");
        assert_eq!(code, Some("DMC-KEYS-07"));
    }
}
