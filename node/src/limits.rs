//! Every limit of the node: queue, batch, size, deadline, number of open things (BND-1), each with its unit and its reason.
//!
//! A limit that the operator may change has its default here and its key in `config`. Each has a test that reaches it.

use std::num::NonZeroU32;
use std::time::Duration;

use domicile_proto::message::batch::{MAX_BATCH, MAX_BATCH_RECORDS, MAX_BATCH_STREAMS, MAX_GIVEN_ID};

/// Largest request body as it comes from the socket, in bytes: Beats and Logstash send up to 100 MB uncompressed.
pub(crate) const MAX_BODY_BYTES: usize = 128 << 20;
/// Largest body as it comes from the socket where it is packed, in bytes: what is packed and what it unpacks to are in memory
/// together.
pub(crate) const MAX_PACKED_BYTES: usize = 64 << 20;
/// Largest body after decompression, in bytes: as large as one that came unpacked, and the end of a gzip bomb.
pub(crate) const MAX_DECOMPRESSED_BYTES: usize = MAX_BODY_BYTES;
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
/// Largest file of a tenant's detection rules, in bytes: 32 rules with their words fill half of it.
pub(crate) const MAX_RULE_FILE_BYTES: u64 = 64 << 10;
/// Size at which a file of the write-ahead log ends, in bytes.
pub(crate) const WAL_FILE_BYTES: u64 = 64 << 20;
/// What is written and removed again to see whether a disk that was full has room, in bytes: a usual batch fits, and it is
/// little beside what a node writes in a second.
pub(crate) const WAL_ROOM_BYTES: usize = 1 << 20;
/// Shortest time between two looks whether there is room again: whoever polls `/readyz` must not keep a full disk busy.
pub(crate) const WAL_ROOM_EVERY: Duration = Duration::from_secs(1);
/// JSON that is flushed together, in bytes: beyond it a flush is dominated by writing, not by waiting.
pub(crate) const WAL_GROUP_BYTES: usize = 8 << 20;
/// Shortest time between two objects of the log in the region's store: a node asks for four a second at most, which every store
/// takes and whose price nobody notices.
pub(crate) const WAL_OBJECT_EVERY: Duration = Duration::from_millis(250);
/// Batches that wait for the region's store, in bytes, before 503: what comes in five seconds from the fastest producers, and what
/// may be lost of memory beside everything else.
pub(crate) const WAL_UNSHIPPED_BYTES: usize = 64 << 20;
/// How long a producer waits for the region's store before it is told to send the batch again: shorter than the patience of
/// common shippers.
pub(crate) const STORE_ACK_DEADLINE: Duration = Duration::from_secs(20);
/// First pause before an object of the log is created again; it doubles.
pub(crate) const WAL_RETRY_SHORTEST: Duration = Duration::from_millis(100);
/// Longest such pause: a store that is back is used again within seconds.
pub(crate) const WAL_RETRY_LONGEST: Duration = Duration::from_secs(5);
/// Silence of a node after which others of its region may take its shards over: longer than a restart and than any pause that
/// is not a fault.
pub(crate) const OWNER_LEASE: Duration = Duration::from_secs(15);
/// How often the other nodes of the region are listened for.
pub(crate) const OWNER_ROUND: Duration = Duration::from_secs(1);
/// How long one of them may take to be heard, once.
pub(crate) const OWNER_HEARD: Duration = Duration::from_secs(2);
/// Shards that are taken over in one round: each is a command of the metadata group.
pub(crate) const TAKEN_AT_ONCE: usize = 64;
/// Shards of an owner that is gone which are adopted at once: each waits for the store and for the metadata group.
pub(crate) const ADOPTED_AT_ONCE: usize = 8;
/// Shards that one request adopts; a command asks again for the next ones, so that it is answered before its patience ends.
pub(crate) const ADOPTED_TOGETHER: usize = 32;
/// How long a request waits for one of them to be taken up; what is left this node does by itself.
pub(crate) const ADOPTION_WAIT: Duration = Duration::from_secs(10);
/// Shards whose load a node measures, 100 bytes each; further ones count as idle.
pub(crate) const MEASURED_SHARDS: usize = 65_536;
/// How long another node of the region may take to tell its loads: a message of two megabytes at most.
pub(crate) const LOADS_HEARD: Duration = Duration::from_secs(5);
/// Moves that a plan of placement looks ahead: what a dry run shows. They are made one by one, and planned anew between.
pub(crate) const PLACED_AHEAD: usize = 32;
/// How often it is looked for logs of nodes that are gone: a listing of the store, which a minute makes cheap.
pub(crate) const LOGS_LOOK: Duration = Duration::from_secs(60);
/// Groups that may be durable and not yet taken by the index; the log waits for it beyond that.
pub(crate) const WAL_GROUPS_AHEAD: usize = 2;
/// Ids remembered per shard for idempotence.
pub(crate) const SEEN_IDS: usize = 1_000_000;
/// How long an id is remembered at least, while the node runs.
pub(crate) const SEEN_FOR: Duration = Duration::from_secs(24 * 3_600);
/// Records of all shards that are in no segment yet, in bytes of JSON; of the shard with the most a segment is made beyond.
pub(crate) const BUFFER_BYTES: usize = 96 << 20;
/// Shortest time between two refreshes of a shard, whatever its policy says.
pub(crate) const REFRESH_SHORTEST: Duration = Duration::from_millis(100);
/// Longest time between two refreshes of a shard.
pub(crate) const REFRESH_LONGEST: Duration = Duration::from_secs(30);
/// JSON of one shard kept parsed before it is fed to the engine, in bytes: parsed events take five times their size.
pub(crate) const SPILL_BYTES: usize = 4 << 20;
/// Pieces of work of building segments at once, each of another shard: a start on a long log and a load of many streams use both cores
/// of a small node. Each holds a piece of what [`BUFFER_BYTES`] bounds.
pub(crate) const BUILT_AT_ONCE: usize = 2;
/// Segments of one shard that are left unmerged while the log is read again at a start: some megabytes of memory, and merged right after.
pub(crate) const UNMERGED_AT_START: usize = 100;
/// Young segments of all shards in memory, in bytes, before they are flushed early.
pub(crate) const YOUNG_BYTES: u64 = 64 << 20;
/// Refreshes asked for by clients that may wait.
pub(crate) const REFRESH_QUEUE: usize = 256;
/// Most hits one search returns.
pub(crate) const MAX_HITS: usize = 10_000;
/// Most buckets one aggregation returns to a client of this region.
pub(crate) const MAX_BUCKETS: usize = 65_536;
/// Most aggregations of one search, and most filters and ranges in all of them: each is gathered for every record.
pub(crate) const MAX_AGGREGATIONS: usize = 64;
/// Buckets and distinct values that one search may gather, in bytes of memory, over all its stretches.
pub(crate) const GATHERED_BYTES: usize = 128 << 20;
/// The same for all searches of the node together, before 429: a few of the largest at once.
pub(crate) const GATHERED_BYTES_ON_NODE: usize = 384 << 20;
/// Records of one page, or of all pages of one `_msearch`, in bytes: what is written out is several times larger on its way.
pub(crate) const MAX_PAGE_BYTES: usize = 32 << 20;
/// Most words that the beginning of a phrase's last word may stand for in one segment.
pub(crate) const MAX_EXPANSIONS: usize = 1_000;
/// Most clauses in one filter.
pub(crate) const MAX_CLAUSES: usize = 1_024;
/// Deepest nesting of one filter.
pub(crate) const MAX_FILTER_DEPTH: usize = 20;
/// Longest search, unless the caller sets less.
pub(crate) const SEARCH_DEADLINE: Duration = Duration::from_secs(30);
/// How long other regions are waited for, unless the caller sets less.
pub(crate) const FEDERATED_DEADLINE: Duration = Duration::from_secs(10);
/// From the entry that tells of a version of the policy to the last answer that may leave under an older one: twice as long as a question may
/// take, so that no question that is answered in time is refused for it.
pub(crate) const OLDER_POLICY_LEAVES_FOR: Duration = Duration::from_secs(20);
/// Searches running at once on one node, before 429.
pub(crate) const SEARCHES_AT_ONCE: usize = 32;
/// Searches of one tenant running at once on one node, before 429: half, so that nobody waits for one tenant alone. One that waits for a
/// stream on its way, or for another node, keeps its place: places bound what is open, with its request in memory, and whoever gave its
/// place up would have to wait for one again when the stream is there. Only the tenant of that stream waits, and not longer than
/// [`HANDOVER_WAIT`].
pub(crate) const SEARCHES_OF_TENANT_AT_ONCE: usize = SEARCHES_AT_ONCE / 2;
/// Questions of other regions answered by this node itself at once, before `Busy`.
pub(crate) const FOREIGN_QUESTIONS_AT_ONCE: usize = 64;
/// Questions of other regions that wait for another node of this one, beside those: an owner that hangs must hold up no question that is
/// answered here. As many again as may be on their way.
pub(crate) const FOREIGN_QUESTIONS_CARRIED: usize = 2 * CARRIED_QUESTIONS;
/// Those of one tenant.
pub(crate) const FOREIGN_QUESTIONS_CARRIED_OF_TENANT: usize = 2 * CARRIED_QUESTIONS_OF_TENANT;
/// Questions behind the gate that this node has other nodes of the region judge at once; further ones wait. An answer is 64 KiB.
pub(crate) const CARRIED_QUESTIONS: usize = 64;
/// Those of one tenant: a quarter, so that nobody waits for one tenant alone.
pub(crate) const CARRIED_QUESTIONS_OF_TENANT: usize = CARRIED_QUESTIONS / 4;
/// Questions behind the gate that other nodes of the region have this one judge at once, and those of one tenant; further ones wait.
pub(crate) const JUDGED_QUESTIONS: usize = 64;
/// See [`JUDGED_QUESTIONS`]: as many of one tenant as two nodes carry.
pub(crate) const JUDGED_QUESTIONS_OF_TENANT: usize = 2 * CARRIED_QUESTIONS_OF_TENANT;
/// Lists of streams that other nodes of the region have this one say the size of at once, before 429: each is a megabyte at most.
pub(crate) const HOLDINGS_AT_ONCE: usize = 64;
/// Those of one tenant: half, so that nobody waits for one tenant alone.
pub(crate) const HOLDINGS_OF_TENANT_AT_ONCE: usize = HOLDINGS_AT_ONCE / 2;
/// Longest that another node of the region may take to say how much its streams hold.
pub(crate) const HOLDINGS_DEADLINE: Duration = Duration::from_secs(5);
/// Bytes of a Terraform plan that `residency check-plan` reads: a hundred times one of three regions.
pub(crate) const PLAN_BYTES: u64 = 256 << 20;
/// How often it is looked how far the other nodes are: four looks between two scrapes of the usual fifteen seconds, for nothing
/// is sent for it.
pub(crate) const ROUND_TRIP_LOOK: Duration = Duration::from_secs(4);
/// Largest file of an audit pack that is read whole, in bytes: a statement with ten thousand segments is a twentieth of it.
pub(crate) const PACK_FILE_BYTES: u64 = 64 << 20;
/// How long stopping may take in all.
pub(crate) const STOP_DEADLINE: Duration = Duration::from_secs(8);
/// How long a metadata proposal is waited for.
pub(crate) const PROPOSE_DEADLINE: Duration = Duration::from_secs(10);

