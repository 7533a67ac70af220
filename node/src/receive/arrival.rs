//! An arrival: one request with its body, before anybody knows whose it is.

use axum::http::HeaderMap;
use bytes::Bytes;
use domicile_proto::ids::Timestamp;
use tokio::sync::oneshot;

use super::inlet::Room;
use super::reply::{Action, Reply};

/// How the body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Action lines and documents of a `_bulk` request.
    Bulk,
    /// One JSON object a line.
    JsonLines,
    /// One event a line, of any text.
    TextLines,
    /// The whole body is one JSON object.
    Single(Action),
}

/// Which door it came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// The Elasticsearch API.
    Elastic,
    /// The native API.
    Native,
}

/// One request, read and unpacked. No `Debug`: it holds records and a credential.
pub(crate) struct Arrival {
    pub(crate) door: Door,
    /// The request's headers, credentials among them.
    pub(crate) headers: HeaderMap,
    /// The stream or index of the path, as it was written.
    pub(crate) target: Option<Box<str>>,
    /// The id of the path.
    pub(crate) id: Option<Box<str>>,
    /// The producer's own id of the batch.
    pub(crate) batch: Option<Box<str>>,
    pub(crate) content: Content,
    /// The unpacked body.
    pub(crate) body: Bytes,
    /// Whether the reply waits until the records are searchable.
    pub(crate) refresh: bool,
    pub(crate) received_at: Timestamp,
    /// The room the body takes; given back when the arrival is dropped.
    pub(crate) room: Room,
}

/// An arrival in the line's queue, and where its reply goes.
pub(crate) struct Posted {
    pub(crate) arrival: Arrival,
    pub(crate) reply: oneshot::Sender<Reply>,
}
