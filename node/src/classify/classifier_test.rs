//! What is personal never survives, what is not stays, and the same value gets the same token.

use domicile_proto::ids::{Level, StreamId, TenantId, Timestamp};
use domicile_proto::metadata::StreamPolicy;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::parse::Envelope;

fn classifier() -> Classifier {
    Classifier::new(Arc::new(PseudonymKeys::from_secret(&[9; 32], "tokyo".parse().unwrap())))
}

fn stream(tenant: u32, redact_ip: bool, personal: Personal) -> StreamView {
    let policy = StreamPolicy { redact_ip, personal, ..StreamPolicy::default() };
    let name = "app".parse().unwrap();
    StreamView { id: StreamId(1), tenant: TenantId(tenant), name, fields: Vec::new(), policy, shard: None }
}

fn record(source: Value) -> Record {
    let Value::Object(source) = source else { panic!("an object") };
    let envelope = Envelope::locate(&source);
    Record { timestamp: Timestamp(0), level: Level::Info, id: None, envelope, source }
}

/// Replaces tokens by their class, so that expectations can be read.
fn shown(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\u{2039}') {
        let (token, after) = after.split_once('\u{203A}').unwrap();
        let (class, hash) = token.split_once(':').unwrap();
        assert!(hash.len() == 26 && hash.bytes().all(|b| BASE32.contains(&b)), "{token}");
        out.push_str(before);
        out.push_str(&format!("<{class}>"));
        rest = after;
    }
    out + rest
}

fn check(text: &str, expected: &str) {
    let clean = classifier().pseudonymise(text, &stream(1, true, Personal::Undeclared));
    assert_eq!(shown(clean.as_deref().unwrap_or(text)), expected, "{text}");
}

#[test]
fn e_mail_addresses_are_replaced_between_letters_of_any_script() {
    for (text, expected) in [
        ("mail john.doe+tag@example.co.uk.", "mail <email>."),
        ("<john@example.com>,jane@example.com", "<<email>>,<email>"),
        ("email=john@example.com&x=1", "email=<email>&x=1"),
        ("'john@example.com'", "'<email>'"),
        ("o'brien@example.ie", "<email>"),
        ("連絡先はjohn@example.comです", "連絡先は<email>です"),
        ("宛先：用户@例子.公司。", "宛先：<email>。"),
        ("müller@bücher.de", "<email>"),
        ("иван@пример.рф", "<email>"),
        ("john\u{FF20}example.com", "<email>"),
        ("GET /?q=john%40example.com HTTP", "GET /?q=<email> HTTP"),
        ("\"john doe\"@example.com", "<email>"),
        ("john@example.com-backup x", "<email> x"),
        ("john@example.com_old", "<email>_old"),
        ("a@b.c", "a@b.c"),
        ("ActivityRecord@9f4ef63", "ActivityRecord@9f4ef63"),
        ("FastLeaderElection@774] x", "FastLeaderElection@774] x"),
        ("@home @ work.example", "@home @ work.example"),
        ("100%40", "100%40"),
        ("user@localhost", "user@localhost"),
        ("a@b@example.com", "a@<email>"),
        ("@@@@@@", "@@@@@@"),
    ] {
        check(text, expected);
    }
}

#[test]
fn card_numbers_are_replaced_where_issuer_length_and_check_digit_fit() {
    for (text, expected) in [
        ("card 4111111111111111 ok", "card <card> ok"),
        ("4111 1111 1111 1111", "<card>"),
        ("4111-1111-1111-1111.", "<card>."),
        ("2026-11-20 4111 1111 1111 1111 12", "2026-11-20 <card> 12"),
        ("3782 822463 10005", "<card>"),
        ("378282246310005", "<card>"),
        ("5555555555554444/6011111111111117", "<card>/<card>"),
        ("3530111333300000 30569309025904", "<card> <card>"),
        ("カード４１１１１１１１１１１１１１１１です", "カード<card>です"),
        ("４１１１－１１１１－１１１１－１１１１", "<card>"),
        ("4111\u{A0}1111\u{A0}1111\u{A0}1111", "<card>"),
        ("x4111111111111111y", "x<card>y"),
        // The check digit does not fit, the issuer does not exist, the run is longer.
        ("4111111111111112", "4111111111111112"),
        ("1111111111111117", "1111111111111117"),
        ("0000000000000000", "0000000000000000"),
        ("41111111111111111", "41111111111111111"),
        ("94111111111111111", "94111111111111111"),
        ("4111 1111-1111 1111", "4111 1111-1111 1111"),
        ("0.4111111111111111", "0.4111111111111111"),
        ("ccf635ee4111111111111111d7705b87", "ccf635ee4111111111111111d7705b87"),
        ("1763632800123", "1763632800123"),
        ("blk_-6952295868487656571", "blk_-6952295868487656571"),
        ("blk_4000000000000000006", "blk_4000000000000000006"),
        ("card_4111111111111111", "card_<card>"),
        ("pan=4000000000000000006", "pan=<card>"),
    ] {
        check(text, expected);
    }
}

