//! Opens a capture with the nodes' key logs, by an independent program.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// All stream bytes of all QUIC packets that the key logs open.
///
/// # Errors
/// When a key log or the capture cannot be read.
pub fn decrypt(tshark: &Path, pcap: &Path, logs: &[PathBuf]) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    for log in logs {
        all.extend(std::fs::read(log).with_context(|| format!("no key log {}", log.display()))?);
    }
    let keys = pcap.with_extension("keys");
    std::fs::write(&keys, all)?;
    let output = Command::new(tshark)
        .arg("-r")
        .arg(pcap)
        .args(["-o", &format!("tls.keylog_file:{}", keys.display())])
        .args(["-d", "udp.port==1024-65535,quic", "-Y", "quic.stream_data"])
        .args(["-T", "pdml"])
        .output()
        .context("tshark")?;
    ensure!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr).trim());
    // The detailed form gives every field with its size and all of its bytes; the short one cuts long fields.
    let mut plain = Vec::new();
    for field in String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.contains("\"quic.stream_data\"")) {
        let bytes = hex::decode(attribute(field, "value")).context("a field's bytes in hexadecimal")?;
        ensure!(attribute(field, "size") == bytes.len().to_string(), "a field was cut short");
        plain.extend(bytes);
    }
    Ok(plain)
}

/// The value of an attribute of an element on one line; empty where it has none.
fn attribute<'a>(element: &'a str, name: &str) -> &'a str {
    let begin = format!(" {name}=\"");
    let value = element.split_once(&begin).map_or("", |(_, rest)| rest);
    value.split_once('"').map_or("", |(value, _)| value)
}
