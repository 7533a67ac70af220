//! Whatever stands in a row of the keyring's tree, or is opened as something sealed, is read or refused.

use bolero::check;
use domicile_proto::ids::{StreamId, TenantId};

use super::notice::{Notice, NoticeKind};
use super::ring::{Day, Rooted, dated, undated};
use super::root::Wrapped;
use super::secret::Secret;
use super::vault::{packed, unpacked};
use crate::fuzz::{Input, cases};

#[test]
fn no_row_of_the_keyring_panics() {
    let notice = Notice { tenant: Some(TenantId(1)), number: Some(7), ..Notice::of(NoticeKind::OriginalsDestroyed) };
    let wrapped = Wrapped { version: 3, bytes: vec![7; 60] };
    let good = vec![
        serde_json::to_vec(&notice).unwrap(),
        wrapped.to_row(),
        Rooted::Tenant(TenantId(9)).to_row(),
        dated(Day(20_000), &[1; 60]),
        packed("email:0123456789abcdefghjkmnpqrs", "jane@example.com").to_vec(),
    ];
    check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
        let row = input.bytes(&good);
        if let Some(read) = Wrapped::from_row(&row) {
            assert!(read.to_row() == row);
        }
        if let Some(read) = Rooted::from_row(&row) {
            assert!(read.to_row() == row);
        }
        if let Ok((day, rest)) = undated(&row) {
            assert!(dated(day, rest) == row);
        }
        if let Some(read) = unpacked(StreamId(4), &row) {
            assert!(*packed(&read.token, &read.text) == row);
        }
        let _ = Notice::from_row(&row);
    });
}

#[test]
fn nothing_that_was_changed_opens() {
    let (key, label) = (Secret::random().unwrap(), b"label");
    let good = vec![key.seal(b"jane@example.com", label).unwrap(), key.seal(b"", label).unwrap()];
    check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
        let sealed = input.bytes(&good);
        assert_eq!(key.open(&sealed, label).is_some(), good.contains(&sealed));
        assert!(key.open(&sealed, b"another").is_none() && key.open_key(&sealed, label).is_none());
    });
}
