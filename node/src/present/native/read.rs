//! Bodies of the native API: JSON of at most 8 MiB, with failures in the API's own shape.

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use serde_json::Value;

use crate::present::errors::PresentError;
use crate::receive::Failure;

/// Largest body, in bytes.
const MAX_BYTES: usize = 8 << 20;

/// A body that was read, or why it could not be.
pub(in crate::present) struct Body(pub(in crate::present) Result<Value, Failure>);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = std::convert::Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        let wrong = |wanted| Failure::from(PresentError::Malformed { place: "body", wanted });
        let read = to_bytes(request.into_body(), MAX_BYTES).await.map_err(|_| wrong("whole, and at most 8 MiB"));
        let parsed = read.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|_| wrong("well-formed JSON")));
        Ok(Self(parsed))
    }
}
