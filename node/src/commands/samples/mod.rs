//! Sample lines for `dev`: the same for the same time and region, in four languages, from five services, with one incident
//! and personal data of nobody.
//!
//! Addresses are of RFC 2606 and RFC 5737, card numbers are the payment industry's test numbers. Writes nothing; the lines
//! go in through the same door as any others.

mod phrases;

use domicile_proto::ids::Timestamp;
use serde_json::{Value, json};

use phrases::{CARDS, INCIDENT, INFRA, Language, Phrase, SHOP};

/// Lines in all regions together.
pub(super) const COUNT: usize = 50_000;
/// Every service that speaks, for the dictionary.
pub(super) const SERVICES: [&str; 8] =
    ["auth", "checkout", "gateway", "inventory", "payments", "cache", "database", "scheduler"];
/// The stream of customers' doings, with a subject.
pub(super) const SHOP_STREAM: &str = "shop";
/// The stream of machines, without personal data.
pub(super) const INFRA_STREAM: &str = "infra";

/// Length of the time the lines fill, ending now.
const SPAN_SECONDS: i64 = 2 * 3_600;
/// The incident begins and ends so long before the end of the lines.
const INCIDENT_SECONDS: std::ops::Range<i64> = 25 * 60..40 * 60;
/// The region of the incident: payments time out there.
const INCIDENT_REGION: &str = "singapore";
/// Customers of one region.
const USERS: u64 = 400;

/// A sample line and the stream it belongs to.
pub(super) struct Sample {
    pub(super) stream: &'static str,
    pub(super) record: Value,
}

/// The lines of one region, oldest first: `count` of them, ending at `now`.
pub(super) fn of_region(region: &str, now: Timestamp, count: usize) -> impl Iterator<Item = Sample> {
    let mut dice = Dice::seeded(region);
    let region = region.to_owned();
    let languages = Language::of_region(&region);
    let total = i64::try_from(count.max(1)).unwrap_or(i64::MAX);
    let step = SPAN_SECONDS * 1_000 / total.max(1);
    (0..count).map(move |place| {
        let place = i64::try_from(place).unwrap_or(i64::MAX);
        let jitter = i64::try_from(dice.below(u64::try_from(step).unwrap_or(0).max(1))).unwrap_or(0);
        let before = (total - place) * SPAN_SECONDS * 1_000 / total;
        let at = now.as_millis() - before + jitter;
        let language = if dice.below(10) < 4 { Language::English } else { languages };
        let is_incident = region == INCIDENT_REGION && INCIDENT_SECONDS.contains(&(before / 1_000));
        line(&region, at, language, is_incident, &mut dice)
    })
}

fn line(region: &str, at: i64, language: Language, is_incident: bool, dice: &mut Dice) -> Sample {
    let at = jiff::Timestamp::from_millisecond(at).unwrap_or_default();
    if dice.below(4) == 0 {
        let phrase = dice.pick(&INFRA);
        let record = json!({
            "@timestamp": format!("{at:.3}"),
            "level": phrase.level,
            "service": phrase.service,
            "host": format!("{region}-{:02}", dice.below(6) + 1),
            "message": phrase.fill(Language::English, dice),
            "duration_ms": dice.below(900) + 1,
        });
        return Sample { stream: INFRA_STREAM, record };
    }
    let phrase = if is_incident && dice.below(3) == 0 { &INCIDENT } else { dice.pick(&SHOP) };
    let user = format!("{}-{:05}", region.get(..1).unwrap_or("x"), dice.below(USERS) + 1);
    let record = json!({
        "@timestamp": format!("{at:.3}"),
        "level": phrase.level,
        "service": phrase.service,
        "host": format!("{region}-{:02}", dice.below(6) + 1),
        "trace_id": format!("{:016x}{:016x}", dice.roll(), dice.roll()),
        "user": user,
        "message": phrase.fill(language, dice),
        "lang": language.code(),
    });
    Sample { stream: SHOP_STREAM, record }
}

impl Phrase {
    fn fill(&self, language: Language, dice: &mut Dice) -> String {
        let mut text = self.text(language).to_owned();
        for (mark, value) in [
            ("{order}", format!("A-{:06}", dice.below(1_000_000))),
            ("{ms}", (dice.below(4_000) + 3).to_string()),
            ("{amount}", format!("{}.{:02}", dice.below(900) + 1, dice.below(100))),
            ("{email}", format!("customer{}@example.com", dice.below(USERS) + 1)),
            ("{card}", (*dice.pick(&CARDS)).to_owned()),
            ("{ip}", format!("203.0.113.{}", dice.below(254) + 1)),
        ] {
            if text.contains(mark) {
                text = text.replace(mark, &value);
            }
        }
        text
    }
}

/// Numbers that only look random: the same seed rolls the same. Not for keys. Source: Steele, Lea and Flood, "Fast
/// Splittable Pseudorandom Number Generators" (2014).
struct Dice(u64);

impl Dice {
    fn seeded(word: &str) -> Self {
        Self(word.bytes().fold(0xd0_1c11e, |seed, byte| seed.wrapping_mul(257).wrapping_add(u64::from(byte))))
    }

