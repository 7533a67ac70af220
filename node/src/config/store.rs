//! The `[store]` section: where the region's objects lie, and who answers for what the provider does not say.
//!
//! Secrets are never in it: they come from the environment, from a file or from the machine's identity. Decides nothing about
//! whether a bucket may be used: that is looked at where it is opened.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::buckets::BucketEntry;

/// Where the region's objects lie.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StoreSection {
    /// Which kind of object store. Default `directory`: as safe as the disk it lies on.
    pub(crate) kind: Backend,
    /// The directory of a `directory` store. Default: `objects` in the data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<PathBuf>,
    /// Name of the bucket, or of the container in Azure. No default; one region, one bucket or prefix.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) bucket: String,
    /// What the names of all objects begin with. Default: nothing; a bucket that two regions share is refused all the same
    /// where it lies in the wrong place.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) prefix: String,
    /// Where the bucket lies, as its provider names it: `eu-central-1`. No default; compared with the region's facts and with
    /// what the provider reports before a byte is written.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) location: String,
    /// Whose locations those are, a key of `clouds` in the region's facts. Default: that of the kind; `private` for a server of
    /// your own, which the facts do not list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cloud: Option<Cloud>,
    /// Address of the service, `https://…`; plain HTTP only on loopback. Default: the provider's own for the location; needed
    /// where `cloud` is not that of the kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
    /// Certificates of the service's authority, PEM. Default: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    /// Where the credentials come from. Default `instance`, the machine's own identity: nothing to keep or to lose.
    pub(crate) credentials: Credentials,
    /// The file of `credentials = "file"`, mode 0600, read again when it is replaced. S3: as `~/.aws/credentials`, its part
    /// `[default]`. Azure: one line, an account key or a shared access signature. GCS: a service account's JSON, read at start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) credentials_file: Option<PathBuf>,
    /// What you vouch for where the provider does not say it: `location`, `replication`. Default: nothing, and the node does
    /// not start. Each is logged at every start; what the provider contradicts is refused all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) vouched: Vec<Vouched>,
    /// The class of storage of what is archived, as the provider names it. Default: that of everything else. Only one that is read
    /// at once: an erasure must be able to make an archived segment anew without waiting for the provider. S3: `STANDARD_IA`,
    /// `ONEZONE_IA`, `GLACIER_IR`, `INTELLIGENT_TIERING`; Azure: `Cool`, `Cold`; GCS: `NEARLINE`, `COLDLINE`, `ARCHIVE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) archive_class: Option<String>,
    /// What only S3 has.
    #[serde(skip_serializing_if = "S3Section::is_default")]
    pub(crate) s3: S3Section,
    /// The storage account, in Azure. No default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) account: Option<String>,
    /// Buckets of single tenants and streams. Default: none; everything goes to the one above.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) buckets: Vec<BucketEntry>,
}

/// A kind of object store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Backend {
    /// A directory of this machine.
    #[default]
    Directory,
    /// S3, or whatever speaks its protocol.
    S3,
    /// Azure Blob Storage.
    Azure,
    /// Google Cloud Storage.
    Gcs,
}

impl Backend {
    /// Classes of storage whose objects are read at once, though at another price.
    const fn archive_classes(self) -> &'static [&'static str] {
        match self {
            Self::Directory => &[],
            Self::S3 => &["STANDARD_IA", "ONEZONE_IA", "GLACIER_IR", "INTELLIGENT_TIERING"],
            Self::Azure => &["Cool", "Cold"],
            Self::Gcs => &["NEARLINE", "COLDLINE", "ARCHIVE"],
        }
    }

    /// What a reader of a report is told.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Directory => "directory of the node's machine",
            Self::S3 => "S3",
            Self::Azure => "Azure Blob Storage",
            Self::Gcs => "Google Cloud Storage",
        }
    }
}

/// Whose names of locations are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cloud {
    /// Amazon.
    Aws,
    /// Microsoft.
    Azure,
    /// Google.
    Gcp,
    /// Alibaba.
    Alicloud,
    /// A server of one's own.
    Private,
}

impl Cloud {
    /// Its key in the files of facts; none for a server of one's own.
    pub(crate) const fn key(self) -> Option<&'static str> {
        match self {
            Self::Aws => Some("aws"),
            Self::Azure => Some("azure"),
            Self::Gcp => Some("gcp"),
            Self::Alicloud => Some("alicloud"),
            Self::Private => None,
        }
    }
}

/// Where credentials come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Credentials {
    /// The machine's or the workload's own identity.
    #[default]
    Instance,
    /// The variables that the provider's own tools read.
    Environment,
    /// A file.
    File,
}

/// What an operator may answer for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Vouched {
    /// That the bucket lies where `location` says.
    Location,
    /// That nothing copies it to another region.
    Replication,
}