const _: () = assert!(MAX_RECORD_BYTES < MAX_BODY_BYTES && MAX_PACKED_BYTES <= MAX_BODY_BYTES);
// The largest body has room by itself, packed and unpacked: no limit stands behind one that binds before it.
const _: () = assert!(MAX_PACKED_BYTES + MAX_DECOMPRESSED_BYTES <= MAX_BYTES_IN_FLIGHT);

/// Requests waiting for the line, before 429.
pub(crate) const ARRIVAL_QUEUE: usize = 256;
/// Requests in the line at once, most of them waiting for a flush or for a new stream.
pub(crate) const ARRIVALS_AT_ONCE: usize = 256;
/// Bytes of bodies that are parsed and not yet in the write-ahead log: four pieces, for a parsed form is several times larger.
pub(crate) const WORK_BYTES: usize = 32 << 20;
/// Bytes of a body that are parsed and appended at once: bounds the parsed form, which is several times larger.
pub(crate) const PIECE_BYTES: usize = 8 << 20;
/// What a document costs beside its bytes, in bytes: its place, its outcome and the buffer of its record. A body of one-letter
/// lines is mostly this.
pub(crate) const DOCUMENT_BYTES: usize = 640;
/// Most documents in one request, before 413: their places and outcomes are in memory until the last is answered.
pub(crate) const MAX_DOCUMENTS_PER_REQUEST: usize = 100_000;
/// Documents of all requests that are cut and not yet answered; further requests wait. At half a KiB each, 200 MB at most.
pub(crate) const DOCUMENTS_AT_ONCE: usize = 4 * MAX_DOCUMENTS_PER_REQUEST;
/// Bytes of batches on their way to other nodes of the region, before 429: a node that does not answer must not fill this one. Four
/// of the largest.
pub(crate) const CARRIED_BYTES: usize = 64 << 20;
/// What a batch takes of them at least: 128 are on their way at once.
pub(crate) const CARRIED_LEAST: usize = CARRIED_BYTES / 128;
/// Bytes of batches that other nodes of the region brought and that are not yet answered, before 429: what two of them have on
/// their way.
pub(crate) const TAKEN_IN_BYTES: usize = 2 * CARRIED_BYTES;
/// Most documents that wait for other nodes of the region at once: those that belong to this one have as much room beside them.
pub(crate) const CARRIED_DOCUMENTS: usize = DOCUMENTS_AT_ONCE / 2;
/// How long a request waits for other nodes of the region: shorter than its own reply, so that their word still reaches whoever
/// sent it.
pub(crate) const CARRY_DEADLINE: Duration = Duration::from_secs(45);
/// How long what comes in for a stream, or is asked of it, is tried again while the stream goes from one node of the region to another:
/// longer than a hand-over is waited for, and short enough that whoever sent it still waits.
pub(crate) const HANDOVER_WAIT: Duration = Duration::from_secs(20);
/// First pause between two such tries; it doubles.
pub(crate) const HELD_SHORTEST: Duration = Duration::from_millis(25);
/// Longest such pause: what waits is sent over the link again at each try.
pub(crate) const HELD_LONGEST: Duration = Duration::from_millis(400);
/// Bytes of requests that wait for streams on their way, before they are refused as if nobody waited. Their bodies have their room all the
/// while: this keeps places in the line for streams that go nowhere.
pub(crate) const HELD_BYTES: usize = CARRIED_BYTES;
/// What a request takes of them at least: 128 wait at once, half of all places in the line.
pub(crate) const HELD_LEAST: usize = HELD_BYTES / (ARRIVALS_AT_ONCE / 2);
/// Part of the time of a question from another region after which it hears from this one at the latest, as a percentage: it waits for
/// half of its time for a node, and asks the next one then.
pub(crate) const ABROAD_PERCENT: u32 = 40;
/// How long a node waits to hear who owns a stream whose owner by its own policy refused a question: nodes of a region hear what was
/// decided within a second of each other, and an honest refusal must not come late for it.
pub(crate) const MOVE_HEARD: Duration = Duration::from_secs(3);
/// How long a request waits for its reply.
pub(crate) const REPLY_DEADLINE: Duration = Duration::from_secs(60);
/// How long a request body may take in all.
pub(crate) const BODY_DEADLINE: Duration = Duration::from_secs(120);
/// How long a sender may be silent within a body.
pub(crate) const BODY_SILENCE: Duration = Duration::from_secs(20);
/// Bytes of a refused body that are read and thrown away, so that its sender gets to read the reply. A shipper's batch.
pub(crate) const PASSED_OVER_BYTES: usize = 16 << 20;
/// How long that may take; whoever refuses for want of room should not be kept busy by it.
pub(crate) const PASSED_OVER_DEADLINE: Duration = Duration::from_secs(2);
/// How long a client may take for its request line and headers, and be idle between requests.
pub(crate) const HEADER_DEADLINE: Duration = Duration::from_secs(60);
/// How long a client may take for the first bytes that say which protocol it speaks: it has nothing to think about.
pub(crate) const FIRST_BYTES_DEADLINE: Duration = Duration::from_secs(10);
/// How long a client may take nothing of what is sent to it.
pub(crate) const WRITE_SILENCE: Duration = Duration::from_secs(30);
/// How long a TLS handshake of a client may take.
pub(crate) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Connections of one listener at once; a further one takes the place of that which was silent longest, and waits in the
/// system's backlog where requests run on all of them.
pub(crate) const CONNECTIONS_AT_ONCE: usize = 2_048;
/// Most values in one record, array elements included: a list of a million zeros takes 30 times its bytes when parsed.
pub(crate) const MAX_RECORD_VALUES: usize = 10_000;
/// Longest `_id` of a producer, in bytes.
pub(crate) const MAX_ID_BYTES: usize = 512;
/// Longest `X-Domicile-Batch`, in bytes.
pub(crate) const MAX_BATCH_ID_BYTES: usize = 128;
/// Most streams that one request may name.
pub(crate) const MAX_STREAMS_PER_REQUEST: usize = 256;
/// Most names and patterns in one list of indices or fields: each is looked for among all streams of a tenant.
pub(crate) const MAX_PATTERNS: usize = 256;
/// Longest name or pattern of such a list, in bytes: four times the longest name.
pub(crate) const MAX_PATTERN_BYTES: usize = 256;
/// Requests of one tenant a second, before 429.
pub(crate) const TENANT_REQUESTS_PER_SECOND: u32 = 2_000;
/// Bytes of bodies of one tenant a second, before 429: more than a node can take.
pub(crate) const TENANT_BYTES_PER_SECOND: u32 = 256 << 20;
/// Bytes of one object of a segment that is copied out: what a copy holds in memory at once, as large as parts of common
/// object stores.
pub(crate) const COPY_PART_BYTES: usize = 16 << 20;
/// New streams of one tenant a minute, before 429: each is a row on every node of every region for ever.
pub(crate) const NEW_STREAMS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(60).unwrap();
/// New streams of one tenant at once, before 429: what one request may name.
pub(crate) const NEW_STREAMS_AT_ONCE: NonZeroU32 = NonZeroU32::new(256).unwrap();
/// Tenants whose rate is remembered; the oldest knowledge is dropped beyond.
pub(crate) const TENANT_RATES: usize = 16_384;

