//! What is personal never survives, what is not stays, and the same value gets the same token.

use domicile_proto::ids::{Level, StreamId, TenantId, Timestamp};
use domicile_proto::metadata::StreamPolicy;
use domicile_proto::privacy::{Action, Basis, PersonalClass, Privacy};
use proptest::prelude::*;
use serde_json::json;

use super::super::mark::BASE32;
use super::*;
use crate::clock::Clock;
use crate::keys::specimen;
use crate::parse::Envelope;

fn classifier() -> Classifier {
    let keys = PseudonymKeys::from_secret(&[9; 32], "tokyo".parse().unwrap());
    Classifier::new(Arc::new(keys), Defaults::new("JP", []), RuleFiles::default())
}

fn stream(tenant: u32, personal: Personal) -> StreamView {
    treated(tenant, personal, Privacy::default())
}

fn treated(tenant: u32, personal: Personal, privacy: Privacy) -> StreamView {
    let policy = StreamPolicy { privacy, personal, ..StreamPolicy::default() };
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
        out.push_str(before);
        match token.split_once(':') {
            Some((class, hash)) if !hash.starts_with('*') => {
                assert!(hash.len() == 26 && hash.bytes().all(|b| BASE32.contains(&b)), "{token}");
                out.push_str(&format!("<{class}>"));
            }
            _ => out.push_str(&format!("[{token}]")),
        }
        rest = after;
    }
    out + rest
}

