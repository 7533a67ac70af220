//! Whatever lies in a ledger's files, or is shown as one, is read or refused.

use bolero::check;
use domicile_proto::ids::{StreamId, TenantId, Timestamp};

use super::entry::{Entry, Event, Why};
use super::merkle::Head;
use super::note::{Signer, Verifier, has_no_strangers};
use super::tiles::{self, Kept, Record};
use crate::fuzz::{Input, cases};

#[test]
fn no_entry_of_the_ledger_panics() {
    let events = [
        Event::RefusedQuestion { peer: None, stream: Some(StreamId(4)), why: Why::NotExpressible },
        Event::Shredded { erasure: "00".into(), hidden: 3, originals: 2 },
        Event::Purged { erasure: "01".into(), segments: 3, removed: 2, receipt: [7; 32] },
    ];
    let good: Vec<Vec<u8>> =
        events.into_iter().map(|event| Entry::specimen(Timestamp(5), Some(TenantId(1)), event).body()).collect();
    assert!(good.iter().all(|body| Entry::read(body).is_some()));
    check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
        let bytes = input.bytes(&good);
        if let Some(entry) = Entry::read(&bytes) {
            assert!(entry.body() == bytes, "an entry has one form");
            if let Event::Egress(passage) | Event::Ingress(passage) = &entry.event {
                let _ = (passage.question(), passage.answer());
            }
        }
    });
}

#[test]
fn no_checkpoint_panics() {
    let dir = tempfile::tempdir().unwrap();
    let signer = Signer::open(&dir.path().join("key"), "ledger.domicile/tokyo/1", true).unwrap();
    let good = vec![
        signer.checkpoint(&Head { size: 300, root: [9; 32] }).into_bytes(),
        signer.says("a title", &["a line".to_owned()]).into_bytes(),
        signer.verifier().to_string().into_bytes(),
    ];
    let whole = good.clone();
    check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
        let bytes = input.bytes(&good);
        let note = String::from_utf8_lossy(&bytes);
        let is_taken =
            signer.verifier().checkpoint(&note).is_some() || signer.verifier().said("a title", &note).is_some();
        assert!(!is_taken || whole.contains(&bytes), "what was changed is taken for what was signed");
        let _ = (Verifier::read(&note), has_no_strangers(&note, signer.verifier(), &[]));
    });
}

#[test]
fn no_bundle_and_no_body_panics() {
    let (mut bodies, record) = (Vec::new(), Record { nonce: [7; 32], body: b"a body".to_vec() });
    record.put(&mut bodies);
    bodies.extend([tiles::DESTROYED, tiles::WITHHELD]);
    record.put(&mut bodies);
    let good = vec![tiles::bundle(&[[1; 32], [2; 32], record.commitment()]), bodies];
    check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
        let bytes = input.bytes(&good);
        if let Some(commitments) = tiles::commitments(&bytes) {
            assert!(tiles::bundle(&commitments) == bytes);
        }
        let (mut rest, mut again) = (&bytes[..], Vec::new());
        while let Some(kept) = tiles::take(&mut rest) {
            match kept {
                Kept::Whole(record) => record.put(&mut again),
                Kept::Destroyed => again.push(tiles::DESTROYED),
                Kept::Withheld => again.push(tiles::WITHHELD),
            }
        }
        assert!([&again[..], rest].concat() == bytes, "what was taken is what was there");
        let _ = tiles::is_begun(rest);
    });
}
