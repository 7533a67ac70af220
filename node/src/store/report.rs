//! What a provider says of a bucket before it is used: where it lies, whether something copies it, whether it keeps old versions.
//!
//! A provider that says nothing is never taken for one that says what we would like to hear. Decides in [`judge`] alone, which
//! asks nobody.

use domicile_proto::ids::Region;
use futures::StreamExt;
use hyper::http::{HeaderMap, Method, Request, StatusCode};
use object_store::aws::AwsAuthorizer;
use object_store::azure::AzureAuthorizer;
use object_store::client::{HttpRequest, HttpRequestBody};
use serde::Deserialize;

use super::errors::StoreError;
use super::provider::{Provider, Reached};
use crate::config::{Cloud, Clouds, StoreSection, Vouched};
use crate::limits::{STORE_REPORT_BYTES, STORE_RETRIES};

/// What a provider says of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    /// Where it lies; `None` where the provider does not say.
    pub(super) location: Option<String>,
    pub(super) copies: Copies,
    /// Whether a deleted object stays as an old version, which can be deleted as well.
    pub(super) keeps_versions: bool,
    /// Whether what is deleted stays for a while, whoever deletes it.
    pub(super) keeps_deleted: bool,
}

/// Whether something copies a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Copies {
    Nothing,
    /// What the provider says of it.
    To(String),
    Unknown,
}

/// Whether a bucket may be used, and what of it only the operator vouches for.
///
/// # Errors
/// [`StoreError::Elsewhere`], [`StoreError::Copied`], [`StoreError::Untold`].
pub(super) fn judge(
    config: &StoreSection,
    home: &Region,
    clouds: &Clouds,
    report: &Report,
) -> Result<Vec<Vouched>, StoreError> {
    let bucket = || config.bucket.clone();
    let elsewhere = |found: &str, wanted: String| {
        let (home, found) = (home.to_string(), found.to_owned());
        StoreError::Elsewhere { bucket: bucket(), home, found, wanted }
    };
    if let Some(cloud) = config.cloud().key() {
        let allowed = clouds.locations(cloud);
        if !allowed.contains(&config.location) {
            return Err(elsewhere(&config.location, format!("one of `clouds.{cloud}`: {}", allowed.join(", "))));
        }
    }
    let mut vouched = Vec::new();
    let mut vouch = |what: Vouched, key: &'static str| {
        if !config.vouched.contains(&what) {
            return Err(StoreError::Untold { bucket: bucket(), what: key });
        }
        vouched.push(what);
        Ok(())
    };
    match &report.location {
        Some(found) if *found == config.location => {}
        Some(found) => return Err(elsewhere(found, format!("`{}`", config.location))),
        None => vouch(Vouched::Location, "location")?,
    }
    match &report.copies {
        Copies::Nothing => {}
        Copies::To(target) => return Err(StoreError::Copied { bucket: bucket(), target: target.clone() }),
        Copies::Unknown => vouch(Vouched::Replication, "replication")?,
    }
    Ok(vouched)
}

/// An answer of a provider.
pub(super) struct Said {
    status: StatusCode,
    headers: HeaderMap,
    pub(super) body: String,
}

impl Said {
    /// # Errors
    /// [`StoreError::Denied`] or [`StoreError::Failed`] where the provider did not do it.
    pub(super) fn done(&self, object: &str) -> Result<(), StoreError> {
        let (object, said) = (object.to_owned(), format!("the provider answered {}", self.status));
        match self.status {
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Err(StoreError::Denied { object, source: said.into() }),
            status if status.is_success() || status == StatusCode::NOT_FOUND => Ok(()),
            _ => {
                let source = object_store::Error::Generic { store: "provider", source: said.into() };
                Err(StoreError::Failed { object, source })
            }
        }
    }

    fn header(&self, name: &str) -> Option<String> {
        Some(self.headers.get(name)?.to_str().ok()?.to_owned())
    }

    /// The text of the first element of that name.
    fn element(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.body.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
    }
}

/// The parts of GCS's description of a bucket that matter here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GcsBucket {
    location: Option<String>,
    location_type: Option<String>,
    versioning: Option<GcsVersioning>,
    soft_delete_policy: Option<GcsSoftDelete>,
}

