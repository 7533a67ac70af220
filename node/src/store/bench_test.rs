//! What the tests of real object stores stand on: an S3 server, Azurite and a Google Cloud Storage server, each in a process of its own
//! on loopback, an S3 server in this one, and a front before each of them.
//!
//! Without the programs the tests skip themselves by name; where `DOMICILE_REQUIRE=all` they fail instead.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hyper::http::Method;

use super::front_test::{ALWAYS, Front, Mishap};
use super::provider::Reached;
use super::served_test::Served;
use super::*;
use crate::config::{Regions, StoreSection};
use crate::errors::Coded;

pub(super) fn missing(what: &str) {
    let is_required = std::env::var("DOMICILE_REQUIRE").is_ok_and(|value| value == "all");
    assert!(!is_required, "`{what}` is missing and DOMICILE_REQUIRE=all");
    eprintln!("SKIPPED: {}: `{what}` is missing", std::thread::current().name().unwrap_or("a test"));
}

/// A process, ended by its id.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server; it ends with this value.
pub(super) struct Server {
    address: String,
    _runs: Runs,
}

enum Runs {
    There { _process: Process },
    Here { _served: Served },
}

impl Server {
    /// `PORT` in the arguments is one that was free a moment ago; asked for again where somebody was faster.
    fn start(variable: &str, arguments: &[&str], ready: &str) -> Option<Self> {
        let Some(program) = std::env::var_os(variable) else {
            missing(variable);
            return None;
        };
        for _ in 0..5 {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let arguments = arguments.iter().map(|argument| argument.replace("PORT", &port.to_string()));
            // Both outputs in one: each server has its own habit.
            let (read, write) = std::io::pipe().unwrap();
            let child = Command::new(&program)
                .args(arguments)
                .stdout(write.try_clone().unwrap())
                .stderr(write)
                .stdin(Stdio::null())
                .spawn()
                .unwrap();
            let runs = Runs::There { _process: Process(child) };
            let server = Self { address: format!("http://127.0.0.1:{port}"), _runs: runs };
            let mut lines = BufReader::new(read).lines();
            let is_up = lines.by_ref().map_while(Result::ok).any(|line| line.contains(ready));
            std::thread::spawn(move || lines.for_each(drop));
            if is_up {
                return Some(server);
            }
        }
        panic!("the server did not start");
    }

    /// One that knows a single key.
    async fn s3s(id: &str, secret: &str) -> Self {
        let served = Served::begin(BUCKET).await;
        served.known.only(id, secret);
        Self { address: served.address.clone(), _runs: Runs::Here { _served: served } }
    }

    fn moto() -> Option<Self> {
        Self::start("DOMICILE_MOTO", &["-H", "127.0.0.1", "-p", "PORT"], "Running on")
    }

    fn azurite() -> Option<Self> {
        let arguments = [
            "--blobHost",
            "127.0.0.1",
            "--blobPort",
            "PORT",
            "--inMemoryPersistence",
            "--skipApiVersionCheck",
            "--disableTelemetry",
        ];
        Self::start("DOMICILE_AZURITE", &arguments, "successfully listens")
    }

    fn gcs() -> Option<Self> {
        let arguments = [
            "-backend",
            "memory",
            "-scheme",
            "http",
            "-host",
            "127.0.0.1",
            "-port",
            "PORT",
            "-public-host",
            "127.0.0.1:PORT",
            "-location",
            "EUROPE-WEST3",
        ];
        Self::start("DOMICILE_GCS", &arguments, "server started")
    }
}

