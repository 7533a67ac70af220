//! What there is: records of processing, policy, keys, places, nodes, ledgers; the limits of this report, and how to check it.

use std::collections::BTreeMap;

use domicile_proto::ids::Timestamp;

use super::super::compose::{Home, firsts, lineage, missing};
use super::super::lineage::Made;
use super::super::paper::{Section, Table};
use super::super::tally::{Line, instant};
use crate::present::auditor::{Bucket, OwnBucket, Segment};

fn listed(values: &[String], none: &str) -> String {
    if values.is_empty() { none.to_owned() } else { values.join(", ") }
}

fn lines(homes: &[Home], of: fn(&Home) -> &Vec<Line>) -> Vec<[String; 5]> {
    let rows = homes.iter().flat_map(move |home| {
        of(home).iter().map(|line| {
            let words = named(home, &line.words);
            [home.label(), instant(line.at), line.what.clone(), words, line.number.to_string()]
        })
    });
    rows.collect()
}

/// The words of an entry, which has numbers alone, with the name of the stream that it begins with.
fn named(home: &Home, words: &str) -> String {
    let numbered = words.strip_prefix("stream ").and_then(|rest| rest.split_once(": "));
    let stream = |id: &str| home.statement.streams.iter().find(|stream| stream.id.to_string() == id);
    match numbered.and_then(|(id, rest)| Some((stream(id)?, rest))) {
        Some((stream, rest)) => format!("stream `{}`: {rest}", stream.name),
        None => words.to_owned(),
    }
}

/// Whose data a stream holds, in a sentence.
fn subjects(personal: &str) -> String {
    match personal.split_once(' ') {
        Some(("subject", field)) => format!("persons, named by the field `{field}`"),
        _ if personal == "no" => "stated to hold no personal data; detectors look all the same".to_owned(),
        _ => "not declared; treated as personal".to_owned(),
    }
}

/// What happens to which classes of personal data, by what happens.
fn treatment(detectors: &BTreeMap<String, String>) -> String {
    let mut classes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (class, action) in detectors {
        classes.entry(action).or_default().push(class);
    }
    let said = classes.into_iter().map(|(action, classes)| format!("{action}: {}", classes.join(", ")));
    said.collect::<Vec<_>>().join("; ").replace('_', " ")
}

/// GDPR Art. 30, as far as the platform can know it.
pub(in super::super) fn processing(homes: &[Home]) -> Section {
    let rows = firsts(homes).flat_map(|home| {
        home.statement.streams.iter().map(|stream| {
            let treated = treatment(&stream.detectors);
            [
                home.name().to_owned(),
                stream.name.clone(),
                subjects(&stream.personal),
                treated,
                listed(&stream.group_fields, "none"),
                format!("{} days", stream.retention_days),
            ]
        })
    });
    let columns = [
        "Region",
        "Stream",
        "Whose data",
        "What happens to personal data before anything is stored",
        "Fields that may group or filter abroad",
        "Kept for",
    ];
    Section::new("processing", "Records of processing")
        .say("What GDPR Art. 30, and the APPI and PDPA in their own words, ask to be recorded, as far as the platform knows it. The purpose of each stream and the name of its controller are yours to add: the platform is told neither.")
        .say("Recipients are the holders of the access keys in section 10, and for released numbers the regions in section 4. Security measures: originals are sealed under a key of their own for each person, links and client doors use TLS 1.3, and every node is known by a certificate of its region.")
        .table(Table::new("processing", "Processing by stream", &columns, "the tenant has no stream.").rows(rows))
}

/// What holds now, and how it came to.
pub(in super::super) fn policy(homes: &[Home]) -> Section {
    let streams = firsts(homes).flat_map(|home| {
        home.statement.streams.iter().map(|stream| {
            [
                home.name().to_owned(),
                stream.name.clone(),
                stream.k.to_string(),
                format!("{} s, closed {} s after its end", stream.grid_s, stream.close_after_s),
                listed(&stream.group_fields, "none"),
                listed(&stream.numbers, "none"),
                if stream.has_text_questions { "yes" } else { "no" }.to_owned(),
            ]
        })
    });
    let officers = firsts(homes).flat_map(|home| {
        let own = home.statement.officers.iter().filter(|officer| officer.region == home.name());
        own.map(|officer| {
            let state = if officer.is_honoured_here { "honoured" } else { "ATTENTION: ignored by this region" };
            [
                officer.region.clone(),
                officer.key.clone(),
                officer.serial.to_string(),
                officer.policy_version.to_string(),
                state.to_owned(),
            ]
        })
    });
    let values = firsts(homes).flat_map(|home| {
        home.statement.dictionary.iter().map(|value| [home.name().to_owned(), value.field.clone(), value.value.clone()])
    });
    let columns =
        ["Region", "Stream", "Smallest group", "Intervals that are counted", "Fields", "Numbers", "Text from abroad"];
    Section::new("policy", "Policy and its history")
        .say("What widens a region carries the signature of that region's officer; its nodes ignore it otherwise. What narrows needs none.")
        .table(Table::new("policy", "What holds at the end", &columns, "the tenant has no stream.").rows(streams))
        .table(Table::new("officers", "Newest consent of each officer", &["Region", "Public key", "Serial", "Policy version", "State"], "no officer has signed anything yet.").rows(officers))
        .table(Table::new("dictionary", "Values that may be named abroad", &["Region", "Field", "Value"], "no value was approved.").rows(values))
        .table(Table::new("policy-history", "Changes in this time", &["Region", "When", "What", "Words", "Ledger entry"], "nothing changed.").rows(lines(homes, |home| &home.tally.policy)))
}

