//! Hours that fit and hours that do not, of counters with and without packets; an idle hour as it was captured.

use super::*;

const START: i64 = 1_700_000_000 - 1_700_000_000 % HOUR;

fn route(from: &str, to: &str) -> Route {
    (from.to_owned(), to.to_owned())
}

fn ledgers(bytes: u64) -> Ledgers {
    let left = |at| Left { at, bytes, messages: Some(10), heard: 0, heard_bytes: 0 };
    let entries = vec![left(START + 100), left(START + HOUR + 100)];
    Ledgers { regions: ["tokyo".to_owned()].into(), left: [(route("tokyo", "frankfurt"), entries)].into(), unread: 0 }
}

fn names() -> BTreeMap<IpAddr, String> {
    let name = |(address, region): (&str, &str)| (address.parse().expect("an address"), region.to_owned());
    [("10.0.0.4", "tokyo"), ("10.1.0.4", "frankfurt"), ("10.1.0.5", "frankfurt"), ("10.2.0.4", "singapore")]
        .map(name)
        .into()
}

fn flow(from: &str, to: &str, at: i64, bytes: u64, observer: &str) -> Flow {
    let ends = Ends::Addresses(from.parse().expect("an address"), to.parse().expect("an address"));
    Flow { ends, span: Some((at, at + 60)), bytes, packets: None, observer: observer.to_owned() }
}

/// A whole hour of nothing but this, in the first and in the second hour.
fn found(ledgers: &Ledgers, first: u64, second: u64) -> Vec<Option<&'static str>> {
    let flows = [
        flow("10.0.0.4", "10.1.0.4", START, 0, "a"),
        flow("10.0.0.4", "10.1.0.4", START + 90, first, "a"),
        flow("10.0.0.4", "10.1.0.4", START + HOUR + 90, second, "a"),
        flow("10.0.0.4", "10.1.0.4", START + 2 * HOUR - 60, 0, "a"),
    ];
    let outcome = weigh(ledgers, &flows, &names(), (None, None), &Overhead::MEASURED);
    outcome.weighed.iter().map(|weighed| weighed.problem).collect()
}

#[test]
fn an_hour_fits_from_nothing_more_up_to_the_overhead_and_not_one_byte_beyond() {
    let ledgers = ledgers(100_000_000);
    let packets = 10 * 120 / 100 + 100_000_000 / 1_000 + (3_600 + 61) * 6 + 512;
    let most = 102_000_000 + packets * 75 + (128 << 10);
    assert_eq!(found(&ledgers, 100_000_000, most), [None, None]);
    let [fewer, more] = found(&ledgers, 99_999_999, most + 1)[..] else { panic!("two hours") };
    assert!(fewer.expect("named").starts_with("fewer bytes"), "{fewer:?}");
    assert!(more.expect("named").starts_with("more bytes"), "{more:?}");
    let partly = Ledgers { unread: 1, ..ledgers };
    assert_eq!(found(&partly, 100_000_000, most + 1), [None, None], "what is withheld may explain it");
    assert!(found(&partly, 1, most)[0].is_some(), "and does not explain that bytes are missing");
}

/// An hour of three nodes that nobody asks anything, as it was captured over four minutes: entries of the ledger each minute,
/// and what the wire carried. Frames and bytes that left and came, then packets and bytes of the wire.
const IDLE: [(&str, [u64; 4], [u64; 2]); 3] = [
    ("from the leader", [23_400, 658_900, 23_700, 400_000], [71_850, 5_479_600]),
    ("to the leader", [23_700, 399_800, 23_400, 656_700], [51_000, 3_890_500]),
    ("between two others", [120, 27_300, 120, 26_900], [19_040, 1_283_900]),
];

fn idle([sent, bytes, heard, heard_bytes]: [u64; 4]) -> Ledgers {
    let minute = |number: i64| Left {
        at: START + 60 * number + 30,
        bytes: bytes / 60,
        messages: Some(sent / 60),
        heard: heard / 60,
        heard_bytes: heard_bytes / 60,
    };
    let left = [(route("tokyo", "frankfurt"), (0..60).map(minute).collect())].into();
    Ledgers { regions: ["tokyo".to_owned()].into(), left, unread: 0 }
}

