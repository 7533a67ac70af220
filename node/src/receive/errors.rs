//! Why a request does not become an arrival.

use std::net::SocketAddr;

use super::reply::Failure;
use crate::errors::{Coded, Verdict};

/// What goes wrong before anybody knows whose request it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    /// More bytes than a request may have.
    #[error("the body is larger than {limit} bytes; send smaller batches")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// More bytes than a body may have after unpacking.
    #[error("the body unpacks to more than {limit} bytes; send smaller batches")]
    UnpacksTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The body is not what `Content-Encoding` says.
    #[error("the body is not valid {encoding}; check `Content-Encoding` and send the body again")]
    Unpacking {
        /// The encoding that was declared.
        encoding: &'static str,
    },
    /// An encoding nobody here speaks.
    #[error("this `Content-Encoding` is not supported; use gzip, deflate, zstd or none")]
    UnknownEncoding,
    /// The connection broke, or the client stopped sending.
    #[error("the body stopped before its end; send the request again")]
    BodyStopped,
    /// The client sends too slowly.
    #[error("the body did not arrive within {seconds} s; send smaller batches or check the connection")]
    BodyTooSlow {
        /// The limit, in seconds.
        seconds: u64,
    },
    /// Too many bytes are in the line already.
    #[error("the node has no room for more bytes right now; send the request again after the time in `Retry-After`")]
    NoRoom,
    /// Too many requests are in the line already.
    #[error("the node has too many requests waiting; send the request again after the time in `Retry-After`")]
    QueueFull,
    /// The line did not reply in time, or is stopping.
    #[error(
        "the node did not finish this request in time and does not know its outcome; send the same request again, with \
         `X-Domicile-Batch` nothing is taken twice"
    )]
    NoReply,
    /// Unusable header or parameter.
    #[error("`{what}` is not usable; write {expected}")]
    Malformed {
        /// Which header or parameter.
        what: &'static str,
        /// What it should look like.
        expected: &'static str,
    },
    /// Plain HTTP outside loopback.
    #[error(
        "the listener on `{addr}` would serve plain HTTP outside loopback; give it a certificate, bind it to 127.0.0.1, or \
         set `allow_plaintext = true`"
    )]
    Plaintext {
        /// The address.
        addr: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on `{addr}`; choose another port or end what uses it")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The path has no such door for this method.
    #[error("this method is not offered here; see the list of endpoints in the API document")]
    WrongMethod,
}

impl Coded for ReceiveError {
    fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "DMC-RECEIVE-01",
            Self::UnpacksTooLarge { .. } => "DMC-RECEIVE-02",
            Self::Unpacking { .. } => "DMC-RECEIVE-03",
            Self::UnknownEncoding => "DMC-RECEIVE-04",
            Self::BodyStopped => "DMC-RECEIVE-05",
            Self::BodyTooSlow { .. } => "DMC-RECEIVE-06",
            Self::NoRoom => "DMC-RECEIVE-07",
            Self::QueueFull => "DMC-RECEIVE-08",
            Self::NoReply => "DMC-RECEIVE-09",
            Self::Malformed { .. } => "DMC-RECEIVE-10",
            Self::Plaintext { .. } => "DMC-RECEIVE-11",
            Self::Bind { .. } => "DMC-RECEIVE-12",
            Self::WrongMethod => "DMC-RECEIVE-13",
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::NoRoom | Self::QueueFull => Verdict::NotNow(1),
            Self::NoReply | Self::BodyStopped | Self::BodyTooSlow { .. } => Verdict::NotNow(2),
            Self::Bind { .. } => Verdict::Broken,
            _ => Verdict::Refused,
        }
    }
}

impl From<ReceiveError> for Failure {
    fn from(error: ReceiveError) -> Self {
        let (status, kind) = match &error {
            ReceiveError::TooLarge { .. } | ReceiveError::UnpacksTooLarge { .. } => (413, "content_too_long_exception"),
            ReceiveError::UnknownEncoding => (415, "unsupported_media_type_exception"),
            ReceiveError::Unpacking { .. } | ReceiveError::BodyStopped | ReceiveError::Malformed { .. } => {
                (400, "parse_exception")
            }
            ReceiveError::BodyTooSlow { .. } => (408, "receive_timeout_exception"),
            ReceiveError::NoRoom | ReceiveError::QueueFull => (429, "es_rejected_execution_exception"),
            ReceiveError::NoReply => (503, "process_cluster_event_timeout_exception"),
            ReceiveError::WrongMethod => (405, "illegal_argument_exception"),
            ReceiveError::Plaintext { .. } | ReceiveError::Bind { .. } => (500, "internal_server_error"),
        };
        Self::new(&error, status, kind)
    }
}