/// Who can open what.
pub(in super::super) fn keys(homes: &[Home]) -> Section {
    let doors = firsts(homes).flat_map(|home| {
        home.statement.access_keys.iter().map(|key| {
            [
                home.name().to_owned(),
                key.name.clone(),
                key.roles.join(", "),
                key.rows.clone(),
                if key.is_operators { "the operator's" } else { "this tenant's" }.to_owned(),
            ]
        })
    });
    let seals = homes.iter().map(|home| {
        let keys = &home.statement.keys;
        let state = if keys.is_rewrite_due { "ATTENTION: a destruction is not complete" } else { "complete" };
        [home.label(), keys.store.clone(), keys.subjects.to_string(), keys.originals.to_string(), state.to_owned()]
    });
    Section::new("keys", "Keys")
        .say("A key is valid in the one region that issued it. None stands here, only its public name.")
        .table(
            Table::new(
                "access-keys",
                "Access keys",
                &["Region", "Name", "May", "Sees of records", "Whose"],
                "there is none.",
            )
            .rows(doors),
        )
        .table(
            Table::new(
                "sealing-keys",
                "Keys that seal originals, of all tenants of the node",
                &["Region", "Root lies in", "Keys of persons", "Sealed originals", "Destructions"],
                "",
            )
            .rows(seals),
        )
        .table(
            Table::new(
                "key-events",
                "Keys made and destroyed",
                &["Region", "When", "What", "Which", "Ledger entry"],
                "none in this time.",
            )
            .rows(lines(homes, |home| &home.tally.keys)),
        )
}

/// The place of a bucket, as its provider calls it.
fn location(bucket: &Bucket) -> String {
    bucket.location.clone().unwrap_or_else(|| "a directory".to_owned())
}

/// Whose bucket one of the tenant's own is.
fn owner(own: &OwnBucket) -> String {
    own.stream.as_ref().map_or_else(|| "the tenant".to_owned(), |stream| format!("stream {stream}"))
}

/// The buckets that a segment's objects lie in. Those of a tenant without any of its own lie in the region's.
fn buckets_of(home: &Home, segment: &Segment, is_alone: bool) -> String {
    let (of_region, own) = (location(&home.statement.bucket), &home.statement.own_buckets);
    let alone = if is_alone && segment.lies_in.len() < 2 { " alone" } else { "" };
    let named = segment.lies_in.iter().filter(|number| **number > 0).filter_map(|number| {
        let own = own.get(usize::try_from(*number).ok()?.checked_sub(1)?)?;
        Some(format!("bucket of {}{alone} ({})", owner(own), location(&own.bucket)))
    });
    let is_in_region = segment.lies_in.is_empty() || segment.lies_in.contains(&0);
    let of_region = is_in_region.then(|| format!("bucket of the region{alone} ({of_region})"));
    of_region.into_iter().chain(named).collect::<Vec<_>>().join(" and ")
}