/// What an hour with so many packets and bytes on the wire comes to.
fn hour(ledgers: &Ledgers, packets: u64, bytes: u64) -> Option<&'static str> {
    let ends = Ends::Addresses("10.0.0.4".parse().expect("an address"), "10.1.0.4".parse().expect("an address"));
    let span = Some((START, START + HOUR));
    let flow = Flow { ends, span, bytes, packets: Some(packets), observer: "a".to_owned() };
    weigh(ledgers, &[flow], &names(), (None, None), &Overhead::MEASURED).weighed[0].problem
}

#[test]
fn a_mebibyte_beside_an_hour_of_idle_traffic_is_named_and_the_idle_traffic_is_not() {
    const HIDDEN: u64 = 1 << 20;
    for (what, said, [packets, bytes]) in IDLE {
        let ledgers = idle(said);
        assert_eq!(hour(&ledgers, packets, bytes), None, "{what}");
        // Connections that were made anew four times within the hour.
        assert_eq!(hour(&ledgers, packets + 400, bytes + (150 << 10)), None, "{what}");
        for of_packet in [1_500, 1_200, 600, 300] {
            let hidden = hour(&ledgers, packets + HIDDEN / of_packet, bytes + HIDDEN);
            assert!(hidden.is_some_and(|why| why.starts_with("more bytes")), "{what}, packets of {of_packet}");
        }
    }
}

#[test]
fn without_packets_three_mebibytes_beside_an_hour_are_named_and_the_hour_itself_fits() {
    let given = (Some(START), Some(START + HOUR));
    let six = |v6: bool| if v6 { ("fd00::4", "fd01::4") } else { ("10.0.0.4", "10.1.0.4") };
    for (what, said, [packets, bytes]) in IDLE {
        for is_v6 in [false, true] {
            let (from, to) = six(is_v6);
            let ends = Ends::Addresses(from.parse().expect("an address"), to.parse().expect("an address"));
            let names = [(from, "tokyo"), (to, "frankfurt")];
            let names = names.map(|(address, region)| (address.parse().expect("an address"), region.to_owned())).into();
            let bytes = if is_v6 { bytes + 20 * packets } else { bytes };
            let found = |bytes| {
                let flow = Flow {
                    ends: ends.clone(),
                    span: Some((START, START + HOUR)),
                    bytes,
                    packets: None,
                    observer: String::new(),
                };
                weigh(&idle(said), &[flow], &names, given, &Overhead::MEASURED).weighed[0].problem
            };
            assert_eq!(found(bytes), None, "{what}, {is_v6}");
            assert_eq!(found(bytes + (150 << 10)), None, "{what}: connections that were made anew");
            let hidden = if is_v6 { 4 << 20 } else { 3 << 20 };
            assert!(found(bytes + hidden).is_some_and(|why| why.starts_with("more bytes")), "{what}, {is_v6}");
        }
    }
}

#[test]
fn by_a_ledger_of_an_earlier_build_the_bound_is_the_wide_one() {
    let (_, said, [packets, bytes]) = IDLE[0];
    let mut earlier = idle(said);
    assert!(hour(&earlier, packets, bytes + (2 << 20)).is_some());
    earlier.left.values_mut().flatten().for_each(|left| left.messages = None);
    assert_eq!(hour(&earlier, packets, bytes + (2 << 20)), None, "not counted in messages");
}

#[test]
fn packets_that_no_message_explains_excuse_nothing_and_longer_addresses_do() {
    let (_, said, [packets, bytes]) = IDLE[0];
    let ledgers = idle(said);
    let small = 40_000;
    assert!(hour(&ledgers, packets + small, bytes + small * 70).is_some(), "as small as those of the link");
    let six = Ends::Addresses("fd00::4".parse().expect("an address"), "fd01::4".parse().expect("an address"));
    let names = [("fd00::4", "tokyo"), ("fd01::4", "frankfurt")]
        .map(|(address, region)| (address.parse().expect("an address"), region.to_owned()))
        .into();
    let found = |bytes| {
        let flow = Flow {
            ends: six.clone(),
            span: Some((START, START + HOUR)),
            bytes,
            packets: Some(packets),
            observer: String::new(),
        };
        weigh(&ledgers, &[flow], &names, (None, None), &Overhead::MEASURED).weighed[0].problem
    };
    assert_eq!(found(bytes + 20 * packets), None);
    assert!(found(bytes + 20 * packets + (1 << 20)).is_some());
}

