//! Facts about regions, one YAML file each: built in, or read from `regions_dir`. `regions/README.md` explains every key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domicile_proto::ids::{Name, Region};
use domicile_proto::privacy::{Action, PersonalClass};
use domicile_proto::transfer::TransferBasis;
use serde::{Deserialize, Serialize};

use super::errors::ConfigError;
use crate::policy::{FileRoute, day_of};

/// What is known about one region. Keys that only Terraform and reports read are parsed all the same, so that a wrong one
/// is refused by both.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegionFacts {
    pub(crate) name: Region,
    pub(crate) jurisdiction: String,
    laws: Vec<String>,
    pub(crate) time_zone: TimeZone,
    clouds: Clouds,
    retention: Retention,
    disclosure: Disclosure,
    detectors: BTreeMap<PersonalClass, Action>,
    pub(crate) peers: Vec<PeerFacts>,
    pub(crate) transfers: Vec<Transfer>,
}

/// The region's civil time.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimeZone {
    #[allow(dead_code, reason = "a fact of the region; Terraform and people read it")]
    pub(crate) iana: String,
    /// Minutes east of UTC, given to time stamps without a zone.
    pub(crate) utc_offset_minutes: i16,
}

/// By cloud, the locations in which a region's buckets, disks, keys and nodes may lie.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Clouds {
    aws: Vec<String>,
    gcp: Vec<String>,
    azure: Vec<String>,
    alicloud: Vec<String>,
}

impl Clouds {
    /// The locations in a cloud, by the name that the files of facts give it; none in one they do not know.
    pub(crate) fn locations(&self, cloud: &str) -> &[String] {
        match cloud {
            "aws" => &self.aws,
            "gcp" => &self.gcp,
            "azure" => &self.azure,
            "alicloud" => &self.alicloud,
            _ => &[],
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Retention {
    hot_days: u32,
    warm_days: u32,
    cold_days: u32,
    archive_days: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Disclosure {
    k_subjects: u32,
    k_records: u32,
}

impl RegionFacts {
    /// Where this region's data may lie.
    pub(crate) const fn clouds(&self) -> &Clouds {
        &self.clouds
    }

    /// Short names of its data protection laws.
    pub(crate) fn laws(&self) -> &[String] {
        &self.laws
    }

    /// What happens to each class of personal data where the stream's policy says nothing.
    pub(crate) fn detectors(&self) -> impl Iterator<Item = (PersonalClass, Action)> + '_ {
        self.detectors.iter().map(|(class, action)| (*class, *action))
    }

    /// Where what is released here may go, as far as the file says.
    pub(crate) fn routes(&self) -> BTreeMap<Region, FileRoute> {
        self.transfers.iter().map(|way| (way.to.clone(), way.route())).collect()
    }

    /// Days after their receipt at which records become warm and cold, where the stream's policy says nothing.
    pub(crate) const fn tier_days(&self) -> (u32, u32) {
        (self.retention.hot_days, self.retention.warm_days)
    }

    /// Days after their receipt at which records are archived, and for how many they are kept there, likewise.
    pub(crate) const fn archive_days(&self) -> (u32, u32) {
        (self.retention.cold_days, self.retention.archive_days)
    }

    /// Days after their receipt at which records are deleted, where the stream's policy says nothing.
    pub(crate) const fn retention_days(&self) -> u32 {
        self.retention.cold_days.saturating_add(self.retention.archive_days)
    }
}

/// Another region, and how far away it is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PeerFacts {
    pub(crate) region: Region,
    /// Milliseconds.
    pub(crate) round_trip_ms: u32,
}

/// A route of the transfer register.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Transfer {
    pub(crate) to: Region,
    what: Transferred,
    /// The legal basis in a word; `undecided` until somebody has decided.
    pub(crate) basis: String,
    /// The bases that the law of the sending region takes for this route.
    admissible: Vec<TransferBasis>,
    /// The countries that a contract names, where the law asks for it.
    #[serde(default)]
    countries: Vec<String>,
    /// The day of the next review.
    pub(crate) review_by: String,
}

impl Transfer {
    /// The basis, where somebody has decided.
    pub(crate) fn decided(&self) -> Option<TransferBasis> {
        self.basis.parse().ok()
    }