    const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    const fn below(&mut self, bound: u64) -> u64 {
        // The bias of a remainder does not matter to samples.
        match self.roll().checked_rem(bound) {
            Some(rest) => rest,
            None => 0,
        }
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let place = usize::try_from(self.below(of.len() as u64)).unwrap_or(0);
        #[allow(clippy::indexing_slicing, reason = "below the length, and no list of this module is empty")]
        &of[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    const NOW: Timestamp = Timestamp(1_800_000_000 * Timestamp::MICROS);

    fn all(region: &str) -> Vec<Sample> {
        of_region(region, NOW, COUNT / 3).collect()
    }

    fn at(sample: &Sample) -> i64 {
        let text = sample.record["@timestamp"].as_str().expect("a time");
        text.parse::<jiff::Timestamp>().expect("RFC 3339").as_millisecond()
    }

    #[test]
    fn the_same_time_gives_the_same_lines() {
        let lines = |region| all(region).iter().map(|sample| sample.record.to_string()).collect::<Vec<_>>();
        assert_eq!(lines("tokyo"), lines("tokyo"));
        assert_ne!(lines("tokyo"), lines("frankfurt"));
    }

    #[test]
    fn the_lines_fill_two_hours_and_none_lies_ahead() {
        for region in ["tokyo", "singapore", "frankfurt"] {
            let lines = all(region);
            assert_eq!(lines.len(), COUNT / 3);
            let times: Vec<i64> = lines.iter().map(at).collect();
            assert!(times.is_sorted(), "oldest first");
            assert!(times.iter().all(|at| (0..=7_200_000).contains(&(NOW.as_millis() - at))));
            assert!(NOW.as_millis() - times[0] > 7_100_000);
        }
    }

    #[test]
    fn four_languages_and_at_least_four_services_speak() {
        let mut languages = BTreeSet::new();
        let mut services = BTreeSet::new();
        for region in ["tokyo", "singapore", "frankfurt"] {
            for sample in all(region) {
                services.insert(sample.record["service"].as_str().expect("a service").to_owned());
                languages.extend(sample.record.get("lang").and_then(Value::as_str).map(str::to_owned));
            }
        }
        assert_eq!(languages.into_iter().collect::<Vec<_>>(), ["de", "en", "ja", "zh"]);
        assert_eq!(services, SERVICES.iter().map(|name| (*name).to_owned()).collect());
    }

    #[test]
    fn nobody_is_in_the_stream_of_which_that_is_stated() {
        use crate::classify::{Classifier, Defaults, RuleFiles};
        use domicile_proto::ids::{StreamId, TenantId};
        use domicile_proto::metadata::{Personal, StreamPolicy};

        let keys = crate::keys::PseudonymKeys::from_secret(&[7; 32], "tokyo".parse().expect("a name"));
        let classifier = Classifier::new(std::sync::Arc::new(keys), Defaults::new("JP", []), RuleFiles::default());
        let view = crate::policy::StreamView {
            id: StreamId(1),
            tenant: TenantId(1),
            name: INFRA_STREAM.parse().expect("a name"),
            fields: Vec::new(),
            policy: StreamPolicy { personal: Personal::No, ..StreamPolicy::default() },
            shard: None,
        };
        let (mut infra, mut shop) = (0, 0);
        for sample in ["tokyo", "singapore", "frankfurt"].into_iter().flat_map(all) {
            let fields = sample.record.as_object().expect("an object").iter();
            let found = fields.filter_map(|(field, value)| classifier.pseudonymise(field, value.as_str()?, &view));
            let counted = if sample.stream == INFRA_STREAM { &mut infra } else { &mut shop };
            *counted += found.count();
        }
        assert_eq!(infra, 0, "the statement stands");
        assert!(shop > 1_000, "and the detectors see");
    }

    #[test]
    fn one_incident_raises_errors_of_payments_in_one_region() {
        let mut errors = BTreeMap::new();
        for region in ["tokyo", "singapore", "frankfurt"] {
            for sample in all(region) {
                let is_error = sample.record["level"] == "ERROR" && sample.record["service"] == "payments";
                let before = (NOW.as_millis() - at(&sample)) / 1_000;
                if is_error && (1_500..2_400).contains(&before) {
                    *errors.entry(region).or_insert(0) += 1;
                }
            }
        }
        let of = |region: &str| errors.get(region).copied().unwrap_or(0);
        let quiet = of("tokyo").max(of("frankfurt"));
        assert!(of("singapore") > 100 && of("singapore") > 5 * quiet.max(1), "{errors:?}");
    }

    #[test]
    fn customers_are_named_where_a_subject_is_declared_and_nowhere_else() {
        for sample in all("tokyo") {
            let has_user = sample.record.get("user").is_some();
            assert_eq!(has_user, sample.stream == SHOP_STREAM);
            if sample.stream == INFRA_STREAM {
                let text = sample.record.to_string();
                assert!(!text.contains('@') || !text.contains("example.com"), "no personal data: {text}");
                assert!(!text.contains("203.0.113."), "no personal data: {text}");
            }
            assert!(!sample.record.to_string().contains('{') || !sample.record["message"].to_string().contains('{'));
        }
    }
}