pub(super) fn secret(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("credentials");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// A server behind a front, a bucket in it, and the section that names it.
pub(super) struct Bench {
    pub(super) front: Front,
    pub(super) section: StoreSection,
    /// Where the credentials lie.
    pub(super) dir: tempfile::TempDir,
    server: Server,
}

/// The bucket of every test.
pub(super) const BUCKET: &str = "acme-frankfurt";
pub(super) const S3_SECRET: &str = "[default]\naws_access_key_id = test\naws_secret_access_key = test\n";
/// Azurite's own account, the same everywhere.
pub(super) const AZURITE_SECRET: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const GCS_SECRET: &str = r#"{"private_key": "x", "private_key_id": "x", "client_email": "x", "disable_oauth": true}"#;

impl Bench {
    async fn new(server: Server, secret_text: &str, text: &str, is_gcs: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let front = Front::before(&server.address, is_gcs).await;
        let credentials = secret(dir.path(), secret_text);
        let more = format!(
            "bucket = {BUCKET:?}\ncredentials = \"file\"\ncredentials_file = {:?}\n",
            credentials.display().to_string()
        );
        let text = text.replace("FRONT", &format!("http://{}", front.address));
        let section: StoreSection = toml::from_str(&format!("{more}{text}")).unwrap();
        Self { front, section, dir, server }
    }

    /// S3 in this process. It says neither where the bucket lies nor whether something copies it.
    pub(super) async fn s3s() -> Self {
        let text = "kind = \"s3\"\nlocation = \"eu-central-1\"\ncloud = \"private\"\nendpoint = \"FRONT\"\nvouched = [\"location\", \"replication\"]";
        Self::new(Server::s3s("test", "test").await, S3_SECRET, text, false).await
    }

    /// S3 with a bucket in a location.
    pub(super) async fn s3(location: &str) -> Option<Self> {
        let text = "kind = \"s3\"\nlocation = \"eu-central-1\"\nendpoint = \"FRONT\"";
        let bench = Self::new(Server::moto()?, S3_SECRET, text, false).await;
        let constraint = format!(
            "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>{location}</LocationConstraint></CreateBucketConfiguration>"
        );
        let body = if location == "us-east-1" { String::new() } else { constraint };
        bench.put("/acme-frankfurt", &body).await;
        Some(bench)
    }

    /// Azure, whose emulator says of itself that it copies to a paired region; the front says what a fit account would.
    pub(super) async fn azure() -> Option<Self> {
        let text = "kind = \"azure\"\nlocation = \"germanywestcentral\"\naccount = \"devstoreaccount1\"\nvouched = [\"location\"]\nendpoint = \"FRONT/devstoreaccount1\"";
        let bench = Self::new(Server::azurite()?, AZURITE_SECRET, text, false).await;
        let reached = Reached::by(&bench.section).unwrap();
        reached.ask(&bench.section, Method::PUT, "?restype=container").await.unwrap().done("container").unwrap();
        bench.front.plan("HEAD", "comp=properties", Mishap::Says("x-ms-sku-name", "Standard_ZRS"), ALWAYS);
        Some(bench)
    }

    pub(super) async fn gcs(is_versioned: bool) -> Option<Self> {
        let text = "kind = \"gcs\"\nlocation = \"europe-west3\"\nendpoint = \"FRONT\"";
        let bench = Self::new(Server::gcs()?, GCS_SECRET, text, true).await;
        let url = format!("{}/storage/v1/b?project=p", bench.server.address);
        let bucket = serde_json::json!({"name": "acme-frankfurt", "versioning": {"enabled": is_versioned}});
        let made = reqwest::Client::new().post(url).json(&bucket).send().await;
        assert!(made.unwrap().status().is_success());
        Some(bench)
    }

    /// Asks the S3 server itself.
    pub(super) async fn put(&self, path: &str, body: &str) {
        let url = format!("{}{path}", self.server.address);
        let request = reqwest::Client::new().put(url).header("content-type", "application/xml").body(body.to_owned());
        let answer = request.send().await.unwrap();
        let status = answer.status();
        assert!(status.is_success(), "{path}: {status} {}", answer.text().await.unwrap());
    }

    /// As somebody whom the S3 server knows; it takes any signature.
    pub(super) async fn ask(&self, method: Method, path: &str) -> reqwest::Response {
        let known =
            "AWS4-HMAC-SHA256 Credential=test/20260101/eu-central-1/s3/aws4_request, SignedHeaders=host, Signature=x";
        let request = reqwest::Client::new().request(method, format!("{}{path}", self.server.address));
        request.header("authorization", known).send().await.unwrap()
    }

    pub(super) async fn get(&self, path: &str) -> String {
        self.ask(Method::GET, path).await.text().await.unwrap()
    }

    pub(super) async fn open(&self, region: &str) -> Result<Store, StoreError> {
        open(&self.section, region).await
    }

    pub(super) async fn refused(&self) -> &'static str {
        self.open("frankfurt").await.err().map_or("opened", |refused| refused.code())
    }
}

pub(super) async fn open(section: &StoreSection, region: &str) -> Result<Store, StoreError> {
    let (regions, region) = (Regions::built_in().unwrap(), region.parse().unwrap());
    let clouds = regions.facts(&"frankfurt".parse().unwrap()).unwrap().clouds();
    Store::connect(section, Path::new("/nowhere"), &region, clouds).await
}
