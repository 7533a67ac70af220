//! What crossed: the summary, the map, and every crossing by day, route and type.

use std::collections::BTreeMap;

use domicile_proto::border::EgressClass;

use super::super::compose::{Home, firsts, of_region};
use super::super::map::{Map, Place, Route};
use super::super::paper::{Section, Table};
use super::super::tally::Way;
use super::clocks::is_open;

/// The regions side by side.
pub(in super::super) fn summary(homes: &[Home]) -> Section {
    let columns = [
        "Region",
        "Law",
        "Records held",
        "Messages that left",
        "Bytes that left",
        "Erasures",
        "Originals asked for",
        "Entries in its ledger",
    ];
    let rows = firsts(homes).map(|home| {
        let (messages, bytes) = crossed(homes, home.name(), Way::Left, None);
        let sum = |of: fn(&Home) -> u64| of_region(homes, home.name()).map(of).sum::<u64>();
        [
            home.name().to_owned(),
            format!("{} ({})", home.statement.laws.join(", "), home.statement.jurisdiction),
            sum(records).to_string(),
            messages.to_string(),
            bytes.to_string(),
            home.statement.erasures.len().to_string(),
            sum(|home| home.tally.reveals.len() as u64).to_string(),
            sum(|home| home.size).to_string(),
        ]
    });
    Section::new("summary", "The regions side by side")
        .say("Each region keeps and searches its own records. What follows is what each of them stated and signed, and what its ledger holds; the ledger was checked from its first entry to its last before this was written.")
        .table(Table::new("summary", "Regions", &columns, "No region was asked.").rows(rows))
}

/// Records that lie at a node.
fn records(home: &Home) -> u64 {
    home.statement.streams.iter().map(|stream| stream.records).sum()
}

/// Messages and bytes that went one way, of all nodes of a region together.
fn crossed(homes: &[Home], region: &str, way: Way, other: Option<&str>) -> (u64, u64) {
    let each = of_region(homes, region).map(|home| home.crossed(way, other));
    each.fold((0, 0), |sum, (messages, bytes)| (sum.0 + messages, sum.1 + bytes))
}

/// The map of routes, with what went over each.
pub(in super::super) fn flows(homes: &[Home]) -> Section {
    let mut ways = Vec::new();
    for (from, home) in firsts(homes).enumerate() {
        for (to, other) in firsts(homes).enumerate().filter(|(to, _)| *to != from) {
            ways.push((from, to, home, other));
        }
    }
    let routes = ways.iter().zip(1..).map(|((from, to, home, other), number)| Route {
        from: *from,
        to: *to,
        number,
        is_open: is_open(home, other.name()),
    });
    let places = firsts(homes).map(|home| {
        let records: u64 = of_region(homes, home.name()).map(records).sum();
        let law = format!("{} – {}", home.statement.jurisdiction, home.statement.laws.join(", "));
        Place { name: home.name().to_owned(), about: vec![law, format!("{records} records stay here")] }
    });
    let words = "Each box is a region with the records that stay in it. Each numbered arrow is a route for questions and released numbers; the table below says what went over it. Nothing may go along a dashed arrow: the route is closed.";
    let map = Map { words: words.to_owned(), places: places.collect(), routes: routes.collect() };
    let rows = ways.iter().zip(1_u64..).map(|((_, _, home, other), number)| {
        let (messages, bytes) = crossed(homes, home.name(), Way::Left, Some(other.name()));
        let (arrived, _) = crossed(homes, other.name(), Way::Arrived, Some(home.name()));
        let metadata = of_region(homes, home.name()).flat_map(|node| &node.tally.metadata);
        let metadata: u64 = metadata.filter(|((_, to), _)| to == other.name()).map(|(_, (sent, _))| sent).sum();
        let basis = home.statement.transfers.iter().find(|way| way.to == other.name());
        [
            number.to_string(),
            home.name().to_owned(),
            other.name().to_owned(),
            messages.to_string(),
            bytes.to_string(),
            arrived.to_string(),
            metadata.to_string(),
            basis.map_or_else(|| "ATTENTION: not in the register".to_owned(), |way| way.basis.clone()),
        ]
    });
    let columns = [
        "Route",
        "From",
        "To",
        "Messages that left",
        "Bytes that left",
        "Messages that arrived",
        "Bytes of shared metadata",
        "Legal basis",
    ];
    Section::new("map", "Map of what flows where")
        .say("Drawn from the running configuration that the regions stated, not from a document.")
        .show(map)
        .table(Table::new("routes", "Routes", &columns, "There is one region, and no route.").rows(rows))
}