#[test]
fn a_route_that_no_ledger_knows_fails_and_traffic_at_home_or_to_others_does_not() {
    let mut flows = vec![
        flow("10.0.0.4", "10.1.0.4", START + 90, 1_000, "a"),
        flow("10.0.0.4", "10.2.0.4", START + 90, 7, "a"),
        flow("10.2.0.4", "10.1.0.4", START + 90, 8, "a"),
        flow("10.1.0.4", "10.1.0.5", START + 90, 1 << 40, "a"),
        flow("10.0.0.4", "192.0.2.7", START + 90, 9, "a"),
    ];
    flows.push(flow("192.0.2.7", "192.0.2.8", START, 1 << 40, "a"));
    let outcome = weigh(&ledgers(1_000), &flows, &names(), (None, None), &Overhead::MEASURED);
    let problems: BTreeMap<_, _> = outcome.weighed.iter().map(|it| (it.route.clone(), it.problem)).collect();
    assert_eq!(problems[&route("tokyo", "frankfurt")], None);
    assert_eq!(problems[&route("tokyo", "singapore")], Some("the ledger knows of nothing on this route"));
    assert_eq!(problems[&route("singapore", "frankfurt")], Some("no ledger of the region it left was given"));
    assert_eq!((problems.len(), outcome.outside), (3, 9));
}

#[test]
fn what_both_ends_counted_counts_once_and_a_record_over_the_hour_is_soft() {
    let mut ledgers = ledgers(1_000_000);
    let both = [
        flow("10.0.0.4", "10.1.0.4", START + 90, 1_000_000, "a"),
        flow("10.0.0.4", "10.1.0.4", START + 90, 1_000_000, "b"),
    ];
    let outcome = weigh(&ledgers, &both, &names(), (None, None), &Overhead::MEASURED);
    assert_eq!(outcome.weighed[0].wire, 1_000_000);
    // All bytes were sent before the hour was over, and the record reaches ten seconds into the next.
    ledgers.left.get_mut(&route("tokyo", "frankfurt")).expect("there")[1].at = START + HOUR - 1;
    let over = [
        flow("10.0.0.4", "10.1.0.4", START + 90, 1_000_000, "a"),
        flow("10.0.0.4", "10.1.0.4", START + HOUR - 50, 1_000_000, "a"),
    ];
    let outcome = weigh(&ledgers, &over, &names(), (None, None), &Overhead::MEASURED);
    assert!(outcome.weighed.iter().all(|weighed| weighed.problem.is_none()), "{:?}", outcome.weighed);
}

#[test]
fn counters_without_times_are_weighed_as_a_whole() {
    let ends = |from: &str, to: &str| Ends::Regions(from.to_owned(), to.to_owned());
    let counter = |ends, bytes| Flow { ends, span: None, bytes, packets: None, observer: "domicile".to_owned() };
    let flows = [counter(ends("tokyo", "frankfurt"), 2_000_000), counter(ends("tokyo", "singapore"), 0)];
    let ledgers = ledgers(1_000_000);
    let outcome = weigh(&ledgers, &flows, &BTreeMap::new(), (Some(START), None), &Overhead::MEASURED);
    assert_eq!(outcome.weighed.len(), 1, "nothing is nothing");
    assert_eq!(outcome.weighed[0].problem, None);
    let flows = [counter(ends("tokyo", "frankfurt"), 1_999_999)];
    let outcome = weigh(&ledgers, &flows, &BTreeMap::new(), (Some(START), None), &Overhead::MEASURED);
    assert!(outcome.weighed[0].problem.is_some_and(|why| why.starts_with("fewer")), "{:?}", outcome.weighed);
}
