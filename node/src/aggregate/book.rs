//! What a region has released of one stream: leaves, their generations, and the judged tables of each.
//!
//! Pure state. A generation is cut once there are k subjects among the closed leaf's records that no earlier generation
//! holds; from then on its tables never change. What was seen and is still too little is remembered only while the node
//! runs: it can always be seen again.

use std::collections::BTreeMap;

use domicile_proto::ids::{DictionaryId, KThreshold, Name, TimeRange, Timestamp};
use domicile_proto::leaf::{Counted, LeafCell, Table, Threshold};
use domicile_proto::noise::Noise;
use domicile_proto::numbers::Sums;
use serde::{Deserialize, Serialize};

use super::examined::Examined;
use crate::limits::RELEASED_LEAVES;

/// A set of fields, in rising order of their names.
pub(super) type FieldSet = Vec<Name>;

/// Everything of one stream.
pub(super) struct Book {
    leaves: BTreeMap<i64, Leaf>,
    dictionaries: Vec<Dictionary>,
    /// Records of closed leaves that no generation holds, by start of the leaf.
    pub(super) pending: BTreeMap<i64, Pending>,
    pub(super) examined: Examined,
    /// Under what `pending` was counted.
    aim: Option<(u32, Threshold, Option<Noise>)>,
    room: usize,
}

/// One leaf of time that something was released of.
pub(super) struct Leaf {
    /// In seconds.
    pub(super) width: u32,
    /// The first, and then one for each supplement of late records.
    pub(super) generations: Vec<Generation>,
}

/// Records of a leaf that were judged together, by their places in the shard.
pub(super) struct Generation {
    pub(super) cut: CutRow,
    /// The dictionary of each field, fixed with the first table that has the field.
    pub(super) fields: BTreeMap<Name, u32>,
    pub(super) tables: BTreeMap<FieldSet, Table>,
    /// Of the tables that have a numeric field.
    pub(super) sums: BTreeMap<FieldSet, Sums>,
}

/// What is there and not yet released.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) cell: LeafCell,
    /// Last place that was counted.
    pub(super) upto: u64,
}

/// The values a field can have in a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Dictionary {
    /// Approved values, in rising order of their ids.
    Ids(Vec<DictionaryId>),
    /// Upper bounds of a numeric field, in rising order.
    Bounds(Vec<i64>),
}

impl Dictionary {
    /// Number of values without what lies behind them: other values, or numbers above the last bound.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Ids(ids) => ids.len(),
            Self::Bounds(bounds) => bounds.len(),
        }
    }
}

/// One step of the journal: what was judged together. Holds released numbers and places, nothing of any record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) version: u32,
    /// Dictionaries that become known, in the order of their numbers.
    pub(super) dictionaries: Vec<Dictionary>,
    pub(super) cuts: Vec<CutRow>,
    pub(super) tables: Vec<TableRow>,
}

/// A generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CutRow {
    /// Start of the leaf, in seconds.
    pub(super) start: i64,
    /// Width of the leaf, in seconds.
    pub(super) width: u32,
    /// Places above this one ...
    pub(super) after: u64,
    /// ... and up to this one.
    pub(super) upto: u64,
    /// All of its records. At least k subjects fill it, so this is released.
    pub(super) records: u64,
    pub(super) k: KThreshold,
    pub(super) by_records: bool,
    /// Number of the entry of the journal that it came with; 0 in journals of earlier builds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) journal: u64,
    /// What is told in place of `records`, where the policy wanted noise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) noisy: Option<Noisy>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A total that was moved, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Noisy {
    pub(super) records: u64,
    pub(super) noise: Noise,
}

impl TableRow {
    /// The fields without their dictionaries.
    pub(super) fn field_set(&self) -> FieldSet {
        self.fields.iter().map(|(name, _)| name.clone()).collect()
    }
}

impl CutRow {
    pub(super) const fn threshold(&self) -> Threshold {
        let counted = if self.by_records { Counted::Records } else { Counted::Subjects };
        Threshold { k: self.k, counted }
    }
}

