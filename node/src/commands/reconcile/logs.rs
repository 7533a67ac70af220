//! What counters that are not ours say -> how many bytes went from one address to another, and when.
//!
//! The form is recognised by what is in the file: flow logs of AWS, Google Cloud, Azure (security groups and virtual networks)
//! and Alibaba Cloud, and the counters of nftables. Judges nothing.

use std::net::IpAddr;

use anyhow::{Context, bail};
use serde_json::Value;

/// Bytes that went one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    /// From and to.
    pub(super) ends: Ends,
    /// In seconds since 1970, the end exclusive; `None` for a counter without times.
    pub(super) span: Option<(i64, i64)>,
    pub(super) bytes: u64,
    /// In how many packets, where that was counted too.
    pub(super) packets: Option<u64>,
    /// Who counted. The same packets may be counted at both ends.
    pub(super) observer: String,
}

/// Bytes by which the header of IPv6 is longer than that of IPv4.
pub(super) const BEYOND_V4: u64 = 20;

impl Flow {
    /// Bytes that the addresses of its packets take beyond those of IPv4.
    pub(super) fn beyond_v4(&self) -> u64 {
        if self.is_v6() { self.packets.unwrap_or_default().saturating_mul(BEYOND_V4) } else { 0 }
    }

    /// Whether its addresses are those of IPv6.
    pub(super) const fn is_v6(&self) -> bool {
        matches!(self.ends, Ends::Addresses(IpAddr::V6(_), _))
    }
}

/// Between what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// Two addresses.
    Addresses(IpAddr, IpAddr),
    /// Two regions: a counter that is named `FROM/TO`.
    Regions(String, String),
}

/// What a file holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) flows: Vec<Flow>,
    /// Intervals of which the provider itself says that it left records out.
    pub(super) skipped: u64,
}

/// Reads a file of any known form.
///
/// # Errors
/// Where it has none, or a line of it does not.
pub(super) fn read(text: &str) -> anyhow::Result<Log> {
    let mut log = Log::default();
    if !text.trim_start().starts_with(['{', '[']) {
        lines(text, &mut log)?;
        return Ok(log);
    }
    for (number, document) in serde_json::Deserializer::from_str(text).into_iter::<Value>().enumerate() {
        let document = document.with_context(|| format!("document {} is no JSON", number + 1))?;
        let all = match document {
            Value::Array(all) => all,
            one => vec![one],
        };
        for one in &all {
            json(one, &mut log).with_context(|| format!("in document {}", number + 1))?;
        }
    }
    Ok(log)
}

/// Fields of the default format, which has no header: version 2 of AWS.
const AWS: [&str; 14] = [
    "version",
    "account-id",
    "interface-id",
    "srcaddr",
    "dstaddr",
    "srcport",
    "dstport",
    "protocol",
    "packets",
    "bytes",
    "start",
    "end",
    "action",
    "log-status",
];

fn lines(text: &str, log: &mut Log) -> anyhow::Result<()> {
    let mut names: Vec<&str> = AWS.to_vec();
    for (number, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.is_empty() {
            continue;
        }
        if words.contains(&"srcaddr") {
            names = words;
            continue;
        }
        if words.len() != names.len() {
            bail!("line {} has {} fields and not {}; is its header missing?", number + 1, words.len(), names.len());
        }
        let field =
            |name: &str| names.iter().position(|known| *known == name).and_then(|place| words.get(place)).copied();
        row(&field, log).with_context(|| format!("line {}", number + 1))?;
    }
    Ok(())
}