/// What only S3 has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct S3Section {
    /// Whether the bucket's name is in the path or in the host's name. Default `path` with an `endpoint`, else `host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) addressing: Option<Addressing>,
    /// Encryption that is asked for with every object. Default `bucket`: what the bucket does by itself. A key of your own in
    /// every request (SSE-C) is not offered: whoever restores the bucket would need it beside the keyring.
    pub(crate) encryption: Encryption,
    /// Id of the key of `encryption = "sse_kms"`. No default. It must lie in the bucket's own location.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kms_key: Option<String>,
}

impl S3Section {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Where the bucket's name stands in an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Addressing {
    /// `https://service/bucket/object`.
    Path,
    /// `https://bucket.service/object`.
    Host,
}

/// Encryption at rest by the provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Encryption {
    /// What the bucket does by itself.
    #[default]
    Bucket,
    /// Keys of the service.
    SseS3,
    /// A key of the provider's key service.
    SseKms,
}

impl StoreSection {
    /// Whose locations are meant.
    pub(crate) const fn cloud(&self) -> Cloud {
        match (self.cloud, self.kind) {
            (Some(cloud), _) => cloud,
            (None, Backend::Directory) => Cloud::Private,
            (None, Backend::S3) => Cloud::Aws,
            (None, Backend::Azure) => Cloud::Azure,
            (None, Backend::Gcs) => Cloud::Gcp,
        }
    }

    /// Every path in it.
    pub(super) fn paths(&mut self) -> Vec<&mut PathBuf> {
        let Self { path, ca, credentials_file, buckets, .. } = self;
        let own = path.iter_mut().chain(ca.as_mut()).chain(credentials_file.as_mut());
        own.chain(buckets.iter_mut().flat_map(|entry| entry.store.paths())).collect()
    }

    /// The key that is missing or wrong, if there is one, and what should stand there.
    pub(super) fn mistake(&self) -> Option<(&'static str, &'static str)> {
        let is_remote = self.kind != Backend::Directory;
        if !is_remote {
            let (path, buckets) = (self.path.clone(), self.buckets.clone());
            let only = Self { kind: Backend::Directory, path, buckets, ..Self::default() };
            return (*self != only).then_some(("store", "only `path` beside `kind = \"directory\"`"));
        }
        let own = Self { cloud: None, ..self.clone() }.cloud();
        let has_file = (self.credentials == Credentials::File) == self.credentials_file.is_some();
        let has_key = (self.s3.encryption == Encryption::SseKms) == self.s3.kms_key.is_some();
        let is_prefix = self.prefix.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        let checks = [
            (self.path.is_none(), "store.path", "nothing: it belongs to `kind = \"directory\"`"),
            (is_bucket(&self.bucket), "store.bucket", "the name of a bucket, 3 to 63 of `a-z 0-9 . - _`"),
            (!self.location.is_empty(), "store.location", "where the bucket lies, as `eu-central-1`"),
            (self.prefix.is_empty() || is_prefix, "store.prefix", "parts with `/` between, none of them empty"),
            (self.cloud() == own || self.endpoint.is_some(), "store.endpoint", "the service's `https://` address"),
            (
                self.endpoint.as_deref().is_none_or(is_safe),
                "store.endpoint",
                "an `https://` address, or `http://` on loopback",
            ),
            (has_file, "store.credentials_file", "a file, exactly where `credentials = \"file\"`"),
            (has_key, "store.s3.kms_key", "a key, exactly where `encryption = \"sse_kms\"`"),
            (
                self.archive_class.as_deref().is_none_or(|class| self.kind.archive_classes().contains(&class)),
                "store.archive_class",
                "a class of this provider that is read at once: `GLACIER_IR` in S3, `Cold` in Azure, `ARCHIVE` in GCS",
            ),
            (self.kind == Backend::S3 || self.s3.is_default(), "store.s3", "nothing: it belongs to `kind = \"s3\"`"),
            (
                (self.kind == Backend::Azure) == self.account.is_some(),
                "store.account",
                "the storage account, exactly where `kind = \"azure\"`",
            ),
        ];
        checks.into_iter().find(|(is_right, ..)| !is_right).map(|(_, key, wanted)| (key, wanted))
    }
}

fn is_bucket(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_');
    (3..=63).contains(&name.len()) && name.bytes().all(is_plain) && !name.contains("..")
}