/// Where everything lies.
pub(in super::super) fn places(homes: &[Home]) -> Section {
    let buckets = homes.iter().flat_map(|home| {
        let row = |whose: String, bucket: &Bucket| {
            let state = if bucket.region == home.name() { "in its region" } else { "ATTENTION: elsewhere" };
            let (kind, region) = (bucket.kind.clone(), bucket.region.clone());
            [home.label(), whose, kind, region, location(bucket), bucket.source.clone(), state.to_owned()]
        };
        let own = home.statement.own_buckets.iter().map(|own| row(owner(own), &own.bucket));
        let rows: Vec<_> = std::iter::once(row("the region".to_owned(), &home.statement.bucket)).chain(own).collect();
        rows
    });
    let made: BTreeMap<Box<str>, Made> =
        firsts(homes).flat_map(|first| lineage(homes, first.name(), Timestamp(i64::MAX)).1.made).collect();
    let segments = homes.iter().flat_map(|home| {
        home.statement.segments.iter().map(|segment| {
            [
                home.label(),
                segment.stream.clone(),
                segment.id.clone(),
                segment.records.to_string(),
                segment.bytes.to_string(),
                instant(segment.oldest),
                instant(segment.newest),
                if segment.is_in_bucket {
                    buckets_of(home, segment, true)
                } else if segment.is_on_disk && segment.lies_in.is_empty() && !home.statement.own_buckets.is_empty() {
                    format!("disk of node {}", home.statement.node)
                } else if segment.is_on_disk {
                    format!("disk of node {}, and {}", home.statement.node, buckets_of(home, segment, false))
                } else {
                    format!("memory and write-ahead log of node {}", home.statement.node)
                },
                made.get(segment.id.as_str()).map_or_else(|| "not told".to_owned(), parts),
            ]
        })
    });
    let columns =
        ["Region", "Stream", "Segment", "Records", "Bytes", "Oldest record", "Newest record", "Lies in", "Made of"];
    Section::new("places", "Where everything lies")
        .table(
            Table::new(
                "buckets",
                "Buckets",
                &[
                    "Region",
                    "Whose",
                    "Kind",
                    "Region that it names",
                    "Place, as the provider calls it",
                    "Who says so",
                    "State",
                ],
                "",
            )
            .rows(buckets),
        )
        .table(
            Table::new("segments", "Segments: the files that hold records", &columns, "there is none.").rows(segments),
        )
}

/// So many segments are named in a cell; of more the ledger has the names.
const LISTED: usize = 4;

/// What a segment was made of, and by which entry.
fn parts(made: &Made) -> String {
    let mut of: Vec<String> = if made.of.len() > LISTED {
        vec![format!("{} segments", made.of.len())]
    } else {
        made.of.iter().map(ToString::to_string).collect()
    };
    if made.of_the_log {
        of.push("the log".to_owned());
    }
    format!("{} (entry {})", of.join(", "), made.entry)
}

/// What runs.
pub(in super::super) fn nodes(homes: &[Home]) -> Section {
    let builds = homes.iter().map(|home| {
        let (build, node) = (&home.statement.build, home.statement.node.to_string());
        [home.label(), node, build.version.clone(), build.sha256.clone()]
    });
    Section::new("nodes", "Nodes and programs")
        .say("Compare the SHA-256 with that of the release you trust: `domicile audit verify PACK --release FILE` does so with a list as `sha256sum` writes it.")
        .table(Table::new("programs", "Programs that run", &["Region", "Node", "Version", "SHA-256 of its file"], "").rows(builds))
        .table(Table::new("node-events", "Starts and changes of membership", &["Region", "When", "What", "Which", "Ledger entry"], "none in this time.").rows(lines(homes, |home| &home.tally.nodes)))
}

