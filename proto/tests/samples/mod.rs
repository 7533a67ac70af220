//! One or more of every message, the same for ever: what the golden bytes and the fuzzing start from.

use domicile_proto::aggregate::Aggregate;
use domicile_proto::aggregate::cell::Cell;
use domicile_proto::aggregate::count::Count;
use domicile_proto::aggregate::date_grid::{DateGrid, Grid};
use domicile_proto::aggregate::histogram::FixedHistogram;
use domicile_proto::aggregate::scalars::{DistinctEstimate, Quantile};
use domicile_proto::aggregate::sum::{Sum, SumCell, SumLayout};
use domicile_proto::aggregate::term_grid::TermGrid;
use domicile_proto::aggregate::terms::Terms;
use domicile_proto::codec::{CodecError, Message, decode, encode};
use domicile_proto::ids::{
    DictionaryId, Epoch, ErasureId, FieldId, KThreshold, Level, Name, NodeId, PolicyVersion, QuestionId, RecordCount,
    Region, RegionNumber, ShardId, StreamId, TenantId, TimeRange, Timestamp,
};
use domicile_proto::leaf::LeafWidth;
use domicile_proto::message::answer::{Answer, AnswerHeader, Outcome, RefusalCode};
use domicile_proto::message::batch::{
    BatchFailure, BatchFates, BatchForm, BatchRecord, GivenId, NotTaken, RecordBatch, RecordBytes, RecordFate,
};
use domicile_proto::message::gated::{AskedBy, DrawnFrom, GatedQuestion};
use domicile_proto::message::health::Probe;
use domicile_proto::message::ledger::{Cosignature, HeadOffer, SignedHead, TreeHash, Verdict};
use domicile_proto::message::metadata::{
    AppendOutcome, Entry, LogPlace, Membership, MetadataFrame, Payload, SnapshotHead, Unavailable, Vote,
};
use domicile_proto::message::question::{Ask, Filter, Literal, Question, TextMatch, TextPlace};
use domicile_proto::message::region::{
    Asker, ErasureOrder, Holding, KeysMark, LegalHold, NodeStand, NotGiven, NotSearched, PersonRows, RegionAsk,
    RegionReply, RowBytes, RowSearch, SearchBytes, ShardLoad, Standing, Token,
};
use domicile_proto::metadata::{
    AccessKey, Applied, ApprovedValue, Change, Command, CommandRefusal, Counters, Durability, ErasureRow, ErasureState,
    KeyRow, Lifecycle, NodeRow, NumberField, Personal, PolicyRow, RegionalChange, Roles, Row, Rows, ShardRow,
    StreamPolicy, StreamRow, ValueRow,
};
use domicile_proto::noise::{Mechanism, Noise};
use domicile_proto::officer::{OfficerRow, OfficerSignature};
use domicile_proto::privacy::{Action, Basis, PersonalClass, Privacy};
use domicile_proto::region_key::{RegionKeyRow, RegionPublic, RegionWord};
use domicile_proto::transfer::{Day, TransferBasis, TransferRow};

/// Decodes a frame as one kind of message and encodes that again.
pub(crate) type Decoder = fn(&[u8]) -> Result<Vec<u8>, CodecError>;

/// A message as a frame, and its decoder.
pub(crate) struct Sample {
    /// Name of the golden file.
    pub(crate) name: String,
    /// The frame.
    pub(crate) frame: Vec<u8>,
    /// Decodes as this kind of message and encodes again.
    pub(crate) again: Decoder,
}

fn again<M: Message>(frame: &[u8]) -> Result<Vec<u8>, CodecError> {
    decode::<M>(frame).and_then(|message| encode(&message))
}

/// The decoders of all messages.
pub(crate) const DECODERS: [Decoder; 14] = [
    again::<Question>,
    again::<Answer>,
    again::<Probe>,
    again::<SignedHead>,
    again::<MetadataFrame>,
    again::<Entry>,
    again::<Vote>,
    again::<SnapshotHead>,
    again::<Row>,
    again::<RegionAsk>,
    again::<RegionReply>,
    again::<HeadOffer>,
    again::<Verdict>,
    again::<DrawnFrom>,
];