    /// The bases that the law of the sending region takes.
    pub(crate) fn admissible(&self) -> impl Iterator<Item = &TransferBasis> {
        self.admissible.iter()
    }

    /// The countries that the basis names.
    pub(crate) fn countries(&self) -> &[String] {
        &self.countries
    }

    /// The route as the policy narrows it.
    fn route(&self) -> FileRoute {
        let review_by = self.review_by.parse().map(day_of).unwrap_or_default();
        FileRoute { basis: self.decided(), admissible: self.admissible.clone(), review_by }
    }

    /// What is wrong with it under the laws of its region.
    fn complaint(&self, laws: &[String]) -> Option<&'static str> {
        match self.decided() {
            _ if self.review_by.parse::<jiff::civil::Date>().is_err() => {
                Some("`review_by` must be a date as `2027-05-31`")
            }
            None if self.basis != UNDECIDED => Some("`basis` must be `undecided` or one of the words in README.md"),
            Some(basis) if !self.admissible.contains(&basis) => Some("`basis` must be one of `admissible`"),
            Some(_) if laws.iter().any(|law| law == "PDPA") && self.countries.is_empty() => {
                Some("`countries` must name the countries of the route: PDPA Regulations 2021 r. 11")
            }
            _ => None,
        }
    }

    /// What leaves on the route, as the file writes it.
    pub(crate) const fn what_travels(&self) -> &'static str {
        match self.what {
            Transferred::ReleasedAggregates => "released_aggregates",
        }
    }
}

/// What stands for a basis that nobody has decided.
const UNDECIDED: &str = "undecided";

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Transferred {
    ReleasedAggregates,
}

/// Facts about all regions.
#[derive(Clone, Debug)]
pub(crate) struct Regions(BTreeMap<Region, RegionFacts>);

impl Regions {
    /// The facts this build came with.
    ///
    /// # Errors
    /// [`ConfigError::RegionFacts`], which a test of this file rules out.
    pub(crate) fn built_in() -> Result<Self, ConfigError> {
        Self::of(BUILT_IN.iter().map(|(file, text)| (PathBuf::from(file), (*text).to_owned())))
    }

    /// The facts in a directory: every `*.yaml` in it.
    ///
    /// # Errors
    /// [`ConfigError::RegionFile`] or [`ConfigError::RegionFacts`] names the file.
    pub(crate) fn read(dir: &Path) -> Result<Self, ConfigError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ConfigError::RegionFile { path, source }
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(failed(dir))? {
            let path = entry.map_err(failed(dir))?.path();
            if path.extension().is_some_and(|ending| ending == "yaml") {
                let text = std::fs::read_to_string(&path).map_err(failed(&path))?;
                files.push((path, text));
            }
        }
        Self::of(files)
    }

    fn of(files: impl IntoIterator<Item = (PathBuf, String)>) -> Result<Self, ConfigError> {
        let mut regions = BTreeMap::new();
        let mut paths = BTreeMap::new();
        for (path, text) in files {
            let facts = parse(&path, &text)?;
            paths.insert(facts.name.clone(), path);
            regions.insert(facts.name.clone(), facts);
        }
        for facts in regions.values() {
            let strangers =
                facts.peers.iter().map(|peer| &peer.region).chain(facts.transfers.iter().map(|way| &way.to));
            for other in strangers {
                if !regions.contains_key(other) || *other == facts.name {
                    let path = paths.get(&facts.name).cloned().unwrap_or_default();
                    let reason = format!("it names `{other}`, which is no other region with a file here");
                    return Err(ConfigError::RegionFacts { path, reason });
                }
            }
            let there = |way: &Transfer| regions.get(&way.to).map(|other: &RegionFacts| other.jurisdiction.clone());
            let is_left_out = |way: &&Transfer| {
                !way.countries.is_empty() && there(way).is_some_and(|country| !way.countries.contains(&country))
            };
            if let Some(way) = facts.transfers.iter().find(is_left_out) {
                let path = paths.get(&facts.name).cloned().unwrap_or_default();
                let reason = format!("`countries` of the route to `{}` leaves out the country it lies in", way.to);
                return Err(ConfigError::RegionFacts { path, reason });
            }
        }
        Ok(Self(regions))
    }

    /// The facts about one region.
    ///
    /// # Errors
    /// [`ConfigError::UnknownRegion`].
    pub(crate) fn facts(&self, region: &Region) -> Result<&RegionFacts, ConfigError> {
        self.0.get(region).ok_or_else(|| ConfigError::UnknownRegion { region: region.clone() })
    }

    /// All regions, in the order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &RegionFacts> {
        self.0.values()
    }

    /// The largest round trip between any two regions.
    pub(crate) fn largest_round_trip(&self) -> Duration {
        let peers = self.0.values().flat_map(|facts| &facts.peers);
        Duration::from_millis(peers.map(|peer| u64::from(peer.round_trip_ms)).max().unwrap_or(0))
    }

    /// The round trip between two regions, as far as the facts know it.
    pub(crate) fn round_trip(&self, from: &Region, to: &Region) -> Option<Duration> {
        let peer = self.0.get(from)?.peers.iter().find(|peer| peer.region == *to)?;
        Some(Duration::from_millis(u64::from(peer.round_trip_ms)))
    }
}

