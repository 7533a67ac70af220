//! The list `[[store.buckets]]`: buckets of single tenants and streams beside the region's own.
//!
//! Decides whose place an entry is and whether the list contradicts itself. Whether a bucket may be used is looked at where it is
//! opened.

use std::path::{Component, Path, PathBuf};

use domicile_proto::ids::Name;
use serde::{Deserialize, Serialize};

use super::store::{Backend, StoreSection};

/// A bucket of one tenant, or of one of its streams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "toml::Table")]
pub(crate) struct BucketEntry {
    /// Whose data goes there. No default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<Name>,
    /// Of which stream alone. Default: every stream of the tenant that has no entry of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stream: Option<Name>,
    /// Whether nothing new goes there: what lies there is read, erased and deleted as before. Default false.
    pub(crate) closed: bool,
    /// The bucket, with the keys of `[store]`.
    #[serde(flatten)]
    pub(crate) store: StoreSection,
}

impl TryFrom<toml::Table> for BucketEntry {
    type Error = String;

    fn try_from(mut table: toml::Table) -> Result<Self, String> {
        let name = |found: Option<toml::Value>, key: &str| {
            let read = found.map(|value| value.try_into::<Name>());
            read.transpose().map_err(|error| format!("`store.buckets`: `{key}`: {error}"))
        };
        let (tenant, stream) = (name(table.remove("tenant"), "tenant")?, name(table.remove("stream"), "stream")?);
        let closed = match table.remove("closed") {
            None => false,
            Some(toml::Value::Boolean(closed)) => closed,
            Some(_) => return Err("`store.buckets`: `closed` is true or false".to_owned()),
        };
        let keys = "beside `tenant`, `stream` and `closed`, an entry has the keys of `[store]`";
        let store = table.try_into().map_err(|error| format!("`store.buckets`: {error}; {keys}"))?;
        Ok(Self { tenant, stream, closed, store })
    }
}

impl BucketEntry {
    /// Whose it is, as a person reads it.
    pub(crate) fn title(&self) -> String {
        let tenant = self.tenant.as_ref().map(ToString::to_string).unwrap_or_default();
        match &self.stream {
            Some(stream) => format!("stream `{stream}` of tenant `{tenant}`"),
            None => format!("tenant `{tenant}`"),
        }
    }

    /// What is wrong with it by itself, and what should stand there.
    fn mistake(&self) -> Option<String> {
        if self.tenant.is_none() {
            return Some("has no `tenant`; write whose data goes there, beside `stream` too".to_owned());
        }
        if !self.store.buckets.is_empty() {
            return Some(
                "has `buckets` of its own; write them beside it, each as an entry of `[[store.buckets]]`".to_owned(),
            );
        }
        if self.store.kind == Backend::Directory && self.store.path.is_none() {
            return Some("names no bucket; write `path`, or `kind` and `bucket`".to_owned());
        }
        let (key, wanted) = self.store.mistake()?;
        let key = key.strip_prefix("store.").unwrap_or("kind");
        Some(format!("has a wrong `{key}`, which should be {wanted}"))
    }
}

/// What is wrong with the list: which entry, counted from 1, and what to do.
pub(super) fn mistake(region: &StoreSection, default: &Path) -> Option<(usize, String)> {
    let entries = &region.buckets;
    for (at, entry) in entries.iter().enumerate() {
        let wrong = |problem| Some((at + 1, problem));
        if let Some(problem) = entry.mistake() {
            return wrong(problem);
        }
        let path = region.path.as_deref().unwrap_or(default);
        let own = StoreSection { path: Some(path.to_owned()), ..region.clone() };
        if overlaps(&own, &entry.store) {
            let problem =
                "names the region's own bucket, or one nested with it; give it a bucket or a `prefix` of its own";
            return wrong(problem.to_owned());
        }
        for (number, before) in entries.iter().take(at).enumerate() {
            let number = number + 1;
            if overlaps(&before.store, &entry.store) {
                let problem = format!(
                    "names the bucket of number {number} ({}), or one nested with it; give each a bucket or a `prefix` of its own",
                    before.title()
                );
                return wrong(problem);
            }
            let is_open = !before.closed && !entry.closed;
            if is_open && (&before.tenant, &before.stream) == (&entry.tenant, &entry.stream) {
                let problem = format!(
                    "is the second bucket of {}, which number {number} names already; write `closed = true` in the one that nothing new goes to",
                    entry.title()
                );
                return wrong(problem);
            }
        }
    }
    None
}

