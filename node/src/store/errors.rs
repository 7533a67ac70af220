//! What can go wrong with the region's objects.

use crate::errors::{Coded, Verdict};

/// Why an object could not be created, read, listed or deleted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The bucket belongs to another region.
    #[error(
        "bucket `{bucket}` belongs to region `{found}` and this node to `{home}`; correct the bucket in the configuration"
    )]
    OtherRegion {
        /// Which bucket.
        bucket: String,
        /// The region of this node's certificate.
        home: String,
        /// The region its marker names.
        found: String,
    },
    /// The bucket holds objects and does not say whose it is.
    #[error(
        "bucket `{bucket}` holds objects and no marker of a region; give the node of `{home}` an empty bucket, or restore the marker"
    )]
    Unmarked {
        /// Which bucket.
        bucket: String,
        /// The region of this node's certificate.
        home: String,
    },
    /// An object of that name is there: somebody else was first.
    #[error("object `{object}` is already there; whoever created it owns what it names")]
    AlreadyThere {
        /// Which object.
        object: String,
    },
    /// No object of that name.
    #[error("object `{object}` is missing; restore it from a copy of the bucket")]
    Missing {
        /// Which object.
        object: String,
    },
    /// A name that no object can have.
    #[error("object name `{object}` is not allowed in a bucket")]
    Name {
        /// Which name.
        object: String,
    },
    /// The bucket did not answer as it should.
    #[error("bucket failed at object `{object}`; look at the disk or the object store, then try again")]
    Failed {
        /// Which object.
        object: String,
        #[source]
        source: object_store::Error,
    },
}

impl Coded for StoreError {
    fn code(&self) -> &'static str {
        match self {
            Self::OtherRegion { .. } => "DMC-STORE-01",
            Self::AlreadyThere { .. } => "DMC-STORE-02",
            Self::Missing { .. } => "DMC-STORE-03",
            Self::Name { .. } => "DMC-STORE-04",
            Self::Failed { .. } => "DMC-STORE-05",
            Self::Unmarked { .. } => "DMC-STORE-06",
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::OtherRegion { .. } | Self::Unmarked { .. } | Self::AlreadyThere { .. } | Self::Name { .. } => {
                Verdict::Refused
            }
            Self::Missing { .. } => Verdict::Broken,
            Self::Failed { .. } => Verdict::NotNow(5),
        }
    }
}
