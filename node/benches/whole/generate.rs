//! Lines for people who have no file: about 300 bytes each, of fifty services, deterministic by seed.

use std::fmt::Write as _;

const TEMPLATES: [&str; 16] = [
    "Receiving block blk_# src: /10.251.#.# dest: /10.250.#.#",
    "PacketResponder # for block blk_# terminating",
    "Failed password for invalid user guest from 10.0.#.# port # ssh2",
    "connection closed by peer after # ms, # bytes in flight",
    "GET /api/v2/orders/# HTTP/1.1 status 200 len # time 0.#",
    "task # of stage # finished on executor # in # ms",
    "error while reading page # of file #: checksum does not fit",
    "cache miss for key item-# loaded in # us from replica #",
    "session # opened by gateway # for client #",
    "注文 # を受け付けました 在庫 # 件",
    "訂單 # 已經確認 等待付款 # 秒",
    "Bestellung # wurde an Lager # weitergeleitet",
    "connect to upstream # timed out after # ms, retry #",
    "user profile # updated, version #",
    "Address change detected. Old: node-#:9137 New: node-#:9342",
    "scheduler assigned container # to host # with # vcores",
];
const LEVELS: [&str; 5] = ["INFO", "WARN", "DEBUG", "ERROR", "FATAL"];

struct Random(u64);

impl Random {
    /// SplitMix64 (Steele, Lea and Flood 2014).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// At least `bytes` bytes of NDJSON over one day; three lines carry the trace id that Q1 looks for.
pub(crate) fn lines(bytes: u64, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut out = String::with_capacity(bytes as usize + 1024);
    let events = (bytes / 300).max(1);
    for event in 0..events {
        if out.len() as u64 >= bytes {
            break;
        }
        let millis = event * 86_400_000 / events;
        let (hour, minute) = (millis / 3_600_000, millis / 60_000 % 60);
        let (second, milli) = (millis / 1_000 % 60, millis % 1_000);
        let level = match random.below(1_000) {
            0..=7 => LEVELS[4],
            8..=35 => LEVELS[3],
            36..=67 => LEVELS[2],
            68..=170 => LEVELS[1],
            _ => LEVELS[0],
        };
        let trace = match event * 4 / events {
            quarter if quarter > 0 && event == quarter * events / 4 => "0123456789abcdef0123456789abcdef".to_owned(),
            _ => format!("{:016x}{:016x}", random.next(), random.next()),
        };
        let (service, host, user) = (random.below(50).min(random.below(50)), random.below(200), random.below(100_000));
        let _ = write!(
            out,
            "{{\"timestamp\":\"2026-11-20T{hour:02}:{minute:02}:{second:02}.{milli:03}Z\",\"level\":\"{level}\",\
             \"service\":\"service-{service:02}\",\"host\":\"node-{host:03}.dc2.internal\",\"trace_id\":\"{trace}\",\
             \"uid\":\"u{user:07}\",\"ip\":\"10.2.{}.{}\",\"message\":\"",
            random.below(256),
            random.below(256)
        );
        for part in TEMPLATES[random.below(16) as usize].split_inclusive('#') {
            match part.strip_suffix('#') {
                Some(text) => {
                    let _ = write!(out, "{text}{}", random.below(4_096));
                }
                None => out.push_str(part),
            }
        }
        if random.below(100) < 2 {
            let _ = write!(out, " contact user{}@example.com card 4111 1111 1111 1111", random.below(1_000));
        }
        out.push_str("\"}\n");
    }
    out.into_bytes()
}
