//! What is personal never survives, what is not stays, and the same value gets the same token.

use domicile_proto::ids::{Level, StreamId, TenantId, Timestamp};
use domicile_proto::metadata::StreamPolicy;
use domicile_proto::privacy::{Action, Basis, PersonalClass, Privacy};
use proptest::prelude::*;
use serde_json::json;

use super::super::mark::BASE32;
use super::*;
use crate::clock::Clock;
use crate::errors::Coded;
use crate::keys::specimen;
use crate::limits::MAX_RECORD_DEPTH;
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
    let classified = classifier().classify(record, &stream(1, Personal::Undeclared)).unwrap().unwrap();
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
        let classified = classifier().classify(record(source), &stream(1, Personal::Undeclared)).unwrap().unwrap();
        let pan = classified.source()["pan"].as_str().unwrap_or_default();
        assert!(pan.starts_with("\u{2039}card:"), "{text}");
        assert!(classified.source()["ms"].is_f64(), "{text}: a fraction is no card");
    }
}

#[test]
fn a_record_says_whether_anything_was_found_in_it_whatever_is_done_with_that() {
    let found = |source: Value, privacy: &Privacy| {
        let stream = treated(1, Personal::No, privacy.clone());
        classifier().classify(record(source), &stream).unwrap().map(|classified| classified.is_found())
    };
    let acts = |action: Action| Privacy::new([(PersonalClass::Email, action)], vec!["who".parse().unwrap()]);
    let mail = || json!({"message": "to john@example.com"});
    for action in [Action::Pseudonymise, Action::Mask, Action::MaskPartly, Action::DropField] {
        assert_eq!(found(mail(), &acts(action)), Some(true), "{action:?}");
        assert_eq!(found(json!({"message": "to john", "n": 4}), &acts(action)), Some(false));
    }
    // What is dropped is in no stream, and what is kept on a ground is not looked for.
    assert_eq!(found(mail(), &acts(Action::DropEvent)), None);
    assert_eq!(found(mail(), &acts(Action::Keep(Basis::NotPersonal))), Some(false));
    assert_eq!(found(json!({"who": "john"}), &acts(Action::Mask)), Some(true), "a declared field");
    for source in [json!({"john@example.com": 1}), json!({"n": 4_111_111_111_111_111_u64}), json!({"ip": "10.0.0.1"})] {
        assert_eq!(found(source.clone(), &Privacy::default()), Some(true), "{source}");
    }
    let mut named = record(json!({"message": "ok"}));
    named.id = Some("john@example.com".into());
    assert!(classifier().classify(named, &stream(1, Personal::No)).unwrap().unwrap().is_found(), "an id");
}

#[test]
fn the_subject_is_counted_by_what_it_was() {
    let classifier = classifier();
    let subject = |source: Value, field: &str| {
        let personal = Personal::Subject(field.parse().unwrap());
        classifier.classify(record(source), &stream(1, personal)).unwrap().unwrap().subject()
    };
    let john = subject(json!({"user": "john@example.com"}), "user");
    assert!(john.is_some());
    assert_eq!(john, subject(json!({"user": " john@example.com ", "x": 1}), "user"));
    assert_ne!(john, subject(json!({"user": "jane@example.com"}), "user"));
    assert_eq!(subject(json!({"u": {"id": 7}}), "u.id"), subject(json!({"u.id": "7"}), "u.id"));
    assert_eq!(subject(json!({"x": 1}), "user"), None);
    assert_eq!(subject(json!({"user": ""}), "user"), None);
    assert_eq!(subject(json!({"user": []}), "user"), None);
    let undeclared =
        classifier.classify(record(json!({"user": "x"})), &stream(1, Personal::Undeclared)).unwrap().unwrap();
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
    let classified = classifier().classify(record(source), &treated(1, personal, privacy)).unwrap()?;
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
    assert!(classifier.classify(with_mail(), &stream(Action::DropEvent)).unwrap().is_none());
    assert!(classifier.classify(with_mail(), &stream(Action::DropEvent)).unwrap().is_none());
    assert_eq!(classifier.dropped(), 2);
    let classified = classifier.classify(with_mail(), &stream(Action::DropField)).unwrap().unwrap();
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
    let classified = classifier()
        .classify(record(source()), &treated(1, personal(), privacy(Action::Pseudonymise)))
        .unwrap()
        .unwrap();
    assert_eq!(classified.source()["user"]["id"].as_str(), found.as_deref(), "a searcher finds it by its value");
}