fn parse(path: &Path, text: &str) -> Result<RegionFacts, ConfigError> {
    let wrong = |reason: String| ConfigError::RegionFacts { path: path.to_owned(), reason };
    let facts: RegionFacts = serde_saphyr::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let stem = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<Name>().ok());
    if stem.as_ref() != Some(&facts.name.0) {
        return Err(wrong(format!("`name` is `{}` and must be the name of the file", facts.name)));
    }
    let is_country = facts.jurisdiction.len() == 2 && facts.jurisdiction.chars().all(|c| c.is_ascii_uppercase());
    if !is_country {
        return Err(wrong("`jurisdiction` must be two capital letters, as `DE`".to_owned()));
    }
    if !(-1_080..=1_080).contains(&facts.time_zone.utc_offset_minutes) {
        return Err(wrong("`time_zone.utc_offset_minutes` must lie between -1080 and 1080".to_owned()));
    }
    if facts.disclosure.k_subjects < 3 || facts.disclosure.k_records < 50 {
        return Err(wrong("`disclosure` must be at least 3 subjects and at least 50 records".to_owned()));
    }
    if let Some(class) = PersonalClass::ALL.into_iter().find(|class| !facts.detectors.contains_key(class)) {
        return Err(wrong(format!("`detectors.{class}` is missing")));
    }
    if facts.retention_days() == 0 {
        return Err(wrong(
            "`retention.cold_days` and `retention.archive_days` must be a day at least together".to_owned(),
        ));
    }
    if facts.detectors.values().any(|action| matches!(action, Action::Keep(_))) {
        let reason = "`detectors` cannot keep anything; that is a stream's policy with its ground, `--keep`";
        return Err(wrong(reason.to_owned()));
    }
    if facts.peers.iter().any(|peer| !(1..=5_000).contains(&peer.round_trip_ms)) {
        return Err(wrong("`round_trip_ms` of a peer must lie between 1 and 5000".to_owned()));
    }
    if let Some(complaint) = facts.transfers.iter().find_map(|way| way.complaint(&facts.laws)) {
        return Err(wrong(complaint.to_owned()));
    }
    Ok(facts)
}

