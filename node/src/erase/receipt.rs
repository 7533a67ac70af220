//! The signed receipt of an erasure: what was replaced by what, and what a scan found afterwards. What retention deleted is
//! signed in the same way.
//!
//! Signed with the node's own key, the one of its certificate (ECDSA P-256, SHA-256), over the exact bytes of the field
//! `receipt`. It proves that these files were replaced; that nobody made a copy elsewhere it cannot prove.

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domicile_proto::ids::{NodeId, Timestamp};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

use super::errors::EraseError;
use super::order::{Shredded, Tracked};
use super::workflow::sha256;
use crate::segment::Rewritten;

/// Signs receipts.
pub(super) struct Signer(EcdsaKeyPair);

impl Signer {
    /// With the key of the node's certificate.
    pub(super) fn open(path: &Path) -> Result<Self, EraseError> {
        let unusable = || EraseError::Key { path: path.display().to_string() };
        let pem = std::fs::read_to_string(path).map_err(|_| unusable())?;
        let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = STANDARD.decode(body).map_err(|_| unusable())?;
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der, &random);
        pair.map(Self).map_err(|_| unusable())
    }

    /// The receipt of an order that is gone.
    pub(super) fn receipt(
        &self,
        (id, region): (&str, &str),
        tracked: &Tracked,
        shredded: Shredded,
        (at, rewritten): (Timestamp, &[Rewritten]),
    ) -> Result<Value, EraseError> {
        let segments = rewritten.iter().map(|one| {
            json!({
                "shard": one.shard, "records_removed": one.removed, "records_kept": one.kept,
                "before": {"segment": one.old.to_string(), "sha256": hex::encode(one.old_sha256)},
                "after": {"segment": one.new.to_string(), "sha256": hex::encode(one.new_sha256)},
            })
        });
        let said = json!({
            "version": 1, "erasure": id, "region": region, "tenant": tracked.order.tenant,
            "commitment": hex::encode(tracked.order.commitment()),
            "ordered_at": tracked.order.at, "shredded_at": shredded.at, "purged_at": at,
            "records_hidden": shredded.hidden, "originals_destroyed": shredded.originals,
            "segments": segments.collect::<Vec<_>>(), "records_found_by_scan": 0,
            "proves": "these segments were replaced, the write-ahead log from before was removed, and a scan of all segments of this node that decodes every record found none; it does not prove that no copy was made elsewhere",
        });
        self.sign(&said)
    }

    /// The receipt for a region: every node of it is through.
    pub(super) fn of_region(
        &self,
        (id, region, us): (&str, &str, NodeId),
        tracked: &Tracked,
        others: &BTreeSet<NodeId>,
        at: Timestamp,
    ) -> Result<Value, EraseError> {
        let own = tracked.receipt.as_ref().map(|receipt| hex::encode(sha256(receipt)));
        let own =
            json!({"node": us, "shredded_at": tracked.shredded.map(|shredded| shredded.at), "receipt_sha256": own});
        let nodes = others.iter().map(|node| {
            let told = tracked.told.get(node).copied().unwrap_or_default();
            let receipt = told.gone.map(hex::encode);
            json!({"node": node, "shredded_at": told.shredded, "receipt_sha256": receipt})
        });
        let said = json!({
            "version": 1, "erasure": id, "region": region, "tenant": tracked.order.tenant,
            "commitment": hex::encode(tracked.order.commitment()), "ordered_at": tracked.order.at, "at": at,
            "nodes": std::iter::once(own).chain(nodes).collect::<Vec<_>>(),
            "proves": "these nodes, all that the region had then, said that the erasure is gone with them, each with the receipt of this digest",
        });
        self.sign(&said)
    }

    /// What is said, signed over its exact bytes.
    pub(super) fn sign(&self, said: &Value) -> Result<Value, EraseError> {
        let said = said.to_string();
        let unsigned = || EraseError::Key { path: "in memory".to_owned() };
        let signature = self.0.sign(&SystemRandom::new(), said.as_bytes()).map_err(|_| unsigned())?;
        Ok(json!({
            "receipt": said,
            "algorithm": "ECDSA-P256-SHA256",
            "signature": STANDARD.encode(signature.as_ref()),
            "public_key": STANDARD.encode(self.0.public_key().as_ref()),
        }))
    }
}