const _: () = assert!(HANDOVER_WAIT.as_secs() > ADOPTION_WAIT.as_secs());
const _: () =
    assert!(HANDOVER_WAIT.as_secs() < CARRY_DEADLINE.as_secs() && HANDOVER_WAIT.as_secs() < SEARCH_DEADLINE.as_secs());
const _: () = assert!(OLDER_POLICY_LEAVES_FOR.as_secs() >= 2 * FEDERATED_DEADLINE.as_secs());
const _: () = assert!(PIECE_BYTES >= MAX_RECORD_BYTES && WORK_BYTES >= 2 * PIECE_BYTES);
const _: () = assert!(PIECE_BYTES + DOCUMENT_BYTES < MAX_BATCH && MAX_BATCH <= CARRIED_BYTES);
const _: () = assert!(MAX_DOCUMENTS_PER_REQUEST <= MAX_BATCH_RECORDS && MAX_STREAMS_PER_REQUEST <= MAX_BATCH_STREAMS);
const _: () = assert!(MAX_ID_BYTES <= MAX_GIVEN_ID && MAX_BATCH_ID_BYTES <= MAX_GIVEN_ID);
const _: () = assert!(CARRY_DEADLINE.as_secs() < REPLY_DEADLINE.as_secs());
const _: () =
    assert!(MAX_RECORD_BYTES + DOCUMENT_BYTES <= WORK_BYTES && DOCUMENTS_AT_ONCE >= MAX_DOCUMENTS_PER_REQUEST);

