//! What can be typed: verbs, options and their help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use domicile_proto::ids::{Name, Region};
use domicile_proto::leaf::{CLOSE_AFTER_S, LeafWidth};
use domicile_proto::metadata::{Durability, Lifecycle, NumberField};

use super::adoption::{RegionVerb, ShardVerb};
use super::audit::AuditVerb;
use super::breach::BreachVerb;
use super::ledger::LedgerVerb;
use super::lifecycle::{LifecycleVerb, StorageVerb};
use super::meta::MetaVerb;
use super::noise::{NoiseArguments, NoiseChange};
use super::privacy::PrivacyArguments;

use super::retention::RetentionVerb;
use super::revoke::{StreamRevocation, TenantRevocation, ValueRevocation};
use super::subject::SubjectVerb;
use super::transfer::TransferVerb;

/// Logs stay at home. Answers travel.
///
/// A multi-region log platform: every region keeps and searches its own logs; regions exchange nothing but aggregates.
/// Begin with `domicile dev`, which starts three regions on this machine and says what to do next.
#[derive(Debug, Parser)]
#[command(name = "domicile", version, max_term_width = 110)]
pub(super) struct Arguments {
    /// Client profile: address and access key of each region (mode 0600). Default: ./domicile-data/profile.toml where there
    /// is one, else ~/.config/domicile/profile.toml
    #[arg(long, global = true, env = "DOMICILE_PROFILE", value_name = "FILE")]
    pub(super) profile: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Start three regions on this machine, with certificates, keys and sample lines
    Dev(DevArguments),
    /// Run a node, or bring one into the group and out of it
    Node(NodeArguments),
    /// Begin a deployment
    #[command(subcommand)]
    Cluster(ClusterVerb),
    /// Make and show certificates and officer keys for development
    #[command(subcommand)]
    Pki(PkiVerb),
    /// Read what crossed a border
    #[command(subcommand)]
    Wire(WireVerb),
    /// Send files of lines or JSON to a region
    Ingest(IngestArguments),
    /// Ask regions; rows come from each region's own endpoint and are merged here
    Search(SearchArguments),
    /// Show regions, round trips, the leader and shards
    Status(StatusArguments),
    /// Tenants
    #[command(subcommand)]
    Tenant(TenantVerb),
    /// Streams and what their regions let out
    #[command(subcommand)]
    Stream(StreamVerb),
    /// Access keys; each is valid in one region
    #[command(subcommand)]
    Key(KeyVerb),
    /// Values that may be named abroad
    #[command(subcommand)]
    Dictionary(DictionaryVerb),
    /// Persons: erasure, legal hold, access to their data
    #[command(subcommand)]
    Subject(SubjectVerb),
    /// Where what a region releases may go: the transfer register
    #[command(subcommand)]
    Transfer(TransferVerb),
    /// Records that have been kept long enough, and the evidence of their deletion
    #[command(subcommand)]
    Retention(RetentionVerb),
    /// What should lie elsewhere, and why
    #[command(subcommand)]
    Lifecycle(LifecycleVerb),
    /// Where everything lies, and whether it is whole
    #[command(subcommand)]
    Storage(StorageVerb),
    /// The metadata group: a backup of its state, and another group that begins with one
    #[command(subcommand)]
    Meta(MetaVerb),
    /// Streams whose node is gone for good
    #[command(subcommand)]
    Shard(ShardVerb),
    /// A region that lost its nodes
    #[command(subcommand)]
    Region(RegionVerb),
    /// Show the original behind a token; the region's ledger records who, what for and which
    Reveal(RevealArguments),
    /// The keys under which originals are sealed
    #[command(subcommand)]
    Keys(KeysVerb),
    /// Check a ledger, read what left, look for what should not be there
    #[command(subcommand)]
    Audit(AuditVerb),
    /// The register of breaches, and until when whom must be told
    #[command(subcommand)]
    Breach(BreachVerb),
    /// Destroy the body of an entry of a ledger, by the order of a region's officer
    #[command(subcommand)]
    Ledger(LedgerVerb),
    /// Print what this program was built of, as CycloneDX
    Sbom,
    /// Where data may lie: judge a Terraform plan, show the facts about regions
    #[command(subcommand)]
    Residency(ResidencyVerb),
}