/// Every type of message: what it can say, and what it cannot.
const TYPES: [(EgressClass, &str); 12] = [
    (
        EgressClass::Question,
        "a question: fields by number, times, approved values by number; a text literal only where policy allows it and no detector finds personal data in it",
    ),
    (EgressClass::Count, "a count of at least k subjects"),
    (EgressClass::DateGrid, "counts by interval of time, each of at least k subjects or withheld"),
    (EgressClass::Terms, "counts by approved value, each of at least k subjects or withheld"),
    (EgressClass::TermGrid, "counts by approved value and interval, each of at least k subjects or withheld"),
    (EgressClass::Histogram, "counts between declared bounds, each of at least k subjects or withheld"),
    (EgressClass::Sum, "sums of a numeric field between declared bounds, each over at least k subjects or withheld"),
    (EgressClass::Quantile, "the declared bound below which a share of values lies"),
    (EgressClass::DistinctEstimate, "a rounded number of distinct values"),
    (EgressClass::Refusal, "that there is no answer, with a reason out of a fixed list"),
    (EgressClass::LedgerHead, "size and root of a ledger, and the signature under them"),
    (
        EgressClass::Metadata,
        "what all regions agree on: names of tenants and streams, policy, approved values; nothing about a person",
    ),
];

/// Its name in small letters, a blank between the words.
fn name_of(class: EgressClass) -> String {
    let name = serde_json::to_value(class).unwrap_or_default();
    let mut words = String::new();
    for letter in name.as_str().unwrap_or_default().chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words.replace('_', " ")
}

/// Each crossing by day, route and type; what was refused; metadata.
pub(in super::super) fn crossings(homes: &[Home]) -> Section {
    let mut days = Vec::new();
    let (mut refused, mut metadata) = (Vec::new(), Vec::new());
    let mut totals: BTreeMap<EgressClass, (u64, u64)> = BTreeMap::new();
    for home in homes {
        for ((day, way, other, class), (messages, bytes)) in &home.tally.crossings {
            if *way == Way::Left {
                let total = totals.entry(*class).or_default();
                *total = (total.0 + messages, total.1 + bytes);
            }
            let direction = if *way == Way::Left { "left for" } else { "arrived from" };
            days.push([
                day.clone(),
                home.label(),
                direction.to_owned(),
                other.clone(),
                name_of(*class),
                messages.to_string(),
                bytes.to_string(),
            ]);
        }
        for ((day, why), count) in &home.tally.refused {
            refused.push([day.clone(), home.label(), why.clone(), count.to_string()]);
        }
        for ((day, other), (sent, received)) in &home.tally.metadata {
            metadata.push([day.clone(), home.label(), other.clone(), sent.to_string(), received.to_string()]);
        }
    }
    refused.sort();
    days.sort();
    metadata.sort();
    let types = TYPES.iter().map(|(class, words)| {
        let (messages, bytes) = totals.get(class).copied().unwrap_or_default();
        [name_of(*class), (*words).to_owned(), messages.to_string(), bytes.to_string()]
    });
    Section::new("crossings", "What crossed a border")
        .say("Every message stands in the ledger of the sender before its first byte is sent, and in that of the receiver when it arrives. To read each of them decoded, type `domicile audit crossings PACK/regions/REGION/log`.")
        .table(Table::new("message-types", "The types of message that may cross; there are no others", &["Type", "What it can say", "Messages that left", "Bytes"], "").rows(types))
        .table(Table::new("crossings", "By day, route and type", &["Day (UTC)", "Region", "Direction", "Other region", "Type", "Messages", "Bytes"], "nothing about this tenant crossed.").rows(days))
        .table(Table::new("metadata", "Shared metadata, of all tenants, by day", &["Day (UTC)", "Region", "Other region", "Bytes sent", "Bytes received"], "none was counted.").rows(metadata))
        .table(Table::new("refused", "Questions that were refused", &["Day (UTC)", "Region", "Why", "Questions"], "none was refused.").rows(refused))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_may_cross_is_explained_once() {
        let named: std::collections::BTreeSet<_> = TYPES.iter().map(|(class, _)| *class).collect();
        assert_eq!(named.len(), TYPES.len());
        for class in TYPES.map(|(class, _)| class) {
            // Without a wildcard: a new type does not compile here before it is explained above.
            match class {
                EgressClass::Count
                | EgressClass::DateGrid
                | EgressClass::Terms
                | EgressClass::TermGrid
                | EgressClass::Histogram
                | EgressClass::Sum
                | EgressClass::Quantile
                | EgressClass::DistinctEstimate
                | EgressClass::Refusal
                | EgressClass::Question
                | EgressClass::Metadata
                | EgressClass::LedgerHead => assert!(!name_of(class).is_empty()),
            }
        }
    }
}