#[test]
fn nobody_can_forge_a_mark() {
    let forged = format!("\u{2039}email:{}\u{203A}", "a".repeat(26));
    let source = json!({"m": format!("{forged} to a@b.de {forged}"), forged.clone(): forged.clone(), "n": [forged]});
    let classified = classifier().classify(record(source), &stream(1, Personal::Undeclared)).unwrap().unwrap();
    let json = String::from_utf8(classified.json().to_vec()).unwrap();
    assert_eq!(json.matches('\u{2039}').count(), 1, "only our own: {json}");
    assert!(json.contains("<email:aaaaaa"), "what was sent can still be read: {json}");
}

#[test]
fn originals_are_gathered_once_for_each_token_and_only_for_tokens() {
    let privacy = Privacy::new([(PersonalClass::Ip, Action::Mask)], Vec::new());
    let stream = treated(1, Personal::Subject("user".parse().unwrap()), privacy);
    let source = json!({"user": "u1", "m": "a@b.de A@b.de 10.0.0.1 GET /?q=c%40d.de", "n": "a@b.de"});
    let mut classified = classifier().classify(record(source), &stream).unwrap().unwrap();
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
        let mut classified = classifier.on(day).classify(record(source), stream).unwrap().unwrap();
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
        let classified = classifier().classify(record, &treated(1, Personal::Undeclared, privacy)).unwrap().unwrap();
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
    assert!(classifier.classify(mail(), &stream(1, Personal::Undeclared)).unwrap().is_none());
    let said = Privacy::new([(PersonalClass::Email, Action::Mask)], Vec::new());
    assert!(classifier.classify(mail(), &treated(1, Personal::Undeclared, said)).unwrap().is_some());
}

/// What is stored of a record in a stream that declares these fields.
fn stored_declared(fields: &[&str], source: Value) -> String {
    let fields = fields.iter().map(|field| field.parse::<Name>().unwrap()).collect();
    stored(source, Personal::Undeclared, Privacy::new([], fields)).unwrap()
}