/// Whether something of one could lie in the other.
fn overlaps(one: &StoreSection, other: &StoreSection) -> bool {
    if one.kind != other.kind {
        return false;
    }
    if one.kind == Backend::Directory {
        let (one, other) = (one.path.as_deref().map(plain), other.path.as_deref().map(plain));
        return one.zip(other).is_some_and(|(one, other)| one.starts_with(&other) || other.starts_with(&one));
    }
    // Two addresses may be of the same service; no address is the provider's own.
    let is_elsewhere = match (&one.endpoint, &other.endpoint) {
        (Some(one), Some(other)) => one.trim_end_matches('/') != other.trim_end_matches('/'),
        _ => false,
    };
    if one.bucket != other.bucket || one.account != other.account || is_elsewhere {
        return false;
    }
    let parts = |store: &StoreSection| -> Vec<String> {
        store.prefix.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let (one, other) = (parts(one), parts(other));
    one.starts_with(&other) || other.starts_with(&one)
}

/// A path without `.` and `..`, as far as its text says.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> StoreSection {
        toml::from_str(text).unwrap()
    }

    fn found(text: &str) -> Option<(usize, String)> {
        mistake(&read(text), Path::new("/data/objects"))
    }

    const S3: &str = "kind = \"s3\"\nbucket = \"acme-logs\"\nlocation = \"eu-central-1\"\n";
    const ACME: &str = "[[buckets]]\ntenant = \"acme\"\n";
    const PAYMENTS: &str = "[[buckets]]\ntenant = \"acme\"\nstream = \"payments\"\n";

    #[test]
    fn a_list_that_is_right_is_taken_and_written_as_it_was_read() {
        let other = S3.replace("acme-logs", "acme-own");
        for text in [
            format!("{ACME}path = \"/a\"\n{PAYMENTS}path = \"/b\""),
            format!("{S3}{ACME}{other}prefix = \"a\"\n{PAYMENTS}{other}prefix = \"p\""),
            format!("{S3}prefix = \"region\"\n{ACME}{S3}prefix = \"acme\"\n{PAYMENTS}{S3}prefix = \"payments\""),
            format!("{S3}prefix = \"acme\"\n{ACME}{S3}prefix = \"acme-2\""),
            format!("{ACME}path = \"/a\"\nclosed = true\n{ACME}path = \"/b\""),
            format!("{ACME}{other}[buckets.s3]\nencryption = \"sse_kms\"\nkms_key = \"k\""),
        ] {
            assert_eq!(found(&text), None, "{text}");
            let again = toml::to_string(&read(&text)).unwrap();
            assert_eq!(read(&again), read(&text), "{again}");
        }
    }

    #[test]
    fn each_mistake_names_its_entry_and_says_what_to_do() {
        let own = S3.replace("acme-logs", "acme-own");
        for (text, number, said) in [
            ("[[buckets]]\nstream = \"payments\"\npath = \"/a\"".to_owned(), 1, "no `tenant`"),
            (ACME.to_owned(), 1, "`path`"),
            (format!("{ACME}{S3}prefix = \"/\""), 1, "wrong `prefix`"),
            (format!("{ACME}path = \"/a\"\nbucket = \"abc\""), 1, "wrong `kind`"),
            (format!("{ACME}path = \"/a\"\n[[buckets.buckets]]\ntenant = \"b\"\npath = \"/b\""), 1, "of its own"),
            (format!("{ACME}path = \"/a\"\n{ACME}path = \"/b\""), 2, "closed = true"),
            (format!("{ACME}path = \"/a\"\n{PAYMENTS}path = \"/a/b\""), 2, "number 1"),
            (format!("{ACME}path = \"/a/b\"\n{PAYMENTS}path = \"/a/c/..\""), 2, "number 1"),
            (format!("{ACME}path = \"/data/objects/acme\""), 1, "region's own"),
            (format!("{ACME}path = \"/data\""), 1, "region's own"),
            (format!("{S3}{ACME}{S3}"), 1, "region's own"),
            (format!("{S3}{ACME}{S3}prefix = \"acme\""), 1, "region's own"),
            (format!("{S3}{ACME}{S3}endpoint = \"https://s3.eu-central-1.amazonaws.com\""), 1, "region's own"),
            (format!("{ACME}{own}\n{PAYMENTS}{own}prefix = \"p\""), 2, "number 1"),
        ] {
            let (at, problem) = found(&text).expect(&text);
            assert!(at == number && problem.contains(said), "{text}: {at}: {problem}");
        }
    }

    #[test]
    fn an_unknown_key_is_named() {
        for (text, said) in [
            (format!("{ACME}path = \"/a\"\ncolour = \"red\""), "colour"),
            (format!("{ACME}path = \"/a\"\nclosed = 1"), "closed"),
            ("[[buckets]]\ntenant = \"No Name\"\npath = \"/a\"".to_owned(), "tenant"),
        ] {
            let error = toml::from_str::<StoreSection>(&text).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains("store.buckets"), "{error}");
        }
    }
}