const BUILT_IN: [(&str, &str); 3] = [
    ("tokyo.yaml", include_str!("../../../regions/tokyo.yaml")),
    ("singapore.yaml", include_str!("../../../regions/singapore.yaml")),
    ("frankfurt.yaml", include_str!("../../../regions/frankfurt.yaml")),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn region(name: &str) -> Region {
        name.parse().expect("a name")
    }

    #[test]
    fn the_built_in_regions_are_right_and_as_far_apart_as_documented() {
        let regions = Regions::built_in().expect("the facts in the tree");
        let between = |a: &str, b: &str| regions.round_trip(&region(a), &region(b)).expect("peers").as_millis();
        for (a, b, wanted) in [("tokyo", "singapore", 70), ("singapore", "frankfurt", 160), ("tokyo", "frankfurt", 230)]
        {
            assert_eq!((between(a, b), between(b, a)), (wanted, wanted), "{a} and {b} agree");
        }
        assert_eq!(regions.largest_round_trip(), Duration::from_millis(230));
        let jurisdictions: Vec<_> = regions.iter().map(|facts| facts.jurisdiction.as_str()).collect();
        assert_eq!(jurisdictions, ["DE", "SG", "JP"]);
        for facts in regions.iter() {
            let zone = jiff::tz::TimeZone::get(&facts.time_zone.iana).expect("an IANA zone");
            let winter = jiff::civil::date(2026, 1, 15).to_zoned(zone).expect("a day").offset().seconds() / 60;
            assert_eq!(winter, i32::from(facts.time_zone.utc_offset_minutes), "{}", facts.name);
            assert_eq!(facts.transfers.len(), 2, "{}: a route to each other region", facts.name);
        }
    }

    #[test]
    fn every_key_of_the_region_files_is_explained() {
        let readme = include_str!("../../../regions/README.md");
        for (file, text) in BUILT_IN {
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                let Some((key, _)) = line.trim_start().trim_start_matches("- ").split_once(':') else { continue };
                let is_named = readme.contains(&format!("`{key}`")) || readme.contains(&format!(".{key}`"));
                assert!(is_named, "{file}: `{key}` is not in regions/README.md");
            }
        }
    }

    #[track_caller]
    fn refused(name: &str, change: impl Fn(&str) -> String, wanted: &str) {
        let files = BUILT_IN.iter().map(|(file, text)| {
            let text = if file.starts_with(name) { change(text) } else { (*text).to_owned() };
            (PathBuf::from(file), text)
        });
        let error = Regions::of(files).expect_err("it is wrong");
        assert!(error.to_string().contains(wanted), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }

    #[test]
    fn wrong_facts_are_refused_with_the_file_and_the_key() {
        refused("tokyo", |text| text.replace("jurisdiction", "jurisdicton"), "jurisdicton");
        refused("tokyo", |text| text.replace("name: tokyo", "name: kyoto"), "must be the name of the file");
        refused("singapore", |text| text.replace("SG", "sgp"), "two capital letters");
        refused("frankfurt", |text| text.replace("k_subjects: 5", "k_subjects: 2"), "at least 3 subjects");
        refused("frankfurt", |text| text.replace("230", "0"), "round_trip_ms");
        refused("tokyo", |text| text.replace("2027-05-31", "some day"), "review_by");
        refused("tokyo", |text| text.replace("basis: adequacy", "basis: friendship"), "`basis` must be `undecided`");
        refused("tokyo", |text| text.replace("basis: adequacy", "basis: contract"), "one of `admissible`");
        refused("tokyo", |text| text.replace("admissible", "permitted"), "permitted");
        refused("singapore", |text| text.replace("countries: [DE]", "countries: []"), "PDPA");
        refused("singapore", |text| text.replace("countries: [DE]", "countries: [FR]"), "leaves out the country");
        refused("tokyo", |text| text.replace("  ssn: pseudonymise\n", ""), "`detectors.ssn` is missing");
        refused("tokyo", |text| text.replace("ssn: pseudonymise", "ssn: ignore"), "ssn");
        refused("tokyo", |text| text.replace("ip: pseudonymise", "ip:\n    keep: consent"), "cannot keep");
        refused("tokyo", |text| text.replace("region: singapore", "region: atlantis"), "atlantis");
        refused("tokyo", |text| text.replace("hot_days: 7", "hot_days: soon"), "hot_days");
        refused("tokyo", |text| text.replace("released_aggregates", "records"), "what");
    }

    #[test]
    fn a_directory_takes_the_place_of_the_built_in_facts() {
        let dir = tempfile::tempdir().expect("a directory");
        let only = BUILT_IN[0].1.split("peers:").next().expect("a head").to_owned() + "peers: []\ntransfers: []\n";
        std::fs::write(dir.path().join("tokyo.yaml"), only).expect("written");
        let regions = Regions::read(dir.path()).expect("one region");
        assert_eq!(regions.iter().count(), 1);
        assert!(matches!(regions.facts(&region("singapore")), Err(ConfigError::UnknownRegion { .. })));
        assert!(matches!(Regions::read(&dir.path().join("none")), Err(ConfigError::RegionFile { .. })));
    }
}
