//! What the metadata group's state machine does in a second, and how large its snapshot is: 1,000 tenants with 10 streams
//! each, in three regions, with a shard of every stream in each and a signed policy and key where Tokyo's officer gave one.
//!
//! `cargo bench -p domicile-meta --bench apply` prints one JSON object per figure. It measures; it asserts nothing about time.
//! As on a node, the state is handed out after every batch, so that the first change after it copies a table of pointers.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a bench prints and may panic"
)]

use std::time::Instant;

use domicile_meta::apply::apply;
use domicile_meta::state::State;
use domicile_proto::codec;
use domicile_proto::ids::{ConsentSerial, Epoch, Name, NodeId, Region, StreamId, TenantId};
use domicile_proto::metadata::{
    AccessKey, Applied, Change, Command, MAX_BATCH, Personal, Roles, Row, Rows, StreamPolicy,
};
use domicile_proto::officer::OfficerKey;
use domicile_proto::region_key::RegionKey;

const TENANTS: u32 = 1_000;
const STREAMS: u32 = 10;
const REGIONS: [&str; 3] = ["tokyo", "singapore", "frankfurt"];

fn main() {
    let officer = OfficerKey::from_pkcs8(&OfficerKey::generate().expect("random")).expect("just made");
    let mut serials = (1..).map(ConsentSerial);
    let mut sign = |place: &str, change| {
        let serial = serials.next().expect("without end");
        Command::Regional(officer.sign(region(place), serial, change))
    };
    let spoken = REGIONS.map(|_| RegionKey::from_text(&RegionKey::generate().expect("random")).expect("just made"));
    let keys_of_regions: Vec<Command> = REGIONS
        .into_iter()
        .zip(&spoken)
        .map(|(place, key)| sign(place, Change::SetRegionKey { key: key.public() }))
        .collect();
    let regions = REGIONS.map(|place| Command::AddRegion { region: region(place) });
    let nodes: Vec<Command> = (1..)
        .zip(REGIONS)
        .map(|(id, place)| sign(place, Change::AddNode { node: NodeId(id), addr: ([127, 0, 0, 1], 7_443).into() }))
        .collect();
    let mut state = State::default();
    run(&mut state, "regions and nodes", &[&regions[..], &nodes].concat());
    run(&mut state, "tenants", &tenants());
    run(&mut state, "streams", &streams());
    run(&mut state, "keys of regions", &keys_of_regions);
    run(&mut state, "shards", &shards(&spoken));
    let policies: Vec<Command> = (1..=TENANTS * STREAMS).map(|stream| sign(REGIONS[0], policy(stream))).collect();
    run(&mut state, "signed policies", &policies);
    let keys: Vec<Command> = (1..=TENANTS).map(|tenant| sign(REGIONS[0], key(tenant))).collect();
    run(&mut state, "signed keys", &keys);
    one_at_a_time(&state);
    snapshot(&state);
}

/// Applies commands in full batches; prints how many a second.
fn run(state: &mut State, what: &str, commands: &[Command]) {
    let begun = Instant::now();
    let mut handed_out = state.clone();
    for batch in commands.chunks(MAX_BATCH) {
        for command in batch {
            let applied = apply(state, command);
            assert!(!matches!(applied, Applied::Refused(_)), "{command:?}: {applied:?}");
        }
        handed_out = state.clone();
    }
    let seconds = begun.elapsed().as_secs_f64();
    drop(handed_out);
    let rate = commands.len() as f64 / seconds;
    println!(r#"{{"figure": "apply {what}", "commands": {}, "per_second": {rate:.0}}}"#, commands.len());
}

/// The worst case: one new stream in each batch, in a state that is full.
fn one_at_a_time(state: &State) {
    let mut state = state.clone();
    let commands: Vec<Command> =
        (1..=200).map(|n| Command::CreateStream { tenant: TenantId(n), stream: name("one-more") }).collect();
    let begun = Instant::now();
    for command in &commands {
        let handed_out = state.clone();
        apply(&mut state, command);
        drop(handed_out);
    }
    let micros = begun.elapsed().as_micros() as f64 / commands.len() as f64;
    println!(r#"{{"figure": "apply one stream alone, full state", "micros": {micros:.0}}}"#);
}

fn snapshot(state: &State) {
    let begun = Instant::now();
    let rows: Vec<Row> = state.rows().collect();
    let frames: Vec<Vec<u8>> = rows.iter().map(|row| codec::encode(row).expect("within its bound")).collect();
    let written = begun.elapsed();
    let bytes: usize = frames.iter().map(Vec::len).sum();
    let begun = Instant::now();
    let rows = frames.iter().map(|frame| codec::decode::<Row>(frame).expect("just encoded"));
    let again = State::from_rows(rows).expect("rows of a state");
    let read = begun.elapsed();
    assert!(again == *state);
    println!(
        r#"{{"figure": "snapshot", "rows": {}, "bytes": {bytes}, "encode_ms": {}, "decode_ms": {}}}"#,
        frames.len(),
        written.as_millis(),
        read.as_millis()
    );
}

fn tenants() -> Vec<Command> {
    (1..=TENANTS).map(|n| Command::CreateTenant { tenant: name(&format!("tenant-{n:0>4}")) }).collect()
}

fn streams() -> Vec<Command> {
    let of_tenant = |tenant| {
        (1..=STREAMS)
            .map(move |n| Command::CreateStream { tenant: TenantId(tenant), stream: name(&format!("stream-{n:0>2}")) })
    };
    (1..=TENANTS).flat_map(of_tenant).collect()
}

fn shards(spoken: &[RegionKey]) -> Vec<Command> {
    let of_stream = |stream| {
        let places = (1..).zip(REGIONS).zip(spoken);
        places.map(move |((owner, place), key)| key.assign(StreamId(stream), region(place), NodeId(owner), Epoch(0)))
    };
    (1..=TENANTS * STREAMS).flat_map(of_stream).collect()
}

fn policy(stream: u32) -> Change {
    let policy = StreamPolicy {
        personal: Personal::Subject(name("customer")),
        group_fields: vec![name("service"), name("host")],
        ..StreamPolicy::default()
    };
    Change::SetPolicy { tenant: TenantId((stream - 1) / STREAMS + 1), stream: StreamId(stream), policy }
}

fn key(tenant: u32) -> Change {
    let mut hash = [0; 32];
    hash[..4].copy_from_slice(&tenant.to_be_bytes());
    let roles = Roles { search: true, ..Roles::default() };
    Change::AddKey(AccessKey {
        id: name(&format!("key-{tenant}")),
        tenant: TenantId(tenant),
        hash,
        roles,
        rows: Rows::Redacted,
    })
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn region(text: &str) -> Region {
    text.parse().expect("a name")
}
