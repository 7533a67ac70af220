//! Ledgers against the wire, measured: relays count every datagram between three regions, and `audit reconcile` finds that the
//! ledgers explain them; then a counter is changed, and it says which route.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::Context as _;
use domicile_tests::cluster::fixture::{DAY_MS, bulk, utc};
use domicile_tests::cluster::relay::{Capture, Relay};
use domicile_tests::cluster::{Cluster, REGIONS, STOP_WITHIN};
use serde_json::{Value, json};

use crate::BINARY;
use crate::pack::said;

const STREAM: &str = "people";

/// Makes a node reach its peers through the relays.
fn tap(cluster: &Cluster, region: &str, relays: &[(String, SocketAddrV4, Relay)]) -> anyhow::Result<()> {
    let path = cluster.configuration(region);
    let text = std::fs::read_to_string(&path)?;
    let (before, via) = text.split_once("[link.via]").context("`dev` writes the addresses to dial")?;
    let (via, after) = via.split_once("\n[").map_or((via, String::new()), |(via, rest)| (via, format!("\n[{rest}")));
    let mut via = via.to_owned();
    for (_, target, relay) in relays.iter().filter(|(name, ..)| name != region) {
        anyhow::ensure!(via.contains(&target.to_string()), "{} does not dial {target}", path.display());
        via = via.replace(&target.to_string(), &relay.address.to_string());
    }
    Ok(std::fs::write(path, format!("{before}[link.via]{via}{after}"))?)
}

/// Packets and bytes by the regions they went between.
type Counted = BTreeMap<(String, String), (u64, u64)>;

/// IP packets in a capture, and their bytes.
fn counted(pcap: &Path, whose: &BTreeMap<SocketAddrV4, String>) -> Counted {
    let bytes = std::fs::read(pcap).unwrap();
    let (mut rest, mut sums) = (&bytes[24..], BTreeMap::new());
    while rest.len() >= 16 {
        let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let packet = &rest[16..16 + length];
        let end = |ip: usize, port: usize| {
            let ip: [u8; 4] = packet[ip..ip + 4].try_into().unwrap();
            SocketAddrV4::new(ip.into(), u16::from_be_bytes(packet[port..port + 2].try_into().unwrap()))
        };
        let route = (whose.get(&end(12, 20)), whose.get(&end(16, 22)));
        let (Some(from), Some(to)) = route else { panic!("a packet of nobody: {:?}", (end(12, 20), end(16, 22))) };
        let sum: &mut (u64, u64) = sums.entry((from.clone(), to.clone())).or_default();
        *sum = (sum.0 + 1, sum.1 + length as u64);
        rest = &rest[16 + length..];
    }
    sums
}

fn counters(sums: &Counted) -> String {
    let counter = |((from, to), (packets, bytes)): (&(String, String), &(u64, u64))| json!({"counter": {"family": "inet", "table": "domicile", "name": format!("{from}/{to}"), "packets": packets, "bytes": bytes}});
    json!({"nftables": sums.iter().map(counter).collect::<Vec<Value>>()}).to_string()
}

#[test]
fn what_the_wire_carried_is_what_the_ledgers_say_and_a_changed_counter_is_named() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    for region in REGIONS {
        let create = ["stream", "create", STREAM, "--tenant", "default", "--subject", "uid", "--region", region];
        cluster.command(&create).ok();
    }
    let directory = tempfile::tempdir().unwrap();
    let pcap = directory.path().join("link.pcap");
    let capture = Capture::create(&pcap).unwrap();
    let mut relays: Vec<(String, SocketAddrV4, Relay)> = Vec::new();
    let mut begun = 0;
    cluster
        .split_with(|cluster| {
            begun = now(directory.path());
            for name in REGIONS {
                let target: SocketAddrV4 = cluster.region(name).doors.link.parse()?;
                relays.push((name.to_owned(), target, Relay::start(target, Some(capture.clone()))?));
            }
            REGIONS.iter().try_for_each(|region| tap(cluster, region, &relays))
        })
        .unwrap();
    let tokyo = cluster.region("tokyo");
    let events = (0..200).map(|n| {
        json!({"timestamp": utc(DAY_MS + n * 100), "level": "INFO", "uid": format!("u-{}", n % 20), "message": "paid"})
    });
    assert_eq!(tokyo.bulk(STREAM, &bulk(&events.collect::<Vec<_>>(), None), &[]).unwrap().status, 200);
    tokyo.refresh(STREAM);
    let asked = json!({"stream": STREAM, "ask": {"histogram": "1m"}, "regions": ["*"], "from": utc(DAY_MS), "to": utc(DAY_MS + 7_200_000)});
    for region in cluster.regions().iter().cycle().take(60) {
        assert_eq!(region.api("search", "POST", "/api/v1/search", &asked).unwrap().status, 200);
    }
    let ended = now(directory.path());
    assert!(cluster.stop(STOP_WITHIN));
    let both = relays.iter().flat_map(|(name, target, relay)| [(*target, name.clone()), (relay.address, name.clone())]);
    let whose: BTreeMap<SocketAddrV4, String> = both.collect();
    drop(relays);
    capture.flush().unwrap();

    let honest = counted(&pcap, &whose);
    assert_eq!(honest.len(), 6, "three regions speak with each other: {honest:?}");
    let ledgers: Vec<PathBuf> = REGIONS.iter().map(|name| ledger(&cluster, name)).collect();
    let from = utc(begun);
    let reconcile = |sums: &Counted| -> Output {
        let file = directory.path().join("counters.json");
        std::fs::write(&file, counters(sums)).unwrap();
        let mut command = Command::new(BINARY);
        command.args(["audit", "reconcile"]).args(&ledgers).arg("--flow-logs").arg(file);
        command.args(["--wire-from", &from]).output().unwrap()
    };
    let output = reconcile(&honest);
    println!("{} ms, {honest:?}\n{}", ended - begun, said(&output));
    assert!(output.status.success(), "{}{}", said(&output), String::from_utf8_lossy(&output.stderr));
    assert!(said(&output).starts_with("SOUND: in 6 route-hours on 6 routes"), "{}", said(&output));

    let route = ("tokyo".to_owned(), "frankfurt".to_owned());
    let mut more = honest.clone();
    // A mebibyte in full packets, beside all that is honest.
    let hidden = more.get_mut(&route).unwrap();
    *hidden = (hidden.0 + (1 << 20) / 1_200, hidden.1 + (1 << 20));
    let mut unknown = honest.clone();
    unknown.insert(("tokyo".to_owned(), "osaka".to_owned()), (1, 1));
    for (sums, wanted) in [(more, "tokyo to frankfurt"), (unknown, "tokyo to osaka")] {
        let output = reconcile(&sums);
        let first = said(&output).lines().next().unwrap_or_default().to_owned();
        assert!(!output.status.success() && first.starts_with("NOT SOUND") && first.contains(wanted), "{first}");
    }
}

pub(crate) fn ledger(cluster: &Cluster, region: &str) -> PathBuf {
    let open = cluster.configuration(region).parent().unwrap().to_path_buf();
    let mut dirs = vec![open];
    while let Some(dir) = dirs.pop() {
        if dir.join("log/checkpoint").is_file() {
            return dir;
        }
        dirs.extend(std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()));
    }
    panic!("`{region}` has a ledger")
}

/// Now, in milliseconds since 1970, by the clock of the file system.
pub(crate) fn now(directory: &Path) -> i64 {
    let file = directory.join("now");
    std::fs::write(&file, "").unwrap();
    let at = std::fs::metadata(file).unwrap().modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(at.as_millis()).unwrap()
}
