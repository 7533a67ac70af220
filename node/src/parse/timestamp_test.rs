//! Time stamps against an independent reading of them.

use super::*;

/// 2026-11-20T12:00:00Z.
const NOW: i64 = 1_795_176_000_000_000;

fn micros(rfc3339: &str) -> i64 {
    rfc3339.parse::<jiff::Timestamp>().unwrap().as_microsecond()
}

fn read(text: &str, zone: &Zone) -> Option<i64> {
    whole(text, &Context { zone, received_at: Timestamp(NOW) }).map(|at| at.0)
}

#[test]
fn stamps_of_every_spelling_are_read() {
    for (text, expected) in [
        ("2026-11-20T10:00:00Z", "2026-11-20T10:00:00Z"),
        ("2026-11-20T10:00:00.123456789Z", "2026-11-20T10:00:00.123456Z"),
        ("2026-11-20t10:00:00.1z", "2026-11-20T10:00:00.1Z"),
        ("2026-11-20T10:00:00+09:00", "2026-11-20T01:00:00Z"),
        ("2026-11-20T10:00:00-0330", "2026-11-20T13:30:00Z"),
        ("2026-11-20T10:00:00+09", "2026-11-20T01:00:00Z"),
        ("2026-11-20T10:00:00+01:00[Europe/Berlin]", "2026-11-20T09:00:00Z"),
        ("2026-11-20 10:00:00,123", "2026-11-20T10:00:00.123Z"),
        ("2026-11-20 10:00:00.123", "2026-11-20T10:00:00.123Z"),
        ("2026-11-20 10:00:00 UTC", "2026-11-20T10:00:00Z"),
        ("2026-11-20 10:00:00 JST", "2026-11-20T01:00:00Z"),
        ("2026-11-20 10:00:00 +0800", "2026-11-20T02:00:00Z"),
        ("2026/11/20 10:00", "2026-11-20T10:00:00Z"),
        ("2026-11-20-10.00.00.675872", "2026-11-20T10:00:00.675872Z"),
        ("2026-11-20", "2026-11-20T00:00:00Z"),
        ("2026-11-20T23:59:60Z", "2026-11-20T23:59:59Z"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"),
        ("20261120T100000Z", "2026-11-20T10:00:00Z"),
        ("20261120100000", "2026-11-20T10:00:00Z"),
        ("20171223-22:15:29:606", "2017-12-23T22:15:29.606Z"),
        ("20171224-0:7:5:61", "2017-12-24T00:07:05.61Z"),
        ("081109 203615", "2008-11-09T20:36:15Z"),
        ("17/06/09 20:10:40", "2017-06-09T20:10:40Z"),
        ("10/Oct/2000:13:55:36 -0700", "2000-10-10T20:55:36Z"),
        ("06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37Z"),
        ("Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37Z"),
        ("Sunday, 06-Nov-1994 08:49:37 GMT", ""),
        ("10-Oct-2000 13:55:36", "2000-10-10T13:55:36Z"),
        ("30.10.2026 16:49:06", "2026-10-30T16:49:06Z"),
        ("Sun Dec 04 04:47:44 2005", "2005-12-04T04:47:44Z"),
        ("Sun Dec  4 04:47:44 UTC 2005", "2005-12-04T04:47:44Z"),
        ("Dec 4 2005 04:47:44", "2005-12-04T04:47:44Z"),
        // Without a year: the latest one that is not ahead.
        ("Nov 19 06:55:46", "2026-11-19T06:55:46Z"),
        ("Jan  3 06:55:46", "2026-01-03T06:55:46Z"),
        ("Jun 14 15:16:01", "2026-06-14T15:16:01Z"),
        ("03-17 16:13:38.811", "2026-03-17T16:13:38.811Z"),
        ("10.30 16:49:06", "2026-10-30T16:49:06Z"),
        ("Nov 21 06:55:46", "2026-11-21T06:55:46Z"),
        ("Nov 23 06:55:46", "2025-11-23T06:55:46Z"),
        ("Feb 29 10:00:00", ""),
        // Numbers.
        ("1763632800", "2025-11-20T10:00:00Z"),
        ("1763632800.5", "2025-11-20T10:00:00.5Z"),
        ("1763632800123", "2025-11-20T10:00:00.123Z"),
        ("1763632800123456", "2025-11-20T10:00:00.123456Z"),
        ("1763632800123456789", "2025-11-20T10:00:00.123456Z"),
        // No times.
        ("", ""),
        ("2026", ""),
        ("10:00:00", ""),
        ("2026-13-20T10:00:00Z", ""),
        ("2026-11-31T10:00:00Z", ""),
        ("2025-02-29", ""),
        ("2026-11-20T24:00:00Z", ""),
        ("2026-11-20T10:60:00Z", ""),
        ("0001-01-01T00:00:00Z", ""),
        ("9999-12-31T23:59:59Z", ""),
        ("10/11/2026 10:00:00", ""),
        ("2026-11-20T10:00:00Zebra", ""),
        ("2026-11-20T10:00:00+99:00", ""),
        ("99999999999999999999999999", ""),
        ("12345", ""),
        ("yesterday", ""),
        ("März 3 10:00:00", ""),
        ("２０２６-11-20", ""),
    ] {
        let expected = (!expected.is_empty()).then(|| micros(expected));
        assert_eq!(read(text, &Zone::UTC), expected, "{text}");
    }
}

#[test]
fn a_stamp_without_a_zone_lies_in_the_zone_it_is_given_and_one_with_a_zone_does_not() {
    let tokyo = Zone::Fixed(9 * 3_600);
    assert_eq!(read("2026-11-20 10:00:00", &tokyo), Some(micros("2026-11-20T01:00:00Z")));
    assert_eq!(read("Nov 20 10:00:00", &tokyo), Some(micros("2026-11-20T01:00:00Z")));
    assert_eq!(read("2026-11-20 10:00:00Z", &tokyo), Some(micros("2026-11-20T10:00:00Z")));
    let berlin = Zone::named("Europe/Berlin").unwrap();
    assert_eq!(read("2026-07-01 10:00:00", &berlin), Some(micros("2026-07-01T08:00:00Z")));
    assert_eq!(read("2026-12-01 10:00:00", &berlin), Some(micros("2026-12-01T09:00:00Z")));
}

#[test]
fn a_stamp_without_a_year_is_of_the_past_on_both_sides_of_the_new_year() {
    for (now, text, expected) in [
        ("2026-12-31T23:59:58Z", "Jan  1 00:00:01", "2027-01-01T00:00:01Z"),
        ("2027-01-01T00:00:02Z", "Dec 31 23:59:59", "2026-12-31T23:59:59Z"),
        ("2027-01-01T00:00:02Z", "Jan  3 00:00:01", "2027-01-03T00:00:01Z"),
        ("2027-01-01T00:00:02Z", "Jan  3 00:00:03", "2026-01-03T00:00:03Z"),
        ("2029-01-15T00:00:00Z", "Feb 29 10:00:00", "2028-02-29T10:00:00Z"),
    ] {
        let context = Context { zone: &Zone::UTC, received_at: Timestamp(micros(now)) };
        assert_eq!(whole(text, &context).map(|at| at.0), Some(micros(expected)), "{text} read at {now}");
    }
}

#[test]
fn numbers_are_read_by_their_size() {
    for (json, expected) in [
        ("1763632800", Some("2025-11-20T10:00:00Z")),
        ("1763632800.25", Some("2025-11-20T10:00:00.25Z")),
        ("1763632800123", Some("2025-11-20T10:00:00.123Z")),
        ("1763632800123456789", Some("2025-11-20T10:00:00.123456Z")),
        ("1.7636328e12", Some("2025-11-20T10:00:00Z")),
        ("0", None),
        ("-5", None),
        ("42", None),
        ("18446744073709551615", None),
        ("1e300", None),
    ] {
        let value: Number = serde_json::from_str(json).unwrap();
        assert_eq!(number(&value).map(|at| at.0), expected.map(micros), "{json}");
    }
}

proptest::proptest! {
    #[test]
    fn rfc_3339_is_read_like_an_independent_reader_reads_it(seconds in 0_i64..4_102_444_800, nanos in 0_i32..1_000_000_000, offset in -15_i32..=15) {
        let at = jiff::Timestamp::new(seconds, nanos).unwrap();
        let zoned = at.to_zoned(jiff::tz::TimeZone::fixed(jiff::tz::offset(i8::try_from(offset).unwrap())));
        let text = zoned.strftime("%Y-%m-%dT%H:%M:%S%.9f%:z").to_string();
        proptest::prop_assert_eq!(read(&text, &Zone::UTC), Some(at.as_microsecond()));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,40}") {
        let _ = read(&text, &Zone::UTC);
    }

    #[test]
    fn nothing_made_of_figures_and_signs_makes_the_reader_panic(text in "[0-9:./,TZ+ JanOctSunéー-]{0,40}") {
        let _ = leading(&text, &Context { zone: &Zone::UTC, received_at: Timestamp(NOW) });
    }
}