#[derive(Deserialize)]
struct GcsVersioning {
    enabled: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GcsSoftDelete {
    retention_duration_seconds: Option<String>,
}

impl Reached {
    /// Asks the provider about the bucket. Writes nothing.
    ///
    /// # Errors
    /// [`StoreError::Failed`] or [`StoreError::Denied`] where it cannot be asked at all; what it does not say is in the report.
    pub(super) async fn report(&self, config: &StoreSection) -> Result<Report, StoreError> {
        match &self.provider {
            Provider::S3(_) => self.report_s3(config).await,
            Provider::Azure(_) => self.report_azure(config).await,
            Provider::Gcs(_) => self.report_gcs(config).await,
        }
    }

    async fn report_s3(&self, config: &StoreSection) -> Result<Report, StoreError> {
        let head = self.ask(config, Method::HEAD, "").await?;
        self.permitted(config, &head)?;
        let mut location = head.header("x-amz-bucket-region");
        if location.is_none() {
            let said = self.ask(config, Method::GET, "?location").await?;
            location = located(config.cloud(), &said);
        }
        let said = self.ask(config, Method::GET, "?replication").await?;
        let copies = match said.status {
            StatusCode::OK => Copies::To(said.element("Bucket").unwrap_or("a bucket it does not name").to_owned()),
            StatusCode::NOT_FOUND if said.body.contains("ReplicationConfigurationNotFoundError") => Copies::Nothing,
            _ => Copies::Unknown,
        };
        let said = self.ask(config, Method::GET, "?versioning").await?;
        let keeps_versions = said.element("Status").is_some();
        Ok(Report { location, copies, keeps_versions, keeps_deleted: false })
    }

    async fn report_azure(&self, config: &StoreSection) -> Result<Report, StoreError> {
        self.permitted(config, &self.ask(config, Method::HEAD, "?restype=container").await?)?;
        // An identity whose rights end at the container is not told of the account: then nobody says whether it is copied.
        let said = self.ask(config, Method::HEAD, "?restype=account&comp=properties").await?;
        let copies = match said.header("x-ms-sku-name") {
            Some(sku) if sku.ends_with("_LRS") || sku.ends_with("_ZRS") => Copies::Nothing,
            Some(sku) => Copies::To(format!("the paired region of `{sku}`")),
            None => Copies::Unknown,
        };
        // What lies where, Azure says to those alone who may manage the account.
        Ok(Report { location: None, copies, keeps_versions: false, keeps_deleted: false })
    }

    async fn report_gcs(&self, config: &StoreSection) -> Result<Report, StoreError> {
        let said = self.ask(config, Method::GET, &format!("/storage/v1/b/{}", config.bucket)).await?;
        self.permitted(config, &said)?;
        let Ok(found) = serde_json::from_str::<GcsBucket>(&said.body) else {
            let copies = Copies::Unknown;
            return Ok(Report { location: None, copies, keeps_versions: false, keeps_deleted: false });
        };
        let location = found.location.map(|location| location.to_ascii_lowercase());
        let copies = match found.location_type.as_deref() {
            Some("region") => Copies::Nothing,
            Some(kind) => Copies::To(format!("the regions of a `{kind}` bucket")),
            None => Copies::Unknown,
        };
        let soft = found.soft_delete_policy.and_then(|policy| policy.retention_duration_seconds);
        let keeps_versions = found.versioning.is_some_and(|on| on.enabled);
        let keeps_deleted = soft.is_some_and(|seconds| seconds != "0");
        Ok(Report { location, copies, keeps_versions, keeps_deleted })
    }

    /// Whether the provider let us ask.
    fn permitted(&self, config: &StoreSection, said: &Said) -> Result<(), StoreError> {
        let bucket = config.bucket.clone();
        match said.status {
            // S3 answers a question that was sent to the wrong place with the right one.
            StatusCode::NOT_FOUND => Err(StoreError::NoBucket { bucket }),
            status if status.is_success() || status.is_redirection() => Ok(()),
            StatusCode::BAD_REQUEST if said.headers.contains_key("x-amz-bucket-region") => Ok(()),
            status => {
                let source = format!("the provider answered {status} to a question about the bucket");
                Err(StoreError::Denied { object: bucket, source: source.into() })
            }
        }
    }