/// All samples.
pub(crate) fn all() -> Vec<Sample> {
    let mut samples = Vec::new();
    for question in questions() {
        add(&mut samples, "question", &question);
    }
    for outcome in outcomes() {
        let mut header = AnswerHeader::new(QuestionId(5 << 100), range());
        header.policy = PolicyVersion(300);
        header.open_from = Some(Timestamp(-1));
        header.late_withheld = true;
        header.took_micros = 70_000;
        header.ledger_size = 1 << 40;
        header.ledger_root = [0xab; 32];
        header.noise = Some(noise());
        add(&mut samples, "answer", &Answer { header, outcome });
    }
    add(&mut samples, "probe", &Probe { nonce: 0x0123_4567_89ab_cdef });
    add(&mut samples, "signed-head", &signed_head());
    for frame in frames() {
        add(&mut samples, "metadata-frame", &frame);
    }
    for payload in [Payload::Blank, Payload::Commands(commands()), Payload::Membership(membership())] {
        add(&mut samples, "entry", &Entry { place: place(9), payload });
    }
    add(&mut samples, "vote", &vote());
    add(&mut samples, "snapshot-head", &snapshot_head());
    for row in rows() {
        add(&mut samples, "row", &row);
    }
    for ask in asks() {
        add(&mut samples, "region-ask", &ask);
    }
    for reply in replies() {
        add(&mut samples, "region-reply", &reply);
    }
    let proof = vec![TreeHash([5; 32]), TreeHash([6; 32])];
    add(&mut samples, "head-offer", &HeadOffer { head: signed_head(), key: [4; 32], known: 300, proof });
    let cosigned = Cosignature { key: [7; 32], at: 1_800_000_000, signature_r: [8; 32], signature_s: [9; 32] };
    let known = 1 << 32;
    for verdict in [
        Verdict::Cosigned(cosigned),
        Verdict::Stale { known },
        Verdict::Forked { known },
        Verdict::NotSigned,
        Verdict::Malformed,
        Verdict::Unavailable,
    ] {
        add(&mut samples, "verdict", &verdict);
    }
    let drawn =
        DrawnFrom { shard: ShardId(8), upto: 1 << 40, journal: 3, rules: [0xbb; 32], k: Some(KThreshold::SUBJECTS) };
    add(&mut samples, "drawn-from", &drawn);
    samples
}