#[test]
fn a_declared_field_is_replaced_in_every_shape_that_spells_its_name() {
    for (field, source, expected) in [
        ("users.name", json!({"users": [{"name": "Alice"}, 1]}), r#"{"users":[{"name":"<declared>"},1]}"#),
        (
            "users.name",
            json!({"users.name": null, "users": {"name": "Alice"}}),
            r#"{"users.name":null,"users":{"name":"<declared>"}}"#,
        ),
        ("name", json!({"name": "x", "NAME": "Alice"}), r#"{"name":"<declared>","NAME":"<declared>"}"#),
        ("a.b.c", json!({"a.b": {"c": "Alice"}}), r#"{"a.b":{"c":"<declared>"}}"#),
        ("a.b.c", json!({"a": {"B.c": "Alice"}}), r#"{"a":{"B.c":"<declared>"}}"#),
        (
            "a.b.c",
            json!({"a.b.c": "x", "a": {"b": {"c": "Alice"}, "b.c": "Bob"}, "A.b": [[{"C": "Carol"}]]}),
            r#"{"a.b.c":"<declared>","a":{"b":{"c":"<declared>"},"b.c":"<declared>"},"A.b":[[{"C":"<declared>"}]]}"#,
        ),
    ] {
        assert_eq!(stored_declared(&[field], source), expected, "{field}");
    }
}

#[test]
fn whatever_a_declared_field_holds_no_text_of_it_stays() {
    for (source, expected) in [
        (json!({"name": ["Alice", "Bob"]}), r#"{"name":["<declared>","<declared>"]}"#),
        (
            json!({"name": [["Alice"], [7, true, null, " ", []]]}),
            r#"{"name":[["<declared>"],["<declared>","<declared>",null," ",[]]]}"#,
        ),
        (json!({"name": {"first": "Alice", "x": ["Smith"]}}), r#"{"name":"<declared>"}"#),
        (json!({"name": [{"first": "Alice"}, "Bob"]}), r#"{"name":["<declared>","<declared>"]}"#),
        (json!({"name.first": "Alice", "Name.x": {"y": "S"}}), r#"{"name.first":"<declared>","Name.x":"<declared>"}"#),
        (json!({"name": 7, "n": 7}), r#"{"name":"<declared>","n":7}"#),
    ] {
        assert_eq!(stored_declared(&["name"], source), expected);
    }
    let dropped = Privacy::new([(PersonalClass::Declared, Action::DropField)], vec!["u.name".parse().unwrap()]);
    let source = json!({"u": [{"name": "Alice", "n": 1}, {"name": ["Bob"]}], "u.name": "Carol"});
    assert_eq!(stored(source, Personal::Undeclared, dropped).unwrap(), r#"{"u":[{"n":1},{"name":[]}]}"#);
}

#[test]
fn a_name_that_only_looks_alike_is_another_field() {
    for source in [
        json!({"names": "Alice", "name_2": "Alice", "x": {"name": "Alice"}, "x.name": "Alice", "nam": {"e": "Alice"}}),
        json!({"u": {"namex": "Alice"}, "u.": {"name": "Alice"}, "uname": "Alice", "": {"name": "Alice"}}),
    ] {
        let expected = source.to_string();
        assert_eq!(stored_declared(&["name", "u.name"], source), expected);
    }
}

#[test]
fn of_two_declared_fields_the_one_that_is_named_goes_before_the_one_it_is_part_of() {
    let privacy = || Privacy::new([], vec!["user.name".parse().unwrap()]);
    let subject = || Personal::Subject("user".parse().unwrap());
    let flat = stored(json!({"user": "u1", "user.name": "Alice", "user.agent": "x"}), subject(), privacy());
    assert_eq!(flat.unwrap(), r#"{"user":"<subject>","user.name":"<declared>","user.agent":"<subject>"}"#);
    let nested = stored(json!({"user": {"name": "Alice"}}), subject(), privacy());
    assert_eq!(nested.unwrap(), r#"{"user":"<subject>"}"#);
    let agent = classifier().pseudonymise("user.agent", "x", &treated(1, subject(), privacy())).unwrap();
    assert_eq!(shown(&agent), "<subject>", "as it stands in the record");
}

#[test]
fn what_stands_in_or_under_a_field_that_is_kept_is_looked_through() {
    let personal = || Personal::Subject("user".parse().unwrap());
    for action in [Action::Keep(Basis::Contract), Action::MaskPartly] {
        let privacy = || Privacy::new([(PersonalClass::Subject, action)], Vec::new());
        for source in [
            json!({"user": "u1", "user.email": "alice@example.com", "user.card": "4111111111111111"}),
            json!({"user": {"id": "u1", "email": "alice@example.com"}}),
            json!({"user": [{"email": ["alice@example.com"]}]}),
            json!({"USER.contact": {"email": "alice@example.com"}}),
        ] {
            let stored = stored(source, personal(), privacy()).unwrap();
            assert!(!stored.contains("example.com") && !stored.contains("1111"), "{stored}");
            assert!(stored.contains("<email>"), "{stored}");
        }
        let stream = treated(1, personal(), privacy());
        let asked = classifier().pseudonymise("user.email", "alice@example.com", &stream).unwrap();
        assert_eq!(shown(&asked), "<email>", "as it stands in the record");
    }
}

#[test]
fn a_declared_field_is_replaced_at_the_deepest_place_of_a_record() {
    let in_lists = (0..MAX_RECORD_DEPTH - 2).fold(json!({"name": "Alice"}), |inner, _| json!([inner]));
    let stored = stored_declared(&["users.name"], json!({ "users": in_lists }));
    assert!(!stored.contains("Alice") && stored.contains("<declared>"), "{stored}");
    let field = ["a"; MAX_RECORD_DEPTH].join(".");
    let in_objects = (0..MAX_RECORD_DEPTH).fold(json!("Alice"), |inner, _| json!({ "a": inner }));
    let stored = stored_declared(&[field.as_str()], in_objects);
    assert!(!stored.contains("Alice") && stored.contains("<declared>"), "{stored}");
}

#[test]
fn a_subject_is_the_same_in_every_shape_and_a_record_names_one() {
    let classifier = classifier();
    let subject = |field: &str, source: Value| {
        let stream = stream(1, Personal::Subject(field.parse().unwrap()));
        classifier.classify(record(source), &stream).map(|classified| classified.unwrap().subject())
    };
    let one = subject("users.id", json!({"users": {"id": "u1"}})).unwrap();
    assert!(one.is_some());
    for source in [
        json!({"users": [{"id": "u1"}]}),
        json!({"users": [{"n": 1}, {"ID": " u1 "}, [{"id": ["u1", null]}]]}),
        json!({"users.id": null, "users": {"id": "u1"}}),
        json!({"users.id": ["u1"], "Users": {"id": "u1"}}),
    ] {
        assert_eq!(subject("users.id", source.clone()).unwrap(), one, "{source}");
    }
    for source in [
        json!({"users": [{"id": "u1"}, {"id": "u2"}]}),
        json!({"users.id": "u1", "users": {"id": "u2"}}),
        json!({"users": {"id": ["u1", "u2"]}}),
        json!({"users": {"id": "u1", "ID": "u2"}}),
    ] {
        let refused = subject("users.id", source).unwrap_err();
        assert_eq!(refused.code(), "DMC-CLASSIFY-05");
        let message = refused.to_string();
        assert!(message.contains("`users.id`") && !message.contains("u1") && !message.contains("u2"), "{message}");
    }
    let of_user = |source: Value| subject("user", source).unwrap();
    assert_eq!(of_user(json!({"user.id": 7, "user.n": "x"})), None, "or each order of parts would be somebody else");
    assert_eq!(of_user(json!({"user": "u1", "user.agent": "x"})), of_user(json!({"user": "u1"})));
    assert_eq!(of_user(json!({"user.id": null})), None);
}

/// Records that spell `a.b.c.d` in some ways: cut into keys at some of its dots, in small or capital letters, with lists around
/// what is below a key.
fn spelled(secret: &'static str) -> impl Strategy<Value = Value> {
    let step = (any::<bool>(), any::<bool>(), 0..3_u8);
    let one = proptest::collection::vec(step, 4).prop_map(move |steps| {
        let mut value = json!(secret);
        let mut key = String::new();
        for ((is_cut, is_capital, lists), letter) in steps.into_iter().zip(["d", "c", "b", "a"]) {
            let letter = if is_capital { letter.to_uppercase() } else { letter.to_owned() };
            key = if key.is_empty() { letter } else { format!("{letter}.{key}") };
            if is_cut {
                value = wrapped(std::mem::take(&mut key), value, lists);
            }
        }
        if key.is_empty() { value } else { wrapped(key, value, 0) }
    });
    proptest::collection::vec(one, 1..4).prop_map(|records| {
        let mut all = Map::new();
        for record in records {
            let Value::Object(record) = record else { panic!("an object") };
            all.extend(record);
        }
        Value::Object(all)
    })
}

/// A value under a key, in so many lists.
fn wrapped(key: String, value: Value, lists: u8) -> Value {
    let value = (0..lists).fold(value, |inner, _| json!([null, inner, []]));
    Value::Object(Map::from_iter([(key, value)]))
}

proptest! {
    #[test]
    fn what_is_planted_anywhere_never_survives((secret, source) in planted().prop_flat_map(nested)) {
        let classified = classifier().classify(record(source), &stream(1, Personal::Undeclared)).unwrap().unwrap();
        let json = String::from_utf8(classified.json().to_vec()).unwrap();
        prop_assert!(!json.contains(&secret), "{json}");
        // Nothing else was lost: every piece of structure is still there.
        let holds_a_token = json.contains('\u{2039}');
        prop_assert!(holds_a_token, "{json}");
    }

    #[test]
    fn no_spelling_of_a_declared_field_keeps_its_value_or_loses_its_subject(source in spelled("Alice Smith")) {
        let field = || "a.b.c.d".parse::<Name>().unwrap();
        let json = stored(source.clone(), Personal::Undeclared, Privacy::new([], vec![field()])).unwrap();
        prop_assert!(!json.contains("Alice") && json.contains("<declared>"), "{json}");
        let stream = stream(1, Personal::Subject(field()));
        let subject = |source| classifier().classify(record(source), &stream).unwrap().unwrap().subject();
        let expected = subject(json!({"a.b.c.d": "Alice Smith"}));
        prop_assert!(expected.is_some());
        prop_assert_eq!(subject(source), expected);
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