/// First pause before work on a segment or a manifest that failed is tried again; it doubles with every failure.
pub(crate) const RETRY_SHORTEST: Duration = Duration::from_secs(1);
/// Longest such pause: a store that is back is used again within a minute.
pub(crate) const RETRY_LONGEST: Duration = Duration::from_secs(60);

/// New questions of one tenant that a region answers to others in one UTC day; repeats are free. Source: CBAP-1 rule R12.
pub(crate) const QUESTIONS_PER_DAY: usize = 1_000;
/// Refusals for overlap of one tenant in one UTC day before its new text questions are refused unread: each tells a little.
pub(crate) const OVERLAPS_PER_DAY: u32 = 64;
/// Contributors of text answers kept in mind at once, of all tenants: 4 KiB each, 64 MiB in all.
pub(crate) const GUARDED_ANSWERS: usize = 16_384;
/// Text answers kept to be repeated as they were: at most 64 KiB each, 64 MiB in all. Beyond, a repeat is made anew and judged.
pub(crate) const TEXT_ANSWERS_KEPT: usize = 1_024;
/// Subjects that one text question may match before it is too costly to guard: 16 MB while it is gathered.
pub(crate) const MAX_CONTRIBUTORS: usize = 1_000_000;
/// Different rules of streams that `audit report` attacks its own gate under: each takes some seconds, and a tenant whose streams
/// all differ must not wait for minutes.
pub(crate) const REHEARSED_RULES: usize = 8;
/// Answers to text questions leave at whole multiples of this after their arrival, hit or miss. Source: compliance test T9.
pub(crate) const TEXT_STEP: Duration = Duration::from_millis(10);
/// What one contributor to a sum is counted with while the sum is judged, against the memory of a search: two of its entries.
pub(crate) const CONTRIBUTION_BYTES: usize = 96;
/// Leaf cells in memory while one question is judged: with 20 subjects each, some 120 MB.
pub(crate) const LEAF_CELLS_AT_ONCE: usize = 1 << 19;
/// Leaves of one stream that are released in all: more than a year of minutes. Beyond it new ones stay withheld.
pub(crate) const RELEASED_LEAVES: usize = 600_000;
/// Entries of a stream's release journal before they are written down as one.
pub(crate) const JOURNAL_ENTRIES: u64 = 64;
/// How long a batch or a question waits for the bucket with what was counted of a stream that is stated to hold no personal data.
pub(crate) const STATEMENT_DEADLINE: Duration = Duration::from_secs(2);
/// How long the bucket is not asked for it again after it did not answer: a hanging bucket then delays one batch of many.
pub(crate) const STATEMENT_AGAIN: Duration = Duration::from_secs(5);
/// Rules of streams that are known to be kept, some 100 bytes each; beyond it they are written again, which changes nothing.
pub(crate) const RULES_KNOWN: usize = 4_096;
/// Days of tenants whose privacy budget is kept in memory, a few hundred bytes each; those of others are read again.
pub(crate) const NOISE_ACCOUNTS: usize = 1_024;
/// Days of a question, the last ones, whose closed cells are released before anybody asks for more of them: a week and a day.
pub(crate) const DAYS_AHEAD: i64 = 8;
/// Tables of streams of which it is known up to when they were released ahead; beyond it they are gone through again.
pub(crate) const TABLES_AHEAD: usize = 1_024;
/// How long releasing the days of one question ahead may take: as long as a policy may be out of date.
pub(crate) const AHEAD_DEADLINE: Duration = Duration::from_secs(30);
/// Streams whose released cells are kept in memory; those of others are read again when they are asked for.
pub(crate) const BOOKS: usize = 256;
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
/// Length at which the rows of the keyring's journal are folded into its tree, in bytes: 70,000 new values, 40 MiB of memory.
pub(crate) const KEYRING_JOURNAL_BYTES: u64 = 16 << 20;
/// Steps in which the size of the keyring is told to whoever asks without a clearance, in bytes: as much as 80,000 values. One that is
/// new cannot be told from one that was seen before.
pub(crate) const KEYRING_STEP_BYTES: u64 = 16 << 20;
/// Versions of the policy that a node knows it held: an answer that a neighbour judged under an older one is not passed on.
pub(crate) const POLICIES_HELD: usize = 4_096;
/// How long rows lie in the keyring's journal where few come: it is read whole at a start.
pub(crate) const KEYRING_FOLD_AFTER: Duration = Duration::from_secs(60);
/// Sealed originals remembered in memory, in each of two halves, 17 bytes each.
pub(crate) const SEALED_KNOWN: usize = 262_144;
/// Values whose tokens are remembered while their originals are sealed, 32 bytes each.
pub(crate) const TOKENS_MET: usize = 262_144;
/// Days of streams whose keys a destruction replaces one by one; beyond that all are replaced.
pub(crate) const KEYRING_PENDING: usize = 4_096;

