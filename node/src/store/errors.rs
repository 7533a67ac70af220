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
    /// The bucket lies, or would lie, outside the region.
    #[error(
        "bucket `{bucket}` lies in `{found}`, and `store.location` of a node of `{home}` must be {wanted}; give it a bucket at home"
    )]
    Elsewhere {
        /// Which bucket.
        bucket: String,
        /// The region of this node's certificate.
        home: String,
        /// Where it lies, as its provider says or the configuration.
        found: String,
        /// Where it should.
        wanted: String,
    },
    /// Something copies the bucket to another place.
    #[error("bucket `{bucket}` is copied to {target}; end the replication, records must not leave their region")]
    Copied {
        /// Which bucket.
        bucket: String,
        /// Where to.
        target: String,
    },
    /// The provider does not say what must be known.
    #[error(
        "the provider does not tell the {what} of bucket `{bucket}`; let the node ask for it, or vouch for it with `store.vouched = [\"{what}\"]`"
    )]
    Untold {
        /// Which bucket.
        bucket: String,
        /// What of it.
        what: &'static str,
    },
    /// There is no such bucket, or we may not know of it.
    #[error("there is no bucket `{bucket}`; make it, or correct `store.bucket`")]
    NoBucket {
        /// Which bucket.
        bucket: String,
    },
    /// The credentials are none, wrong or expired.
    #[error(
        "the object store refuses our credentials at `{object}`; renew them, or give their identity the rights of docs/guide/operator.md"
    )]
    Denied {
        /// Which object, or which bucket.
        object: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The configuration of the object store does not make a client.
    #[error("bucket `{bucket}` cannot be spoken to as configured; correct `[store]`, its files or the environment")]
    Settings {
        /// Which bucket.
        bucket: String,
        #[source]
        source: object_store::Error,
    },
    /// A second creation of the same object did not lose, or the store has no creation that could.
    #[error(
        "bucket `{bucket}` has no creation that loses where an object is there; use an object store that knows `If-None-Match: *`, or two owners could write"
    )]
    Overwrites {
        /// Which bucket.
        bucket: String,
    },
    /// The bucket is somebody else's in this region.
    #[error(
        "bucket `{bucket}` belongs to {found} and was named for {wanted}; correct `store` or `store.buckets` in the configuration"
    )]
    OtherOwner {
        /// Which bucket.
        bucket: String,
        /// Whose its marker says it is.
        found: String,
        /// Whose the configuration says it is.
        wanted: String,
    },
    /// The region divided data into a bucket that this node's configuration does not name.
    #[error(
        "data of {owner} lies in bucket `{bucket}`, which `store.buckets` of this node does not name; name it there, as on the other nodes of the region (the region's bucket says so in `{object}`)"
    )]
    Unnamed {
        /// Which bucket.
        bucket: String,
        /// Whose it is.
        owner: String,
        /// Which object of the region's bucket says so.
        object: String,
    },
    /// Nobody can tell yet into whose bucket an object goes.
    #[error("whose `{object}` is cannot be told before the metadata is here; it is tried again")]
    Unplaced {
        /// Which object.
        object: String,
    },
    /// A bucket of a tenant or a stream cannot be used.
    #[error("the bucket `{bucket}` of {owner}, number {number} of `store.buckets`, cannot be used")]
    Own {
        /// Which bucket.
        bucket: String,
        /// Whose it is.
        owner: String,
        /// Its place in the list, counted from 1.
        number: usize,
        source: Box<Self>,
    },
    /// No random bytes.
    #[error("the system gives no random bytes; look at it, then start the node again")]
    NoRandomness,
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
            Self::Elsewhere { .. } => "DMC-STORE-07",
            Self::Copied { .. } => "DMC-STORE-08",
            Self::Untold { .. } => "DMC-STORE-09",
            Self::Denied { .. } => "DMC-STORE-10",
            Self::Settings { .. } => "DMC-STORE-11",
            Self::Overwrites { .. } => "DMC-STORE-12",
            Self::NoBucket { .. } => "DMC-STORE-13",
            Self::NoRandomness => "DMC-STORE-14",
            Self::OtherOwner { .. } => "DMC-STORE-15",
            Self::Unnamed { .. } => "DMC-STORE-16",
            Self::Unplaced { .. } => "DMC-STORE-17",
            Self::Own { source, .. } => source.code(),
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::OtherRegion { .. }
            | Self::Unmarked { .. }
            | Self::AlreadyThere { .. }
            | Self::Name { .. }
            | Self::Elsewhere { .. }
            | Self::Copied { .. }
            | Self::Untold { .. }
            | Self::Settings { .. }
            | Self::Overwrites { .. }
            | Self::NoBucket { .. }
            | Self::OtherOwner { .. }
            | Self::Unnamed { .. } => Verdict::Refused,
            Self::Own { source, .. } => source.verdict(),
            Self::Missing { .. } | Self::NoRandomness => Verdict::Broken,
            Self::Denied { .. } => Verdict::NotNow(60),
            Self::Failed { .. } | Self::Unplaced { .. } => Verdict::NotNow(5),
        }
    }
}