/// A table of a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TableRow {
    pub(super) start: i64,
    pub(super) generation: u32,
    /// The fields in rising order, each with the number of its dictionary.
    pub(super) fields: Vec<(Name, u32)>,
    /// The published cells.
    pub(super) cells: Vec<(u32, u64)>,
    /// How many subjects each of them is about, up to where a rule asks for it. Stays in the region.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) seen: Vec<u32>,
    /// The published sums of a numeric field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) sums: Vec<(u32, u64, i64)>,
}

impl Entry {
    pub(super) const VERSION: u32 = 1;

    pub(super) fn is_empty(&self) -> bool {
        self.cuts.is_empty() && self.tables.is_empty()
    }
}

/// The journal does not fit what it is applied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Misfit;

impl Default for Book {
    fn default() -> Self {
        Self::with_room(RELEASED_LEAVES)
    }
}

impl Book {
    /// A book of at most so many leaves.
    pub(super) fn with_room(room: usize) -> Self {
        let (leaves, dictionaries, pending, examined) = Default::default();
        Self { leaves, dictionaries, pending, examined, aim: None, room }
    }

    /// Under what leaves are cut from now on. What was counted under another policy is counted again.
    pub(super) fn aim(&mut self, width: u32, threshold: Threshold, noise: Option<Noise>) {
        if self.aim.replace((width, threshold, noise)) != Some((width, threshold, noise)) {
            self.pending.clear();
            self.examined = Examined::default();
        }
    }

    /// Whether nothing more may be cut in this leaf: a leaf of another width lies across it, or there are too many.
    pub(super) fn is_barred(&self, start: i64, width: u32) -> bool {
        let end = start.saturating_add(i64::from(width));
        let mut across = self.leaves.range(start.saturating_sub(WIDEST)..end);
        let is_across = |(at, leaf): (&i64, &Leaf)| leaf.width != width && at.saturating_add(leaf.width.into()) > start;
        across.any(is_across) || (self.leaves.len() >= self.room && !self.leaves.contains_key(&start))
    }

    /// Whether there is room for leaves that nobody has asked for yet: half of it is kept for those that somebody asks for.
    pub(super) fn has_room_ahead(&self) -> bool {
        self.leaves.len() < self.room / 2
    }

    /// Last place that was judged or counted in a leaf.
    pub(super) fn counted_upto(&self, start: i64) -> u64 {
        self.pending.get(&start).map_or_else(|| self.released_upto(start), |pending| pending.upto)
    }

    /// Last place that a generation of the leaf holds.
    pub(super) fn released_upto(&self, start: i64) -> u64 {
        self.leaves.get(&start).and_then(|leaf| leaf.generations.last()).map_or(0, |last| last.cut.upto)
    }

    /// Leaves that lie in the range as a whole.
    pub(super) fn inside(&self, range: TimeRange) -> impl Iterator<Item = (i64, &Leaf)> {
        let from = range
            .from
            .0
            .div_euclid(Timestamp::MICROS)
            .saturating_add(i64::from(range.from.0.rem_euclid(Timestamp::MICROS) != 0));
        let to = range.to.0.div_euclid(Timestamp::MICROS);
        let leaves = self.leaves.range(from..to.max(from));
        leaves
            .filter(move |(start, leaf)| start.saturating_add(leaf.width.into()) <= to)
            .map(|(start, leaf)| (*start, leaf))
    }

    /// Whether late records wait in a leaf of the range of which something was released.
    pub(super) fn has_late(&self, range: TimeRange) -> bool {
        self.inside(range).any(|(start, _)| self.pending.get(&start).is_some_and(|pending| !pending.cell.is_empty()))
    }

    /// The noise of what is told of the range, where any of it was moved.
    pub(super) fn noise(&self, range: TimeRange) -> Option<Noise> {
        let mut cuts = self.inside(range).flat_map(|(_, leaf)| &leaf.generations).map(|generation| &generation.cut);
        cuts.find_map(|cut| cut.noisy).map(|noisy| noisy.noise)
    }

    /// All dictionaries, by their numbers.
    pub(super) fn dictionaries(&self) -> &[Dictionary] {
        &self.dictionaries
    }