/// One row of AWS or Alibaba Cloud.
fn row<'a>(field: &dyn Fn(&str) -> Option<&'a str>, log: &mut Log) -> anyhow::Result<()> {
    match field("log-status") {
        Some("SKIPDATA") => {
            log.skipped += 1;
            return Ok(());
        }
        Some("NODATA") => return Ok(()),
        _ => {}
    }
    if field("action").is_some_and(|action| action != "ACCEPT") {
        return Ok(());
    }
    let wanted = |name: &'static str| field(name).with_context(|| format!("there is no `{name}`"));
    let ends = Ends::Addresses(address(wanted("srcaddr")?)?, address(wanted("dstaddr")?)?);
    let (start, end) = (number(wanted("start")?)?, number(wanted("end")?)?);
    let observer = field("interface-id").or_else(|| field("eni-id")).unwrap_or_default().to_owned();
    let bytes = wanted("bytes")?.parse().context("`bytes` is no number")?;
    let packets = field("packets").and_then(|packets| packets.parse().ok());
    log.flows.push(Flow { ends, span: Some((start, end.max(start) + 1)), bytes, packets, observer });
    Ok(())
}

fn json(one: &Value, log: &mut Log) -> anyhow::Result<()> {
    if let Some(all) = one.get("nftables").and_then(Value::as_array) {
        all.iter().filter_map(|object| object.get("counter")).for_each(|counter| nft(counter, log));
        return Ok(());
    }
    if let Some(records) = one.get("records").and_then(Value::as_array) {
        return records.iter().try_for_each(|record| azure(record, log));
    }
    let google = one.get("jsonPayload").unwrap_or(one);
    if google.get("connection").is_some() {
        return gcp(google, log);
    }
    if one.get("srcaddr").is_some() || one.get("log-status").is_some() {
        return row(&|name| one.get(name).and_then(Value::as_str), log);
    }
    bail!("this is none of the forms of flow logs that are known")
}

/// A counter that is named after a route; others are about something else.
fn nft(counter: &Value, log: &mut Log) {
    let name = counter.get("name").and_then(Value::as_str).unwrap_or_default();
    let bytes = counter.get("bytes").and_then(Value::as_u64);
    if let (Some((from, to)), Some(bytes)) = (name.split_once('/'), bytes) {
        let observer = counter.get("table").and_then(Value::as_str).unwrap_or_default().to_owned();
        let (ends, packets) =
            (Ends::Regions(from.to_owned(), to.to_owned()), counter.get("packets").and_then(Value::as_u64));
        log.flows.push(Flow { ends, span: None, bytes, packets, observer });
    }
}

fn gcp(payload: &Value, log: &mut Log) -> anyhow::Result<()> {
    let text = |place: &str| {
        let found = payload.pointer(place).map(|found| found.as_str().map_or_else(|| found.to_string(), str::to_owned));
        found.with_context(|| format!("there is no `{place}`"))
    };
    let ends = Ends::Addresses(address(&text("/connection/src_ip")?)?, address(&text("/connection/dest_ip")?)?);
    let (start, end) = (instant(&text("/start_time")?)?, instant(&text("/end_time")?)?);
    let bytes = text("/bytes_sent")?.parse().context("`bytes_sent` is no number")?;
    let observer = text("/reporter").unwrap_or_default();
    let packets = text("/packets_sent").ok().and_then(|packets| packets.parse().ok());
    log.flows.push(Flow { ends, span: Some((start, end.max(start) + 1)), bytes, packets, observer });
    Ok(())
}

/// Both kinds: tuples of a security group (seconds) and of a virtual network (milliseconds, one field more).
fn azure(record: &Value, log: &mut Log) -> anyhow::Result<()> {
    let observer = record.get("macAddress").and_then(Value::as_str).unwrap_or_default();
    let groups = record.pointer("/properties/flows").or_else(|| record.pointer("/flowRecords/flows"));
    for group in groups.and_then(Value::as_array).into_iter().flatten() {
        let inner = group.get("flows").or_else(|| group.get("flowGroups")).and_then(Value::as_array);
        for inner in inner.into_iter().flatten() {
            for tuple in inner.get("flowTuples").and_then(Value::as_array).into_iter().flatten() {
                let tuple = tuple.as_str().context("a flow tuple is no text")?;
                azure_tuple(tuple, observer, log).with_context(|| format!("flow tuple `{tuple}`"))?;
            }
        }
    }
    Ok(())
}

