//! What is encoded is decoded again, for messages of every kind; and mutated bytes never make a decoder panic.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod samples;

// cargo-bolero builds every test of the package with hooks that bolero alone resolves.
use bolero as _;
use domicile_proto::aggregate::Aggregate;
use domicile_proto::aggregate::cell::Cell;
use domicile_proto::aggregate::date_grid::{DateGrid, Grid};
use domicile_proto::aggregate::sum::SumLayout;
use domicile_proto::aggregate::term_grid::TermGrid;
use domicile_proto::aggregate::terms::Terms;
use domicile_proto::codec::{CodecError, Message, decode, encode};
use domicile_proto::ids::{
    DictionaryId, FieldId, KThreshold, Level, Name, NodeId, PolicyVersion, QuestionId, RecordCount, Region,
    RegionNumber, ShardId, StreamId, TenantId, TimeRange, Timestamp,
};
use domicile_proto::message::answer::{Answer, AnswerHeader, Outcome};
use domicile_proto::message::batch::{
    BatchFailure, BatchFates, BatchForm, BatchRecord, GivenId, MAX_BATCH, MAX_BATCH_RECORDS, MAX_GIVEN_ID, RecordBatch,
    RecordBytes, RecordFate,
};
use domicile_proto::message::gated::{AskedBy, DrawnFrom, GatedQuestion};
use domicile_proto::message::health::Probe;
use domicile_proto::message::ledger::{HeadOffer, MAX_PROOF, SignedHead, TreeHash};
use domicile_proto::message::metadata::{Entry, LogPlace, Membership, MetadataFrame, Payload, SnapshotHead, Vote};
use domicile_proto::message::question::{Ask, Filter, Literal, Question, TextMatch, TextPlace};
use domicile_proto::message::region::{Asker, Holding, RegionAsk, RegionReply};
use domicile_proto::metadata::{ApprovedValue, Change, Command, RegionalChange, Row, Rows};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn comes_back<M: Message + PartialEq + std::fmt::Debug>(message: &M) -> Result<(), TestCaseError> {
    let frame = encode(message).expect("within its limit");
    let again = decode::<M>(&frame);
    prop_assert_eq!(again.as_ref(), Ok(message));
    Ok(())
}

fn name() -> impl Strategy<Value = Name> {
    "[a-z0-9][a-z0-9._-]{0,62}".prop_map(|text| text.parse().expect("a name"))
}

fn range() -> impl Strategy<Value = TimeRange> {
    any::<(i64, i64)>().prop_map(|(from, to)| TimeRange { from: Timestamp(from), to: Timestamp(to) })
}

fn grid() -> impl Strategy<Value = Grid> {
    any::<(i64, u32, u32)>().prop_map(|(first, step, len)| Grid { first, step, len })
}

