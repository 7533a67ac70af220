//! What each finder takes and, more of it, what it must leave alone.

use base64::Engine as _;
use proptest::prelude::*;

use super::super::span::What;
use super::*;

fn shown(text: &str, finder: &Finder<'_>, keys: Keys<'_>) -> String {
    fn render(text: &str, spans: &[Span]) -> String {
        let mut out = String::new();
        let mut from = 0;
        for span in spans {
            out.push_str(&text[from..span.from]);
            match &span.what {
                What::Personal { class, .. } => out.push_str(&format!("<{}>", class.as_str())),
                What::Packed(packed) => out.push_str(&format!("[{}]", render(&packed.text, &packed.spans))),
            }
            from = span.to;
        }
        out + &text[from..]
    }
    render(text, &finder.spans(text, keys))
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(shown(text, &Finder::new(Home::Japan), Keys::default()), expected, "{text}");
}

#[track_caller]
fn all(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        check(text, expected);
    }
}

#[track_caller]
fn none(texts: &[&str]) {
    for text in texts {
        check(text, text);
    }
}

#[test]
fn e_mail_addresses_and_logins() {
    all(&[
        ("mail john.doe+tag@example.co.uk.", "mail <email>."),
        ("<john@example.com>,jane@example.com", "<<email>>,<email>"),
        ("email=john@example.com&x=1", "email=<email>&x=1"),
        ("o'brien@example.ie", "<email>"),
        ("連絡先はjohn@example.comです", "連絡先は<email>です"),
        ("宛先：用户@例子.公司。", "宛先：<email>。"),
        ("müller@bücher.de", "<email>"),
        ("иван@пример.рф", "<email>"),
        ("john\u{FF20}example.com", "<email>"),
        ("ｊｏｈｎ＠ｅｘａｍｐｌｅ．ｃｏｍ", "<email>"),
        ("GET /?q=john%40example.com HTTP", "GET /?q=<email> HTTP"),
        ("GET /?q=john%2540example.com HTTP", "GET /?q=<email> HTTP"),
        ("\"john doe\"@example.com", "<email>"),
        ("john@example.com-backup x", "<email> x"),
        ("john@example.com_old", "<email>_old"),
        ("a@b@example.com", "a@<email>"),
        (r#"{\"to\":\"john\u0040example.com\"}"#, r#"{\"to\":\"<email>\"}"#),
        (r#""a\njohn@example.com""#, r#""a\n<email>""#),
        ("john&#64;example.com", "<email>"),
        ("postgres://app:s3cr3t@db.example.com/x", "postgres://<bearer>@db.example.com/x"),
    ]);
    none(&[
        "a@b.c",
        "ActivityRecord@9f4ef63",
        "FastLeaderElection@774] x",
        "@home @ work.example",
        "100%40",
        "user@localhost",
        "@@@@@@",
        "50% off @ shop",
    ]);
}

#[test]
fn card_numbers() {
    all(&[
        ("card 4111111111111111 ok", "card <card> ok"),
        ("4111 1111 1111 1111", "<card>"),
        ("4111-1111-1111-1111.", "<card>."),
        ("2026-11-20 4111 1111 1111 1111 12", "2026-11-20 <card> 12"),
        ("3782 822463 10005", "<card>"),
        ("5555555555554444/6011111111111117", "<card>/<card>"),
        ("3530111333300000 30569309025904", "<card> <card>"),
        ("カード４１１１１１１１１１１１１１１１です", "カード<card>です"),
        ("４１１１－１１１１－１１１１－１１１１", "<card>"),
        ("4111\u{A0}1111\u{A0}1111\u{A0}1111", "<card>"),
        ("4111\u{200B}111111111111", "<card>"),
        ("x4111111111111111y", "x<card>y"),
        ("4111%201111%201111%201111", "<card>"),
        ("card_4111111111111111", "card_<card>"),
        ("pan=4000000000000000006", "pan=<card>"),
    ]);
    none(&[
        "4111111111111112",
        "1111111111111117",
        "0000000000000000",
        "41111111111111111",
        "94111111111111111",
        "4111 1111-1111 1111",
        "0.4111111111111111",
        "ccf635ee4111111111111111d7705b87",
        "1763632800123",
        "blk_-6952295868487656571",
        "blk_4000000000000000006",
        "trace_id=4000000000000000006",
        "0x4883663905328372",
        "商品 4680919068143",
    ]);
}

#[test]
fn addresses_of_machines() {
    all(&[
        ("from 10.0.0.1:8080 to 192.168.1.255.", "from <ip>:8080 to <ip>."),
        ("[::1] fe80::1%eth0 2001:db8::8a2e:370:7334", "[<ip>] <ip>%eth0 <ip>"),
        ("::ffff:10.0.0.1", "<ip>"),
        ("addr=10.0.0.1; host/10.1.2.3:80", "addr=<ip>; host/<ip>:80"),
        ("サーバ10.0.0.1です", "サーバ<ip>です"),
        ("::ffff:10.0.0.1 [::ffff:10.0.0.1]:80 1:2:3:4:5:6:7:8:80", "<ip> [<ip>]:80 <ip>:80"),
        ("mac:00:1a:2b:3c:4d:5f 用户device：ac:72:79:31:d2:f5", "mac:<mac> 用户device：<mac>"),
        ("mac 00:1a:2B:3c:4d:5e, aa-bb-cc-dd-ee-f0, 001a.2b3c.4d5e", "mac <mac>, <mac>, <mac>"),
    ]);
    none(&[
        "version 1.2.3.4.5 and 256.1.1.1 and v1.2.3.4",
        "Chrome/120.0.0.0 version 1.2.3.4 1.2.3",
        "12:34:56 std::vec::Vec abc::def 00:00:00:00:00:00 20-01-02-03-04-05",
        ":: ... .... 1.2.3",
        "dead.beef 0011.2233 a1b2.c3d4.e5f6.a7b8",
    ]);
}

#[test]
fn telephone_numbers() {
    all(&[
        ("call +81-90-1234-5678 200 OK", "call <phone> 200 OK"),
        ("+81 3 1234 5678, +6591234567", "<phone>, <phone>"),
        ("+49 (0)30 1234567 x", "<phone> x"),
        ("tel=%2B49%20171%201234567", "tel=<phone>"),
        ("+1 (212) 555-2368", "<phone>"),
        ("携帯090-1234-5678まで", "携帯<phone>まで"),
        ("mobile is 090-1234-5678.", "mobile is <phone>."),
        ("to 080-1234-5678", "to <phone>"),
        ("電話：０３（１２３４）５６７８", "電話：<phone>"),
        ("TEL:03-1234-5678 FAX:03-1234-5679", "TEL:<phone> FAX:<phone>"),
        ("Telefon: 030/1234567", "Telefon: <phone>"),
        ("Handy 0171 1234567", "Handy <phone>"),
        ("phone=91234567", "phone=<phone>"),
        ("hp 9123 4567", "hp <phone>"),
        ("手机13812345678", "手机<phone>"),
        ("phone: (212) 555-2368", "phone: <phone>"),
        ("phone 819012345678", "phone <phone>"),
        ("tel 03-1234-5678, 03-1234-5679 Vorgang 0312345670", "tel <phone>, <phone> Vorgang 0312345670"),
    ]);
    none(&[
        "+1763632800123",
        "2026-11-20T10:00:00+09:00 +0900",
        "03-1234-5678",
        "order 0312345678",
        "91234567",
        "13812345678",
        "a+8190123456",
        "phone model 12",
        "tel 2026-11-20 10:00",
        "sku=090-12-345678",
        "0-090-1234-5678-9",
        "tel 0x7fff93312447",
    ]);
}

#[test]
fn numbers_of_other_plans_count_where_a_word_announces_them() {
    all(&[
        ("Phone:\n60-56-85-91\n", "Phone:\n<phone>\n"),
        ("fax 930.167.3943", "fax <phone>"),
        ("416 60 039 office\nx", "<phone> office\nx"),
        ("(37) 788-063-Office", "<phone>-Office"),
        ("call 345-899-3560x4587 now", "call <phone> now"),
        ("desk: +1-984-182-0190", "desk: <phone>"),
        ("call me on 450 0840?", "call me on <phone>?"),
        ("card 630427373398 is lost", "card <card> is lost"),
        ("180016070420458 カード3598899323053410", "<card> カード<card>"),
    ]);
    none(&[
        "60-56-85-91",
        "phone\n60-56-85-91",
        "12 345 678 mobile users",
        "tel 20.11.2026 10",
        "call took 1 234 567 us",
        "order 450 0840 of phone",
        "call 345-899-3560x45z",
        "630427373398",
        "card 630427373399",
        "マイナンバーカード 630427373398",
        "trace_id=630427373398 card",
    ]);
}

#[test]
fn numbers_of_people_and_accounts() {
    all(&[
        ("マイナンバー123456789018です", "マイナンバー<my_number>です"),
        ("個人番号：１２３４　５６７８　９０１８", "個人番号：<my_number>"),
        ("{\"my_number\":\"123456789018\"}", "{\"my_number\":\"<my_number>\"}"),
        ("nric S1234567D, fin G1234567X; M1234567K", "nric <nric>, fin <nric>; <nric>"),
        ("身份S1234567D的", "身份<nric>的"),
        ("Steuer-ID 36 574 261 809", "Steuer-ID <tax_id>"),
        ("IdNr.: 36574261809", "IdNr.: <tax_id>"),
        ("Personalausweis T220001293", "Personalausweis <id_card>"),
        ("id_card=L01X00T471", "id_card=<id_card>"),
        ("SSN 219-09-9998", "SSN <ssn>"),
        ("iban DE89 3704 0044 0532 0130 00 bic", "iban <iban> bic"),
        ("GB82WEST12345698765432,de89370400440532013000", "<iban>,<iban>"),
    ]);
    none(&[
        "123456789018",
        "マイナンバー123456789012",
        "order=123456789018",
        "S1234567A A1234567D S1234567Dx S12345678",
        "36574261809",
        "Steuer-ID 36574261800",
        "T220001293",
        "219-09-9998",
        "SSN 000-12-3456",
        "DE89370400440532013001 DE8937040044053201300 XX89370400440532013000",
        "DE89 3704 0044 0532 0130",
    ]);
}

#[test]
fn secrets() {
    let key = "AKIAIOSFODNN7EXAMPLE";
    let private = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc\n-----END RSA PRIVATE KEY-----";
    let hub = format!("ghp_{}", "a1".repeat(18));
    let google = format!("AIza{}", "Sy1x-".repeat(7));
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P";
    all(&[
        (&format!("key {key}."), "key <cloud_key>."),
        (&format!("x={hub} {google}"), "x=<cloud_key> <cloud_key>"),
        (&format!("Authorization: Bearer {jwt}"), "Authorization: Bearer <jwt>"),
        ("authorization: bearer 0123456789abcdef0123", "authorization: bearer <bearer>"),
        ("Authorization: Basic YWxhZGRpbjpvcGVuc2VzYW1l", "Authorization: Basic <bearer>"),
        (&format!("a {private} b"), "a <private_key> b"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEow", "<private_key>"),
        ("aws_secret_access_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKE4", "aws_secret_access_key=<cloud_key>"),
    ]);
    none(&[
        "bearer of bad news",
        "Basic authentication failed",
        "-----BEGIN CERTIFICATE-----\nMIIE",
        "AKIA",
        "ghp_short",
        "commit=wJalrXUtnFEMIxK7MDENGxbPxRfiCYEXAMPLEKE4",
        "eyJ.x.y",
    ]);
}

#[test]
fn packed_values_to_three_layers_and_no_deeper() {
    let pack = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let zip = |text: &str| {
        use std::io::Write as _;
        let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        zip.write_all(text.as_bytes()).unwrap();
        base64::engine::general_purpose::STANDARD.encode(zip.finish().unwrap())
    };
    let text = "mail to john@example.com now";
    check(&format!("x={}", pack(text)), "x=[mail to <email> now]");
    check(&format!("x={};", zip(text)), "x=[mail to <email> now];");
    check(&format!("x={}", pack(&pack(text))), "x=[[mail to <email> now]]");
    check(&format!("x={}", pack(&pack(&pack(text)))), "x=[[[mail to <email> now]]]");
    check(&format!("x={}", pack(&zip(text))), "x=[[mail to <email> now]]");
    check(&pack("{\"a\":{\"q\":\"john%40example.com\"}}"), "[{\"a\":{\"q\":\"<email>\"}}]");
    let deep = pack(&pack(&pack(&pack(text))));
    check(&deep, &deep);
    check(&pack("ja: 電話03-1234-5678。").replace('=', "%3D"), "[ja: 電話<phone>。]");
    let nothing = pack("nothing personal in here at all");
    check(&nothing, &nothing);
    check("4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7", "4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7");
    check(
        "org.apache.hadoop.mapreduce.TaskAttemptListenerImplementation",
        "org.apache.hadoop.mapreduce.TaskAttemptListenerImplementation",
    );
    let bomb = zip(&"a".repeat(4 << 20));
    check(&format!("x={bomb}"), "x=<opaque>");
}

#[test]
fn the_keys_of_a_record_announce_what_is_weak() {
    let finder = Finder::new(Home::Singapore);
    let under = |key: &str, text: &str| shown(text, &finder, Keys { nearest: key, outer: "" });
    assert_eq!(under("phone_number", "91234567"), "<phone>");
    assert_eq!(under("orderId", "91234567"), "91234567");
    assert_eq!(under("マイナンバー", "123456789018"), "<my_number>");
    assert_eq!(under("steuerId", "36574261809"), "<tax_id>");
}

/// Read whole for each number, such a key would hold up ingest for minutes, and a longer one for hours.
#[test]
fn of_a_key_without_end_its_end_is_read() {
    let finder = Finder::new(Home::Singapore);
    let under = |key: &str, text: &str| shown(text, &finder, Keys { nearest: key, outer: key });
    let long = "tax".repeat(350_000);
    assert_eq!(under(&format!("{long}_phone_number"), "91234567"), "<phone>");
    assert_eq!(under(&format!("{}phone", "電".repeat(300)), "91234567"), "<phone>");
    assert_eq!(under(&format!("{}電話", "電".repeat(300)), "91234567"), "<phone>");
    assert_eq!(under(&format!("phone_number_{long}"), "91234567"), "91234567");
    let numbers = "0312345678\n".repeat(100_000);
    assert_eq!(shown(&numbers, &Finder::new(Home::Japan), Keys { nearest: &long, outer: &long }), numbers);
}

#[test]
fn the_strict_finder_needs_no_words() {
    let finder = Finder::new(Home::Germany).strict();
    for text in ["03-1234-5678", "123456789018", "36574261809", "219-09-9998", "91234567", "T220001293"] {
        assert!(!finder.spans(text, Keys::default()).is_empty(), "{text}");
    }
    assert!(finder.spans("timeout in checkout 503", Keys::default()).is_empty());
}

#[test]
fn a_class_nobody_asks_for_is_not_found() {
    let finder = Finder::new(Home::Japan).without(PersonalClass::Ip);
    assert_eq!(shown("10.0.0.1 a@b.de", &finder, Keys::default()), "10.0.0.1 <email>");
    let none = PersonalClass::ALL.into_iter().fold(Finder::new(Home::Japan), Finder::without);
    assert_eq!(shown("10.0.0.1 a@b.de", &none, Keys::default()), "10.0.0.1 a@b.de");
}

proptest! {
    #[test]
    fn no_text_makes_a_finder_panic(text in "\\PC{0,60}", signs in "[0-9@%.: +()a-fé漢０４\\\\&;#xuA-Z/=-]{0,120}") {
        for text in [text, signs] {
            for finder in [Finder::new(Home::Japan), Finder::new(Home::Germany).strict()] {
                let mut end = 0;
                for span in finder.spans(&text, Keys::default()) {
                    prop_assert!(text.get(span.from..span.to).is_some() && span.from >= end && span.to > span.from);
                    end = span.to;
                }
            }
        }
    }
}