#[test]
fn ip_addresses_are_replaced_where_the_policy_says_so() {
    for (text, expected) in [
        ("from 10.0.0.1:8080 to 192.168.1.255.", "from <ip>:8080 to <ip>."),
        ("[::1] fe80::1%eth0 2001:db8::8a2e:370:7334", "[<ip>] <ip>%eth0 <ip>"),
        ("::ffff:10.0.0.1", "<ip>"),
        ("addr=10.0.0.1;", "addr=<ip>;"),
        ("サーバ10.0.0.1です", "サーバ<ip>です"),
        ("version 1.2.3.4.5 and 256.1.1.1 and v1.2.3.4", "version 1.2.3.4.5 and 256.1.1.1 and v1.2.3.4"),
        ("12:34:56 std::vec::Vec abc::def aa:bb:cc:dd:ee:ff", "12:34:56 std::vec::Vec abc::def aa:bb:cc:dd:ee:ff"),
        (":: ... .... 1.2.3", ":: ... .... 1.2.3"),
    ] {
        check(text, expected);
        let kept = classifier().pseudonymise(text, &stream(1, false, Personal::Undeclared));
        assert_eq!(kept, None, "{text}");
    }
}

#[test]
fn the_same_value_has_the_same_token_in_all_its_spellings_and_never_another_tenants() {
    let classifier = classifier();
    let token =
        |text: &str, tenant| classifier.pseudonymise(text, &stream(tenant, true, Personal::Undeclared)).unwrap();
    assert_eq!(token("John@Example.com", 1), token("john%40example.com", 1));
    assert_eq!(token("4111 1111 1111 1111", 1), token("４１１１１１１１１１１１１１１１", 1));
    assert_eq!(token("2001:db8::1", 1), token("2001:0db8:0:0:0:0:0:1", 1));
    assert_ne!(token("john@example.com", 1), token("john@example.com", 2));
    assert_ne!(token("john@example.com", 1), token("jane@example.com", 1));
    let once = token("to john@example.com 4111111111111111 10.0.0.1", 1);
    assert_eq!(classifier.pseudonymise(&once, &stream(1, true, Personal::Undeclared)), None, "tokens stay as they are");
}

#[test]
fn values_keys_numbers_and_ids_are_cleaned_at_any_depth() {
    let mut record = record(json!({
        "host": "10.0.0.1",
        "a@b.de": 1, "A@B.de": 2,
        "list": [[{"john@example.com": ["x 4111111111111111"]}]],
        "pan": 4_111_111_111_111_111_u64,
        "count": 4_111_111_111_111_112_u64,
    }));
    record.id = Some("john@example.com".into());
    let classified = classifier().classify(record, &stream(1, true, Personal::Undeclared));
    let json = String::from_utf8(classified.json().to_vec()).unwrap();
    for original in ["10.0.0.1", "@", "4111111111111111,", "4111111111111111\""] {
        assert!(!json.contains(original), "{original}");
    }
    assert!(json.contains("4111111111111112"));
    assert_eq!(classified.source().len(), 6, "no key is lost when two become one");
    assert!(classified.id().unwrap().starts_with("\u{2039}email:"));
    assert_eq!(serde_json::to_vec(classified.source()).unwrap(), classified.json());
}