/// Length of the interval a tuple of Azure sums up, in seconds.
const AZURE_INTERVAL: i64 = 60;

fn azure_tuple(tuple: &str, observer: &str, log: &mut Log) -> anyhow::Result<()> {
    let fields: Vec<&str> = tuple.split(',').map(str::trim).collect();
    let field = |place: usize| fields.get(place).copied().with_context(|| format!("there is no field {}", place + 1));
    let is_group = matches!(field(7)?, "A" | "D");
    let at = number(field(0)?)?;
    let (at, is_denied) = if is_group { (at, field(7)? == "D") } else { (at / 1_000, field(7)? == "D") };
    if is_denied {
        return Ok(());
    }
    let ends = (address(field(1)?)?, address(field(2)?)?);
    // A flow that only begins has no counts yet.
    for (place, (from, to)) in [(10, ends), (12, (ends.1, ends.0))] {
        let bytes = field(place).unwrap_or_default();
        if bytes.is_empty() {
            continue;
        }
        // The packets stand before their bytes.
        let packets = field(place - 1).unwrap_or_default().parse().ok();
        let (ends, span) = (Ends::Addresses(from, to), Some((at - AZURE_INTERVAL, at)));
        let bytes = bytes.parse().context("bytes are no number")?;
        log.flows.push(Flow { ends, span, bytes, packets, observer: observer.to_owned() });
    }
    Ok(())
}

fn address(text: &str) -> anyhow::Result<IpAddr> {
    text.parse().with_context(|| format!("`{text}` is no address"))
}

fn number(text: &str) -> anyhow::Result<i64> {
    text.parse().with_context(|| format!("`{text}` is no number"))
}

