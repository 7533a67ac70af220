//! Why somebody is not admitted.

use crate::errors::{Coded, Verdict};
use crate::receive::Failure;

/// Why a request is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AdmitError {
    /// No credential.
    #[error(
        "no access key was given; send `Authorization: ApiKey <key>`, `Bearer <key>` or Basic with the key as password"
    )]
    Missing,
    /// A credential that is none.
    #[error(
        "the `Authorization` header holds no access key; a key looks like `dmc_<region>_` and 64 hexadecimal digits"
    )]
    Malformed,
    /// Not a key of this region: wrong, revoked, or of another region.
    #[error(
        "this access key is not valid in this region; keys work in the region that issued them, ask its administrator"
    )]
    Unknown,
    /// The key may not do this.
    #[error("this access key lacks the role `{role}`; ask the region's administrator for a key that has it")]
    Role {
        /// The role that is wanted.
        role: &'static str,
    },
    /// Too many requests.
    #[error("the tenant sends more requests than its rate allows; send again after the time in `Retry-After`")]
    RequestRate {
        /// Seconds until there is room.
        retry_after: u32,
    },
    /// Too many bytes.
    #[error("the tenant sends more bytes than its rate allows; send again after the time in `Retry-After`")]
    ByteRate {
        /// Seconds until there is room.
        retry_after: u32,
    },
    /// More bytes than the tenant's rate could ever admit at once.
    #[error("the request is larger than the tenant may send in one second; send smaller batches")]
    TooLarge,
}

impl Coded for AdmitError {
    fn code(&self) -> &'static str {
        match self {
            Self::Missing => "DMC-ADMIT-01",
            Self::Malformed => "DMC-ADMIT-02",
            Self::Unknown => "DMC-ADMIT-03",
            Self::Role { .. } => "DMC-ADMIT-04",
            Self::RequestRate { .. } => "DMC-ADMIT-05",
            Self::ByteRate { .. } => "DMC-ADMIT-06",
            Self::TooLarge => "DMC-ADMIT-07",
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::RequestRate { retry_after } | Self::ByteRate { retry_after } => Verdict::NotNow(*retry_after),
            _ => Verdict::Refused,
        }
    }
}

impl From<AdmitError> for Failure {
    fn from(error: AdmitError) -> Self {
        let (status, kind) = match error {
            AdmitError::Missing | AdmitError::Malformed | AdmitError::Unknown => (401, "security_exception"),
            AdmitError::Role { .. } => (403, "security_exception"),
            AdmitError::RequestRate { .. } | AdmitError::ByteRate { .. } => (429, "es_rejected_execution_exception"),
            AdmitError::TooLarge => (413, "content_too_long_exception"),
        };
        Self::new(&error, status, kind)
    }
}