fn ask() -> impl Strategy<Value = Ask> {
    let field = || any::<u16>().prop_map(FieldId);
    prop_oneof![
        Just(Ask::Count),
        grid().prop_map(Ask::DateGrid),
        field().prop_map(Ask::Terms),
        (field(), grid()).prop_map(|(field, grid)| Ask::TermGrid(field, grid)),
        field().prop_map(Ask::Numbers),
        (field(), option::of(field()), option::of(grid())).prop_map(|(field, by, grid)| Ask::Sum(SumLayout {
            field,
            by,
            grid
        })),
        (field(), any::<u16>()).prop_map(|(field, per_mille)| Ask::Quantile(field, per_mille)),
        field().prop_map(Ask::Distinct),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    let level = (0..8_u64).prop_map(|number| Level::from_number(number).expect("a level"));
    let literal = "\\PC{1,40}".prop_map(|text| Literal::try_from(text).expect("in bounds"));
    prop_oneof![
        (vec(level, 0..9), any::<bool>()).prop_map(|(levels, negated)| Filter::Level { levels, negated }),
        (any::<u16>(), vec(any::<u32>().prop_map(DictionaryId), 0..65), any::<bool>())
            .prop_map(|(field, values, negated)| Filter::Value { field: FieldId(field), values, negated }),
        (literal.clone(), any::<bool>()).prop_map(|(literal, negated)| Filter::Text {
            how: TextMatch::Prefix,
            literal,
            negated
        }),
        (literal, any::<bool>(), any::<bool>()).prop_map(|(literal, is_message, negated)| Filter::TextIn {
            place: if is_message { TextPlace::Message } else { TextPlace::Exception },
            how: TextMatch::Phrase,
            literal,
            negated
        }),
    ]
}

fn question() -> impl Strategy<Value = Question> {
    (any::<(u128, u32, u32, u32)>(), range(), vec(filter(), 0..17), ask()).prop_map(
        |((id, tenant, stream, deadline_ms), range, filters, ask)| Question {
            id: QuestionId(id),
            tenant: TenantId(tenant),
            stream: StreamId(stream),
            range,
            filters,
            ask,
            deadline_ms,
        },
    )
}

fn cell() -> impl Strategy<Value = Cell> {
    any::<(u64, u16)>().prop_map(|(records, withheld)| Cell { records: RecordCount(records), withheld })
}

fn aggregate() -> impl Strategy<Value = Aggregate> {
    let id = || any::<u32>().prop_map(DictionaryId);
    prop_oneof![
        (grid(), vec(cell(), 0..50)).prop_map(|(grid, cells)| Aggregate::DateGrid(DateGrid { grid, cells })),
        (vec((id(), cell()), 0..50), cell()).prop_map(|(cells, other)| Aggregate::Terms(Terms {
            field: FieldId(1),
            cells,
            other
        })),
        (grid(), vec((id(), vec(cell(), 0..9)), 0..9), vec(cell(), 0..9))
            .prop_map(|(grid, rows, other)| { Aggregate::TermGrid(TermGrid { field: FieldId(1), grid, rows, other }) }),
    ]
}

fn given() -> impl Strategy<Value = Option<GivenId>> {
    option::of("\\PC{1,40}".prop_map(|text| GivenId(text.into())))
}

/// A batch within its bounds, of some bytes.
fn batch() -> impl Strategy<Value = RecordBatch> {
    let record = (any::<(u16, bool)>(), given(), any::<(u32, u32)>());
    let of = (name(), any::<(u32, i64, bool, bool)>(), vec(any::<u32>(), 1..9), given());
    (of, vec(record, 1..30), vec(any::<u8>(), 0..400)).prop_map(|(of, records, body)| {
        let (key, (tenant, at, is_text, refresh), mut streams, id) = of;
        if id.is_some() {
            streams.truncate(1);
        }
        let (count, length) = (streams.len() as u16, body.len() as u32 + 1);
        let records = records.into_iter().map(|((stream, is_create), id, (a, b))| {
            let (a, b) = (a % length, b % length);
            BatchRecord { stream: stream % count, is_create, id, from: a.min(b), to: a.max(b) }
        });
        RecordBatch {
            asker: Asker { key, tenant: TenantId(tenant), rows: Rows::Redacted },
            streams: streams.into_iter().map(StreamId).collect(),
            form: if is_text { BatchForm::Text } else { BatchForm::Json },
            received_at: Timestamp(at),
            id,
            refresh,
            records: records.collect(),
            body: RecordBytes(body),
        }
    })
}

fn fates() -> impl Strategy<Value = BatchFates> {
    let fate = prop_oneof![
        any::<u64>().prop_map(RecordFate::Created),
        any::<u64>().prop_map(RecordFate::Noop),
        Just(RecordFate::Dropped),
        any::<(u16, bool)>().prop_map(|(which, is_told)| RecordFate::Failed(which, is_told)),
        Just(RecordFate::NotMine),
    ];
    let failure = (any::<u16>(), "\\PC{0,40}", option::of(any::<u32>())).prop_map(|(status, text, retry_after)| {
        BatchFailure { status, kind: text.clone().into(), code: text.clone().into(), reason: text.into(), retry_after }
    });
    let ids = vec((any::<u32>(), "\\PC{0,40}".prop_map(|text| GivenId(text.into()))), 0..9);
    (vec(fate, 0..60), vec(failure, 0..5), ids, any::<bool>()).prop_map(|(fates, failures, ids, repeated)| BatchFates {
        fates,
        failures,
        ids,
        repeated,
    })
}

/// The largest of each kind: what is within its bounds fits its frame.
#[test]
fn the_largest_batch_fits_its_frame_and_one_byte_more_is_none() {
    let asker = Asker { key: "k".parse().expect("a name"), tenant: TenantId(u32::MAX), rows: Rows::Full };
    let whole = |bytes: usize, records: usize, id: usize| RecordBatch {
        asker: asker.clone(),
        streams: vec![StreamId(u32::MAX)],
        form: BatchForm::Json,
        received_at: Timestamp(i64::MAX),
        id: Some(GivenId("b".repeat(MAX_GIVEN_ID).into())),
        refresh: true,
        records: (0..records)
            .map(|_| BatchRecord {
                stream: 0,
                is_create: true,
                id: (id > 0).then(|| GivenId("i".repeat(id).into())),
                from: bytes as u32,
                to: bytes as u32,
            })
            .collect(),
        body: RecordBytes(vec![0xff; bytes]),
    };
    for (records, id) in [(1, 0), (MAX_BATCH_RECORDS, 0), (20_000, MAX_GIVEN_ID)] {
        let bytes = MAX_BATCH - (whole(0, records, id).weight());
        let largest = whole(bytes, records, id);
        assert!(largest.is_bounded() && largest.weight() == MAX_BATCH);
        let ask = RegionAsk::Batch(largest);
        let frame = encode(&ask).expect("within its limit");
        assert!(decode::<RegionAsk>(&frame).expect("a frame") == ask);
        assert!(!whole(bytes + 1, records, id).is_bounded());
    }
    assert!(!whole(0, MAX_BATCH_RECORDS + 1, 0).is_bounded() && !whole(0, 0, 0).is_bounded());
    assert!(!whole(0, 1, MAX_GIVEN_ID + 1).is_bounded());
    let canary =
        RecordBatch { body: RecordBytes(b"canary".to_vec()), id: Some(GivenId("canary".into())), ..whole(6, 2, 3) };
    let shown = format!("{:?}", RegionAsk::Batch(canary));
    assert!(!shown.contains("canary") && !shown.contains("iii") && !shown.contains("99, 97"), "{shown}");
    // The longest answer: every record of the largest batch, and every id of it replaced.
    let fates = vec![RecordFate::Created(u64::MAX); MAX_BATCH_RECORDS];
    let ids = (0..16_384).map(|place| (place, GivenId("x".repeat(MAX_GIVEN_ID).into()))).collect();
    assert!(encode(&RegionReply::Fates(BatchFates { fates, failures: Vec::new(), ids, repeated: false })).is_ok());
}

fn place() -> impl Strategy<Value = LogPlace> {
    any::<(u64, u64, u64)>().prop_map(|(term, node, index)| LogPlace { term, node: NodeId(node), index })
}

fn vote() -> impl Strategy<Value = Vote> {
    any::<(u64, u64, bool)>().prop_map(|(term, node, committed)| Vote { term, node: NodeId(node), committed })
}

fn address() -> impl Strategy<Value = std::net::SocketAddr> {
    any::<(std::net::IpAddr, u16)>().prop_map(Into::into)
}

fn membership() -> impl Strategy<Value = Membership> {
    let id = || any::<u64>().prop_map(NodeId);
    (vec(vec(id(), 0..5), 0..3), vec((id(), address()), 0..9)).prop_map(|(voters, nodes)| Membership { voters, nodes })
}

fn command() -> impl Strategy<Value = Command> {
    let value = "[^\\p{Cc}]{1,64}".prop_map(|text| ApprovedValue::try_from(text).expect("a value"));
    prop_oneof![
        name().prop_map(|region| Command::AddRegion { region: Region(region) }),
        name().prop_map(|tenant| Command::CreateTenant { tenant }),
        (any::<u32>(), name()).prop_map(|(tenant, stream)| Command::CreateStream { tenant: TenantId(tenant), stream }),
        (name(), any::<u64>(), address()).prop_map(|(region, node, addr)| {
            let change = Change::AddNode { node: NodeId(node), addr };
            Command::Regional(RegionalChange { region: Region(region), change, signature: None })
        }),
        (name(), name(), vec(value, 0..20)).prop_map(|(region, field, values)| {
            let change = Change::ApproveValues { tenant: TenantId(1), field, values };
            Command::Regional(RegionalChange { region: Region(region), change, signature: None })
        }),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    let payload = prop_oneof![
        Just(Payload::Blank),
        vec(command(), 0..20).prop_map(Payload::Commands),
        membership().prop_map(Payload::Membership),
    ];
    (place(), payload).prop_map(|(place, payload)| Entry { place, payload })
}

fn head() -> impl Strategy<Value = SignedHead> {
    any::<(u16, u64, i64, [u8; 32], [u8; 32])>().prop_map(|(region, size, at, root, half)| SignedHead {
        region: RegionNumber(region),
        size,
        root,
        at: Timestamp(at),
        signature_r: half,
        signature_s: root,
    })
}

proptest! {
    #[test]
    fn batches_come_back_and_none_points_outside_its_body(batch in batch(), fates in fates()) {
        prop_assert!(batch.is_bounded());
        comes_back(&RegionAsk::Batch(batch.clone()))?;
        comes_back(&RegionReply::Fates(fates))?;
        let change = |change: fn(&mut RecordBatch)| {
            let mut changed = batch.clone();
            change(&mut changed);
            changed.is_bounded()
        };
        prop_assert!(!change(|batch| batch.records[0].to = batch.body.0.len() as u32 + 1));
        prop_assert!(!change(|batch| (batch.records[0].from, batch.records[0].to) = (1, 0)));
        prop_assert!(!change(|batch| batch.records[0].stream = batch.streams.len() as u16));
        prop_assert!(!change(|batch| batch.records[0].id = Some(GivenId("".into()))));
        prop_assert!(!change(|batch| batch.streams = vec![StreamId(1); 257]));
        prop_assert!(!change(|batch| {
            batch.id = Some(GivenId("one".into()));
            batch.streams = vec![StreamId(1), StreamId(2)];
        }), "one id, one stream");
    }

    #[test]
    fn ledger_heads_come_back_with_the_longest_proof(
        head in head(),
        key: [u8; 32],
        known: u64,
        proof in vec(any::<[u8; 32]>().prop_map(TreeHash), 0..=MAX_PROOF),
    ) {
        comes_back(&HeadOffer { head, key, known, proof })?;
    }

    #[test]
    fn questions_come_back(question in question()) {
        // The strategy goes beyond the limit now and then: then it is refused and nothing else.
        match encode(&question) {
            Ok(_) => comes_back(&question)?,
            Err(error) => prop_assert!(matches!(error, CodecError::TooLarge { .. }), "{}", error),
        }
    }

    #[test]
    fn answers_come_back(id in any::<u128>(), range in range(), aggregate in aggregate()) {
        let header = AnswerHeader::new(QuestionId(id), range);
        comes_back(&Answer { header, outcome: Outcome::Aggregate(aggregate) })?;
    }

    #[test]
    fn carried_questions_and_what_streams_hold_come_back(
        question in question(),
        (named, key, crosses) in (name(), option::of(name()), any::<bool>()),
        (tenant, wait_ms, rules, k) in any::<(u32, u32, [u8; 32], Option<std::num::NonZeroU32>)>(),
        (shard, upto, journal, policy) in any::<(u64, u64, u64, u64)>(),
        holdings in vec(any::<(u64, u64, Option<(i64, i64)>)>(), 0..9),
    ) {
        let asker = |key| Asker { key, tenant: TenantId(tenant), rows: Rows::Redacted };
        let by = key.map_or_else(
            || AskedBy::Region(Region(named.clone())),
            |key| AskedBy::Key(asker(key), crosses),
        );
        comes_back(&RegionAsk::Gated(GatedQuestion { by, question, policy: PolicyVersion(policy), wait_ms }))?;
        comes_back(&DrawnFrom { shard: ShardId(shard), upto, journal, rules, k: k.map(KThreshold) })?;
        let holding = |(records, bytes, ends): (u64, u64, Option<(i64, i64)>)| {
            Holding { records, bytes, ends: ends.map(|(from, to)| (Timestamp(from), Timestamp(to))) }
        };
        let streams = (0..holdings.len()).map(|at| StreamId(at as u32)).collect();
        comes_back(&RegionAsk::Holdings(asker(named), streams))?;
        comes_back(&RegionReply::Holdings(holdings.into_iter().map(holding).collect()))?;
    }

    #[test]
    fn probes_votes_and_heads_come_back(nonce in any::<u64>(), vote in vote(), head in head()) {
        comes_back(&Probe { nonce })?;
        comes_back(&vote)?;
        comes_back(&head)?;
        comes_back(&Row::Head(head))?;
    }

    #[test]
    fn entries_and_frames_come_back(
        entries in vec(entry(), 0..5),
        vote in vote(),
        previous in option::of(place()),
        membership in membership(),
    ) {
        for entry in &entries {
            comes_back(entry)?;
        }
        let head = SnapshotHead { last: previous, membership: (previous, membership), rows: 1 };
        comes_back(&head)?;
        comes_back(&MetadataFrame::Snapshot { vote, head })?;
        comes_back(&MetadataFrame::Append { vote, previous, entries, committed: None })?;
    }

    #[test]
    fn rows_come_back(region in name(), number in any::<u16>()) {
        comes_back(&Row::Region { region: Region(region), number: RegionNumber(number) })?;
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in vec(any::<u8>(), 0..200), kind in 0..15_u8) {
        let mut frame = b"DMCL".to_vec();
        frame.extend([kind, 1]);
        frame.extend(u32::try_from(bytes.len()).expect("small").to_be_bytes());
        frame.extend(crc32fast::hash(&bytes).to_be_bytes());
        frame.extend(&bytes);
        for decode in samples::DECODERS {
            // Must not panic; most bytes are no message.
            let _ = decode(&frame);
            let _ = decode(&bytes);
        }
    }
}

#[test]
fn every_sample_comes_back() {
    for sample in samples::all() {
        assert_eq!((sample.again)(&sample.frame).as_ref(), Ok(&sample.frame), "{}", sample.name);
    }
}