    /// Asks below the bucket's address, again where a failure passes.
    pub(super) async fn ask(&self, config: &StoreSection, method: Method, query: &str) -> Result<Said, StoreError> {
        let failed = |source| StoreError::Failed { object: config.bucket.clone(), source };
        let mut left = STORE_RETRIES;
        loop {
            let request = self.signed(config, method.clone(), query).await.map_err(failed)?;
            let answer = self.http.execute(request).await;
            let is_passing = answer.as_ref().map_or(true, |answer| answer.status().is_server_error());
            if !is_passing || left == 0 {
                let answer = answer.map_err(|error| failed(generic(error)))?;
                let (parts, body) = answer.into_parts();
                let mut pieces = body.bytes_stream();
                let mut body = Vec::new();
                while let Some(piece) = pieces.next().await {
                    body.extend_from_slice(&piece.map_err(|error| failed(generic(error)))?);
                    if body.len() > STORE_REPORT_BYTES {
                        // What we look for stands at the beginning, or nothing is told.
                        body.truncate(STORE_REPORT_BYTES);
                        break;
                    }
                }
                let body = String::from_utf8_lossy(&body).into_owned();
                return Ok(Said { status: parts.status, headers: parts.headers, body });
            }
            left -= 1;
            tokio::time::sleep(crate::limits::STORE_PAUSE).await;
        }
    }

    async fn signed(&self, config: &StoreSection, method: Method, query: &str) -> object_store::Result<HttpRequest> {
        let mut request = Request::new(HttpRequestBody::empty());
        *request.method_mut() = method;
        let uri = format!("{}{query}", self.base).parse();
        *request.uri_mut() = uri.map_err(generic)?;
        match &self.provider {
            Provider::S3(store) => {
                let credential = store.credentials().get_credential().await?;
                AwsAuthorizer::new(&credential, "s3", &config.location).try_authorize(&mut request, None)?;
            }
            Provider::Azure(store) => {
                let credential = store.credentials().get_credential().await?;
                let account = config.account.as_deref().unwrap_or_default();
                AzureAuthorizer::new(&credential, account).try_authorize(&mut request)?;
            }
            Provider::Gcs(store) => {
                let credential = store.credentials().get_credential().await?;
                if let Ok(bearer) = format!("Bearer {}", credential.bearer).parse() {
                    request.headers_mut().insert(hyper::header::AUTHORIZATION, bearer);
                }
            }
        }
        Ok(request)
    }
}

/// The location that S3's older answer names. Amazon names its first region with nothing, and its first in Europe with `EU`.
fn located(cloud: Cloud, said: &Said) -> Option<String> {
    if said.status != StatusCode::OK {
        return None;
    }
    let (_, rest) = said.body.split_once("<LocationConstraint")?;
    let text = rest.split_once('>').and_then(|(_, text)| text.split_once("</")).map_or("", |(text, _)| text.trim());
    match (text, cloud) {
        ("", Cloud::Aws) => Some("us-east-1".to_owned()),
        ("EU", Cloud::Aws) => Some("eu-west-1".to_owned()),
        ("", _) => None,
        (text, Cloud::Alicloud) => Some(text.strip_prefix("oss-").unwrap_or(text).to_owned()),
        (text, _) => Some(text.to_owned()),
    }
}

fn generic(source: impl std::error::Error + Send + Sync + 'static) -> object_store::Error {
    object_store::Error::Generic { store: "provider", source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Regions;
    use crate::errors::Coded;
    use crate::fuzz::{Input, cases};

    #[test]
    fn no_word_of_a_provider_panics() {
        let good: Vec<Vec<u8>> = [
            r#"<?xml version="1.0"?><LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">eu-central-1</LocationConstraint>"#,
            "<ReplicationConfiguration><Rule><Destination><Bucket>arn:aws:s3:::elsewhere</Bucket></Destination></Rule></ReplicationConfiguration>",
            "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
            r#"{"location":"EUROPE-WEST3","locationType":"region","versioning":{"enabled":true},"softDeletePolicy":{"retentionDurationSeconds":"604800"}}"#,
        ]
        .map(|body| body.as_bytes().to_vec())
        .into();
        bolero::check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
            let body = String::from_utf8_lossy(&input.bytes(&good)).into_owned();
            let said = Said { status: StatusCode::OK, headers: HeaderMap::new(), body };
            for cloud in [Cloud::Aws, Cloud::Alicloud] {
                assert!(located(cloud, &said).is_none_or(|found| said.body.contains(&found) || found.len() == 9));
            }
            for name in ["Bucket", "Status"] {
                assert!(said.element(name).is_none_or(|text| said.body.contains(text)));
            }
            let _ = serde_json::from_str::<GcsBucket>(&said.body);
        });
    }

