//! What a node states about its region for one tenant, signed by the key of its ledger: what the ledger alone cannot say.
//!
//! Read again from an audit pack by whoever checks one. Holds names, numbers, times and digests; nothing of a record, no key,
//! and nobody's subject number.

use std::collections::{BTreeMap, BTreeSet};

use domicile_proto::ids::Timestamp;
use domicile_proto::noise::Noise;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Layout of a statement.
pub(crate) const VERSION: u32 = 1;

/// The statement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Statement {
    pub(crate) version: u32,
    pub(crate) taken_at: Timestamp,
    pub(crate) deployment: String,
    pub(crate) region: String,
    /// The node that states it.
    pub(crate) node: u64,
    pub(crate) jurisdiction: String,
    pub(crate) laws: Vec<String>,
    pub(crate) time_zone: String,
    pub(crate) build: Build,
    pub(crate) tenant: String,
    /// As the ledger calls the tenant.
    pub(crate) tenant_id: u64,
    pub(crate) policy_version: u64,
    /// Entries and root of the ledger at that moment.
    pub(crate) ledger_size: u64,
    pub(crate) ledger_root: String,
    pub(crate) nodes: Vec<Node>,
    pub(crate) officers: Vec<Officer>,
    pub(crate) transfers: Vec<Transfer>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) dictionary: Vec<Approved>,
    pub(crate) access_keys: Vec<AccessKey>,
    pub(crate) keys: Keys,
    pub(crate) bucket: Bucket,
    /// Buckets of the tenant and of its streams beside it; none where there are none, and in statements of earlier builds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) own_buckets: Vec<OwnBucket>,
    pub(crate) segments: Vec<Segment>,
    pub(crate) erasures: Vec<Erasure>,
    pub(crate) holds: Vec<Hold>,
    pub(crate) deletions: Vec<Deletion>,
}

/// The program that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Build {
    pub(crate) version: String,
    /// SHA-256 of the file that the node was started from; empty where it could not be read.
    pub(crate) sha256: String,
    /// SHA-256 of the list of what it was built of, as `domicile sbom` prints it; empty in statements of earlier builds.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) sbom_sha256: String,
}

/// A node of the deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Node {
    pub(crate) node: u64,
    pub(crate) region: String,
}

/// The newest consent of an officer that the metadata group knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Officer {
    pub(crate) region: String,
    /// Public key.
    pub(crate) key: String,
    pub(crate) serial: u64,
    pub(crate) policy_version: u64,
    /// Whether it is the one that this region's nodes honour.
    pub(crate) is_honoured_here: bool,
}

/// A route out of this region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Transfer {
    pub(crate) to: String,
    pub(crate) what: String,
    pub(crate) basis: String,
    pub(crate) review_by: String,
    /// Whether anything may go there.
    pub(crate) is_open: bool,
    /// Why not, where it may not.
    pub(crate) shut: Option<String>,
    /// The bases that the region's file takes for it.
    pub(crate) admissible: Vec<String>,
    /// The countries that the basis names.
    pub(crate) countries: Vec<String>,
    /// The version of the policy that speaks of it; none where the file alone does.
    pub(crate) policy_version: Option<u64>,
    /// The serial of the officer's consent, where it was approved.
    pub(crate) officer_serial: Option<u64>,
}

/// A stream of the tenant, under the policy of this region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stream {
    pub(crate) id: u64,
    pub(crate) name: String,
    /// `subject FIELD`, `no` or `undeclared`.
    pub(crate) personal: String,
    pub(crate) k: u64,
    /// Names of the fields by their number in questions.
    pub(crate) fields: Vec<String>,
    pub(crate) group_fields: Vec<String>,
    pub(crate) numbers: Vec<String>,
    pub(crate) has_text_questions: bool,
    pub(crate) grid_s: u64,
    pub(crate) close_after_s: u64,
    /// The noise on what is told of it, where there is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) noise: Option<Noise>,
    /// What happens to each class of personal data.
    pub(crate) detectors: BTreeMap<String, String>,
    pub(crate) retention_days: u64,
    pub(crate) records: u64,
    pub(crate) oldest_received_until: Option<Timestamp>,
}

/// A value that may be named abroad.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Approved {
    pub(crate) field: String,
    pub(crate) id: u64,
    pub(crate) value: String,
}

/// An access key of the region, by its public name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccessKey {
    pub(crate) name: String,
    pub(crate) roles: Vec<String>,
    pub(crate) rows: String,
    /// Whether it is the operator's, and opens more than this tenant.
    pub(crate) is_operators: bool,
}

/// The keys that seal originals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keys {
    pub(crate) store: String,
    /// Of all tenants of this node.
    pub(crate) subjects: u64,
    pub(crate) originals: u64,
    pub(crate) is_rewrite_due: bool,
}

/// Where the region's objects lie.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bucket {
    pub(crate) kind: String,
    /// The region that the bucket itself names.
    pub(crate) region: String,
    /// The provider's own name of the place where it lies; none of a directory.
    pub(crate) location: Option<String>,
    /// Who says so.
    pub(crate) source: String,
}

/// A bucket of the tenant, or of one of its streams.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnBucket {
    /// The stream whose it is; none where it is the tenant's.
    pub(crate) stream: Option<String>,
    pub(crate) bucket: Bucket,
}

/// A sealed part of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Segment {
    pub(crate) stream: String,
    pub(crate) id: String,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) oldest: Timestamp,
    pub(crate) newest: Timestamp,
    pub(crate) received_until: Timestamp,
    /// In memory it is young, and not yet on a disk.
    pub(crate) is_on_disk: bool,
    /// It lies in the region's bucket alone.
    #[serde(default)]
    pub(crate) is_in_bucket: bool,
    /// Which buckets its objects lie in, where the tenant has any of its own: 0 is the region's, others are counted in `own_buckets`
    /// from 1.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) lies_in: BTreeSet<u64>,
}

/// An order of erasure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Erasure {
    pub(crate) id: String,
    pub(crate) state: String,
    pub(crate) ordered_at: Timestamp,
    pub(crate) shredded_at: Option<Timestamp>,
    pub(crate) records_hidden: Option<u64>,
    pub(crate) originals_destroyed: Option<u64>,
    /// The signed receipt, once it is gone.
    pub(crate) receipt: Option<Value>,
}

/// A legal hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hold {
    pub(crate) id: String,
    pub(crate) since: Timestamp,
}

/// A deletion of what was past its retention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deletion {
    pub(crate) id: String,
    pub(crate) state: String,
    pub(crate) planned_at: Timestamp,
    pub(crate) segments: u64,
    pub(crate) records: u64,
    pub(crate) evidence: Option<Value>,
}
