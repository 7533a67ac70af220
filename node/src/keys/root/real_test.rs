//! The same laws for every real key store: a local file, an OpenBao server, a PKCS#11 token of SoftHSM.
//!
//! The server runs on loopback in a process of its own. Without the programs the tests skip themselves by name; where
//! `DOMICILE_REQUIRE=all` they fail instead.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use domicile_proto::ids::{StreamId, TenantId, Timestamp};
use zeroize::Zeroizing;

use super::*;
use crate::clock::Clock;
use crate::config::{Pkcs11Config, TransitConfig};
use crate::keys::{Day, Original, Vault};

const TENANT: TenantId = TenantId(1);

fn missing(what: &str) {
    let is_required = std::env::var("DOMICILE_REQUIRE").is_ok_and(|value| value == "all");
    assert!(!is_required, "`{what}` is missing and DOMICILE_REQUIRE=all");
    eprintln!("SKIPPED: {}: `{what}` is missing", std::thread::current().name().unwrap_or("a test"));
}

fn secret_file(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    file::replace(&path, text.as_bytes()).unwrap();
    path
}

/// A server in development mode, ended by its id.
struct Bao {
    child: Child,
    address: String,
}

impl Drop for Bao {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Bao {
    fn start() -> Option<Self> {
        let program = std::env::var("DOMICILE_BAO").unwrap_or_else(|_| "bao".to_owned());
        let runs = Command::new(&program).arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !runs.is_ok_and(|status| status.success()) {
            missing("bao");
            return None;
        }
        // Free a moment ago, and asked for again where somebody was faster.
        for _ in 0..5 {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let listen = format!("-dev-listen-address=127.0.0.1:{port}");
            let mut child = Command::new(&program)
                .args(["server", "-dev", "-dev-no-store-token", "-dev-root-token-id=test", &listen])
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let is_up = lines.by_ref().map_while(Result::ok).any(|line| line.contains("Development mode should NOT"));
            let bao = Self { child, address: format!("http://127.0.0.1:{port}") };
            if is_up {
                std::thread::spawn(move || lines.for_each(drop));
                bao.post("sys/mounts/transit", "{\"type\":\"transit\"}");
                return Some(bao);
            }
        }
        panic!("the server did not start");
    }

