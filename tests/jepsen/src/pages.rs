//! Reads what crossed out of the ledgers that nodes left behind: their bodies, with nothing of the product.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::checker::double_entry::{Crossing, Node};

/// A body that is there; the nonce before it.
const WHOLE: u8 = 1;
const NONCE: usize = 32;

/// Name of the node of a ledger, and what crossed by it. Everything is published when a node has ended.
///
/// # Errors
/// Where the directory has no ledger, or a body is none.
pub fn crossings(ledger: &Path) -> Result<(Node, Vec<Crossing>)> {
    read(ledger, false)
}

/// The same of a ledger whose node was killed: up to what its checkpoint signed. A body behind that may be torn.
///
/// # Errors
/// As above.
pub fn signed_crossings(ledger: &Path) -> Result<(Node, Vec<Crossing>)> {
    read(ledger, true)
}

fn read(ledger: &Path, is_signed_alone: bool) -> Result<(Node, Vec<Crossing>)> {
    let log = ledger.join("log");
    let checkpoint = std::fs::read_to_string(log.join("checkpoint")).with_context(|| log.display().to_string())?;
    let (_, node) = checkpoint.lines().next().and_then(|origin| origin.split_once('/')).context("an origin")?;
    let signed: u64 = checkpoint.lines().nth(1).and_then(|size| size.parse().ok()).context("a size")?;
    let most = if is_signed_alone { signed } else { u64::MAX };
    let mut found = Vec::new();
    let mut number = 0;
    for (_, path) in bundles(&log.join("bodies"))? {
        let bytes = std::fs::read(&path)?;
        let mut rest = &bytes[..];
        while let [kind, length @ ..] = rest
            && number < most
        {
            ensure!(*kind == WHOLE, "{}: a body is not here", path.display());
            let (length, body) = length.split_first_chunk::<4>().context("a length")?;
            let end = NONCE + u32::from_be_bytes(*length) as usize;
            let entry: Value = serde_json::from_slice(body.get(NONCE..end).context("a body")?)?;
            number += 1;
            found.extend(crossing(number, &entry));
            rest = body.get(end..).unwrap_or_default();
        }
    }
    Ok((node.to_owned(), found))
}

fn crossing(number: u64, entry: &Value) -> Option<Crossing> {
    let kind = entry.get("kind")?.as_str()?;
    let peer = entry.get("peer")?;
    let (left, arrived) = (kind == "egress", kind == "ingress");
    (left || arrived).then_some(())?;
    let peer = format!("{}/{}", peer.get("region")?.as_str()?, peer.get("node")?.as_u64()?);
    Some(Crossing { number, left, peer, sha256: entry.get("sha256")?.as_str()?.to_owned() })
}

/// Files of bodies in the order of their numbers: `x001/x234/567` is 1,234,567.
fn bundles(bodies: &Path) -> Result<BTreeMap<u64, std::path::PathBuf>> {
    let (mut open, mut found) = (vec![bodies.to_path_buf()], BTreeMap::new());
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let digits = path.strip_prefix(bodies)?.display().to_string().replace(['x', '/'], "");
            if let Ok(number) = digits.parse() {
                found.insert(number, path);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crossings_are_read_in_order_and_a_body_that_is_missing_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        std::fs::create_dir_all(log.join("bodies")).unwrap();
        std::fs::write(log.join("checkpoint"), "ledger.domicile/tokyo/1\n2\nroot\n\n").unwrap();
        let body = |text: &str| {
            let mut bytes = vec![WHOLE];
            bytes.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
            bytes.extend([7; NONCE]);
            bytes.extend(text.as_bytes());
            bytes
        };
        let egress = r#"{"v":1,"kind":"egress","peer":{"region":"frankfurt","node":3},"sha256":"ab"}"#;
        let first = [body(egress), body(r#"{"v":1,"kind":"node_started","node":1}"#)].concat();
        std::fs::write(log.join("bodies/000"), &first).unwrap();
        std::fs::write(log.join("bodies/001"), body(&egress.replace("egress", "ingress"))).unwrap();
        let (node, found) = crossings(directory.path()).unwrap();
        assert_eq!(node, "tokyo/1");
        let numbers: Vec<(u64, bool)> = found.iter().map(|crossing| (crossing.number, crossing.left)).collect();
        assert_eq!(numbers, [(1, true), (3, false)]);
        assert_eq!((found[0].peer.as_str(), found[0].sha256.as_str()), ("frankfurt/3", "ab"));
        std::fs::write(log.join("bodies/001"), [0xD6]).unwrap();
        assert!(crossings(directory.path()).is_err());
        let (_, signed) = signed_crossings(directory.path()).unwrap();
        assert_eq!(signed.len(), 1, "the checkpoint signs for two entries, and what stands behind them is not read");
    }
}
