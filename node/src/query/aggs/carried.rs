//! Buckets and numbers on their way from the node that gathered them to the one that shows them, both of one region.

use std::collections::BTreeMap;

use super::Gathered;
use super::collect::{BUCKET_BYTES, Bucket, Key, Node};
use super::numbers::Numbers;
use super::request::{Agg, Aggs, Kind};
use crate::query::carry::{Reader, Writer};
use crate::query::visit::Budget;

/// The least that a node takes: the number of its buckets, and numbers of nothing.
const NODE_BYTES: usize = 4 + Numbers::LEAST_BYTES;
/// The least that a bucket takes: the tag of its key, its count, and the number of the nodes below.
const BUCKET_LEAST: usize = 1 + 8 + 4;

impl Gathered {
    /// Writes all of it.
    pub(in crate::query) fn write(&self, to: &mut Writer) {
        to.long(self.matched);
        write_nodes(&self.nodes, to);
    }

    /// Reads what was gathered for these aggregations and nothing else, within the room of a search.
    pub(in crate::query) fn read(from: &mut Reader<'_>, aggs: &Aggs, budget: &Budget) -> Option<Self> {
        let matched = from.long()?;
        Some(Self { nodes: read_nodes(from, aggs, budget)?, matched })
    }
}

fn write_nodes(nodes: &[Node], to: &mut Writer) {
    to.count(nodes.len());
    for node in nodes {
        to.count(node.buckets.len());
        for (key, bucket) in &node.buckets {
            write_key(key, to);
            to.long(bucket.count);
            write_nodes(&bucket.children, to);
        }
        node.numbers.write(to);
    }
}

/// One for each of the aggregations: what has another shape would leave something out of a sum.
fn read_nodes(from: &mut Reader<'_>, aggs: &Aggs, budget: &Budget) -> Option<Vec<Node>> {
    if from.count(NODE_BYTES)? != aggs.0.len() {
        return None;
    }
    aggs.0.iter().map(|(_, agg)| read_node(from, agg, budget)).collect()
}

fn read_node(from: &mut Reader<'_>, agg: &Agg, budget: &Budget) -> Option<Node> {
    let buckets = from.list(BUCKET_LEAST, |from| {
        from.bears(budget.gather(BUCKET_BYTES))?;
        let (key, count) = (read_key(from).filter(|key| is_key_of(key, &agg.kind))?, from.long()?);
        Some((key, Bucket { count, children: read_nodes(from, &agg.children, budget)? }))
    })?;
    let rises = buckets.is_sorted_by(|(a, _), (b, _)| a < b);
    let buckets: BTreeMap<Key, Bucket> = rises.then(|| buckets.into_iter().collect())?;
    Some(Node { buckets, numbers: Numbers::read(from, budget)? })
}

/// Whether such an aggregation has such buckets.
const fn is_key_of(key: &Key, kind: &Kind) -> bool {
    match kind {
        Kind::Dates(_) => matches!(key, Key::Time(_)),
        Kind::Terms(_) => !matches!(key, Key::Time(_) | Key::Place(_)),
        Kind::Filters(..) | Kind::Filter(_) | Kind::Ranges(..) => matches!(key, Key::Place(_)),
        Kind::Metric(..) => false,
    }
}

fn write_key(key: &Key, to: &mut Writer) {
    match key {
        Key::Time(at) => {
            to.byte(0);
            to.long(at.cast_unsigned());
        }
        Key::Whole(whole) => {
            to.byte(1);
            to.long(whole.cast_unsigned());
        }
        Key::Fraction(bits) => {
            to.byte(2);
            to.long(*bits);
        }
        Key::Truth(truth) => {
            to.byte(3);
            to.flag(*truth);
        }
        Key::Text(text) => {
            to.byte(4);
            to.text(text);
        }
        Key::Place(place) => {
            to.byte(5);
            to.count(*place);
        }
    }
}

fn read_key(from: &mut Reader<'_>) -> Option<Key> {
    Some(match from.byte()? {
        0 => Key::Time(from.long()?.cast_signed()),
        1 => Key::Whole(from.long()?.cast_signed()),
        2 => Key::Fraction(from.long()?),
        3 => Key::Truth(from.flag()?),
        4 => Key::Text(from.text()?),
        5 => Key::Place(usize::try_from(from.short()?).ok()?),
        _ => return None,
    })
}
