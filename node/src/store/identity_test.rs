//! Credentials from the environment, and from the identity of a machine or a workload, which end and are asked for again.
//!
//! An environment is a process's own, so each of these runs in a child. What knows identities lies at addresses that the providers
//! have fixed: a child of a network of its own has them, and the product is told nothing that it would not be told there.

use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use parking_lot::Mutex;
use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use serde_json::json;

use super::bench_test::{AZURITE_SECRET, BUCKET, Bench, missing, open, secret};
use super::served_test::Served;
use crate::clock::Clock;
use crate::config::{Credentials, StoreSection};
use crate::errors::Coded;

/// The section that a child opens, or the kind of identity that it has.
const TOLD: &str = "DOMICILE_TEST_CHILD";

/// A child of this program that runs one test with this environment and nothing of a provider's in it.
fn child(before: &[&str], test: &str, told: &str, environment: &[(&str, &str)]) -> Output {
    let program = std::env::current_exe().unwrap();
    let words: Vec<_> = before.iter().map(std::ffi::OsString::from).chain([program.into_os_string()]).collect();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(["--exact", &format!("store::identity_test::{test}"), "--ignored", "--nocapture"]);
    for (name, _) in std::env::vars_os() {
        let plain = name.to_string_lossy().to_ascii_uppercase();
        let foreign = ["AWS_", "AZURE_", "GOOGLE_", "GCE_", "MSI_", "IDENTITY_"];
        if foreign.iter().any(|begin| plain.starts_with(begin)) || plain.ends_with("_PROXY") {
            command.env_remove(name);
        }
    }
    command.env(TOLD, told).envs(environment.iter().copied()).output().unwrap()
}

/// What a child found when it opened a store and created an object there.
fn found(section: &str, environment: &[(&str, &str)]) -> String {
    let output = child(&[], "the_child_that_opens_a_store", section, environment);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said.lines().find_map(|line| line.strip_prefix("found ")).unwrap_or_else(|| panic!("{said}")).to_owned()
}

/// Not a test: what the tests below start with environments of its own.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs as the child of another test"]
#[allow(clippy::print_stdout, reason = "this is how the parent hears of it")]
async fn the_child_that_opens_a_store() {
    let Ok(section) = std::env::var(TOLD) else { return };
    let section: StoreSection = toml::from_str(&section).unwrap();
    let store = match open(&section, "frankfurt").await {
        Ok(store) => store,
        Err(error) => {
            println!("\nfound {} {}", error.code(), chain(&error).replace('\n', " "));
            return;
        }
    };
    store.create("environment/1", Bytes::from_static(b"x")).await.unwrap();
    println!("\nfound opened");
}