#[derive(Debug, Args)]
pub(super) struct DevArguments {
    /// Directory of certificates, keys and data; kept between starts
    #[arg(long, default_value = "domicile-data", value_name = "DIR")]
    pub(super) data: PathBuf,
    /// Put 70, 160 and 230 ms between the regions
    #[arg(long)]
    pub(super) wan: bool,
    /// Leave the regions empty
    #[arg(long)]
    pub(super) no_samples: bool,
    /// First port of the Elasticsearch API; the native API and the link keep their distance to it (9200, 7280, 7443); 0 for any free ones
    #[arg(long, default_value_t = 9200, value_name = "PORT")]
    pub(super) base_port: u16,
    /// Remove the data directory, and start nothing
    #[arg(long)]
    pub(super) clean: bool,
    /// Write addresses, keys and process ids to this file once all regions answer
    #[arg(long, value_name = "FILE")]
    pub(super) ready_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct NodeArguments {
    #[command(flatten)]
    pub(super) run: RunArguments,
    #[command(subcommand)]
    pub(super) verb: Option<NodeVerb>,
}

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// The node's configuration, TOML
    #[arg(long, default_value = "/etc/domicile/node.toml", value_name = "FILE")]
    pub(super) config: PathBuf,
    /// End when standard input ends: for a parent process that must not leave nodes behind
    #[arg(long, hide = true)]
    pub(super) parent_pipe: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum NodeVerb {
    /// Run a node until it is told to stop
    Run(RunArguments),
    /// Approve a new node; the officer of its region signs, and the node enters the group by itself once it runs
    Join {
        /// Number of the node, as in its certificate
        #[arg(long)]
        node: u64,
        /// Where its link listens, address and UDP port
        #[arg(long, value_name = "ADDR")]
        addr: std::net::SocketAddr,
        #[command(flatten)]
        consent: Consent,
    },
    /// Before maintenance: a node leads the metadata group no more, and gives its streams of durability `bucket` to other nodes
    Drain {
        /// The region whose node it is, as the profile names it
        #[arg(long)]
        region: Region,
    },
    /// Take a node out of the deployment for good; its number is not used again
    Leave {
        /// The region whose node it is, as the profile names it
        #[arg(long)]
        region: Region,
        /// Also where streams lie on the node: nobody can then write or search them in this region
        #[arg(long)]
        accept_loss: bool,
    },
    /// Take out a node whose machine is lost; the officer of its region signs
    Remove {
        /// Its number, as in its certificate
        #[arg(long)]
        node: u64,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ClusterVerb {
    /// Begin a deployment on its first node, once; prints the first admin key, once
    Init {
        /// The native API of the first node
        #[arg(long, default_value = "http://127.0.0.1:7280", value_name = "URL")]
        url: String,
        /// Certificate of the authority behind the listener, PEM, where it is not a public one
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
        /// Number of the first node, as in its certificate
        #[arg(long)]
        node: u64,
        /// Where its link listens, address and UDP port, as other nodes reach it
        #[arg(long, value_name = "ADDR")]
        addr: std::net::SocketAddr,
        #[command(flatten)]
        consent: Consent,
    },
}

/// In whose name something is widened.
#[derive(Clone, Debug, Args)]
pub(super) struct Consent {
    /// The region that is widened
    #[arg(long)]
    pub(super) region: Region,
    /// Private key of the region's officer, PKCS#8. Default: domicile-data/pki/REGION/officer.key, else
    /// pki/REGION/officer.key. It signs here and is never sent
    #[arg(long, value_name = "FILE")]
    pub(super) officer_key: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum PkiVerb {
    /// Make a certificate authority and an officer key for a region
    Init(PkiPlace),
    /// Issue the certificate of a node
    Issue {
        #[command(flatten)]
        place: PkiPlace,
        /// Number of the node, never used before in this deployment
        #[arg(long)]
        node: u64,
        /// Days of validity
        #[arg(long, default_value_t = 365)]
        days: u32,
        /// Replace the certificate the node has
        #[arg(long)]
        renew: bool,
        /// Also issue a certificate for client listeners with these names or addresses
        #[arg(long, value_name = "HOST")]
        host: Vec<String>,
    },
    /// Print what a certificate says
    Show {
        /// The certificate, PEM
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct PkiPlace {
    /// The region
    #[arg(long)]
    pub(super) region: Region,
    /// The deployment: the end of every trust domain
    #[arg(long, default_value = "domicile")]
    pub(super) deployment: Name,
    /// Directory with one directory per region in it
    #[arg(long, default_value = "pki", value_name = "DIR")]
    pub(super) dir: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(super) enum WireVerb {
    /// Print the frames in a file in plain words: a decrypted capture, or bodies out of a ledger
    Decode {
        /// The file; anything between frames is skipped and counted
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct IngestArguments {
    /// Files of lines or NDJSON, plain, gzip or zstd; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// The stream they go to
    #[arg(long)]
    pub(super) stream: Name,
    /// The region they stay in; may be left out where the profile knows one region
    #[arg(long)]
    pub(super) region: Option<Region>,
    /// The tenant the key must belong to; checked before anything is sent
    #[arg(long)]
    pub(super) tenant: Option<Name>,
    /// Address of the region's native API, instead of the profile's
    #[arg(long, requires = "key", value_name = "URL")]
    pub(super) url: Option<String>,
    /// Access key, instead of the profile's
    #[arg(long, requires = "url", env = "DOMICILE_KEY", hide_env_values = true)]
    pub(super) key: Option<String>,
    /// Lines in a batch
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub(super) batch: u32,
}

#[derive(Debug, Args)]
pub(super) struct SearchArguments {
    /// The query, as `level:ERROR checkout "time out" -debug`
    pub(super) query: String,
    /// `all`, or names of regions with commas
    #[arg(long, default_value = "all")]
    pub(super) regions: String,
    /// How far back, as `15m`, `1h`, `2d`
    #[arg(long, default_value = "1h", value_parser = super::search::span)]
    pub(super) last: std::time::Duration,
    /// The stream
    #[arg(long, default_value = "shop")]
    pub(super) stream: Name,
    /// Most rows shown, over all regions
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(super) limit: u32,
    /// JSON lines, as when piped
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct StatusArguments {
    /// JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum TenantVerb {
    /// Create a tenant
    Create {
        /// Its name
        name: Name,
        #[command(flatten)]
        at: At,
    },
    /// List tenants
    List(At),
    /// Shut a tenant out: its keys become invalid
    Revoke(TenantRevocation),
}

/// Through which region a command is given.
#[derive(Clone, Debug, Args)]
pub(super) struct At {
    /// Region of the profile to talk to; default: the first one
    #[arg(long, visible_alias = "region")]
    pub(super) at: Option<Region>,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "one is made in the life of the process")]
pub(super) enum StreamVerb {
    /// Create a stream; with a policy, the officer of `--region` signs it
    Create {
        /// Its name
        name: Name,
        /// Its tenant
        #[arg(long, default_value = "default")]
        tenant: Name,
        /// Field whose distinct values the threshold counts
        #[arg(long, conflicts_with = "no_personal_data")]
        subject: Option<Name>,
        /// State that the stream holds no personal data: the threshold is 1
        #[arg(long)]
        no_personal_data: bool,
        /// Field that may group or filter abroad; may be repeated
        #[arg(long, value_name = "FIELD")]
        group_field: Vec<Name>,
        /// Numeric field that may be counted abroad, with its rising upper bounds; may be repeated
        #[arg(long, value_name = "FIELD=BOUND,BOUND...", value_parser = number_field)]
        number: Vec<NumberField>,
        /// Let text questions of other regions be answered
        #[arg(long)]
        text_questions: bool,
        #[command(flatten)]
        privacy: PrivacyArguments,
        /// What an acknowledged batch has survived: `disk` (the node) or `bucket` (the loss of the node and its disk)
        #[arg(long, value_name = "WHAT", default_value = "disk", value_parser = durability)]
        durability: Durability,
        #[command(flatten)]
        noise: NoiseArguments,
        /// Time from receipt to searchable, in milliseconds
        #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(100..=30_000))]
        refresh_ms: u32,
        /// Width of the cells of time that leave the region, in seconds: 60, 300 or 3600
        #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = leaf_width)]
        grid: LeafWidth,
        /// How long after its end a cell of time closes and may be released, in seconds
        #[arg(long, value_name = "SECONDS", default_value_t = CLOSE_AFTER_S, value_parser = clap::value_parser!(u32).range(..=86_400))]
        close_after: u32,
        /// Days after their receipt at which records are deleted for good; default: the period of the region's file
        #[arg(long, value_name = "DAYS")]
        retention_days: Option<std::num::NonZeroU16>,
        #[command(flatten)]
        tiers: Tiers,
        /// Region whose policy this is; may be repeated. Without it the stream lets out nothing but its existence
        #[arg(long)]
        region: Vec<Region>,
        /// Private key of the officer, where there is one region
        #[arg(long, value_name = "FILE")]
        officer_key: Option<PathBuf>,
    },
    /// List streams
    List(At),
    /// Move the numbers that leave a region by noise, or no longer
    Noise(NoiseChange),
    /// Take back what a stream lets out of a region
    Revoke(StreamRevocation),
}

/// When records reach which tier, in days after their receipt; default: the days of the region's file.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct Tiers {
    /// Days after which the segments of a day are merged into one and never written again
    #[arg(long, value_name = "DAYS")]
    warm_after_days: Option<std::num::NonZeroU16>,
    /// Days after which records lie in the region's object store alone, and are searched there
    #[arg(long, value_name = "DAYS")]
    cold_after_days: Option<std::num::NonZeroU16>,
    /// Days after which records lie in the archive, and are searched only where they were restored
    #[arg(long, value_name = "DAYS")]
    archive_after_days: Option<std::num::NonZeroU16>,
    /// Days in the archive after which records are deleted for good; their retention ends them in any case
    #[arg(long, value_name = "DAYS")]
    archive_days: Option<std::num::NonZeroU16>,
}

impl Tiers {
    /// As the policy has it.
    ///
    /// # Errors
    /// A later tier before an earlier one.
    pub(super) fn lifecycle(self) -> anyhow::Result<Lifecycle> {
        let Self { warm_after_days, cold_after_days, archive_after_days, archive_days } = self;
        let lifecycle = Lifecycle { warm_after_days, cold_after_days, archive_after_days, archive_days };
        anyhow::ensure!(
            lifecycle.is_well_formed(),
            "records are warm before they are cold, and cold before they are archived"
        );
        Ok(lifecycle)
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyVerb {
    /// Create an access key; it is printed once and kept nowhere
    Create {
        /// Public name of the key
        name: Name,
        /// Whose records it opens
        #[arg(long, default_value = "default")]
        tenant: Name,
        /// What its holder may do; may be repeated
        #[arg(long, required = true, value_enum)]
        role: Vec<Role>,
        /// Which rows it may see
        #[arg(long, value_enum, default_value_t = RowsArgument::Redacted)]
        rows: RowsArgument,
        #[command(flatten)]
        consent: Consent,
    },
    /// List keys of a region, by name
    List(At),
    /// Make a key invalid
    Revoke {
        /// Public name of the key
        name: Name,
        /// Its region
        #[arg(long)]
        region: Region,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Role {
    /// Send records
    Ingest,
    /// Create streams by first use
    Create,
    /// Ask questions
    Search,
    /// Read the ledger
    Audit,
    /// Change tenants, streams, keys and policy
    Admin,
    /// See originals, one by one, each with a purpose; needs `--rows full`
    Reveal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum RowsArgument {
    /// Aggregates only
    None,
    /// With pseudonyms and marks
    Redacted,
    /// As far as the clearance goes
    Full,
}

#[derive(Debug, Args)]
pub(super) struct RevealArguments {
    /// The token, as it stands in a record
    pub(super) token: String,
    /// What the original is needed for
    #[arg(long, value_enum)]
    pub(super) purpose: PurposeArgument,
    /// The region whose record it is, as the profile names it; default: the first one
    #[arg(long)]
    pub(super) region: Option<Region>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum PurposeArgument {
    /// To look into an attack or a breach
    SecurityIncident,
    /// To look into fraud
    Fraud,
    /// An order of a court or an authority
    LegalRequest,
    /// The subject asked for it
    SubjectRequest,
    /// To help a customer who asked for help
    CustomerSupport,
}

impl PurposeArgument {
    /// As the API writes it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::SecurityIncident => "security_incident",
            Self::Fraud => "fraud",
            Self::LegalRequest => "legal_request",
            Self::SubjectRequest => "subject_request",
            Self::CustomerSupport => "customer_support",
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum KeysVerb {
    /// New keys up to the root, without a restart; copies of the keyring from before open no more
    Rotate {
        /// The region whose node it is, as the profile names it
        #[arg(long)]
        region: Region,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ResidencyVerb {
    /// Walk every resource of a Terraform plan, of whatever module, and fail where one would lie or lead outside its region
    CheckPlan {
        /// What `terraform show -json PLAN` printed; `-` is standard input
        plan: PathBuf,
        /// A region the plan is for; may be repeated. Default: all regions
        #[arg(long)]
        region: Vec<Region>,
        #[command(flatten)]
        facts: FactsPlace,
        /// For people, for programs, or for code scanning
        #[arg(long, value_enum, default_value_t = PlanFormat::Text)]
        format: PlanFormat,
    },
    /// Show what is known about regions, as a node reads it
    Facts {
        #[command(flatten)]
        facts: FactsPlace,
        /// JSON
        #[arg(long)]
        json: bool,
    },
}

/// Which facts are meant.
#[derive(Debug, Args)]
pub(super) struct FactsPlace {
    /// Directory of facts about regions, `*.yaml`. Default: the ones built in
    #[arg(long, value_name = "DIR")]
    pub(super) regions_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum PlanFormat {
    /// One line a breach
    Text,
    /// One object with all of them
    Json,
    /// SARIF 2.1.0
    Sarif,
}

#[derive(Debug, Subcommand)]
pub(super) enum DictionaryVerb {
    /// Let values of a field be named abroad
    Approve {
        /// The region from which they may cross
        region: Region,
        /// The field
        field: Name,
        /// The values
        #[arg(required = true)]
        values: Vec<String>,
        /// Whose dictionary
        #[arg(long, default_value = "default")]
        tenant: Name,
        /// Private key of the region's officer. Default: domicile-data/pki/REGION/officer.key, else
        /// pki/REGION/officer.key
        #[arg(long, value_name = "FILE")]
        officer_key: Option<PathBuf>,
    },
    /// List values, and which of them may be named outside the region that is asked
    List(At),
    /// Let values be named abroad no more
    Revoke(ValueRevocation),
}

/// Reads a numeric field with its bounds.
fn number_field(text: &str) -> Result<NumberField, String> {
    let wrong = "write a field and its rising bounds, as `ms=10,100,1000`";
    let (field, bounds) = text.split_once('=').ok_or(wrong)?;
    let bounds: Result<Vec<i64>, _> = bounds.split(',').map(str::parse).collect();
    let field = field.parse::<Name>().map_err(|error| error.to_string())?;
    let number = NumberField { field, bounds: bounds.map_err(|_| wrong)? };
    if number.is_well_formed() { Ok(number) } else { Err(wrong.to_owned()) }
}

/// Reads the width of a leaf cell.
fn durability(text: &str) -> Result<Durability, String> {
    match text {
        "disk" => Ok(Durability::Disk),
        "bucket" => Ok(Durability::Bucket),
        _ => Err("say `disk` or `bucket`".to_owned()),
    }
}

fn leaf_width(text: &str) -> Result<LeafWidth, &'static str> {
    let width = text.parse().ok().and_then(LeafWidth::of_seconds);
    width.ok_or("a cell is 60, 300 or 3600 seconds wide")
}

#[cfg(test)]
#[path = "arguments_test.rs"]
mod tests;
