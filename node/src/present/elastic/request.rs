//! What a request is, before anybody looks at its meaning: who asks, the parameters, the body.

use std::io::Read;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Query, Request};
use axum::http::{HeaderMap, Method, Uri, header};
use flate2::read::GzDecoder;
use serde_json::Value;

use super::respond::Parameters;
use crate::present::desk::Desk;
use crate::present::errors::PresentError;
use crate::receive::Failure;

/// Largest body of a search, packed or not, in bytes: thousands of clauses, or hundreds of searches in one `_msearch`.
const MAX_SEARCH_BYTES: usize = 8 << 20;

/// A request, with its body still unread.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) parameters: Parameters,
    body: Body,
}

impl FromRequest<Arc<Desk>> for Asked {
    type Rejection = std::convert::Infallible;

    async fn from_request(request: Request, _: &Arc<Desk>) -> Result<Self, Self::Rejection> {
        let (parts, body) = request.into_parts();
        // Parameters that cannot be decoded are none: what a client needs of them, it will miss visibly.
        let parameters =
            Query::try_from_uri(&parts.uri).map_or_else(|_| Parameters::default(), |Query(map)| Parameters(map));
        Ok(Self { method: parts.method, uri: parts.uri, headers: parts.headers, parameters, body })
    }
}

impl Asked {
    /// The body as JSON; nothing at all is `null`.
    pub(super) async fn json(self) -> Result<Value, Failure> {
        let bytes = self.bytes().await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes)
            .map_err(|_| PresentError::Malformed { place: "body", wanted: "well-formed JSON" }.into())
    }

    /// The body, unpacked.
    pub(super) async fn bytes(self) -> Result<Vec<u8>, Failure> {
        let wrong = |wanted| Failure::from(PresentError::Malformed { place: "body", wanted });
        let packed = to_bytes(self.body, MAX_SEARCH_BYTES).await.map_err(|_| wrong("whole, and at most 8 MiB"))?;
        match self.headers.get(header::CONTENT_ENCODING).map(header::HeaderValue::as_bytes) {
            None | Some(b"identity") => Ok(packed.to_vec()),
            Some(b"gzip") => {
                let mut bytes = Vec::new();
                let limit = MAX_SEARCH_BYTES as u64 + 1;
                let read = GzDecoder::new(packed.as_ref()).take(limit).read_to_end(&mut bytes);
                match read {
                    Ok(length) if length <= MAX_SEARCH_BYTES => Ok(bytes),
                    Ok(_) => Err(wrong("at most 8 MiB when unpacked")),
                    Err(_) => Err(wrong("valid gzip, as `Content-Encoding` says")),
                }
            }
            Some(_) => Err(wrong("packed with gzip or not at all")),
        }
    }

    /// Under which host the client came.
    pub(super) fn host(&self) -> Option<&str> {
        self.headers.get(header::HOST).and_then(|host| host.to_str().ok())
    }
}