/// Whether an address says nothing in the clear to another machine.
fn is_safe(address: &str) -> bool {
    let host = address.strip_prefix("http://").map(|rest| rest.split(['/', '?']).next().unwrap_or_default());
    match host {
        Some(host) => ["127.0.0.1", "[::1]"].iter().any(|own| super::keys::is_host(host, own)),
        None => address.starts_with("https://"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> StoreSection {
        toml::from_str(text).unwrap()
    }

    const S3: &str = "kind = \"s3\"\nbucket = \"acme-logs\"\nlocation = \"eu-central-1\"\n";

    #[test]
    fn what_is_whole_is_taken() {
        for text in [
            String::new(),
            "path = \"elsewhere\"".to_owned(),
            S3.to_owned(),
            format!("{S3}endpoint = \"http://127.0.0.1:9000\"\ncloud = \"private\""),
            format!("{S3}credentials = \"file\"\ncredentials_file = \"c\""),
            format!("{S3}archive_class = \"GLACIER_IR\""),
            format!("{S3}[s3]\nencryption = \"sse_kms\"\nkms_key = \"k\""),
            S3.replace("s3", "azure") + "account = \"acme\"",
            S3.replace("s3", "gcs") + "prefix = \"a/b\"\nvouched = [\"location\", \"replication\"]",
        ] {
            assert_eq!(read(&text).mistake(), None, "{text}");
            let again = toml::to_string(&read(&text)).unwrap();
            assert_eq!(read(&again), read(&text), "{again}");
        }
        assert_eq!(read(S3).cloud().key(), Some("aws"));
        assert_eq!(read(&format!("{S3}cloud = \"alicloud\"")).cloud().key(), Some("alicloud"));
    }

    #[test]
    fn every_cloud_is_named_as_the_files_of_facts_name_it() {
        let regions = super::super::Regions::built_in().unwrap();
        for cloud in [Cloud::Aws, Cloud::Azure, Cloud::Gcp, Cloud::Alicloud] {
            let key = cloud.key().unwrap();
            assert!(regions.iter().all(|facts| !facts.clouds().locations(key).is_empty()), "{key}");
        }
        assert_eq!(Cloud::Private.key(), None);
    }

    #[test]
    fn every_key_is_explained_to_operators() {
        let guide = include_str!("../../../docs/guide/operator.md");
        let whole = S3.to_owned()
            + "prefix = \"p\"\npath = \"p\"\ncloud = \"private\"\nendpoint = \"e\"\nca = \"c\"\ncredentials_file = \"c\"\naccount = \"a\"\nvouched = [\"location\"]\narchive_class = \"ARCHIVE\"\n[s3]\naddressing = \"path\"\nkms_key = \"k\"";
        let table = toml::to_string(&read(&whole)).unwrap().parse::<toml::Table>().unwrap();
        let s3 = table["s3"].as_table().unwrap().keys().map(|key| format!("s3.{key}"));
        let keys: Vec<_> = table.keys().filter(|key| *key != "s3").cloned().chain(s3).collect();
        assert_eq!(keys.len(), 16);
        for key in keys {
            assert!(guide.contains(&format!("`{key}`")) || guide.contains(&format!("    {key} = ")), "`{key}`");
        }
    }

    #[test]
    fn each_mistake_names_its_key() {
        for (text, key) in [
            ("kind = \"s3\"\nlocation = \"l\"".to_owned(), "store.bucket"),
            (S3.replace("acme-logs", "a/b"), "store.bucket"),
            (S3.replace("acme-logs", "a..b"), "store.bucket"),
            ("kind = \"s3\"\nbucket = \"abc\"".to_owned(), "store.location"),
            (format!("{S3}prefix = \"/a\""), "store.prefix"),
            (format!("{S3}prefix = \"a/../b\""), "store.prefix"),
            (format!("{S3}cloud = \"private\""), "store.endpoint"),
            (format!("{S3}endpoint = \"http://192.0.2.1\""), "store.endpoint"),
            (format!("{S3}endpoint = \"http://127.0.0.1:80@192.0.2.1\""), "store.endpoint"),
            (format!("{S3}endpoint = \"ftp://192.0.2.1\""), "store.endpoint"),
            (format!("{S3}credentials = \"file\""), "store.credentials_file"),
            (format!("{S3}credentials_file = \"c\""), "store.credentials_file"),
            (format!("{S3}[s3]\nencryption = \"sse_kms\""), "store.s3.kms_key"),
            (format!("{S3}[s3]\nkms_key = \"k\""), "store.s3.kms_key"),
            (format!("{S3}archive_class = \"DEEP_ARCHIVE\""), "store.archive_class"),
            (format!("{S3}archive_class = \"GLACIER\""), "store.archive_class"),
            (format!("{S3}path = \"p\""), "store.path"),
            (format!("{S3}account = \"a\""), "store.account"),
            (S3.replace("s3", "azure"), "store.account"),
            (S3.replace("s3", "gcs") + "[s3]\nencryption = \"sse_s3\"", "store.s3"),
            ("bucket = \"abc\"".to_owned(), "store"),
        ] {
            assert_eq!(read(&text).mistake().map(|(key, _)| key), Some(key), "{text}");
        }
        for unknown in ["[s3]\nencryption = \"sse_c\"", "secret_key = \"x\"", "vouched = [\"everything\"]"] {
            assert!(toml::from_str::<StoreSection>(&format!("{S3}{unknown}")).is_err(), "{unknown}");
        }
    }
}