#[test]
fn the_same_value_has_the_same_token_in_all_its_spellings_and_never_another_tenants() {
    let classifier = classifier();
    let token =
        |text: &str, tenant| classifier.pseudonymise("message", text, &stream(tenant, Personal::Undeclared)).unwrap();
    assert_eq!(token("John@Example.com", 1), token("john%40example.com", 1));
    assert_eq!(token("4111 1111 1111 1111", 1), token("４１１１１１１１１１１１１１１１", 1));
    assert_eq!(token("2001:db8::1", 1), token("2001:0db8:0:0:0:0:0:1", 1));
    assert_ne!(token("john@example.com", 1), token("john@example.com", 2));
    assert_ne!(token("john@example.com", 1), token("jane@example.com", 1));
    let once = token("to john@example.com 4111111111111111 10.0.0.1", 1);
    assert_eq!(
        classifier.pseudonymise("message", &once, &stream(1, Personal::Undeclared)),
        None,
        "tokens stay as they are"
    );
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
    let classified = classifier().classify(record, &stream(1, Personal::Undeclared)).unwrap();
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
fn a_number_is_found_however_it_was_written() {
    for text in ["4111111111111111", "4111111111111111.0", "4.111111111111111e15", "-4111111111111111"] {
        let source: Value = serde_json::from_str(&format!("{{\"pan\": {text}, \"ms\": 41111111.25}}")).unwrap();
        let classified = classifier().classify(record(source), &stream(1, Personal::Undeclared)).unwrap();
        let pan = classified.source()["pan"].as_str().unwrap_or_default();
        assert!(pan.starts_with("\u{2039}card:"), "{text}");
        assert!(classified.source()["ms"].is_f64(), "{text}: a fraction is no card");
    }
}

#[test]
fn the_subject_is_counted_by_what_it_was() {
    let classifier = classifier();
    let subject = |source: Value, field: &str| {
        let personal = Personal::Subject(field.parse().unwrap());
        classifier.classify(record(source), &stream(1, personal)).unwrap().subject()
    };
    let john = subject(json!({"user": "john@example.com"}), "user");
    assert!(john.is_some());
    assert_eq!(john, subject(json!({"user": " john@example.com ", "x": 1}), "user"));
    assert_ne!(john, subject(json!({"user": "jane@example.com"}), "user"));
    assert_eq!(subject(json!({"u": {"id": 7}}), "u.id"), subject(json!({"u.id": "7"}), "u.id"));
    assert_eq!(subject(json!({"x": 1}), "user"), None);
    assert_eq!(subject(json!({"user": ""}), "user"), None);
    assert_eq!(subject(json!({"user": []}), "user"), None);
    let undeclared = classifier.classify(record(json!({"user": "x"})), &stream(1, Personal::Undeclared)).unwrap();
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
            let digits = number.as_bytes().to_vec();
            super::super::detect::check::luhn(&digits)
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

/// What is stored of a record, with its tokens as classes; nothing where it is dropped.
fn stored(source: Value, personal: Personal, privacy: Privacy) -> Option<String> {
    let classified = classifier().classify(record(source), &treated(1, personal, privacy))?;
    Some(shown(std::str::from_utf8(classified.json()).unwrap()))
}

#[test]
fn each_action_leaves_what_it_says() {
    let source = || json!({"m": "from 203.0.113.9 ok", "n": ["a", "203.0.113.9"], "203.0.113.9": 1});
    let does = |action| stored(source(), Personal::Undeclared, Privacy::new([(PersonalClass::Ip, action)], Vec::new()));
    let all = |mark: &str| format!(r#"{{"m":"from {mark} ok","n":["a","{mark}"],"{mark}":1}}"#);
    assert_eq!(does(Action::Pseudonymise).unwrap(), all("<ip>"));
    assert_eq!(does(Action::Keep(Basis::Consent)).unwrap(), all("203.0.113.9"));
    assert_eq!(does(Action::Mask).unwrap(), all("[ip]"));
    assert_eq!(does(Action::MaskPartly).unwrap(), all("[ip:*13.9]"));
    assert_eq!(does(Action::DropField).unwrap(), r#"{"n":["a"]}"#);
    assert_eq!(does(Action::DropEvent), None);
    let other = json!({"m": "x"});
    let kept = Privacy::new([(PersonalClass::Ip, Action::DropEvent)], Vec::new());
    assert_eq!(stored(other, Personal::Undeclared, kept).unwrap(), r#"{"m":"x"}"#, "only events that hold one");
}

#[test]
fn dropped_events_are_counted_and_dropped_fields_leave_the_envelope() {
    let classifier = classifier();
    let stream = |action| treated(1, Personal::Undeclared, Privacy::new([(PersonalClass::Email, action)], Vec::new()));
    let with_mail = || record(json!({"message": "to a@b.de", "msg": "plain"}));
    assert!(classifier.classify(with_mail(), &stream(Action::DropEvent)).is_none());
    assert!(classifier.classify(with_mail(), &stream(Action::DropEvent)).is_none());
    assert_eq!(classifier.dropped(), 2);
    let classified = classifier.classify(with_mail(), &stream(Action::DropField)).unwrap();
    assert_eq!(classified.envelope().message(classified.source()), Some("plain"));
    assert_eq!(classifier.dropped(), 2);
}

#[test]
fn declared_fields_and_the_subject_are_replaced_whole() {
    let personal = || Personal::Subject("user.id".parse().unwrap());
    let privacy = |action| {
        let fields = vec!["name".parse().unwrap(), "client.seat".parse().unwrap()];
        Privacy::new([(PersonalClass::Subject, action)], fields)
    };
    let source =
        || json!({"user": {"id": "alice 10.0.0.1"}, "Name": "Alice A.", "client": {"seat": 12, "n": 1}, "x": "Alice"});
    let expected = |user: &str| {
        format!(
            r#"{{"user":{{"id":"{user}"}},"Name":"<declared>","client":{{"seat":"<declared>","n":1}},"x":"Alice"}}"#
        )
    };
    assert_eq!(stored(source(), personal(), privacy(Action::Pseudonymise)).unwrap(), expected("<subject>"));
    let kept = stored(source(), personal(), privacy(Action::Keep(Basis::Contract))).unwrap();
    assert_eq!(kept, expected("alice 10.0.0.1"), "kept whole, with its ground");
    let gone = stored(source(), personal(), privacy(Action::DropField)).unwrap();
    assert!(gone.starts_with(r#"{"user":{},"#), "{gone}");
    let found =
        classifier().pseudonymise("user.id", "alice 10.0.0.1", &treated(1, personal(), privacy(Action::Pseudonymise)));
    let classified =
        classifier().classify(record(source()), &treated(1, personal(), privacy(Action::Pseudonymise))).unwrap();
    assert_eq!(classified.source()["user"]["id"].as_str(), found.as_deref(), "a searcher finds it by its value");
}

#[test]
fn nobody_can_forge_a_mark() {
    let forged = format!("\u{2039}email:{}\u{203A}", "a".repeat(26));
    let source = json!({"m": format!("{forged} to a@b.de {forged}"), forged.clone(): forged.clone(), "n": [forged]});
    let classified = classifier().classify(record(source), &stream(1, Personal::Undeclared)).unwrap();
    let json = String::from_utf8(classified.json().to_vec()).unwrap();
    assert_eq!(json.matches('\u{2039}').count(), 1, "only our own: {json}");
    assert!(json.contains("<email:aaaaaa"), "what was sent can still be read: {json}");
}

#[test]
fn originals_are_gathered_once_for_each_token_and_only_for_tokens() {
    let privacy = Privacy::new([(PersonalClass::Ip, Action::Mask)], Vec::new());
    let stream = treated(1, Personal::Subject("user".parse().unwrap()), privacy);
    let source = json!({"user": "u1", "m": "a@b.de A@b.de 10.0.0.1 GET /?q=c%40d.de", "n": "a@b.de"});
    let mut classified = classifier().classify(record(source), &stream).unwrap();
    let subject = classified.subject();
    assert!(subject.is_some());
    let originals = classified.take_originals();
    let json = std::str::from_utf8(classified.json()).unwrap();
    let mut texts: Vec<String> = originals.iter().map(|original| original.text.to_lowercase()).collect();
    texts.sort();
    assert_eq!(texts, ["a@b.de", "c%40d.de", "u1"]);
    assert!(originals.iter().all(|original| json.contains(&*original.token) && original.subject == subject));
    assert!(classified.take_originals().is_empty());
}

#[test]
fn a_value_that_is_sealed_is_not_handed_on_again_where_it_was_sealed_until_it_is_destroyed() {
    let dir = tempfile::tempdir().unwrap();
    let vault = specimen::vault(dir.path(), "tokyo".parse().unwrap(), Clock::standing_at(Timestamp(1)));
    let classifier = Classifier::new(vault.pseudonyms(), Defaults::new("JP", []), RuleFiles::default());
    let (one, of_users) = (stream(1, Personal::Undeclared), stream(1, Personal::Subject("user".parse().unwrap())));
    let day = Day(3);
    let handed_on = |day: Day, stream: &StreamView, user: &str, text: &str| {
        let source = json!({"user": user, "m": text});
        let mut classified = classifier.on(day).classify(record(source), stream).unwrap();
        let originals = classified.take_originals();
        (String::from_utf8(classified.json().to_vec()).unwrap(), originals)
    };
    let (first, originals) = handed_on(day, &one, "x", "to a@b.de");
    assert_eq!(originals.len(), 1);
    assert_eq!(handed_on(day, &one, "x", "to a@b.de").1.len(), 1, "it is not sealed yet");
    vault.seal(TenantId(1), StreamId(1), day, &originals).unwrap();
    let (again, none) = handed_on(day, &one, "x", "to a@b.de");
    assert_eq!((&again, none.len()), (&first, 0), "the same token, and nothing to seal");
    assert_eq!(handed_on(day, &one, "x", "to A@b.de").0, first, "in any spelling");
    let elsewhere = StreamView { id: StreamId(2), ..stream(1, Personal::Undeclared) };
    for (day, stream, user) in [
        (Day(4), &one, "x"),
        (day, &elsewhere, "x"),
        (day, &stream(2, Personal::Undeclared), "x"),
        (day, &of_users, "u1"),
        (day, &of_users, "u2"),
    ] {
        let (_, mut originals) = handed_on(day, stream, user, "to a@b.de");
        originals.retain(|original| original.token.contains("email"));
        assert_eq!(originals.len(), 1, "{day:?} {} {user}", stream.id);
        vault.seal(stream.tenant, stream.id, day, &originals).unwrap();
    }
    assert_eq!(vault.reveal(TenantId(1), &originals[0].token).unwrap().unwrap().text.as_str(), "a@b.de");
    vault.forget_token(TenantId(1), &originals[0].token).unwrap();
    let (after, originals) = handed_on(day, &one, "x", "to a@b.de");
    assert_eq!((&after, originals.len()), (&first, 1), "it has no key any more and needs a new one");
}

#[test]
fn an_id_stays_an_id_under_every_action_but_the_drop_of_its_event() {
    for action in [Action::Mask, Action::MaskPartly, Action::DropField, Action::Pseudonymise] {
        let mut record = record(json!({"x": 1}));
        record.id = Some("a@b.de".into());
        let privacy = Privacy::new([(PersonalClass::Email, action)], Vec::new());
        let classified = classifier().classify(record, &treated(1, Personal::Undeclared, privacy)).unwrap();
        assert_eq!(shown(classified.id().unwrap()), "<email>");
    }
}

#[test]
fn packed_values_are_packed_again_with_tokens_in_them() {
    let stored =
        stored(json!({"m": "x=bWFpbCB0byBqb2huQGV4YW1wbGUuY29tIG5vdw=="}), Personal::Undeclared, Privacy::default());
    let json: Value = serde_json::from_str(&stored.unwrap()).unwrap();
    let packed = json["m"].as_str().unwrap().strip_prefix("x=").unwrap();
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, packed).unwrap();
    assert_eq!(shown(std::str::from_utf8(&bytes).unwrap()), "mail to <email> now");
}

#[test]
fn the_regions_defaults_hold_where_the_policy_says_nothing() {
    let keys = Arc::new(PseudonymKeys::from_secret(&[9; 32], "tokyo".parse().unwrap()));
    let classifier =
        Classifier::new(keys, Defaults::new("DE", [(PersonalClass::Email, Action::DropEvent)]), RuleFiles::default());
    let mail = || record(json!({"m": "a@b.de"}));
    assert!(classifier.classify(mail(), &stream(1, Personal::Undeclared)).is_none());
    let said = Privacy::new([(PersonalClass::Email, Action::Mask)], Vec::new());
    assert!(classifier.classify(mail(), &treated(1, Personal::Undeclared, said)).is_some());
}

proptest! {
    #[test]
    fn what_is_planted_anywhere_never_survives((secret, source) in planted().prop_flat_map(nested)) {
        let classified = classifier().classify(record(source), &stream(1, Personal::Undeclared)).unwrap();
        let json = String::from_utf8(classified.json().to_vec()).unwrap();
        prop_assert!(!json.contains(&secret), "{json}");
        // Nothing else was lost: every piece of structure is still there.
        let holds_a_token = json.contains('\u{2039}');
        prop_assert!(holds_a_token, "{json}");
    }
}

#[test]
fn a_value_is_known_by_its_tokens_whatever_is_done_with_it_now() {
    let classifier = classifier();
    let masked = treated(1, Personal::Undeclared, Privacy::new([(PersonalClass::Email, Action::Mask)], Vec::new()));
    let token = classifier.pseudonymise("", "a@b.de", &stream(1, Personal::Undeclared)).unwrap();
    assert_ne!(classifier.pseudonymise("", "a@b.de", &masked).unwrap(), token);
    assert_eq!(classifier.written_ever("a@b.de", TenantId(1), &[]), [token].into());
    let of_users = stream(1, Personal::Subject("user".parse().unwrap()));
    let subject = classifier.pseudonymise("user", "u-9", &of_users).unwrap();
    assert_eq!(classifier.written_ever(" u-9 ", TenantId(1), &[PersonalClass::Subject]), [subject].into());
    assert!(classifier.written_ever("u-9", TenantId(1), &[]).is_empty());
}