    fn post(&self, path: &str, body: &str) -> String {
        let address = self.address.strip_prefix("http://").unwrap();
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let length = body.len();
        write!(
            stream,
            "POST /v1/{path} HTTP/1.1\r\nHost: {address}\r\nX-Vault-Token: test\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        std::io::read_to_string(stream).unwrap()
    }

    fn config(&self, dir: &Path, key: &str) -> TransitConfig {
        TransitConfig {
            address: self.address.clone(),
            mount: "transit".to_owned(),
            key: key.parse().unwrap(),
            token_file: secret_file(dir, "token", "test\n"),
            ca: None,
            namespace: None,
        }
    }
}

/// What every store must do.
fn laws(store: &dyn KeyStore) {
    let key = Secret::random().unwrap();
    let first = store.wrap(&WrappableKey(&key), b"label").unwrap();
    assert_eq!(store.open(&first, b"label").unwrap().0.bytes(), key.bytes());
    assert!(matches!(store.open(&first, b"other"), Err(KeysError::DoesNotOpen { .. })), "made for something else");
    let mut broken = first.clone();
    let last = broken.bytes.len() - 3;
    broken.bytes[last] ^= 1;
    assert!(matches!(store.open(&broken, b"label"), Err(KeysError::DoesNotOpen { .. })), "altered");
    let version = store.rotate().unwrap();
    assert!(version > first.version);
    assert_eq!(store.open(&first, b"label").unwrap().0.bytes(), key.bytes(), "old versions open until retired");
    let second = store.wrap(&WrappableKey(&key), b"label").unwrap();
    assert_eq!(second.version, version);
    store.retire_before(version).unwrap();
    store.retire_before(version).unwrap();
    store.retire_before(0).unwrap();
    assert!(matches!(store.open(&first, b"label"), Err(KeysError::DoesNotOpen { .. })), "retired");
    assert_eq!(store.open(&second, b"label").unwrap().0.bytes(), key.bytes());
}

fn original(token: &str, subject: u64) -> Original {
    Original {
        token: token.into(),
        subject: Some(subject),
        text: Zeroizing::new(format!("value of {token}")),
        met: None,
    }
}

/// What a vault must do over every store: also after a restart, and E8 with a thief's copy.
fn vault_laws(dir: &Path, open: &dyn Fn() -> Box<dyn KeyStore>) {
    let stolen = tempfile::tempdir().unwrap();
    let vault = |dir: &Path| Vault::open(dir, "tokyo".parse().unwrap(), open(), Clock::standing_at(Timestamp(0)));
    let shown = |vault: &Vault, token: &str| vault.reveal(TENANT, token).unwrap().map(|one| one.text.to_string());
    {
        let vault = vault(dir).unwrap();
        vault.seal(TENANT, StreamId(1), Day(1), &[original("victim", 1), original("stays", 2)]).unwrap();
    }
    for name in ["keyring.redb", "keyring.journal"] {
        std::fs::copy(dir.join(name), stolen.path().join(name)).unwrap();
    }
    {
        let control = vault(stolen.path()).unwrap();
        assert_eq!(shown(&control, "victim").as_deref(), Some("value of victim"), "the copy is good");
    }
    {
        let vault = vault(dir).unwrap();
        assert_eq!(shown(&vault, "victim").as_deref(), Some("value of victim"), "after a restart");
        vault.destroy_subject(TENANT, 1).unwrap();
        assert_eq!(shown(&vault, "victim"), None);
        assert_eq!(shown(&vault, "stays").as_deref(), Some("value of stays"));
        vault.rotate().unwrap();
        vault.tend().unwrap();
    }
    assert!(matches!(vault(stolen.path()), Err(KeysError::DoesNotOpen { .. })), "the old copy opens");
    assert_eq!(shown(&vault(dir).unwrap(), "stays").as_deref(), Some("value of stays"));
}

#[test]
fn a_local_file_keeps_the_laws_of_a_key_store() {
    let dir = tempfile::tempdir().unwrap();
    laws(&Local::open(&dir.path().join("a.key")).unwrap());
    let root = dir.path().join("b.key");
    let ring = tempfile::tempdir().unwrap();
    vault_laws(ring.path(), &|| Box::new(Local::open(&root).unwrap()));
}

#[test]
fn a_real_openbao_server_keeps_the_laws_of_a_key_store() {
    let Some(bao) = Bao::start() else { return };
    let (dir, ring) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let open = |key: &str| Transit::open(&bao.config(dir.path(), key), runtime.handle().clone());
    laws(&open("laws").unwrap());
    laws(&open("laws").unwrap());
    vault_laws(ring.path(), &|| Box::new(open("vault").unwrap()));
    let before = Secret::random().unwrap();
    let other = open("other").unwrap();
    let theirs = open("laws").unwrap().wrap(&WrappableKey(&before), b"label").unwrap();
    assert!(matches!(other.open(&theirs, b"label"), Err(KeysError::DoesNotOpen { .. })), "another node's key");
}

#[test]
fn a_server_that_denies_seals_or_goes_away_is_told_apart_and_borne() {
    let Some(bao) = Bao::start() else { return };
    let (dir, ring) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = bao.config(dir.path(), "node");
    let store = Box::new(Transit::open(&config, runtime.handle().clone()).unwrap());
    let clock = Clock::standing_at(Timestamp(0));
    let vault = Vault::open(ring.path(), "tokyo".parse().unwrap(), store, clock.clone()).unwrap();
    vault.seal(TENANT, StreamId(1), Day(1), &[original("a", 1)]).unwrap();

    secret_file(dir.path(), "token", "wrong");
    let denied = vault.tend().unwrap_err();
    assert!(matches!(denied, KeysError::Denied { .. }), "{denied}");
    assert!(!denied.to_string().contains("wrong"), "the token is shown: {denied}");
    secret_file(dir.path(), "token", "test");
    vault.tend().expect("read again at each request");

    bao.post("sys/seal", "{}");
    assert!(matches!(vault.tend(), Err(KeysError::OutOfReach { .. } | KeysError::Denied { .. })));
    vault.seal(TENANT, StreamId(1), Day(1), &[original("b", 1)]).expect("from keys in memory");
    drop(bao);
    let gone = vault.tend().unwrap_err();
    assert!(matches!(gone, KeysError::OutOfReach { .. }), "{gone}");
    vault.seal(TENANT, StreamId(1), Day(1), &[original("c", 1)]).expect("from keys in memory");
    clock.pass(Duration::from_secs(16 * 60));
    let late = vault.seal(TENANT, StreamId(1), Day(1), &[original("d", 1)]);
    assert!(matches!(late, Err(KeysError::Expired { .. })));
}

/// Tokens of SoftHSM in a directory of their own; the module reads where they are from the environment when it is loaded.
fn softhsm() -> Option<(PathBuf, PathBuf)> {
    let named = std::env::var("DOMICILE_SOFTHSM").ok().map(PathBuf::from);
    let usual = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so"].map(PathBuf::from);
    let module = named.into_iter().chain(usual).find(|path| path.is_file());
    let Some(module) = module else {
        missing("SoftHSM");
        return None;
    };
    let conf = std::env::var("SOFTHSM2_CONF").ok().map(PathBuf::from).filter(|path| path.is_file());
    let Some(conf) = conf else {
        missing("SOFTHSM2_CONF");
        return None;
    };
    Some((module, conf))
}

#[test]
fn a_softhsm_token_keeps_the_laws_of_a_key_store() {
    let Some((module, _)) = softhsm() else { return };
    let (dir, ring) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let token = format!("domicile-{}", std::process::id());
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", &token, "--so-pin", "5678", "--pin", "1234"])
        .stdout(Stdio::null())
        .status();
    assert!(made.is_ok_and(|status| status.success()), "softhsm2-util made no token");
    let config = |key: &str, pin: &str| Pkcs11Config {
        module: module.clone(),
        token: token.clone(),
        key: key.parse().unwrap(),
        pin_file: secret_file(dir.path(), pin, pin),
    };
    let wrong = Hsm::open(&config("laws", "4321"));
    assert!(matches!(wrong, Err(KeysError::Denied { act: "log in", .. })));
    laws(&Hsm::open(&config("laws", "1234")).unwrap());
    laws(&Hsm::open(&config("laws", "1234")).unwrap());
    vault_laws(ring.path(), &|| Box::new(Hsm::open(&config("vault", "1234")).unwrap()));
    let hsm = Arc::new(Hsm::open(&config("vault", "1234")).unwrap());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let hsm = Arc::clone(&hsm);
            scope.spawn(move || {
                let key = Secret::random().unwrap();
                let wrapped = hsm.wrap(&WrappableKey(&key), b"x").unwrap();
                assert_eq!(hsm.open(&wrapped, b"x").unwrap().0.bytes(), key.bytes());
            });
        }
    });
    let gone = Hsm::open(&Pkcs11Config { token: "nobody".to_owned(), ..config("laws", "1234") });
    assert!(matches!(gone, Err(KeysError::OutOfReach { .. })));
}
