//! The access key in a request: `dmc_<region>_<64 hexadecimal digits>`, in any of the dresses that clients send.

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest;

use super::errors::AdmitError;

/// SHA-256 of a key's text: under this it stands in the metadata group.
pub(crate) fn key_digest(key: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, key.as_bytes()).as_ref());
    hash
}

/// Digest of the key that a request shows. The key itself goes no further than here.
pub(super) fn shown(headers: &HeaderMap) -> Result<[u8; 32], AdmitError> {
    let value = headers.get(header::AUTHORIZATION).ok_or(AdmitError::Missing)?;
    let value = value.to_str().map_err(|_| AdmitError::Malformed)?.trim();
    let (scheme, rest) = value.split_once(' ').ok_or(AdmitError::Malformed)?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("apikey") {
        if is_key(rest) {
            return Ok(key_digest(rest));
        }
        return from_pair(rest);
    }
    if scheme.eq_ignore_ascii_case("bearer") {
        return if is_key(rest) { Ok(key_digest(rest)) } else { Err(AdmitError::Malformed) };
    }
    if scheme.eq_ignore_ascii_case("basic") { from_pair(rest) } else { Err(AdmitError::Malformed) }
}

/// The key out of base64 of `anything:key`.
fn from_pair(encoded: &str) -> Result<[u8; 32], AdmitError> {
    let bytes = STANDARD.decode(encoded).map_err(|_| AdmitError::Malformed)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| AdmitError::Malformed)?;
    let (_, key) = text.split_once(':').ok_or(AdmitError::Malformed)?;
    if is_key(key) { Ok(key_digest(key)) } else { Err(AdmitError::Malformed) }
}

fn is_key(text: &str) -> bool {
    let Some((region, secret)) = text.strip_prefix("dmc_").and_then(|rest| rest.rsplit_once('_')) else { return false };
    !region.is_empty() && secret.len() == 64 && secret.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Input, cases};

    #[test]
    fn no_credential_panics() {
        let key = format!("dmc_tokyo_{}", "0a".repeat(32));
        let pair = STANDARD.encode(format!("elastic:{key}"));
        let good: Vec<Vec<u8>> =
            [format!("ApiKey {key}"), format!("Bearer {key}"), format!("Basic {pair}"), format!("ApiKey {pair}")]
                .map(String::into_bytes)
                .into();
        bolero::check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
            let bytes = input.bytes(&good);
            let mut headers = HeaderMap::new();
            let Ok(value) = header::HeaderValue::from_bytes(&bytes) else { return };
            headers.insert(header::AUTHORIZATION, value);
            if good.contains(&bytes) {
                assert_eq!(shown(&headers).unwrap(), key_digest(&key));
            } else {
                let _ = shown(&headers);
            }
        });
    }
}
