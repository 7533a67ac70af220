//! What a caller asked for in vain, and how each door's error becomes a [`Failure`].

use crate::errors::{Coded, Verdict};
use crate::federate::{FederateError, Untranslatable};
use crate::ownership::OwnershipError;
use crate::query::QueryError;
use crate::receive::Failure;

/// What a caller asked for in vain.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PresentError {
    /// No such stream.
    #[error("no such index [{index}]; see `GET /_cat/indices` for those there are")]
    NoIndex {
        /// As the caller wrote it.
        index: String,
    },
    /// A stream that is there already.
    #[error("index [{index}] already exists; send to it")]
    Taken {
        /// Its name.
        index: String,
    },
    /// No such region.
    #[error("no such remote cluster: [{cluster}]; regions are addressed as `region:index`")]
    NoCluster {
        /// As the caller wrote it.
        cluster: String,
    },
    /// A body or parameter that is not what it should be.
    #[error("`{place}` should be {wanted}; see the API document under `/api/v1/openapi.json`")]
    Malformed {
        /// Which part.
        place: &'static str,
        /// What should stand there.
        wanted: &'static str,
    },
    /// Too many searches at once.
    #[error("the node runs as many searches as it may; ask again after the time in `Retry-After`")]
    Busy,
    /// Too many links to exports were tried.
    #[error("links to exports are tried faster than they are answered; ask again after the time in `Retry-After`")]
    LinksTried {
        /// Seconds until there is room.
        retry_after: u32,
    },
    /// A path or method nobody serves.
    #[error("no handler found for [{method} {path}]; see the API document under `/api/v1/openapi.json`")]
    NoRoute {
        /// The method.
        method: String,
        /// The path, shortened.
        path: String,
    },
    /// Something of another product that does not exist here.
    #[error("{what} is not supported; {instead}")]
    Unsupported {
        /// What.
        what: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// A search that cannot be put to other regions.
    #[error("{0}")]
    StaysHere(#[from] Untranslatable),
    /// An aggregation that cannot be put to other regions.
    #[error(
        "aggregation `{name}` does not travel; other regions answer counts, `date_histogram` of whole minutes, `terms` of group fields, one within the other, `sum` and `avg` in one of them, `percentiles` and `cardinality` alone"
    )]
    AggregationStaysHere {
        /// Its name.
        name: String,
    },
    /// A field that may not be named abroad.
    #[error(
        "field `{field}` is not in the stream's allow-list for other regions; ask in the region itself, or have its officer sign a policy with it"
    )]
    FieldStaysHere {
        /// Which.
        field: String,
    },
    /// A widening command without the officer's consent.
    #[error(
        "the command widens what this region lets out or in, or destroys what its ledger says, and lacks the valid signature of its officer; sign it with `--officer-key`"
    )]
    NeedsOfficer,
    /// A key acts on another tenant.
    #[error("this key administers its own tenant alone; use a key of the operator's tenant")]
    OtherTenant,
    /// A key audits another tenant, or one that is not there.
    #[error(
        "this key audits its own tenant alone, and no other tenant is told of; leave `tenant` out or use another key"
    )]
    OtherAuditor,
    /// A key that sees fewer rows than an export shows.
    #[error(
        "this key may not have the export, for its rows are not {wanted}; ask the region's officer for a key with `--role admin --rows full`"
    )]
    NotCleared {
        /// Which rows it takes.
        wanted: &'static str,
    },
    /// A name or value that looks like personal data.
    #[error("a name or value of the command looks like personal data and does not become metadata; choose another")]
    PersonalText,
    /// The group did not decide.
    #[error("the metadata group is out of reach and decided nothing; try again, local work goes on")]
    NotDecided,
}