fn instant(text: &str) -> anyhow::Result<i64> {
    let at: jiff::Timestamp = text.parse().with_context(|| format!("`{text}` is no time"))?;
    Ok(at.as_second())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn flow(from: &str, to: &str, span: (i64, i64), (packets, bytes): (u64, u64), observer: &str) -> Flow {
        let ends = Ends::Addresses(from.parse().expect("an address"), to.parse().expect("an address"));
        Flow { ends, span: Some(span), bytes, packets: Some(packets), observer: observer.to_owned() }
    }

    #[test]
    fn a_flow_log_of_aws_is_read_with_and_without_a_header() {
        let rows = "2 1 eni-a 10.0.0.4 10.1.0.4 7443 7443 17 9 1200 1700000000 1700000059 ACCEPT OK\n\
                    2 1 eni-a 10.0.0.4 10.1.0.4 7443 22 6 9 40 1700000000 1700000059 REJECT OK\n\
                    2 1 eni-a - - - - - - - 1700000060 1700000119 - NODATA\n\
                    2 1 eni-a - - - - - - - 1700000120 1700000179 - SKIPDATA\n";
        let expected = vec![flow("10.0.0.4", "10.1.0.4", (1_700_000_000, 1_700_000_060), (9, 1_200), "eni-a")];
        assert_eq!(read(rows).expect("read"), Log { flows: expected.clone(), skipped: 1 });
        let named =
            "bytes end start dstaddr srcaddr interface-id\n1200 1700000059 1700000000 10.1.0.4 10.0.0.4 eni-a\n";
        let uncounted = expected.into_iter().map(|flow| Flow { packets: None, ..flow }).collect::<Vec<_>>();
        assert_eq!(read(named).expect("read").flows, uncounted);
        let short = read("2 1 eni-a 10.0.0.4\n").expect_err("cut");
        assert!(format!("{short:#}").contains("line 1"), "{short:#}");
        assert!(read(&rows.replace("1200", "many")).is_err());
    }

    #[test]
    fn flow_logs_of_google_and_alibaba_are_read() {
        let google = |payload: Value| json!([{"logName": "vpc_flows", "jsonPayload": payload}]).to_string();
        let payload = json!({
            "connection": {"src_ip": "10.0.0.4", "dest_ip": "10.1.0.4", "src_port": 7443, "dest_port": 7443, "protocol": 17},
            "bytes_sent": "1200", "packets_sent": "9", "reporter": "SRC",
            "start_time": "2023-11-14T22:13:20.5Z", "end_time": "2023-11-14T22:14:19Z",
        });
        let expected = [flow("10.0.0.4", "10.1.0.4", (1_700_000_000, 1_700_000_060), (9, 1_200), "SRC")];
        assert_eq!(read(&google(payload.clone())).expect("read").flows, expected);
        assert_eq!(read(&format!("{payload}\n{payload}\n")).expect("read").flows.len(), 2, "one document a line");
        let alibaba = json!({"eni-id": "eni-a", "srcaddr": "10.0.0.4", "dstaddr": "10.1.0.4", "bytes": "1200", "packets": "9",
            "start": "1700000000", "end": "1700000059", "action": "ACCEPT", "log-status": "OK"});
        let expected = [flow("10.0.0.4", "10.1.0.4", (1_700_000_000, 1_700_000_060), (9, 1_200), "eni-a")];
        assert_eq!(read(&alibaba.to_string()).expect("read").flows, expected);
    }

    #[test]
    fn both_flow_logs_of_azure_are_read_in_both_directions() {
        let group = json!({"records": [{"macAddress": "000D3A", "properties": {"Version": 2, "flows": [{"rule": "r", "flows": [
            {"mac": "000D3A", "flowTuples": [
                "1700000060,10.0.0.4,10.1.0.4,7443,7443,U,O,A,B,,,,",
                "1700000060,10.0.0.4,10.1.0.4,7443,7443,U,O,A,C,9,1200,7,800",
                "1700000060,10.0.0.4,10.9.0.4,1,1,T,O,D,B,,,,",
            ]},
        ]}]}}]});
        let network = json!({"records": [{"macAddress": "000D3A", "flowRecords": {"flows": [{"aclID": "a", "flowGroups": [
            {"rule": "r", "flowTuples": [
                "1700000060000,10.0.0.4,10.1.0.4,7443,7443,17,O,C,NX,9,1200,7,800",
                "1700000060000,10.0.0.4,10.9.0.4,1,1,6,O,D,NX,0,0,0,0",
            ]},
        ]}]}}]});
        let span = (1_700_000_000, 1_700_000_060);
        let there = flow("10.0.0.4", "10.1.0.4", span, (9, 1_200), "000D3A");
        let back = flow("10.1.0.4", "10.0.0.4", span, (7, 800), "000D3A");
        assert_eq!(read(&group.to_string()).expect("read").flows, [there.clone(), back.clone()]);
        assert_eq!(read(&network.to_string()).expect("read").flows, [there, back]);
    }

    #[test]
    fn counters_of_nftables_are_read_by_their_names_and_anything_else_is_refused() {
        let counters = json!({"nftables": [
            {"metainfo": {"version": "1.0.9"}},
            {"counter": {"family": "inet", "table": "domicile", "name": "tokyo/frankfurt", "packets": 9, "bytes": 1200}},
            {"counter": {"family": "inet", "table": "other", "name": "ssh", "packets": 1, "bytes": 2}},
        ]});
        let ends = Ends::Regions("tokyo".to_owned(), "frankfurt".to_owned());
        let expected = [Flow { ends, span: None, bytes: 1_200, packets: Some(9), observer: "domicile".to_owned() }];
        assert_eq!(read(&counters.to_string()).expect("read").flows, expected);
        for wrong in ["{}", "[1]", "{\"nftables\": [", "hello\n"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(read("").expect("nothing"), Log::default());
    }
}
