//! Every limit of the node: queue, batch, size, deadline, number of open things (BND-1), each with its unit and its reason.
//!
//! A limit that the operator may change has its default here and its key in `config`. Each has a test that reaches it.

use std::time::Duration;

/// Largest request body as it comes from the socket, in bytes: Beats and Logstash send up to 100 MB uncompressed.
pub(crate) const MAX_BODY_BYTES: usize = 128 << 20;
/// Largest body after decompression, in bytes: bounds a gzip bomb.
pub(crate) const MAX_DECOMPRESSED_BYTES: usize = 256 << 20;
/// Largest single record, in bytes: the source documents ask for 5 MB, with room for escapes.
pub(crate) const MAX_RECORD_BYTES: usize = 8 << 20;
/// Most keys in one record, nested ones included: an unknown field never explodes the schema.
pub(crate) const MAX_RECORD_KEYS: usize = 1_000;
/// Deepest nesting of one record.
pub(crate) const MAX_RECORD_DEPTH: usize = 20;
/// Bytes of request bodies that may be in the line at once, before 429: keeps memory under 1 GiB with indexing beside it.
pub(crate) const MAX_BYTES_IN_FLIGHT: usize = 192 << 20;
/// Batches waiting for the write-ahead log, before 429.
pub(crate) const WAL_QUEUE: usize = 256;
/// Size at which a file of the write-ahead log ends, in bytes.
pub(crate) const WAL_FILE_BYTES: u64 = 64 << 20;
/// JSON that is flushed together, in bytes: beyond it a flush is dominated by writing, not by waiting.
pub(crate) const WAL_GROUP_BYTES: usize = 8 << 20;
/// Groups that may be durable and not yet taken by the index; the log waits for it beyond that.
pub(crate) const WAL_GROUPS_AHEAD: usize = 2;
/// Ids remembered per shard for idempotence.
pub(crate) const SEEN_IDS: usize = 1_000_000;
/// How long an id is remembered.
pub(crate) const SEEN_FOR: Duration = Duration::from_secs(24 * 3_600);
/// Records of one shard buffered in memory before a refresh is forced, in bytes of JSON.
pub(crate) const BUFFER_BYTES: usize = 96 << 20;
/// Shortest time between two refreshes of a shard, whatever its policy says.
pub(crate) const REFRESH_SHORTEST: Duration = Duration::from_millis(100);
/// Longest time between two refreshes of a shard.
pub(crate) const REFRESH_LONGEST: Duration = Duration::from_secs(30);
/// JSON of one shard kept parsed before it is fed to the engine, in bytes: parsed events take five times their size.
pub(crate) const SPILL_BYTES: usize = 4 << 20;
/// Young segments of all shards in memory, in bytes, before they are flushed early.
pub(crate) const YOUNG_BYTES: u64 = 64 << 20;
/// Refreshes asked for by clients that may wait.
pub(crate) const REFRESH_QUEUE: usize = 256;
/// Most hits one search returns.
pub(crate) const MAX_HITS: usize = 10_000;
/// Most buckets one aggregation returns to a client of this region.
pub(crate) const MAX_BUCKETS: usize = 65_536;
/// Most clauses in one filter.
pub(crate) const MAX_CLAUSES: usize = 1_024;
/// Deepest nesting of one filter.
pub(crate) const MAX_FILTER_DEPTH: usize = 20;
/// Longest search, unless the caller sets less.
pub(crate) const SEARCH_DEADLINE: Duration = Duration::from_secs(30);
/// How long other regions are waited for, unless the caller sets less.
pub(crate) const FEDERATED_DEADLINE: Duration = Duration::from_secs(10);
/// Searches running at once on one node, before 429.
pub(crate) const SEARCHES_AT_ONCE: usize = 32;
/// Questions of other regions answered at once, before `Busy`.
pub(crate) const FOREIGN_QUESTIONS_AT_ONCE: usize = 64;
/// How long stopping may take in all.
pub(crate) const STOP_DEADLINE: Duration = Duration::from_secs(8);
/// How long a metadata proposal is waited for.
pub(crate) const PROPOSE_DEADLINE: Duration = Duration::from_secs(10);

const _: () = assert!(MAX_RECORD_BYTES < MAX_BODY_BYTES && MAX_BODY_BYTES <= MAX_DECOMPRESSED_BYTES);
const _: () = assert!(MAX_BODY_BYTES <= MAX_BYTES_IN_FLIGHT);

