//! Old versions in S3 and GCS: where a bucket keeps them, a deletion takes every version of the object and every mark of one.
//!
//! An object that only looks deleted would be read again by whoever may, and an erasure would be reported done falsely.

use std::collections::BTreeSet;

use hyper::http::Method;
use serde::Deserialize;

use super::errors::StoreError;
use super::provider::Reached;
use crate::config::{Backend, StoreSection};

/// What deletes versions.
pub(super) struct Versions {
    pub(super) reached: Reached,
    pub(super) config: StoreSection,
}

impl Versions {
    /// Deletes every version of an object; one that is not there is no error.
    ///
    /// # Errors
    /// [`StoreError::Failed`], [`StoreError::Denied`]; what is left goes with the next call.
    pub(super) async fn delete(&self, object: &str) -> Result<(), StoreError> {
        let key = match self.config.prefix.as_str() {
            "" => object.to_owned(),
            prefix => format!("{prefix}/{object}"),
        };
        let base = format!("/storage/v1/b/{}/o", self.config.bucket);
        let mut gone = BTreeSet::new();
        let mut page = String::new();
        loop {
            // A key that this one begins is listed as well, and passed over; this one comes first.
            let query = match self.config.kind {
                Backend::Gcs => format!("{base}?versions=true&prefix={}{page}", encoded(&key)),
                _ => format!("?prefix={}&versions=", encoded(&key)),
            };
            let said = self.reached.ask(&self.config, Method::GET, &query).await?;
            said.done(object)?;
            let found = match self.config.kind {
                Backend::Gcs => {
                    let (found, next) =
                        generations(&said.body, &key).ok_or_else(|| odd(object, "it cannot be read"))?;
                    if let Some(next) = next {
                        page = format!("&pageToken={}", encoded(&next));
                        continue;
                    }
                    found
                }
                _ => of_key(&said.body, &key),
            };
            if found.is_empty() {
                return Ok(());
            }
            for version in found {
                let query = match self.config.kind {
                    Backend::Gcs => format!("{base}/{}?generation={}", encoded(&key), encoded(&version)),
                    _ => format!("/{key}?versionId={}", encoded(&version)),
                };
                self.reached.ask(&self.config, Method::DELETE, &query).await?.done(object)?;
                if !gone.insert(version) {
                    return Err(odd(object, "it still has what was deleted twice"));
                }
            }
        }
    }
}

/// The versions of one key in a listing.
fn of_key(listing: &str, key: &str) -> Vec<String> {
    let inside = |text: &str, name: &str| -> Option<String> {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(text, _)| text.to_owned())
    };
    let parts = listing.split("<Version>").flat_map(|part| part.split("<DeleteMarker>")).skip(1);
    let ours = parts.filter(|part| inside(part, "Key").as_deref() == Some(key));
    ours.filter_map(|part| inside(part, "VersionId")).collect()
}

/// What GCS lists.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Generations {
    #[serde(default)]
    items: Vec<Generation>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
struct Generation {
    name: String,
    generation: String,
}

/// The generations of one key in a listing of GCS, or where the listing goes on if it begins with an empty page; none where that is
/// not what was answered, which must not pass for an empty one.
fn generations(listing: &str, key: &str) -> Option<(Vec<String>, Option<String>)> {
    let listed: Generations = serde_json::from_str(listing).ok()?;
    let next = listed.next_page_token.filter(|_| listed.items.is_empty());
    Some((listed.items.into_iter().filter(|item| item.name == key).map(|item| item.generation).collect(), next))
}

/// A list of versions that cannot be gone by.
fn odd(object: &str, what: &str) -> StoreError {
    let source = format!("the provider's list of versions: {what}").into();
    StoreError::Failed { object: object.to_owned(), source: object_store::Error::Generic { store: "provider", source } }
}

/// A value of a query, as signatures want it.
fn encoded(value: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    value.bytes().fold(String::new(), |mut text, byte| {
        if is_plain(byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Input, cases};

    #[test]
    fn no_list_of_versions_panics() {
        let good = vec![
            b"<R><Version><Key>a/b</Key><VersionId>3</VersionId></Version><DeleteMarker><Key>a/b</Key></DeleteMarker></R>"
                .to_vec(),
            br#"{"items":[{"name":"a/b","generation":"17"}],"nextPageToken":"x"}"#.to_vec(),
        ];
        bolero::check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
            let bytes = input.bytes(&good);
            let text = String::from_utf8_lossy(&bytes);
            assert!(of_key(&text, "a/b").len() <= text.len() / 9);
            if let Some((found, next)) = generations(&text, "a/b") {
                assert!(found.is_empty() || next.is_none(), "an empty page alone is gone on from");
            }
        });
    }

    #[test]
    fn the_versions_of_one_key_are_found_and_those_of_another_are_not() {
        let entry = |kind: &str, key: &str, version: &str| {
            format!("<{kind}><Key>{key}</Key><VersionId>{version}</VersionId></{kind}>")
        };
        let listing = format!(
            "<ListVersionsResult><Prefix>a/b</Prefix>{}{}{}</ListVersionsResult>",
            entry("DeleteMarker", "a/b", "3"),
            entry("Version", "a/b", "null"),
            entry("Version", "a/b0", "7")
        );
        assert_eq!(of_key(&listing, "a/b"), ["3", "null"]);
        assert_eq!(of_key(&listing, "a/b0"), ["7"]);
        assert!(of_key("<ListVersionsResult/>", "a/b").is_empty());
        assert_eq!(encoded("a/b c"), "a%2Fb%20c");
    }
}