    fn judged(more: &str, location: Option<&str>, copies: Copies) -> Result<Vec<Vouched>, &'static str> {
        let least = "kind = \"s3\"\nbucket = \"acme-logs\"\nlocation = \"eu-central-1\"\n";
        let config: StoreSection = toml::from_str(&format!("{least}{more}")).unwrap();
        let (regions, home) = (Regions::built_in().unwrap(), "frankfurt".parse().unwrap());
        let clouds = regions.facts(&home).unwrap().clouds();
        let report =
            Report { location: location.map(ToOwned::to_owned), copies, keeps_versions: false, keeps_deleted: false };
        judge(&config, &home, clouds, &report).map_err(|refused| refused.code())
    }

    #[test]
    fn a_bucket_is_used_where_its_provider_says_it_lies_and_nowhere_else() {
        let here = Some("eu-central-1");
        let all = "vouched = [\"location\", \"replication\"]";
        let copied = || Copies::To("arn:aws:s3:::elsewhere".to_owned());
        for (case, more, location, copies, wanted) in [
            ("at home", "", here, Copies::Nothing, Ok(vec![])),
            ("reported elsewhere", "", Some("us-east-1"), Copies::Nothing, Err("DMC-STORE-07")),
            ("reported elsewhere, vouched for", all, Some("us-east-1"), Copies::Nothing, Err("DMC-STORE-07")),
            ("copied", "", here, copied(), Err("DMC-STORE-08")),
            ("copied, vouched for", all, here, copied(), Err("DMC-STORE-08")),
            ("no location", "", None, Copies::Nothing, Err("DMC-STORE-09")),
            ("no word of copies", "", here, Copies::Unknown, Err("DMC-STORE-09")),
            ("one vouched for", "vouched = [\"location\"]", None, Copies::Unknown, Err("DMC-STORE-09")),
            ("vouched for", all, None, Copies::Unknown, Ok(vec![Vouched::Location, Vouched::Replication])),
            ("vouched for and told", all, here, Copies::Nothing, Ok(vec![])),
            (
                "not among the facts",
                "cloud = \"azure\"\nendpoint = \"https://x\"",
                here,
                Copies::Nothing,
                Err("DMC-STORE-07"),
            ),
            ("of one's own", "cloud = \"private\"\nendpoint = \"https://x\"", here, Copies::Nothing, Ok(vec![])),
            (
                "of one's own, elsewhere",
                "cloud = \"private\"\nendpoint = \"https://x\"",
                Some("x"),
                Copies::Nothing,
                Err("DMC-STORE-07"),
            ),
        ] {
            assert_eq!(judged(more, location, copies), wanted, "{case}");
        }
    }

    #[test]
    fn the_older_answer_about_a_location_is_read_as_its_provider_means_it() {
        let said = |status, body: &str| Said { status, headers: HeaderMap::new(), body: body.to_owned() };
        let constraint = |text: &str| format!("<LocationConstraint xmlns=\"x\">{text}</LocationConstraint>");
        for (cloud, body, wanted) in [
            (Cloud::Aws, constraint("eu-central-1"), Some("eu-central-1")),
            (Cloud::Aws, constraint(""), Some("us-east-1")),
            (Cloud::Aws, "<LocationConstraint/>".to_owned(), Some("us-east-1")),
            (Cloud::Aws, constraint("EU"), Some("eu-west-1")),
            (Cloud::Private, constraint(""), None),
            (Cloud::Alicloud, constraint("oss-eu-central-1"), Some("eu-central-1")),
            (Cloud::Aws, "<Error/>".to_owned(), None),
        ] {
            assert_eq!(located(cloud, &said(StatusCode::OK, &body)).as_deref(), wanted, "{body}");
            assert_eq!(located(cloud, &said(StatusCode::FORBIDDEN, &body)), None);
        }
    }
}