/// The ledgers themselves.
pub(in super::super) fn ledgers(homes: &[Home]) -> Section {
    let logs = homes.iter().map(|home| {
        [
            home.label(),
            home.origin.clone(),
            home.size.to_string(),
            home.root.clone(),
            home.checkpoints.to_string(),
            home.withheld.to_string(),
            home.destroyed.to_string(),
        ]
    });
    let kinds = homes
        .iter()
        .flat_map(|home| home.tally.kinds.iter().map(|(kind, count)| [home.label(), kind.clone(), count.to_string()]));
    let findings = homes
        .iter()
        .flat_map(|home| home.findings.iter().map(|finding| [home.label(), format!("ATTENTION: {finding}")]));
    let missing = missing(homes).into_iter().map(|((region, node), absent)| {
        let is_region_here = homes.iter().any(|home| home.name() == region);
        let words = match (absent.is_member, is_region_here) {
            (false, _) => "no node of the deployment any more",
            (true, true) => "ATTENTION: its own ledger is not in this pack",
            (true, false) => "ATTENTION: the region is not in this pack",
        };
        let arrivals = absent.arrivals;
        [
            region,
            node.to_string(),
            format!("{words}; {arrivals} messages that arrived from it are compared with nothing"),
        ]
    });
    let cosigners = homes.iter().map(|home| {
        let outside: Vec<&str> = home.outsiders().map(String::as_str).collect();
        let inside = home.cosigners.iter().filter(|name| !outside.contains(&name.as_str())).cloned();
        let inside: Vec<String> = inside.collect();
        let outside: Vec<String> = outside.into_iter().map(str::to_owned).collect();
        [
            home.label(),
            home.cosigned.to_string(),
            listed(&inside, "none"),
            listed(&outside, "none; the ledgers are vouched for by their own operator alone"),
        ]
    });
    let destroyed = homes.iter().flat_map(|home| {
        home.tally.destroyed.iter().map(|(number, at, gone)| {
            let way = if gone.left { "left" } else { "arrived" };
            let officer = String::from(gone.officer);
            let what = format!("{:?} that {way}", gone.class);
            [
                home.label(),
                gone.entry.to_string(),
                what,
                format!("{}, node {}", gone.peer.region, gone.peer.node),
                gone.ground.words().to_owned(),
                instant(*at),
                officer,
                number.to_string(),
            ]
        })
    });
    let columns =
        ["Region", "Ledger", "Entries", "Root", "Checkpoints", "Entries of other tenants", "Bodies destroyed"];
    Section::new("ledgers", "The ledgers")
        .say("A ledger can only grow. Its root stands for every entry before it: whoever keeps the root of today sees tomorrow whether one was changed. Of other tenants' entries this pack holds the hash and not the content.")
        .table(Table::new("ledgers", "Ledgers in this pack", &columns, "").rows(logs))
        .table(Table::new("entries", "Entries of this time by kind", &["Region", "Kind", "Entries"], "none in this time.").rows(kinds))
        .table(Table::new("destroyed", "Bodies that were destroyed by an officer's order, of all times", &["Region", "Entry", "What it was", "At the other end", "Why", "When", "By whose order", "Ledger entry"], "none.").rows(destroyed))
        .table(Table::new("findings", "What the entries say against a region", &["Region", "Finding"], "nothing.").rows(findings))
        .table(Table::new("missing", "Nodes whose ledger is not here", &["Region", "Node", "State"], "none; every node of the deployment is in this pack.").rows(missing))
        .table(Table::new("cosigners", "Witnesses that signed for a ledger", &["Region", "Entries they signed for", "Other regions of the deployment", "Witnesses outside"], "").rows(cosigners))
}

/// What this report cannot show.
pub(in super::super) fn limits(_: &[Home]) -> Section {
    let rows = [
        [
            "Nothing else was sent",
            "The ledgers show what was sent through the link. That nothing went another way is shown by counters that are not ours, as the flow log of the provider; this report does not compare them.",
        ],
        [
            "The regions agree with each other",
            "Each message stands in two ledgers, and answers carry the root of the sender's. Regions of one operator could still conspire; roots that you keep yourself, or a witness of yours, end that.",
        ],
        [
            "Registers beyond the ledger",
            "Streams, keys, segments, the transfer register and the registers of erasure are what each region stated and signed at the moment given. They are as honest as the node that stated them.",
        ],
        [
            "Erasure",
            "The register proves the orders, their clocks and the replacement of files. It cannot prove that nobody made a copy elsewhere.",
        ],
        [
            "The last entries of a tenant",
            "A gap in the middle of a tenant's entries is seen. Entries left out at the very end are seen only against the pack of a later day, or the root of one you kept.",
        ],
        [
            "Numbers as a channel",
            "A program made to do so could hide bits in the numbers it releases. What bounds it are the caps on answers; what would find it is to ask the same question again, which this report does not do.",
        ],
        [
            "Pseudonyms",
            "Records hold keyed pseudonyms in place of personal data that was found. Detectors miss some; the guide gives measured rates.",
        ],
        [
            "Purposes, controllers, contracts",
            "The platform is not told of them. This report is evidence for your own records, not a substitute.",
        ],
    ];
    Section::new("limits", "Known limits of this report").table(
        Table::new("limits", "What is not shown here", &["What", "Why, and what helps"], "")
            .rows(rows.map(|row| row.map(str::to_owned))),
    )
}

/// What the reader can do.
pub(in super::super) fn how_to_check() -> Section {
    Section::new("check", "How to check this pack")
        .say("On any machine, without a network: `domicile audit verify PACK`. It says in one sentence whether the pack is whole, and then each of its checks.")
        .say("`domicile audit selftest --pack PACK` attacks the disclosure gate of the program at hand by the rules and the seed in this pack, and compares: the program that made the pack must come to the same numbers.")
        .say("Keep the file `regions/REGION/log/checkpoint` of each region. Given to the check of the next pack with `--saved FILE`, it shows that nothing before was changed.")
        .say("Without any program of ours: `sha256sum --check SHA256SUMS` in the pack shows that the files are those of the manifest, and the tile files are those of C2SP tlog-tiles, which other programs read too.")
}