    /// The number of a dictionary; one that is new is noted in the entry.
    pub(super) fn number_of(&self, wanted: &Dictionary, entry: &mut Entry) -> u32 {
        let known = self.dictionaries.iter().chain(&entry.dictionaries).position(|known| known == wanted);
        let number = known.unwrap_or_else(|| {
            entry.dictionaries.push(wanted.clone());
            self.dictionaries.len() + entry.dictionaries.len() - 1
        });
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    /// Takes in what was judged.
    ///
    /// # Errors
    /// [`Misfit`] where it does not follow on what is here; then nothing more may be released from this book.
    pub(super) fn apply(&mut self, entry: &Entry) -> Result<(), Misfit> {
        if entry.version != Entry::VERSION {
            return Err(Misfit);
        }
        self.dictionaries.extend(entry.dictionaries.iter().cloned());
        for cut in &entry.cuts {
            self.cut(cut)?;
        }
        for row in &entry.tables {
            let table = Table::reopen(row.cells.clone(), row.seen.clone()).ok_or(Misfit)?;
            let sums = Sums::reopen(row.sums.clone()).ok_or(Misfit)?;
            let leaf = self.leaves.get_mut(&row.start).ok_or(Misfit)?;
            let generation = leaf.generations.get_mut(row.generation as usize).ok_or(Misfit)?;
            for (name, number) in &row.fields {
                let fixed = *generation.fields.entry(name.clone()).or_insert(*number);
                if fixed != *number || fixed as usize >= self.dictionaries.len() {
                    return Err(Misfit);
                }
            }
            let fields = row.field_set();
            if !sums.cells().is_empty() {
                generation.sums.insert(fields.clone(), sums);
            }
            // Released once: a second judgement of the same table is a mistake, never an improvement.
            if generation.tables.insert(fields, table).is_some() {
                return Err(Misfit);
            }
        }
        Ok(())
    }

    fn cut(&mut self, cut: &CutRow) -> Result<(), Misfit> {
        if self.released_upto(cut.start) > cut.after || cut.after >= cut.upto {
            return Err(Misfit);
        }
        if self.pending.get(&cut.start).is_some_and(|pending| pending.upto <= cut.upto) {
            self.pending.remove(&cut.start);
        }
        let told = cut.noisy.map_or(cut.records, |noisy| noisy.records);
        let total = Table::reopen(vec![(0, told)], Vec::new()).ok_or(Misfit)?;
        let tables = BTreeMap::from([(FieldSet::new(), total)]);
        let generation = Generation { cut: cut.clone(), fields: BTreeMap::new(), tables, sums: BTreeMap::new() };
        let new = || Leaf { width: cut.width, generations: Vec::new() };
        let leaf = self.leaves.entry(cut.start).or_insert_with(new);
        leaf.generations.push(generation);
        if leaf.width == cut.width { Ok(()) } else { Err(Misfit) }
    }

    /// Everything as one entry, to follow on an empty book.
    pub(super) fn whole(&self) -> Entry {
        let mut entry = Entry { version: Entry::VERSION, dictionaries: self.dictionaries.clone(), ..Entry::default() };
        for (start, leaf) in &self.leaves {
            for (number, generation) in (0..).zip(&leaf.generations) {
                entry.cuts.push(generation.cut.clone());
                for (fields, table) in generation.tables.iter().filter(|(fields, _)| !fields.is_empty()) {
                    let sums = generation.sums.get(fields).map(|sums| sums.cells().to_vec()).unwrap_or_default();
                    let fields = fields.iter().filter_map(|name| Some((name.clone(), *generation.fields.get(name)?)));
                    let (fields, cells, seen) = (fields.collect(), table.cells().to_vec(), table.seen().to_vec());
                    entry.tables.push(TableRow { start: *start, generation: number, fields, cells, seen, sums });
                }
            }
        }
        entry
    }
}

/// Width of the widest leaf there is, in seconds.
const WIDEST: i64 = domicile_proto::leaf::LeafWidth::Hour.seconds() as i64;
