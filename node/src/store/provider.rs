//! The clients of the providers, made from the configuration: which address, which credentials, which encryption.
//!
//! Of the environment only credentials are read, by name: nothing in it can move a bucket. Asks nothing of any provider yet.

use std::path::Path as FilePath;
use std::sync::Arc;

use object_store::ClientOptions;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::client::{Certificate, HttpClient, HttpConnector, ReqwestConnector};
use object_store::gcp::{GoogleCloudStorage, GoogleCloudStorageBuilder};
use object_store::{BackoffConfig, ObjectStore, RetryConfig};

use super::credentials::{self, AzureFile, S3File};
use super::errors::StoreError;
use crate::config::{Addressing, Backend, Credentials, Encryption, StoreSection};
use crate::limits::{STORE_CONNECT, STORE_DEADLINE, STORE_PATIENCE, STORE_RETRIES};

/// A client of a provider.
pub(super) enum Provider {
    S3(Arc<AmazonS3>),
    Azure(Arc<MicrosoftAzure>),
    Gcs(Arc<GoogleCloudStorage>),
}

/// A provider's client, and what asks it things that are no objects.
pub(super) struct Reached {
    pub(super) provider: Provider,
    pub(super) http: HttpClient,
    /// Address of the bucket in S3, of the container in Azure, of the service in GCS.
    pub(super) base: String,
}

impl Reached {
    /// # Errors
    /// [`StoreError::Settings`]: a certificate, a credentials file or an address is wrong.
    pub(super) fn by(config: &StoreSection) -> Result<Self, StoreError> {
        let wrong = |source| StoreError::Settings { bucket: config.bucket.clone(), source };
        let options = options(config).map_err(wrong)?;
        let http = ReqwestConnector::default().connect(&options).map_err(wrong)?;
        let (provider, base) = match config.kind {
            Backend::S3 => (Provider::S3(Arc::new(s3(config, options).map_err(wrong)?)), s3_base(config)),
            Backend::Azure => (Provider::Azure(Arc::new(azure(config, options).map_err(wrong)?)), azure_base(config)),
            Backend::Gcs | Backend::Directory => {
                let base = config.endpoint.clone().unwrap_or_else(|| GCS.to_owned());
                (Provider::Gcs(Arc::new(gcs(config, options).map_err(wrong)?)), base)
            }
        };
        Ok(Self { provider, http, base: base.trim_end_matches('/').to_owned() })
    }

    pub(super) fn objects(&self) -> Arc<dyn ObjectStore> {
        match &self.provider {
            Provider::S3(store) => Arc::clone(store) as _,
            Provider::Azure(store) => Arc::clone(store) as _,
            Provider::Gcs(store) => Arc::clone(store) as _,
        }
    }
}

fn options(config: &StoreSection) -> object_store::Result<ClientOptions> {
    domicile_proto::link::crypto::install_default_provider();
    let is_plain = config.endpoint.as_deref().is_some_and(|address| address.starts_with("http://"));
    let mut options =
        ClientOptions::new().with_allow_http(is_plain).with_timeout(STORE_DEADLINE).with_connect_timeout(STORE_CONNECT);
    if let Some(path) = &config.ca {
        let pem = std::fs::read(path).map_err(|source| object_store::Error::Generic {
            store: "ca",
            source: format!("`{}`: {source}", path.display()).into(),
        })?;
        for certificate in Certificate::from_pem_bundle(&pem)? {
            options = options.with_root_certificate(certificate);
        }
    }
    Ok(options)
}

/// Few attempts within the life of a credential.
fn retry() -> RetryConfig {
    RetryConfig { backoff: BackoffConfig::default(), max_retries: STORE_RETRIES, retry_timeout: STORE_PATIENCE }
}

/// The values of those variables that are set.
fn variables(names: &'static [&'static str]) -> impl Iterator<Item = (&'static str, String)> {
    names.iter().filter_map(|name| Some((*name, std::env::var(name).ok()?)))
}

fn file(config: &StoreSection) -> object_store::Result<Option<&FilePath>> {
    let path = config.credentials_file.as_deref().filter(|_| config.credentials == Credentials::File);
    path.map(|path| credentials::check(path).map(|()| path)).transpose()
}

fn is_host_style(config: &StoreSection) -> bool {
    config.s3.addressing.map_or_else(|| config.endpoint.is_none(), |addressing| addressing == Addressing::Host)
}

fn s3(config: &StoreSection, options: ClientOptions) -> object_store::Result<AmazonS3> {
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&config.bucket)
        .with_region(&config.location)
        .with_virtual_hosted_style_request(is_host_style(config))
        .with_client_options(options)
        .with_retry(retry());
    if config.endpoint.is_some() {
        // With the name in the host, the client takes the address as it is.
        let base = if is_host_style(config) { s3_base(config) } else { config.endpoint.clone().unwrap_or_default() };
        builder = builder.with_endpoint(base);
    }
    let named = match config.credentials {
        Credentials::Instance => variables(&S3_WORKLOAD),
        Credentials::Environment => variables(&S3_KEYS),
        Credentials::File => variables(&[]),
    };
    for (name, value) in named {
        builder = builder.with_config(name.to_ascii_lowercase().parse()?, value);
    }
    if let Some(path) = file(config)? {
        builder = builder.with_credentials(Arc::new(S3File(path.to_owned())));
    } else if config.credentials == Credentials::Environment
        && builder.get_config_value(&AmazonS3ConfigKey::AccessKeyId).is_none()
    {
        return Err(none_in_environment("AWS_ACCESS_KEY_ID"));
    }
    let kind = "aws_server_side_encryption".parse()?;
    builder = match (config.s3.encryption, &config.s3.kms_key) {
        (Encryption::SseS3, _) => builder.with_config(kind, "AES256"),
        (Encryption::SseKms, Some(key)) => builder.with_sse_kms_encryption(key),
        _ => builder,
    };
    builder.build()
}