impl Coded for PresentError {
    fn code(&self) -> &'static str {
        match self {
            Self::NoIndex { .. } => "DMC-PRESENT-01",
            Self::NoCluster { .. } => "DMC-PRESENT-02",
            Self::Malformed { .. } => "DMC-PRESENT-03",
            Self::Busy => "DMC-PRESENT-04",
            Self::NoRoute { .. } => "DMC-PRESENT-05",
            Self::Unsupported { .. } => "DMC-PRESENT-06",
            Self::StaysHere(_) => "DMC-PRESENT-07",
            Self::AggregationStaysHere { .. } => "DMC-PRESENT-08",
            Self::FieldStaysHere { .. } => "DMC-PRESENT-09",
            Self::NeedsOfficer => "DMC-PRESENT-10",
            Self::OtherTenant => "DMC-PRESENT-11",
            Self::PersonalText => "DMC-PRESENT-12",
            Self::NotDecided => "DMC-PRESENT-13",
            Self::Taken { .. } => "DMC-PRESENT-14",
            Self::OtherAuditor => "DMC-PRESENT-15",
            Self::LinksTried { .. } => "DMC-PRESENT-16",
            Self::NotCleared { .. } => "DMC-PRESENT-17",
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Busy => Verdict::NotNow(1),
            Self::LinksTried { retry_after } => Verdict::NotNow(*retry_after),
            Self::NotDecided => Verdict::NotNow(5),
            _ => Verdict::Refused,
        }
    }
}

impl From<PresentError> for Failure {
    fn from(error: PresentError) -> Self {
        let (status, kind) = match &error {
            PresentError::NoIndex { .. } => (404, "index_not_found_exception"),
            PresentError::Taken { .. } => (400, "resource_already_exists_exception"),
            PresentError::NoCluster { .. } => (404, "no_such_remote_cluster_exception"),
            PresentError::NoRoute { .. } => (404, "resource_not_found_exception"),
            PresentError::Malformed { .. } => (400, "parsing_exception"),
            PresentError::Busy | PresentError::LinksTried { .. } => (429, "es_rejected_execution_exception"),
            PresentError::NeedsOfficer
            | PresentError::OtherTenant
            | PresentError::OtherAuditor
            | PresentError::NotCleared { .. } => (403, "security_exception"),
            PresentError::NotDecided => (503, "process_cluster_event_timeout_exception"),
            PresentError::Unsupported { .. }
            | PresentError::StaysHere(_)
            | PresentError::AggregationStaysHere { .. }
            | PresentError::FieldStaysHere { .. }
            | PresentError::PersonalText => (400, "illegal_argument_exception"),
        };
        Self::new(&error, status, kind)
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        let status = match &error {
            QueryError::Deadline | QueryError::Cancelled => 504,
            QueryError::PageTooLarge => 413,
            QueryError::Crowded => 429,
            QueryError::Engine(_) => 500,
            QueryError::Away(_) => 503,
            QueryError::Personal => 403,
            _ => 400,
        };
        if let QueryError::Engine(source) = &error {
            tracing::error!(error = source as &dyn std::error::Error, "a search failed");
        }
        Self::new(&error, status, error.elastic_type())
    }
}

impl From<FederateError> for Failure {
    fn from(error: FederateError) -> Self {
        let (status, kind) = match &error {
            FederateError::UnknownStream { .. } => (404, "index_not_found_exception"),
            FederateError::UnknownRegion { .. } => (400, "no_such_remote_cluster_exception"),
            FederateError::Missing(_) => (502, "remote_transport_exception"),
            FederateError::Question(_) | FederateError::Merge(_) => (400, "illegal_argument_exception"),
            FederateError::Random => (500, "internal_server_error"),
        };
        Self::new(&error, status, kind)
    }
}

impl From<OwnershipError> for Failure {
    fn from(error: OwnershipError) -> Self {
        let (status, kind) = match &error {
            OwnershipError::MayNotCreate { .. } => (403, "security_exception"),
            OwnershipError::TooFast { .. } => (429, "es_rejected_execution_exception"),
            OwnershipError::Refused { .. } | OwnershipError::Personal => (400, "illegal_argument_exception"),
            OwnershipError::OutOfReach { .. } => (503, "process_cluster_event_timeout_exception"),
            OwnershipError::OwnedElsewhere { .. }
            | OwnershipError::NoWord { .. }
            | OwnershipError::NotCarried { .. }
            | OwnershipError::Unheard { .. }
            | OwnershipError::TooLargeToCarry { .. } => (503, "unavailable_shards_exception"),
            OwnershipError::OwnerStays { .. } | OwnershipError::OtherBucket { .. } | OwnershipError::NothingLost => {
                (409, "illegal_argument_exception")
            }
        };
        Self::new(&error, status, kind)
    }
}
