//! Whatever the bucket gives back as an order, a step of one, a hold or a deletion, and whatever is shown as a link, is read or refused.

use std::collections::BTreeSet;

use bolero::check;
use domicile_proto::ids::{NodeId, TenantId, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::deletion::Deletion;
use super::handed::is_link;
use super::order::{Counted, Hold, Order, Shredded, Tracked, Whom, Word};
use crate::clock::Clock;
use crate::fuzz::{Input, cases};

fn json(what: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(what).unwrap()
}

/// What was read is written as it is read again.
fn read<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Option<T> {
    let read = serde_json::from_slice::<T>(bytes).ok()?;
    assert!(serde_json::from_slice::<T>(&json(&read)).is_ok());
    Some(read)
}

#[test]
fn no_order_no_step_of_one_and_no_hold_panics() {
    let whom =
        Whom { subjects: vec![7, u64::MAX], tokens: vec!["email:0123456789abcdefghjkmnpqrs".into()], only: None };
    let order = Order::new(TenantId(1), whom, (Timestamp(5), Timestamp(6)), [3; 32]);
    let hold = r#"{"version":1,"tenant":1,"whom":{"subjects":[7],"tokens":[],"only":[[4,9],[5,null]]},"at":5}"#;
    let good = vec![
        json(&order),
        json(&Shredded { at: Timestamp(5), hidden: 3, originals: 2 }),
        json(&Counted { originals: 2, hidden: 3 }),
        json(&Word { at: Timestamp(5), receipt: Some("00".repeat(32)) }),
        hold.as_bytes().to_vec(),
    ];
    assert!(read::<Order>(&good[0]).is_some() && read::<Hold>(&good[4]).is_some());
    let clock = Clock::standing_at(Timestamp(7));
    check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
        let bytes = input.bytes(&good);
        if let Some(order) = read::<Order>(&bytes) {
            let tracked = Tracked::new(order, &clock);
            let _ = (tracked.everywhere(&BTreeSet::from([NodeId(2)])), tracked.order.whom.is_nobody());
        }
        let _ = (read::<Hold>(&bytes), read::<Word>(&bytes), read::<Shredded>(&bytes), read::<Counted>(&bytes));
    });
}

#[test]
fn no_deletion_on_record_panics() {
    let row = r#"{"stream":4,"name":"web","shard":9,"days":30,"segment":"ff","sha256":"00","records":3,"bytes":9,"received_until":5}"#;
    let good = vec![format!(r#"{{"version":1,"tenant":1,"at":5,"node":2,"rows":[{row},{row}]}}"#).into_bytes()];
    assert!(read::<Deletion>(&good[0]).is_some());
    check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
        let _ = read::<Deletion>(&input.bytes(&good));
    });
}

#[test]
fn no_link_to_an_export_panics() {
    let good = vec![format!("7-{:016x}-{}", 99, "0".repeat(64)).into_bytes(), b"7-1-0".to_vec()];
    check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
        let bytes = input.bytes(&good);
        let link = String::from_utf8_lossy(&bytes);
        assert!(!is_link(&link) || link.split('-').count() >= 3);
    });
}