/// Requests waiting for the line, before 429.
pub(crate) const ARRIVAL_QUEUE: usize = 256;
/// Requests in the line at once, most of them waiting for a flush or for a new stream.
pub(crate) const ARRIVALS_AT_ONCE: usize = 256;
/// Bytes of bodies that are parsed and not yet in the write-ahead log: four pieces, for a parsed form is several times larger.
pub(crate) const WORK_BYTES: usize = 32 << 20;
/// Bytes of a body that are parsed and appended at once: bounds the parsed form, which is several times larger.
pub(crate) const PIECE_BYTES: usize = 8 << 20;
/// How long a request waits for its reply.
pub(crate) const REPLY_DEADLINE: Duration = Duration::from_secs(60);
/// How long a request body may take in all.
pub(crate) const BODY_DEADLINE: Duration = Duration::from_secs(120);
/// How long a sender may be silent within a body.
pub(crate) const BODY_SILENCE: Duration = Duration::from_secs(20);
/// How long a client may take for its request line and headers, and be idle between requests.
pub(crate) const HEADER_DEADLINE: Duration = Duration::from_secs(60);
/// How long a TLS handshake of a client may take.
pub(crate) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Connections of one listener at once; further ones wait in the system's backlog.
pub(crate) const CONNECTIONS_AT_ONCE: usize = 2_048;
/// Most values in one record, array elements included: a list of a million zeros takes 30 times its bytes when parsed.
pub(crate) const MAX_RECORD_VALUES: usize = 10_000;
/// Longest `_id` of a producer, in bytes.
pub(crate) const MAX_ID_BYTES: usize = 512;
/// Longest `X-Domicile-Batch`, in bytes.
pub(crate) const MAX_BATCH_ID_BYTES: usize = 128;
/// Most streams that one request may name.
pub(crate) const MAX_STREAMS_PER_REQUEST: usize = 256;
/// Requests of one tenant a second, before 429.
pub(crate) const TENANT_REQUESTS_PER_SECOND: u32 = 2_000;
/// Bytes of bodies of one tenant a second, before 429: more than a node can take.
pub(crate) const TENANT_BYTES_PER_SECOND: u32 = 256 << 20;
/// Bytes of one object of a segment that is copied out: what a copy holds in memory at once, as large as parts of common
/// object stores.
pub(crate) const COPY_PART_BYTES: usize = 16 << 20;
/// Tenants whose rate is remembered; the oldest knowledge is dropped beyond.
pub(crate) const TENANT_RATES: usize = 16_384;

const _: () = assert!(PIECE_BYTES >= MAX_RECORD_BYTES && WORK_BYTES >= 2 * PIECE_BYTES);

/// How long keys that were unwrapped are used while the key store is out of reach: the bound of the privacy rules.
pub(crate) const KEYS_WITHOUT_STORE: Duration = Duration::from_secs(15 * 60);
/// How often the key store is asked whether it still opens what it wrapped.
pub(crate) const KEY_STORE_CHECK: Duration = Duration::from_secs(20);
/// How long one request to the key store may take.
pub(crate) const KEY_STORE_DEADLINE: Duration = Duration::from_secs(5);
/// Memory for pages of the keyring, in bytes: the inner pages of a hundred million rows.
pub(crate) const KEYRING_CACHE_BYTES: usize = 32 << 20;
/// Unwrapped keys of days kept in memory, 100 bytes each: a thousand tenants with sixteen streams.
pub(crate) const KEYRING_DAY_KEYS: usize = 16_384;
/// Sealed originals remembered in memory, in each of two halves, 17 bytes each.
pub(crate) const SEALED_KNOWN: usize = 262_144;
/// Days of streams whose keys a destruction replaces one by one; beyond that all are replaced.
pub(crate) const KEYRING_PENDING: usize = 4_096;

/// How long erasures wait for others before segments are made anew for all of them: once per hour a segment is rewritten at
/// most, and 24 h are allowed.
pub(crate) const ERASE_WINDOW: Duration = Duration::from_secs(3_600);
/// How long records of an erased subject that come back are kept out: a year and a month, longer than logs are kept.
pub(crate) const SUPPRESS_FOR: Duration = Duration::from_secs(396 * 24 * 3_600);
/// How fast segments are made anew, in bytes a second, for the estimate that is told: what one slow core does.
pub(crate) const REWRITE_BYTES_PER_SECOND: u64 = 10 << 20;
/// Records that one export of a subject holds: what a person has in a year of logs, and a node in its memory.
pub(crate) const EXPORT_RECORDS: usize = 100_000;