/// An error with everything that led to it.
fn chain(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The section of a bucket, with credentials of another origin.
fn with(section: &StoreSection, credentials: Credentials) -> StoreSection {
    StoreSection { credentials, credentials_file: None, ..section.clone() }
}

fn s3_section(address: &str, credentials: &str) -> String {
    format!(
        "kind = \"s3\"\nbucket = {BUCKET:?}\nlocation = \"eu-central-1\"\ncloud = \"private\"\nendpoint = {address:?}\nvouched = [\"location\", \"replication\"]\ncredentials = {credentials:?}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_environment_s3credentials_are_taken_and_nothing_that_would_move_the_bucket() {
    let served = Served::begin(BUCKET).await;
    served.known.only("its-id", "its-secret");
    let section = s3_section(&served.address, "environment");
    let key = [("AWS_ACCESS_KEY_ID", "its-id"), ("AWS_SECRET_ACCESS_KEY", "its-secret")];
    let elsewhere = [
        ("AWS_ENDPOINT", "http://127.0.0.1:1"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
        ("AWS_BUCKET", "another"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_SKIP_SIGNATURE", "true"),
    ];
    assert_eq!(found(&section, &[&key[..], &elsewhere].concat()), "opened");
    let wrong = found(&section, &[key[0], ("AWS_SECRET_ACCESS_KEY", "another")]);
    assert!(wrong.starts_with("DMC-STORE-10"), "{wrong}");
    let none = found(&section, &[]);
    assert!(none.starts_with("DMC-STORE-11") && none.contains("AWS_ACCESS_KEY_ID"), "{none}");
    let half = found(&section, &[key[0]]);
    assert!(half.starts_with("DMC-STORE-11"), "{half}");
    // A file that the configuration does not ask for is no environment.
    let dir = tempfile::tempdir().unwrap();
    let file = secret(dir.path(), "[default]\naws_access_key_id = its-id\naws_secret_access_key = its-secret\n");
    let none = found(&section, &[("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap())]);
    assert!(none.starts_with("DMC-STORE-11"), "{none}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_environment_an_azure_key_is_taken() {
    let Some(bench) = Bench::azure().await else { return };
    let section = toml::to_string(&with(&bench.section, Credentials::Environment)).unwrap();
    assert_eq!(found(&section, &[("AZURE_STORAGE_ACCOUNT_KEY", AZURITE_SECRET)]), "opened");
    let wrong = found(&section, &[("AZURE_STORAGE_ACCOUNT_KEY", "d3Jvbmc=")]);
    assert!(wrong.starts_with("DMC-STORE-10"), "{wrong}");
    let none = found(&section, &[]);
    assert!(none.starts_with("DMC-STORE-11") && none.contains("AZURE_STORAGE_ACCOUNT_KEY"), "{none}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_environment_a_file_of_google_is_taken() {
    let Some(bench) = Bench::gcs(false).await else { return };
    let section = toml::to_string(&with(&bench.section, Credentials::Environment)).unwrap();
    let made =
        Command::new("openssl").args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]).output();
    let Some(made) = made.ok().filter(|made| made.status.success()) else { return missing("openssl") };
    let pem = String::from_utf8(made.stdout).unwrap();
    let account =
        json!({"type": "service_account", "client_email": "node@acme", "private_key_id": "k", "private_key": pem});
    let dir = tempfile::tempdir().unwrap();
    let file = secret(dir.path(), &account.to_string());
    assert_eq!(found(&section, &[("GOOGLE_APPLICATION_CREDENTIALS", file.to_str().unwrap())]), "opened");
    // The emulator takes any bearer: what was shown is looked at here.
    let shown = bench.front.shown();
    let (said, signature) = shown.strip_prefix("Bearer ").and_then(|bearer| bearer.rsplit_once('.')).unwrap();
    let claims: serde_json::Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(said.rsplit_once('.').unwrap().1).unwrap()).unwrap();
    assert_eq!(claims["iss"], "node@acme", "{claims}");
    let inside: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let key = RsaKeyPair::from_pkcs8(&STANDARD.decode(inside).unwrap()).unwrap();
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key());
    key.verify(said.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    let none = found(&section, &[]);
    assert!(none.starts_with("DMC-STORE-11") && none.contains("GOOGLE_APPLICATION_CREDENTIALS"), "{none}");

    // What Google's tools leave in a home is taken before the machine is asked.
    let home = dir.path().join("home").join(".config").join("gcloud");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::rename(&file, home.join("application_default_credentials.json")).unwrap();
    let section = StoreSection { prefix: "home".to_owned(), ..with(&bench.section, Credentials::Instance) };
    let section = toml::to_string(&section).unwrap();
    assert_eq!(found(&section, &[("HOME", dir.path().join("home").to_str().unwrap())]), "opened");
    let head = said.split_once('.').unwrap().0;
    assert!(bench.front.shown().starts_with(&format!("Bearer {head}.")), "with the same key");
}

/// What tells machines and workloads who they are, at the providers' own addresses.
struct Identity {
    told: Arc<Mutex<Told>>,
    /// Ends with it.
    _tasks: tokio::task::JoinSet<()>,
}

/// Whom it says that they are, until when, and how often it was asked.
#[derive(Default)]
struct Told {
    id: String,
    lasts: Duration,
    asked: usize,
}

impl Identity {
    async fn begin() -> Self {
        let told = Arc::<Mutex<Told>>::default();
        let mut tasks = tokio::task::JoinSet::new();
        for address in ["169.254.169.254:80", "169.254.170.2:80", "169.254.170.23:80"] {
            let listener = tokio::net::TcpListener::bind(address).await.unwrap();
            let router = Router::new().fallback(tell).with_state(Arc::clone(&told));
            tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        }
        Self { told, _tasks: tasks }
    }

    fn says(&self, id: &str, lasts: Duration) {
        let mut told = self.told.lock();
        told.id = id.to_owned();
        told.lasts = lasts;
    }

    fn asked(&self) -> usize {
        self.told.lock().asked
    }
}

/// The secret of a key by its id.
fn secret_of(id: &str) -> String {
    format!("the secret of {id}")
}

/// Each provider's form, and only to whom asks as that provider wants it.
async fn tell(State(told): State<Arc<Mutex<Told>>>, request: Request) -> Response {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (method, path) = (request.method().as_str(), request.uri().path());
    let mut told = told.lock();
    let until = Clock::system().now().0 + i64::try_from(told.lasts.as_micros()).unwrap();
    let aws = json!({"AccessKeyId": told.id, "SecretAccessKey": secret_of(&told.id), "Token": "t",
        "Expiration": jiff::Timestamp::from_microsecond(until).unwrap().to_string()});
    let is_session = header("x-aws-ec2-metadata-token") == "session";
    let machine = "/latest/meta-data/iam/security-credentials/";
    let said = match (method, path) {
        ("PUT", "/latest/api/token") if !header("x-aws-ec2-metadata-token-ttl-seconds").is_empty() => {
            return Response::new(Body::from("session"));
        }
        ("GET", path) if path == machine && is_session => return Response::new(Body::from("node")),
        ("GET", path) if path.strip_prefix(machine) == Some("node") && is_session => aws,
        ("GET", "/task") => aws,
        ("GET", "/v1/credentials") if header("authorization") == "the workload" => aws,
        ("GET", "/metadata/identity/oauth2/token") if header("metadata") == "true" => {
            json!({"access_token": told.id, "expires_on": (until / 1_000_000).to_string()})
        }
        ("GET", path) if path.ends_with("/service-accounts/default/token") && header("metadata-flavor") == "Google" => {
            json!({"access_token": told.id, "expires_in": told.lasts.as_secs(), "token_type": "Bearer"})
        }
        _ => return Response::builder().status(403).body(Body::from(format!("{method} {path}"))).unwrap(),
    };
    told.asked += 1;
    Response::new(Body::from(said.to_string()))
}

/// One credential ends, another one comes, and the node goes on; one that was taken back before its time is named.
async fn is_renewed(section: &StoreSection, identity: &Identity, accept: impl Fn(&str)) {
    let bytes = || Bytes::from_static(b"x");
    // Over when it comes: it serves one request, and the next one asks again.
    identity.says("first", Duration::ZERO);
    accept("first");
    let store = open(section, "frankfurt").await.unwrap();
    store.create("i/1", bytes()).await.unwrap();
    let asked = identity.asked();
    assert!(asked >= 2, "asked again after its end: {asked}");
    accept("second");
    assert_eq!(store.read("i/1").await.err().unwrap().code(), "DMC-STORE-10", "the first one opens nothing now");

    identity.says("second", Duration::from_secs(3_600));
    store.create("i/2", bytes()).await.unwrap();
    assert_eq!(store.read("i/1").await.unwrap(), "x");
    let asked = identity.asked();
    store.create("i/3", bytes()).await.unwrap();
    assert_eq!(store.read("i/3").await.unwrap(), "x");
    assert_eq!(identity.asked(), asked, "one that lasts is not asked for again");
    accept("third");
    assert_eq!(store.read("i/1").await.err().unwrap().code(), "DMC-STORE-10", "taken back before its time");
}

/// Not a test: what the tests below start in a network of its own.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs as the child of another test"]
async fn the_child_that_asks_who_it_is() {
    let Ok(kind) = std::env::var(TOLD) else { return };
    let identity = Identity::begin().await;
    match kind.as_str() {
        "s3" => {
            let served = Served::begin(BUCKET).await;
            let section: StoreSection = toml::from_str(&s3_section(&served.address, "instance")).unwrap();
            is_renewed(&section, &identity, |id| served.known.only(id, &secret_of(id))).await;
        }
        kind => {
            let bench = if kind == "azure" { Bench::azure().await } else { Bench::gcs(false).await }.unwrap();
            let section = with(&bench.section, Credentials::Instance);
            is_renewed(&section, &identity, |id| bench.front.opens_to(id)).await;
        }
    }
}

/// Runs a child in a network of its own in which the providers' addresses are; without rights to make one the test skips itself.
fn knows_itself(kind: &str, environment: &[(&str, &str)]) {
    let addresses = "set -e; ip link set lo up; for a in 169.254 170.2 170.23; do ip address add 169.254.$a/32 dev lo; done; exec \"$0\" \"$@\"";
    let network = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", addresses];
    if !Command::new(network[0]).args(&network[1..]).arg("true").output().is_ok_and(|tried| tried.status.success()) {
        missing("unshare with a network of its own, and ip");
        return;
    }
    let output = child(&network, "the_child_that_asks_who_it_is", kind, environment);
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn a_machine_in_s3s_cloud_knows_who_it_is() {
    knows_itself("s3", &[]);
}

#[test]
fn a_task_in_s3s_cloud_knows_who_it_is() {
    knows_itself("s3", &[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/task")]);
}

#[test]
fn a_pod_in_s3s_cloud_knows_who_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let token = secret(dir.path(), "the workload");
    let asks = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials"),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.to_str().unwrap()),
    ];
    knows_itself("s3", &asks);
}

#[test]
fn a_machine_in_azure_knows_who_it_is() {
    if std::env::var_os("DOMICILE_AZURITE").is_none() {
        missing("DOMICILE_AZURITE");
        return;
    }
    knows_itself("azure", &[]);
}

#[test]
fn a_machine_in_googles_cloud_knows_who_it_is() {
    if std::env::var_os("DOMICILE_GCS").is_none() {
        missing("DOMICILE_GCS");
        return;
    }
    // No name server knows a name in this network.
    knows_itself("gcs", &[("GCE_METADATA_HOST", "169.254.169.254")]);
}