#[test]
fn the_subject_is_counted_by_what_it_was() {
    let classifier = classifier();
    let subject = |source: Value, field: &str| {
        let personal = Personal::Subject(field.parse().unwrap());
        classifier.classify(record(source), &stream(1, true, personal)).subject()
    };
    let john = subject(json!({"user": "john@example.com"}), "user");
    assert!(john.is_some());
    assert_eq!(john, subject(json!({"user": " john@example.com ", "x": 1}), "user"));
    assert_ne!(john, subject(json!({"user": "jane@example.com"}), "user"));
    assert_eq!(subject(json!({"u": {"id": 7}}), "u.id"), subject(json!({"u.id": "7"}), "u.id"));
    assert_eq!(subject(json!({"x": 1}), "user"), None);
    assert_eq!(subject(json!({"user": ""}), "user"), None);
    assert_eq!(subject(json!({"user": ["a"]}), "user"), None);
    let undeclared = classifier.classify(record(json!({"user": "x"})), &stream(1, true, Personal::Undeclared));
    assert_eq!(undeclared.subject(), None);
}

#[test]
fn literals_that_may_be_personal_do_not_travel() {
    let detector = classifier();
    for (literal, personal) in [
        ("timeout", false),
        ("error 503", false),
        ("john@example.com", true),
        ("john@", true),
        ("@example.com", true),
        ("10.0.0.1", true),
        ("4111 1111 1111", true),
        ("４１１１１１１１１１１１", true),
        ("blk_123", false),
    ] {
        assert_eq!(detector.finds_personal_data(literal), personal, "{literal}");
    }
}

fn with_check_digit(front: &str) -> String {
    (0..10)
        .map(|digit| format!("{front}{digit}"))
        .find(|number| {
            let digits: Vec<u8> = number.bytes().map(|b| b - b'0').collect();
            card::is_card(&digits)
        })
        .unwrap()
}

fn planted() -> impl Strategy<Value = String> {
    prop_oneof![
        ("[a-z][a-z0-9.]{0,10}[a-z0-9]", "[a-z][a-z0-9-]{0,8}[a-z0-9]", "[a-z]{2,6}")
            .prop_map(|(l, d, t)| format!("{l}@{d}.{t}")),
        "4[0-9]{14}".prop_map(|front| with_check_digit(&front)),
        "5[1-5][0-9]{13}".prop_map(|front| with_check_digit(&front)),
        "37[0-9]{12}".prop_map(|front| with_check_digit(&front)),
        "4[0-9]{14}".prop_map(|front| {
            let number = with_check_digit(&front);
            format!("{} {} {} {}", &number[..4], &number[4..8], &number[8..12], &number[12..])
        }),
    ]
}

/// A document with the secret in a value or a key somewhere, between neighbours that do not belong to it.
fn nested(secret: String) -> impl Strategy<Value = (String, Value)> {
    let around = ("[ ,;:!です、。()\\[\\]]{0,6}", "[ ,;!です、。()\\[\\]]{0,6}");
    (around, proptest::collection::vec(0..4_u8, 0..6)).prop_map(move |((before, after), path)| {
        let text = format!("{before}{secret}{after}");
        let value = path.iter().fold(json!(text), |inner, step| match step {
            0 => json!({ "a": inner }),
            1 => json!([1, inner]),
            2 => json!({ "plain": "x", "b": [inner] }),
            _ => json!({ text.clone(): inner }),
        });
        (secret.clone(), json!({ "message": value }))
    })
}

proptest! {
    #[test]
    fn what_is_planted_anywhere_never_survives((secret, source) in planted().prop_flat_map(nested)) {
        let classified = classifier().classify(record(source), &stream(1, true, Personal::Undeclared));
        let json = String::from_utf8(classified.json().to_vec()).unwrap();
        prop_assert!(!json.contains(&secret), "{json}");
        // Nothing else was lost: every piece of structure is still there.
        let holds_a_token = json.contains('\u{2039}');
        prop_assert!(holds_a_token, "{json}");
    }

    #[test]
    fn no_text_makes_a_detector_panic(text in "\\PC{0,60}", signs in "[0-9@%.: a-fé漢０４-]{0,60}") {
        for text in [text, signs] {
            for span in scan::spans(&text, true) {
                prop_assert!(text.get(span.from..span.to).is_some());
            }
        }
    }
}