/// How long erasures wait for others before segments are made anew for all of them: once per hour a segment is rewritten at
/// most, and 24 h are allowed.
pub(crate) const ERASE_WINDOW: Duration = Duration::from_secs(3_600);
/// How long a node of the region may take to say that it took orders of erasure. A message holds at most 32 of them.
pub(crate) const ERASE_TELL_DEADLINE: Duration = Duration::from_secs(10);
/// Pause between two rounds of telling the other nodes of the region; well within the minute that is promised.
pub(crate) const ERASE_TELL_EVERY: Duration = Duration::from_secs(1);
/// From a look for who is held that could not see everything to the next one for the same order of a neighbour.
pub(crate) const ERASE_LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How long such a look waits for what was accepted to be searchable.
pub(crate) const ERASE_REFRESH_WAIT: Duration = Duration::from_secs(5);
/// How long whoever gives an order waits for the other nodes of the region; the order goes on in any case.
pub(crate) const ERASE_TOLD_WAIT: Duration = Duration::from_secs(3);
/// After how long an order that not every node of the region has shredded is told of in the log: what is promised.
pub(crate) const ERASE_OVERDUE: Duration = Duration::from_secs(60);
/// Proposals about erasures to the metadata group at the same time; others of the region go before the next ones.
pub(crate) const ERASE_PROPOSALS: usize = 16;
/// How long records of an erased subject that come back are kept out at least; a month longer than any stream of the tenant is
/// kept, where that is more.
pub(crate) const SUPPRESS_FOR: Duration = Duration::from_secs(396 * 24 * 3_600);
/// How fast segments are made anew, in bytes a second, for the estimate that is told: what one slow core does.
pub(crate) const REWRITE_BYTES_PER_SECOND: u64 = 10 << 20;
/// How often it is looked what is past its retention. Twice in a row, and it goes: a clock that was wrong for less than this
/// deletes nothing.
pub(crate) const RETENTION_LOOK: Duration = Duration::from_secs(3_600);
/// Segments that one deletion of a tenant names, 300 bytes each in its plan and evidence; what is more goes with the next one.
pub(crate) const RETENTION_SEGMENTS: usize = 1_024;
/// Records that one export of a subject holds: what a person has in a year of logs, and a node in its memory.
pub(crate) const EXPORT_RECORDS: usize = 100_000;
/// Bytes of records that one node gives another one for an export: what a person has in a year of logs, twice in memory.
pub(crate) const EXPORT_BYTES: usize = 256 << 20;
/// Bytes of records in one message between nodes, but for a record that is larger by itself.
pub(crate) const ROWS_PIECE_BYTES: usize = 1 << 20;
/// Bytes that one node finds for a search of another one: a page of [`MAX_PAGE_BYTES`], and buckets as large.
pub(crate) const PART_BYTES: usize = 64 << 20;
/// Longest that another node of the region may take to make searchable what it accepted.
pub(crate) const REFRESH_DEADLINE: Duration = Duration::from_secs(30);
/// Longest that another node of the region may take to read a person's records and to send them.
pub(crate) const EXPORT_TELL_DEADLINE: Duration = Duration::from_secs(120);
/// Longest that a link to an export is good, in hours: a week, for what waits longer is asked for again.
pub(crate) const EXPORT_LINK_HOURS: u32 = 168;
/// Links of one tenant at a time that have not expired: an officer answers a few persons a day, and each export may be large.
pub(crate) const EXPORT_LINKS: usize = 100;
/// Links that are tried in a second at a node, right ones and wrong ones of the right form; each reads the bucket, and whoever tries shows no key.
pub(crate) const EXPORT_READS_PER_SECOND: NonZeroU32 = NonZeroU32::new(5).unwrap();