fn s3_base(config: &StoreSection) -> String {
    let StoreSection { bucket, location, endpoint, .. } = config;
    let own = format!("https://s3.{location}.amazonaws.com");
    let service = endpoint.as_deref().unwrap_or(&own).trim_end_matches('/');
    match service.split_once("://").filter(|_| is_host_style(config)) {
        Some((scheme, host)) => format!("{scheme}://{bucket}.{host}"),
        None => format!("{service}/{bucket}"),
    }
}

fn azure(config: &StoreSection, options: ClientOptions) -> object_store::Result<MicrosoftAzure> {
    let account = config.account.clone().unwrap_or_default();
    let mut builder = MicrosoftAzureBuilder::new()
        .with_account(account)
        .with_container_name(&config.bucket)
        .with_client_options(options)
        .with_retry(retry());
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    let (named, kind) = match config.credentials {
        Credentials::Instance => (variables(&AZURE_WORKLOAD), None),
        Credentials::Environment => (variables(&AZURE_KEYS), None),
        Credentials::File => (variables(&[]), file(config)?),
    };
    let mut is_found = false;
    for (name, value) in named {
        is_found = true;
        builder = builder.with_config(name.to_ascii_lowercase().parse()?, value);
    }
    if let Some(path) = kind {
        builder = builder.with_credentials(Arc::new(AzureFile(path.to_owned())));
    } else if config.credentials == Credentials::Environment && !is_found {
        return Err(none_in_environment("AZURE_STORAGE_ACCOUNT_KEY"));
    }
    builder.build()
}

fn azure_base(config: &StoreSection) -> String {
    let account = config.account.as_deref().unwrap_or_default();
    let own = format!("https://{account}.blob.core.windows.net");
    let service = config.endpoint.as_deref().unwrap_or(&own).trim_end_matches('/');
    format!("{service}/{}", config.bucket)
}

fn gcs(config: &StoreSection, options: ClientOptions) -> object_store::Result<GoogleCloudStorage> {
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(&config.bucket)
        .with_client_options(options)
        .with_retry(retry());
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    if config.credentials == Credentials::Environment {
        let path = std::env::var(GCS_FILE).map_err(|_| none_in_environment(GCS_FILE))?;
        builder = builder.with_application_credentials(path);
    }
    if let Some(path) = file(config)? {
        builder = builder.with_service_account_path(path.to_string_lossy());
    }
    builder.build()
}

fn none_in_environment(name: &str) -> object_store::Error {
    let source = format!("`store.credentials` is `environment` and `{name}` is not set");
    object_store::Error::Generic { store: "credentials", source: source.into() }
}

const GCS: &str = "https://storage.googleapis.com";
const GCS_FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
const S3_KEYS: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
/// Workloads whose platform hands them an identity; without any of them the machine's own is asked for.
const S3_WORKLOAD: [&str; 6] = [
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
];
const AZURE_KEYS: [&str; 5] = [
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_CLIENT_ID",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_STORAGE_TENANT_ID",
];
const AZURE_WORKLOAD: [&str; 5] =
    ["AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_MSI_ENDPOINT", "AZURE_AUTHORITY_HOST"];

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str) -> StoreSection {
        let least = "kind = \"s3\"\nbucket = \"acme-logs\"\nlocation = \"eu-central-1\"\n";
        toml::from_str(&format!("{least}{text}")).unwrap()
    }

    #[test]
    fn the_address_of_a_bucket_follows_from_its_location_unless_an_endpoint_is_named() {
        for (text, base) in [
            ("", "https://acme-logs.s3.eu-central-1.amazonaws.com"),
            ("[s3]\naddressing = \"path\"", "https://s3.eu-central-1.amazonaws.com/acme-logs"),
            ("endpoint = \"https://s3.example.com/\"", "https://s3.example.com/acme-logs"),
            ("endpoint = \"https://s3.example.com\"\n[s3]\naddressing = \"host\"", "https://acme-logs.s3.example.com"),
        ] {
            assert_eq!(s3_base(&section(text)), base, "{text}");
        }
    }

    #[test]
    fn every_variable_that_is_read_is_one_that_the_clients_know() {
        for name in S3_KEYS.iter().chain(&S3_WORKLOAD) {
            assert!(name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>().is_ok(), "{name}");
        }
        for name in AZURE_KEYS.iter().chain(&AZURE_WORKLOAD) {
            assert!(name.to_ascii_lowercase().parse::<object_store::azure::AzureConfigKey>().is_ok(), "{name}");
        }
    }

    #[test]
    fn a_credentials_file_that_others_may_read_is_refused_before_anything_is_asked() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        std::fs::write(&path, "[default]").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let text = format!("credentials = \"file\"\ncredentials_file = {:?}", path.display().to_string());
        let refused = Reached::by(&section(&text)).err().unwrap();
        assert_eq!(crate::errors::Coded::code(&refused), "DMC-STORE-11");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Reached::by(&section(&text)).is_ok());
    }
}