fn add<M: Message>(samples: &mut Vec<Sample>, kind: &str, message: &M) {
    let number = samples.iter().filter(|sample| sample.name.starts_with(kind)).count();
    let frame = encode(message).expect("within its limit");
    samples.push(Sample { name: format!("{kind}-{number:02}"), frame, again: again::<M> });
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn region(text: &str) -> Region {
    Region(name(text))
}

fn range() -> TimeRange {
    TimeRange { from: Timestamp(1_800_000_000_000_000), to: Timestamp(1_800_000_600_000_000) }
}

fn grid() -> Grid {
    Grid { first: 30_000_000, step: 60, len: 2 }
}

fn cells() -> Vec<Cell> {
    vec![Cell::published(RecordCount(1_000)), Cell { records: RecordCount(u64::MAX), withheld: 2 }]
}

fn questions() -> Vec<Question> {
    let literal = Literal::try_from("time out".to_owned()).expect("in bounds");
    let filters = vec![
        Filter::Level { levels: vec![Level::Error, Level::Fatal], negated: false },
        Filter::Value { field: FieldId(1), values: vec![DictionaryId(64), DictionaryId(70_000)], negated: true },
        Filter::Text { how: TextMatch::Phrase, literal, negated: false },
    ];
    let asks = [
        Ask::Count,
        Ask::DateGrid(grid()),
        Ask::Terms(FieldId(0)),
        Ask::TermGrid(FieldId(300), grid()),
        Ask::Numbers(FieldId(7)),
        Ask::Sum(SumLayout { field: FieldId(7), by: Some(FieldId(1)), grid: Some(grid()) }),
        Ask::Quantile(FieldId(7), 950),
        Ask::Distinct(FieldId(1)),
    ];
    let question = |(number, ask)| Question {
        id: QuestionId(u128::MAX - number),
        tenant: TenantId(1),
        stream: StreamId(251),
        range: range(),
        filters: if number == 0 { Vec::new() } else { filters.clone() },
        ask,
        deadline_ms: 2_000,
    };
    let mut questions: Vec<Question> = (0..).zip(asks).map(question).collect();
    let text_in = |(place, negated)| Filter::TextIn {
        place,
        how: TextMatch::Words,
        literal: Literal::try_from("time out".to_owned()).expect("in bounds"),
        negated,
    };
    let filters = [(TextPlace::Message, false), (TextPlace::Exception, true)].map(text_in).to_vec();
    questions.push(Question { filters, ..question((8, Ask::Count)) });
    questions
}

fn outcomes() -> Vec<Outcome> {
    let field = FieldId(7);
    let aggregates = [
        Aggregate::Count(Count { cell: Cell::WITHHELD }),
        Aggregate::DateGrid(DateGrid { grid: grid(), cells: cells() }),
        Aggregate::Terms(Terms { field, cells: vec![(DictionaryId(64), Cell::EMPTY)], other: Cell::WITHHELD }),
        Aggregate::TermGrid(TermGrid { field, grid: grid(), rows: vec![(DictionaryId(9), cells())], other: cells() }),
        Aggregate::Sum(Sum {
            layout: SumLayout { field, by: Some(FieldId(1)), grid: None },
            rows: vec![(DictionaryId(64), vec![SumCell { records: RecordCount(3), total: i128::MIN, withheld: 1 }])],
            other: vec![SumCell::EMPTY],
        }),
        Aggregate::FixedHistogram(FixedHistogram { field, bounds: vec![-5], cells: cells() }),
        Aggregate::Quantile(Quantile {
            field,
            per_mille: 950,
            regions: vec![(RegionNumber(1), Some(-3)), (RegionNumber(2), None)],
        }),
        Aggregate::DistinctEstimate(DistinctEstimate { field, regions: vec![(RegionNumber(1), Some(1_200))] }),
    ];
    let mut outcomes: Vec<_> = aggregates.into_iter().map(Outcome::Aggregate).collect();
    outcomes.extend([Outcome::Suppressed, Outcome::Refused(RefusalCode::NoTransferBasis)]);
    outcomes
}

fn signed_head() -> SignedHead {
    SignedHead {
        region: RegionNumber(2),
        size: 1 << 33,
        root: [1; 32],
        at: Timestamp(1_800_000_000_000_000),
        signature_r: [2; 32],
        signature_s: [3; 32],
    }
}

fn vote() -> Vote {
    Vote { term: 3, node: NodeId(1), committed: true }
}

fn place(index: u64) -> LogPlace {
    LogPlace { term: 2, node: NodeId(1), index }
}

fn membership() -> Membership {
    Membership {
        voters: vec![vec![NodeId(1), NodeId(2)], vec![NodeId(3)]],
        nodes: vec![
            (NodeId(1), "127.0.0.1:7443".parse().expect("an address")),
            (NodeId(2), "[2001:db8::1]:7443".parse().expect("an address")),
        ],
    }
}

fn snapshot_head() -> SnapshotHead {
    SnapshotHead { last: Some(place(8)), membership: (Some(place(1)), membership()), rows: 12 }
}

fn signature() -> OfficerSignature {
    let half = |byte: u8| vec![byte; 32];
    serde_json::from_value(
        serde_json::json!({ "serial": 1_760_000_000_000_u64, "officer": half(3), "r": half(4), "s": half(5) }),
    )
    .expect("a signature")
}

fn policy() -> StreamPolicy {
    StreamPolicy {
        personal: Personal::Subject(name("customer")),
        k: Some(KThreshold::SUBJECTS),
        group_fields: vec![name("service"), name("level")],
        text_questions: true,
        privacy: Privacy::new([(PersonalClass::Ip, Action::Keep(Basis::NotPersonal))], vec![name("address")]),
        durability: Durability::Bucket,
        refresh_ms: 1_000,
        utc_offset_minutes: Some(-540),
        grid: LeafWidth::FiveMinutes,
        close_after_s: 90,
        numbers: vec![NumberField { field: name("ms"), bounds: vec![-5, 10, 1_000] }],
        retention_days: std::num::NonZeroU16::new(400),
        noise: Some(noise()),
        lifecycle: Lifecycle {
            warm_after_days: std::num::NonZeroU16::new(3),
            archive_days: std::num::NonZeroU16::new(180),
            ..Lifecycle::default()
        },
    }
}

fn noise() -> Noise {
    Noise { mechanism: Mechanism::Laplace, epsilon: 500, records: 3 }
}

fn key() -> AccessKey {
    let roles = Roles { ingest: true, search: false, audit: true, admin: false, create: true, reveal: true };
    AccessKey { id: name("key-1"), tenant: TenantId(1), hash: [6; 32], roles, rows: Rows::Redacted }
}

fn changes() -> Vec<Change> {
    let values = ["checkout", "支払い"].map(|text| ApprovedValue::try_from(text.to_owned()).expect("a value")).to_vec();
    vec![
        Change::AddNode { node: NodeId(4), addr: "10.0.0.4:7443".parse().expect("an address") },
        Change::AddKey(key()),
        Change::SetPolicy { tenant: TenantId(1), stream: StreamId(2), policy: policy() },
        Change::ApproveValues { tenant: TenantId(1), field: name("service"), values },
        Change::SetRegionKey { key: region_public() },
        Change::RemoveNode { node: NodeId(4) },
    ]
}

fn approval() -> Change {
    Change::ApproveTransfer {
        to: region("singapore"),
        basis: TransferBasis::EquivalentMeasures,
        review_by: Day(20_970),
    }
}

fn region_public() -> RegionPublic {
    RegionPublic::from_hex(&"5a".repeat(32)).expect("64 digits")
}

fn word() -> RegionWord {
    let half = |byte: u8| vec![byte; 32];
    serde_json::from_value(serde_json::json!({ "r": half(7), "s": half(8) })).expect("two halves")
}

fn signed(change: Change) -> RegionalChange {
    RegionalChange { region: region("tokyo"), change, signature: Some(signature()) }
}

fn commands() -> Vec<Command> {
    let mut commands = vec![
        Command::AddRegion { region: region("tokyo") },
        Command::CreateTenant { tenant: name("acme") },
        Command::CreateStream { tenant: TenantId(1), stream: name("app") },
        Command::AssignShard {
            stream: StreamId(1),
            region: region("tokyo"),
            owner: NodeId(1),
            seen: Epoch(0),
            word: Some(word()),
        },
        Command::RemoveNode { node: NodeId(4) },
        Command::RevokeKey { region: region("tokyo"), id: name("key-1") },
        Command::RevokeValue { region: region("tokyo"), tenant: TenantId(1), id: DictionaryId(64) },
        Command::RecordHead(signed_head()),
    ];
    commands.extend(changes().into_iter().map(|change| Command::Regional(signed(change))));
    commands.push(Command::RecordErasure(erasure()));
    commands.push(Command::Regional(signed(approval())));
    commands.push(Command::RevokeTransfer { from: region("tokyo"), to: region("singapore") });
    commands
}

fn erasure() -> ErasureRow {
    ErasureRow {
        region: region("tokyo"),
        id: ErasureId(3 << 120),
        tenant: TenantId(1),
        commitment: [0xcd; 32],
        proof: [0xef; 16],
        at: Timestamp(1_800_000_000_000_000),
        state: ErasureState::Shredded,
    }
}

fn order() -> ErasureOrder {
    ErasureOrder {
        id: ErasureId(3 << 120),
        tenant: TenantId(1),
        subjects: vec![7, u64::MAX],
        tokens: vec![Token::try_from("‹email:abcdefghijklmnopqrstuvwxyz›".to_owned()).expect("a token")],
        only: Some(vec![(StreamId(1), Some(ShardId(8))), (StreamId(2), None)]),
        at: Timestamp(1_800_000_000_000_000),
        until: Timestamp(1_900_000_000_000_000),
        salt: [0x5a; 32],
    }
}

fn asks() -> Vec<RegionAsk> {
    let how = RegionAsk::How(vec![ErasureId(1), ErasureId(u128::MAX)]);
    vec![
        RegionAsk::Take(KeysMark([9; 8]), vec![order()]),
        how,
        RegionAsk::List(None),
        RegionAsk::List(Some(ErasureId(1))),
        RegionAsk::Hold(KeysMark([9; 8]), vec![legal_hold()]),
        RegionAsk::Holds(Some(ErasureId(1))),
        RegionAsk::Standings(TenantId(1), Some(ErasureId(2)), None),
        RegionAsk::Rows(KeysMark([9; 8]), person_rows()),
        RegionAsk::Purge,
        RegionAsk::Search(row_search()),
        RegionAsk::Refresh(vec![StreamId(1), StreamId(u32::MAX)]),
        RegionAsk::Loads,
        RegionAsk::Batch(record_batch()),
        RegionAsk::Gated(gated(AskedBy::Region(region("frankfurt")))),
        RegionAsk::Gated(gated(AskedBy::Key(asker(), true))),
        RegionAsk::Holdings(asker(), vec![StreamId(1), StreamId(u32::MAX)]),
    ]
}

fn asker() -> Asker {
    Asker { key: name("k-1"), tenant: TenantId(1), rows: Rows::Redacted }
}

fn gated(by: AskedBy) -> GatedQuestion {
    let question = questions().swap_remove(1);
    GatedQuestion { by, question, policy: PolicyVersion(12), wait_ms: 9_000 }
}

fn holdings() -> Vec<Holding> {
    let ends = Some((Timestamp(-1), Timestamp(1_800_000_000_000_000)));
    vec![Holding::default(), Holding { records: u64::MAX, bytes: 1 << 40, ends }]
}

fn record_batch() -> RecordBatch {
    let given = |id: &str| GivenId(id.into());
    let record = |is_create, id: Option<&str>, from, to| {
        let id = id.map(given);
        BatchRecord { stream: 0, is_create, id, from, to }
    };
    RecordBatch {
        asker: Asker { key: name("k-1"), tenant: TenantId(1), rows: Rows::None },
        streams: vec![StreamId(7)],
        form: BatchForm::Text,
        received_at: Timestamp(1_800_000_000_000_000),
        id: Some(given("batch-1")),
        refresh: true,
        records: vec![record(true, Some("order-9"), 0, 3), record(false, None, 4, 400)],
        body: RecordBytes((0..400_u32).map(|byte| byte.to_be_bytes()[3]).collect()),
    }
}

fn batch_failure() -> BatchFailure {
    BatchFailure {
        status: 409,
        kind: "version_conflict_engine_exception".into(),
        code: "DMC-INGEST-01".into(),
        reason: "a record with this `_id` was accepted before; give each its own".into(),
        retry_after: Some(2),
    }
}

fn batch_fates() -> BatchFates {
    let fates = vec![
        RecordFate::Created(1),
        RecordFate::Noop(u64::MAX),
        RecordFate::Dropped,
        RecordFate::Failed(0, true),
        RecordFate::NotMine,
    ];
    BatchFates { fates, failures: vec![batch_failure()], ids: vec![(1, GivenId("x".into()))], repeated: true }
}

fn row_search() -> RowSearch {
    RowSearch {
        asker: Asker { key: name("k-1"), tenant: TenantId(1), rows: Rows::Redacted },
        streams: vec![StreamId(1), StreamId(2)],
        wait_ms: 30_000,
        wanted: SearchBytes(vec![1, 0, 255]),
    }
}

fn not_searched() -> Vec<NotSearched> {
    vec![
        NotSearched::Stranger,
        NotSearched::NotMine(StreamId(7)),
        NotSearched::NotWhole(ShardId(8)),
        NotSearched::Unaware(None),
        NotSearched::Unaware(Some(ErasureId(3 << 120))),
        NotSearched::Busy,
        NotSearched::Costly,
        NotSearched::Crowded,
        NotSearched::Late,
        NotSearched::PageTooLarge,
        NotSearched::TooManyBeginnings,
        NotSearched::Apart(SearchBytes(b"route".to_vec())),
        NotSearched::Personal,
        NotSearched::Archived(StreamId(7), 2, 900),
        NotSearched::Away,
        NotSearched::Broken,
        NotSearched::Unread,
        NotSearched::TooManyClauses,
        NotSearched::TooDeep,
    ]
}

fn legal_hold() -> LegalHold {
    let ErasureOrder { id, tenant, subjects, tokens, only, at, .. } = order();
    LegalHold { id, tenant, subjects, tokens, only, at, released: Some(Timestamp(7)) }
}

fn person_rows() -> PersonRows {
    let ErasureOrder { tenant, subjects, tokens, .. } = order();
    PersonRows { tenant, subjects, tokens, streams: vec![StreamId(1), StreamId(2)] }
}

fn shard_load(shard: u64, bytes_per_second: u64) -> ShardLoad {
    ShardLoad { shard: ShardId(shard), bytes_per_second, cpu_micros_per_second: 1_500_000, measured_seconds: 300 }
}

fn node_standing() -> Standing {
    Standing {
        id: ErasureId(3 << 120),
        ordered_at: Timestamp(1_800_000_000_000_000),
        stand: NodeStand::Shredded(Timestamp(1)),
        hidden: 7,
        originals: 3,
        percent: 61,
        gone_in_seconds: Some(3_600),
    }
}

fn replies() -> Vec<RegionReply> {
    let stands = vec![
        NodeStand::Unknown,
        NodeStand::OtherKeys,
        NodeStand::Held,
        NodeStand::Failed,
        NodeStand::Ordered,
        NodeStand::Shredded(Timestamp(1)),
        NodeStand::Gone(Timestamp(2), [0xaa; 32]),
    ];
    let whole = ErasureOrder { only: None, ..order() };
    let standing = LegalHold { only: None, released: None, ..legal_hold() };
    let mut replies = vec![
        RegionReply::Stands(stands),
        RegionReply::Listed(KeysMark([9; 8]), vec![order(), whole], true),
        RegionReply::Held(vec![true, false]),
        RegionReply::Holds(KeysMark([9; 8]), vec![legal_hold(), standing], false),
        RegionReply::Standings(vec![node_standing()], true),
        RegionReply::Rows(RowBytes(vec![1, 2, 3])),
        RegionReply::RowsEnd(7),
        RegionReply::NotGiven(NotGiven::NotWhole),
        RegionReply::Begun,
        RegionReply::Refreshed,
    ];
    replies.extend(not_searched().into_iter().map(RegionReply::NotSearched));
    replies.push(RegionReply::Loads(true, vec![shard_load(1, 0), shard_load(1 << 40, u64::MAX)]));
    replies.push(RegionReply::Fates(batch_fates()));
    let not_taken = [NotTaken::Stranger, NotTaken::Unread, NotTaken::Stopping, NotTaken::Full(batch_failure())];
    replies.extend(not_taken.map(RegionReply::NotTaken));
    replies.push(RegionReply::Holdings(holdings()));
    replies
}

fn rows() -> Vec<Row> {
    let [add_node, add_key, set_policy, approve, ..] = <[Change; 6]>::try_from(changes()).expect("six");
    let Change::AddNode { node, addr } = add_node else { panic!("the first") };
    let Change::AddKey(key) = add_key else { panic!("the second") };
    let value = ApprovedValue::try_from("checkout".to_owned()).expect("a value");
    let approvals = vec![(region("tokyo"), signed(approve))];
    vec![
        Row::Counters(Counters { region: 3, tenant: 2, stream: 4, shard: 9, value: 70, policy: PolicyVersion(12) }),
        Row::Region { region: region("tokyo"), number: RegionNumber(1) },
        Row::Node(NodeRow { node, region: region("tokyo"), addr, signature: Some(signature()) }),
        Row::Tenant { id: TenantId(1), name: name("acme") },
        Row::Stream(StreamRow {
            id: StreamId(1),
            tenant: TenantId(1),
            name: name("app"),
            fields: vec![name("service")],
        }),
        Row::Policy(PolicyRow {
            stream: StreamId(2),
            region: region("tokyo"),
            signed: Some((PolicyVersion(3), signed(set_policy))),
            unsigned: Some((PolicyVersion(4), StreamPolicy::default())),
        }),
        Row::Shard(ShardRow {
            id: ShardId(8),
            stream: StreamId(1),
            region: region("tokyo"),
            owner: NodeId(1),
            epoch: Epoch(2),
        }),
        Row::Key(KeyRow { region: region("tokyo"), key, signature: None }),
        Row::Value(ValueRow { id: DictionaryId(64), tenant: TenantId(1), field: name("service"), value, approvals }),
        Row::Head(signed_head()),
        Row::Officer(OfficerRow { region: region("tokyo"), newest: signature(), version: PolicyVersion(3) }),
        Row::RegionKey(RegionKeyRow { region: region("tokyo"), key: region_public(), signature: Some(signature()) }),
        Row::Erasure(erasure()),
        Row::Transfer(TransferRow {
            from: region("tokyo"),
            to: region("singapore"),
            version: PolicyVersion(7),
            approval: Some(signed(approval())),
        }),
    ]
}

fn frames() -> Vec<MetadataFrame> {
    let addr = "127.0.0.1:7443".parse().expect("an address");
    let entries = vec![Entry { place: place(5), payload: Payload::Commands(commands()) }];
    let applied = vec![
        Applied::Done,
        Applied::Region(RegionNumber(1)),
        Applied::Tenant(TenantId(1)),
        Applied::Stream(StreamId(1)),
        Applied::Shard(ShardId(8), Epoch(2)),
        Applied::Values(vec![DictionaryId(64)]),
        Applied::Refused(CommandRefusal::OldSerial),
    ];
    vec![
        MetadataFrame::Append { vote: vote(), previous: Some(place(4)), entries, committed: Some(place(4)) },
        MetadataFrame::Appended(AppendOutcome::Partial(Some(place(4)))),
        MetadataFrame::RequestVote { vote: vote(), last: None },
        MetadataFrame::Voted { vote: vote(), granted: true, last: Some(place(4)) },
        MetadataFrame::Snapshot { vote: vote(), head: snapshot_head() },
        MetadataFrame::Rows(rows()),
        MetadataFrame::Installed(vote()),
        MetadataFrame::Propose(commands()),
        MetadataFrame::Proposed { index: 7, applied },
        MetadataFrame::ReadIndex,
        MetadataFrame::ReadAt(7),
        MetadataFrame::Join { node: NodeId(4), addr, voter: false },
        MetadataFrame::Leave { node: NodeId(4) },
        MetadataFrame::Done,
        MetadataFrame::Unavailable(Unavailable::NotLeader(Some(NodeId(1)))),
    ]
}