/// Largest body of an entry of the ledger, in bytes: the largest frame of a question or an answer in base64, and what surrounds it.
pub(crate) const LEDGER_BODY_BYTES: usize = 128 << 10;
/// Entries that wait for the ledger's next flush; those who bring more wait before the queue.
pub(crate) const LEDGER_QUEUE: usize = 1_024;
/// A group of entries of this size is flushed before it takes a further one, in bytes.
pub(crate) const LEDGER_GROUP_BYTES: usize = 1 << 20;
/// Groups that are durable and not yet in the files of the log, before the next waits: 64 MiB at most.
pub(crate) const LEDGER_GROUPS_AHEAD: usize = 64;
/// A tail of the ledger of this size is followed by another, in bytes: what a start reads at most is twice this.
pub(crate) const LEDGER_TAIL_BYTES: u64 = 8 << 20;
/// Largest state at the beginning of a tail, in bytes: the chains of a hundred thousand tenants.
pub(crate) const LEDGER_STATE_BYTES: usize = 32 << 20;
/// Questions whose tenant the ledger remembers, so that an answer stands in its chain: many times those that are answered at once.
pub(crate) const LEDGER_QUESTIONS_REMEMBERED: usize = 1_024;
/// Largest checkpoint that is read, in bytes: the checkpoint itself and a few dozen signatures.
pub(crate) const CHECKPOINT_BYTES: u64 = 16 << 10;
/// From an entry to the checkpoint over it, at most, while the disk keeps up.
pub(crate) const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// One checkpoint in this time is kept for good: 9,000 small files a year.
pub(crate) const CHECKPOINT_KEPT_EVERY: Duration = Duration::from_secs(3_600);
/// How often other regions are asked to cosign the newest checkpoint, where it has anything to say.
pub(crate) const WITNESS_EVERY: Duration = Duration::from_secs(10);
/// How long an external witness may take for one request.
pub(crate) const WITNESS_DEADLINE: Duration = Duration::from_secs(10);
/// Logs of one region that a witness remembers, a file of 300 bytes each: as many as a region has connections.
pub(crate) const WITNESSED_LOGS_OF_REGION: usize = 256;
/// Files of evidence against logs of one region that a witness keeps, 4 KiB each at most: the first ones tell it all.
pub(crate) const WITNESS_EVIDENCE_OF_REGION: usize = 64;
/// A clock that is further off than this after a minute was set, or the machine slept: time servers correct it by less.
pub(crate) const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);
/// Metadata traffic is counted for each peer and this long (LED-1).
pub(crate) const METADATA_INTERVAL: Duration = Duration::from_secs(60);
/// How long a connection to the object store may take: it lies in the same region.
pub(crate) const STORE_CONNECT: Duration = Duration::from_secs(5);
/// How long one request to the object store may take: a part of 16 MiB at less than 1 MiB a second.
pub(crate) const STORE_DEADLINE: Duration = Duration::from_secs(30);
/// How often a request that met a passing failure is made again.
pub(crate) const STORE_RETRIES: usize = 5;
/// Time after which no further attempt is begun: well within the life of a short-lived credential.
pub(crate) const STORE_PATIENCE: Duration = Duration::from_secs(60);
/// Pause before a question about a bucket that met a passing failure is asked again.
pub(crate) const STORE_PAUSE: Duration = Duration::from_millis(200);
/// How often a creation is begun again that lost against something which then was not there.
pub(crate) const STORE_CREATIONS: usize = 3;
/// Bytes of one answer of the provider about a bucket; a replication rule takes a few hundred.
pub(crate) const STORE_REPORT_BYTES: usize = 1 << 20;

