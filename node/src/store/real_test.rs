//! The same laws for every real object store: an S3 server (moto), Azurite, a Google Cloud Storage server; then what is S3's alone.
//!
//! Each runs on loopback in a process of its own. Without the programs the tests skip themselves by name; where
//! `DOMICILE_REQUIRE=all` they fail instead.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use hyper::http::Method;

use super::front_test::{Front, Mishap};
use super::provider::Reached;
use super::*;
use crate::config::{Regions, StoreSection, Vouched};
use crate::errors::Coded;

fn missing(what: &str) {
    let is_required = std::env::var("DOMICILE_REQUIRE").is_ok_and(|value| value == "all");
    assert!(!is_required, "`{what}` is missing and DOMICILE_REQUIRE=all");
    eprintln!("SKIPPED: {}: `{what}` is missing", std::thread::current().name().unwrap_or("a test"));
}

/// A server, ended by its id.
struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
            let server = Self { child, address: format!("http://127.0.0.1:{port}") };
            let mut lines = BufReader::new(read).lines();
            let is_up = lines.by_ref().map_while(Result::ok).any(|line| line.contains(ready));
            std::thread::spawn(move || lines.for_each(drop));
            if is_up {
                return Some(server);
            }
        }
        panic!("the server did not start");
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

fn secret(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("credentials");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// A server behind a front, a bucket in it, and the section that names it.
struct Bench {
    front: Front,
    section: StoreSection,
    _dir: tempfile::TempDir,
    server: Server,
}

const S3_SECRET: &str = "[default]\naws_access_key_id = test\naws_secret_access_key = test\n";
/// Azurite's own account, the same everywhere.
const AZURITE_SECRET: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const GCS_SECRET: &str = r#"{"private_key": "x", "private_key_id": "x", "client_email": "x", "disable_oauth": true}"#;

impl Bench {
    async fn new(server: Server, secret_text: &str, text: &str, is_gcs: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let front = Front::before(&server.address, is_gcs).await;
        let credentials = secret(dir.path(), secret_text);
        let more = format!(
            "bucket = \"acme-frankfurt\"\ncredentials = \"file\"\ncredentials_file = {:?}\n",
            credentials.display().to_string()
        );
        let text = text.replace("FRONT", &format!("http://{}", front.address));
        let section: StoreSection = toml::from_str(&format!("{more}{text}")).unwrap();
        Self { front, section, _dir: dir, server }
    }

    /// S3 with a bucket in a location.
    async fn s3(location: &str) -> Option<Self> {
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
    async fn azure() -> Option<Self> {
        let text = "kind = \"azure\"\nlocation = \"germanywestcentral\"\naccount = \"devstoreaccount1\"\nvouched = [\"location\"]\nendpoint = \"FRONT/devstoreaccount1\"";
        let bench = Self::new(Server::azurite()?, AZURITE_SECRET, text, false).await;
        let reached = Reached::by(&bench.section).unwrap();
        reached.ask(&bench.section, Method::PUT, "?restype=container").await.unwrap().done("container").unwrap();
        bench.front.plan("HEAD", "comp=properties", Mishap::Says("x-ms-sku-name", "Standard_ZRS"), usize::MAX / 2);
        Some(bench)
    }

    async fn gcs(is_versioned: bool) -> Option<Self> {
        let text = "kind = \"gcs\"\nlocation = \"europe-west3\"\nendpoint = \"FRONT\"";
        let bench = Self::new(Server::gcs()?, GCS_SECRET, text, true).await;
        let url = format!("{}/storage/v1/b?project=p", bench.server.address);
        let bucket = serde_json::json!({"name": "acme-frankfurt", "versioning": {"enabled": is_versioned}});
        let made = reqwest::Client::new().post(url).json(&bucket).send().await;
        assert!(made.unwrap().status().is_success());
        Some(bench)
    }

    /// Asks the S3 server itself.
    async fn put(&self, path: &str, body: &str) {
        let url = format!("{}{path}", self.server.address);
        let request = reqwest::Client::new().put(url).header("content-type", "application/xml").body(body.to_owned());
        let answer = request.send().await.unwrap();
        let status = answer.status();
        assert!(status.is_success(), "{path}: {status} {}", answer.text().await.unwrap());
    }

    /// As somebody whom the S3 server knows; it takes any signature.
    async fn ask(&self, method: Method, path: &str) -> reqwest::Response {
        let known =
            "AWS4-HMAC-SHA256 Credential=test/20260101/eu-central-1/s3/aws4_request, SignedHeaders=host, Signature=x";
        let request = reqwest::Client::new().request(method, format!("{}{path}", self.server.address));
        request.header("authorization", known).send().await.unwrap()
    }

    async fn get(&self, path: &str) -> String {
        self.ask(Method::GET, path).await.text().await.unwrap()
    }

    async fn open(&self, region: &str) -> Result<Store, StoreError> {
        open(&self.section, region).await
    }

    async fn refused(&self) -> &'static str {
        self.open("frankfurt").await.err().map_or("opened", |refused| refused.code())
    }
}

async fn open(section: &StoreSection, region: &str) -> Result<Store, StoreError> {
    let (regions, region) = (Regions::built_in().unwrap(), region.parse().unwrap());
    let clouds = regions.facts(&"frankfurt".parse().unwrap()).unwrap().clouds();
    Store::connect(section, Path::new("/nowhere"), &region, clouds).await
}

/// What holds of every kind.
async fn keeps_the_laws(bench: &Bench) {
    let store = bench.open("frankfurt").await.unwrap();
    bench.open("frankfurt").await.unwrap();
    assert_eq!(bench.open("tokyo").await.err().unwrap().code(), "DMC-STORE-01");

    let creations = (0..8_u8).map(|n| store.create("a/b", Bytes::from(vec![n; 100])));
    let created = futures::future::join_all(creations).await;
    assert_eq!(created.iter().filter(|created| created.is_ok()).count(), 1, "{created:?}");
    assert!(created.iter().all(|created| created.as_ref().err().is_none_or(|e| e.code() == "DMC-STORE-02")));
    let winner = u8::try_from(created.iter().position(Result::is_ok).unwrap()).unwrap();
    assert_eq!(store.read("a/b").await.unwrap(), vec![winner; 100]);

    for name in ["s/2/m", "s/1/m", "t/1"] {
        store.create(name, Bytes::from_static(b"0123456789")).await.unwrap();
    }
    assert_eq!(store.read_range("t/1", 2..5).await.unwrap(), "234");
    assert_eq!(store.list("s").await.unwrap(), [("s/1/m".to_owned(), 10), ("s/2/m".to_owned(), 10)]);
    store.delete("t/1").await.unwrap();
    store.delete("t/1").await.unwrap();
    assert_eq!(store.read("t/1").await.err().unwrap().code(), "DMC-STORE-03");
    store.create("t/1", Bytes::from_static(b"again")).await.unwrap();

    // The store did it and said 503: the one who did it knows, and everybody else loses.
    bench.front.plan("PUT", "/lost/1", Mishap::DoneAndLost(503), 1);
    store.create("lost/1", Bytes::from_static(b"mine")).await.unwrap();
    assert_eq!(store.create("lost/1", Bytes::from_static(b"mine")).await.err().unwrap().code(), "DMC-STORE-02");
    assert_eq!(store.read("lost/1").await.unwrap(), "mine");

    // A prefix is a bucket of its own.
    let section = StoreSection { prefix: "below/it".to_owned(), ..bench.section.clone() };
    let inner = open(&section, "frankfurt").await.unwrap();
    inner.create("a/b", Bytes::from_static(b"other")).await.unwrap();
    assert_eq!(store.read("below/it/a/b").await.unwrap(), "other");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_s3server_keeps_the_laws() {
    let Some(bench) = Bench::s3("eu-central-1").await else { return };
    keeps_the_laws(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_keeps_the_laws_and_an_account_that_copies_itself_away_is_refused() {
    let Some(bench) = Bench::azure().await else { return };
    keeps_the_laws(&bench).await;
    // Whose rights end at the container is told nothing of the account.
    bench.front.forget();
    bench.front.plan("HEAD", "comp=properties", Mishap::Answered(403, ""), 2);
    assert_eq!(bench.refused().await, "DMC-STORE-09");
    let vouched = vec![Vouched::Location, Vouched::Replication];
    let section = StoreSection { vouched, ..bench.section.clone() };
    assert!(open(&section, "frankfurt").await.is_ok());
    assert_eq!(open(&section, "frankfurt").await.err().unwrap().code(), "DMC-STORE-08", "vouched for and contradicted");
    assert_eq!(bench.refused().await, "DMC-STORE-08");
    let absent = StoreSection { bucket: "nowhere-to-be-found".to_owned(), ..section };
    assert_eq!(open(&absent, "frankfurt").await.err().map(|e| e.code()), Some("DMC-STORE-13"));
}

#[tokio::test(flavor = "multi_thread")]
async fn google_cloud_storage_keeps_the_laws_and_a_bucket_elsewhere_is_refused() {
    let Some(mut bench) = Bench::gcs(false).await else { return };
    keeps_the_laws(&bench).await;
    bench.section.location = "europe-west4".to_owned();
    assert_eq!(bench.refused().await, "DMC-STORE-07");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_in_google_cloud_storage_takes_every_generation() {
    let Some(bench) = Bench::gcs(true).await else { return };
    let store = bench.open("frankfurt").await.unwrap();
    bench.front.seen();
    // The emulator keeps generations and cannot delete one: some are listed here as Google documents them.
    let listed = r#"{"kind": "storage#objects", "items": [
        {"name": "p/1", "generation": "17"}, {"name": "p/1", "generation": "18"}, {"name": "p/10", "generation": "19"}]}"#;
    bench.front.plan("GET", "versions", Mishap::Answered(200, r#"{"nextPageToken": "a page without anything"}"#), 1);
    bench.front.plan("GET", "pageToken=a%20page", Mishap::Answered(200, listed), 1);
    bench.front.plan("DELETE", "generation=17", Mishap::Answered(503, ""), 1);
    bench.front.plan("DELETE", "generation", Mishap::Answered(204, ""), 3);
    store.delete("p/1").await.unwrap();
    let seen = bench.front.seen();
    for part in ["/storage/v1/b/acme-frankfurt/o/p%2F1?generation=17", "p%2F1?generation=18"] {
        assert!(seen.iter().any(|seen| seen.starts_with("DELETE") && seen.ends_with(part)), "{part}: {seen:?}");
    }
    assert!(!seen.iter().any(|seen| seen.contains("generation=19")), "another object: {seen:?}");
    bench.front.forget();
    bench.front.plan("GET", "versions", Mishap::Answered(200, "what is this"), 1);
    assert_eq!(store.delete("p/1").await.err().unwrap().code(), "DMC-STORE-05", "not taken for an empty list");
    // One that lists what it says it deleted is not asked for ever, and nothing is called gone.
    store.create("p/1", Bytes::from_static(b"erased")).await.unwrap();
    assert_eq!(store.delete("p/1").await.err().unwrap().code(), "DMC-STORE-05");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_looked_at_before_a_byte_is_written() {
    let Some(bench) = Bench::s3("us-east-1").await else { return };
    assert_eq!(bench.refused().await, "DMC-STORE-07", "elsewhere");
    // Only its older answer is left, and it says the same.
    bench.front.plan("HEAD", "", Mishap::Answered(200, ""), 1);
    assert_eq!(bench.refused().await, "DMC-STORE-07");
    // Neither does it tell.
    bench.front.plan("HEAD", "", Mishap::Answered(200, ""), 1);
    bench.front.plan("GET", "location", Mishap::Answered(501, ""), 6);
    assert_eq!(bench.refused().await, "DMC-STORE-09");
    bench.front.forget();
    let Some(bench) = Bench::s3("eu-central-1").await else { return };
    bench.front.plan("GET", "replication", Mishap::Answered(403, ""), 1);
    assert_eq!(bench.refused().await, "DMC-STORE-09", "nothing of copies");
    let endless: String = " ".repeat(crate::limits::STORE_REPORT_BYTES) + "ReplicationConfigurationNotFoundError";
    bench.front.plan("GET", "replication", Mishap::Answered(404, Box::leak(endless.into_boxed_str())), 1);
    assert_eq!(bench.refused().await, "DMC-STORE-09", "what stands behind the limit is not read");
    bench
        .put(
            "/acme-frankfurt?versioning",
            "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
        )
        .await;
    bench.put("/copies", "<CreateBucketConfiguration><LocationConstraint>ap-northeast-1</LocationConstraint></CreateBucketConfiguration>").await;
    bench
        .put("/copies?versioning", "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")
        .await;
    let rule = "<ReplicationConfiguration><Role>r</Role><Rule><ID>1</ID><Priority>1</Priority><Status>Enabled</Status><Destination><Bucket>arn:aws:s3:::copies</Bucket></Destination></Rule></ReplicationConfiguration>";
    bench.put("/acme-frankfurt?replication", rule).await;
    assert_eq!(bench.refused().await, "DMC-STORE-08", "copied");
    let error = bench.open("frankfurt").await.err().unwrap().to_string();
    assert!(error.contains("arn:aws:s3:::copies"), "{error}");
    let written = bench.front.seen().into_iter().filter(|seen| seen.starts_with("PUT") || seen.starts_with("POST"));
    assert_eq!(written.collect::<Vec<_>>(), Vec::<String>::new());

    let absent = StoreSection { bucket: "nowhere-to-be-found".to_owned(), ..bench.section.clone() };
    assert_eq!(open(&absent, "frankfurt").await.err().map(|e| e.code()), Some("DMC-STORE-13"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_overwrites_is_refused() {
    let Some(bench) = Bench::s3("eu-central-1").await else { return };
    bench.open("frankfurt").await.unwrap();
    bench.front.plan("PUT", "domicile-region", Mishap::Without("if-none-match"), 1);
    assert_eq!(bench.refused().await, "DMC-STORE-12");
    assert_eq!(bench.refused().await, "opened");
    // As OSS answers in its form of S3, whether the bucket is empty or in use.
    let refusal = "<Error><Code>NotImplemented</Code></Error>";
    bench.front.plan("PUT", "domicile-region", Mishap::Answered(501, refusal), crate::limits::STORE_RETRIES + 1);
    assert_eq!(bench.refused().await, "DMC-STORE-12");
    assert_eq!(bench.refused().await, "opened");
    let Some(bench) = Bench::s3("eu-central-1").await else { return };
    bench.front.plan("PUT", "domicile-region", Mishap::Answered(501, refusal), crate::limits::STORE_RETRIES + 1);
    assert_eq!(bench.refused().await, "DMC-STORE-12");
    assert_eq!(bench.refused().await, "opened");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_takes_every_old_version() {
    let Some(bench) = Bench::s3("eu-central-1").await else { return };
    let versioned = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    bench.put("/acme-frankfurt?versioning", versioned).await;
    let store = bench.open("frankfurt").await.unwrap();
    for name in ["p/1", "p/10"] {
        store.create(name, Bytes::from_static(b"erased")).await.unwrap();
    }
    // Somebody deleted it by hand: the bytes are there still.
    bench.ask(Method::DELETE, "/acme-frankfurt/p/1").await;
    assert!(bench.get("/acme-frankfurt?versions&prefix=p/1").await.contains("<DeleteMarker>"));
    bench.front.plan("DELETE", "p/1", Mishap::Answered(503, ""), 1);
    store.delete("p/1").await.unwrap();
    let left = bench.get("/acme-frankfurt?versions&prefix=p/1").await;
    assert!(!left.contains("<Key>p/1</Key>") && left.contains("<Key>p/10</Key>"), "{left}");
    bench.front.plan("DELETE", "p/10", Mishap::Answered(403, ""), 1);
    assert_eq!(store.delete("p/10").await.err().unwrap().code(), "DMC-STORE-10");
    store.delete("p/10").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_tried_again_or_reported_and_no_object_is_lost_or_doubled() {
    let Some(bench) = Bench::s3("eu-central-1").await else { return };
    let (store, front) = (bench.open("frankfurt").await.unwrap(), &bench.front);
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());

    // Passing failures.
    front.plan("PUT", "/f/1", Mishap::Answered(500, ""), 2);
    front.plan("PUT", "/f/1", Mishap::Slow(Duration::from_millis(300)), 1);
    store.create("f/1", bytes("one")).await.unwrap();
    front.plan("GET", "/f/1", Mishap::Answered(503, ""), 2);
    assert_eq!(store.read("f/1").await.unwrap(), "one");
    assert_eq!(front.left(), 0, "all of it happened");

    // An answer that breaks off is never taken for the object.
    front.plan("GET", "/f/1", Mishap::Torn, 1);
    match store.read("f/1").await {
        Ok(whole) => assert_eq!(whole, "one"),
        Err(error) => assert_eq!(error.code(), "DMC-STORE-05"),
    }
    assert_eq!(store.read("f/1").await.unwrap(), "one");

    // One that lasts, with the object never made; then with the object made: both end in exactly one object.
    front.plan("PUT", "/f/2", Mishap::Answered(500, ""), 6);
    assert_eq!(store.create("f/2", bytes("two")).await.err().unwrap().code(), "DMC-STORE-05");
    store.create("f/2", bytes("two")).await.unwrap();
    front.plan("PUT", "/f/3", Mishap::DoneAndLost(500), 6);
    store.create("f/3", bytes("three")).await.unwrap();
    front.forget();
    assert_eq!(store.read("f/3").await.unwrap(), "three");

    // Somebody else was first, and our own answer was lost: theirs stays.
    store.create("f/4", bytes("theirs")).await.unwrap();
    front.plan("PUT", "/f/4", Mishap::DoneAndLost(503), 1);
    assert_eq!(store.create("f/4", bytes("ours")).await.err().unwrap().code(), "DMC-STORE-02");
    assert_eq!(store.read("f/4").await.unwrap(), "theirs");

    // It lost against something that was gone a moment later.
    front.plan("PUT", "/f/5", Mishap::Answered(412, ""), 1);
    store.create("f/5", bytes("five")).await.unwrap();
    front.plan("PUT", "/f/6", Mishap::Answered(412, ""), crate::limits::STORE_CREATIONS);
    assert_eq!(store.create("f/6", bytes("six")).await.err().unwrap().code(), "DMC-STORE-02");
    assert_eq!(front.left(), 0, "as often as the limit says");

    // Acknowledged, and not in the listing yet: its place is taken all the same.
    front.plan("GET", "list-type", Mishap::Hidden("f/1"), 1);
    assert!(store.list("f").await.unwrap().iter().all(|(name, _)| name != "f/1"));
    assert_eq!(store.create("f/1", bytes("again")).await.err().unwrap().code(), "DMC-STORE-02");
    assert!(store.list("f").await.unwrap().iter().any(|(name, _)| name == "f/1"));

    // Credentials that ran out are named as that, and new ones are taken up without a restart.
    let expired = "<Error><Code>ExpiredToken</Code></Error>";
    front.plan("PUT", "/f/7", Mishap::Answered(400, expired), 1);
    assert_eq!(store.create("f/7", bytes("seven")).await.err().unwrap().code(), "DMC-STORE-10");
    front.plan("GET", "/f/1", Mishap::Answered(403, ""), 1);
    assert_eq!(store.read("f/1").await.err().unwrap().code(), "DMC-STORE-10");
    std::fs::remove_file(bench.section.credentials_file.as_ref().unwrap()).unwrap();
    assert_eq!(store.read("f/1").await.err().unwrap().code(), "DMC-STORE-05");
    secret(bench._dir.path(), S3_SECRET);
    store.create("f/7", bytes("seven")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_object_is_sent_with_the_encryption_that_was_asked_for() {
    let Some(mut bench) = Bench::s3("eu-central-1").await else { return };
    for (text, header) in [
        ("encryption = \"sse_s3\"", "AES256"),
        ("encryption = \"sse_kms\"\nkms_key = \"arn:aws:kms:eu-central-1:123456789012:key/k\"", "aws:kms"),
    ] {
        bench.section.s3 = toml::from_str(text).unwrap();
        bench.section.prefix = header.replace(':', "-");
        let store = bench.open("frankfurt").await.unwrap();
        store.create("o", Bytes::from_static(b"x")).await.unwrap();
        let answer = bench.ask(Method::HEAD, &format!("/acme-frankfurt/{}/o", bench.section.prefix)).await;
        let found = answer.headers().get("x-amz-server-side-encryption").map(|value| value.to_str().unwrap());
        assert_eq!(found, Some(header));
    }
}