/// Bytes of one block of a cold segment: what is fetched, compared with its sum and kept at once. A request costs as much time as
/// reading several.
pub(crate) const COLD_BLOCK_BYTES: usize = 64 << 10;
/// Blocks that are fetched though nobody asked for them, where they join two requests into one.
pub(crate) const COLD_GAP_BLOCKS: usize = 1;
/// Requests of one read of a cold segment that run beside each other; each holds a part at most.
pub(crate) const COLD_READS_AT_ONCE: usize = 4;
/// Blocks that are under way from the bucket for all questions of a node together: 128 MiB, whatever number of threads reads.
pub(crate) const COLD_UNDER_WAY: u32 = 2_048;
/// For how many blocks a request counts at least, so that 128 requests run beside each other at most.
pub(crate) const COLD_REQUEST_BLOCKS: u32 = 16;
/// Threads of a node on which further segments in the bucket are searched, for all questions together; one takes half of what is free.
/// They wait nearly always: a thousand segments of five reads of 30 ms each are two seconds and a half in 64 of them.
pub(crate) const COLD_THREADS: u64 = 128;
/// Those of them that compute at a time: as many as search segments on the disk.
pub(crate) const COLD_COMPUTING: u64 = 2;
/// Stretches in the bucket that one question aggregates at a time: each holds a table of its own until it is merged, and all of them
/// count as the question's.
pub(crate) const COLD_GATHERED_AT_ONCE: usize = 4;
/// Records of the segments that are open in them at a time: a column is read whole, some bytes for each record.
pub(crate) const COLD_RECORDS_AT_ONCE: u64 = 16 << 20;
/// Blocks and footers of all cold segments kept in memory, in bytes.
pub(crate) const COLD_CACHE_BYTES: usize = 256 << 20;
/// Blocks of all cold segments kept on the disk, in bytes: what was read today is often asked for tomorrow.
pub(crate) const COLD_DISK_BYTES: u64 = 4 << 30;
/// Copies opened beside each other when a node starts: hides the round trip to a bucket.
pub(crate) const COPIES_OPENED_AT_ONCE: usize = 16;
/// Shards taken over beside each other: hides the way to the metadata group and to a bucket.
pub(crate) const SHARDS_TAKEN_UP_AT_ONCE: usize = 16;
/// Segments that move beside each other; each holds a part at most.
pub(crate) const MOVES_AT_ONCE: usize = 2;
/// Days that a copy from the archive is searched where nobody says otherwise: a week's work on one question.
pub(crate) const RESTORE_DAYS: u32 = 7;
/// Most such days: what is wanted longer than a quarter of a year should not have been archived.
pub(crate) const RESTORE_DAYS_MOST: u32 = 90;
/// How often it is looked what should lie elsewhere; a move is not urgent, and one that failed is tried again then.
pub(crate) const LIFECYCLE_LOOK: Duration = Duration::from_secs(60);
/// Bytes of a segment that are kept in its footer, for they are read whenever it is opened; the rest is read in ranges.
pub(crate) const COLD_HOT_BYTES: u64 = 1 << 20;

const _: () = assert!(COPY_PART_BYTES.is_multiple_of(COLD_BLOCK_BYTES));
