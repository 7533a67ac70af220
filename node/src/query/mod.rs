//! Stage 9, a question and a principal -> `Hits`: filters, plan, limits, rows for this region's eyes. Does not leave the region.
//!
//! [`elastic`] and [`human`] read what people and tools send into a [`Filter`]; [`Engine`] runs it over segments;
//! [`Hits`] is a handle on what matched: it shows rows to whoever may see them, and folds into `Groups` for `aggregate`
//! or into Elasticsearch aggregations for this region's own clients. [`carry`] is a search and what was found on the way between
//! nodes of this region.

pub(crate) mod aggs;
mod beside;
mod carry;
#[cfg(test)]
mod cold_test;
mod columns;
mod compile;
pub(crate) mod dates;
pub(crate) mod elastic;
mod errors;
mod excluded;
mod field;
mod filter;
mod groups;
mod hits;
mod holding;
pub(crate) mod human;
mod leaves;
mod listed;
mod literals;
mod matched;
mod rows;
mod search;
mod visit;

pub(crate) use carry::{Arriving, Carried, Part, merged};
pub(crate) use errors::QueryError;
pub(crate) use field::Place;
pub(crate) use filter::{Filter, Joined, Value, both};
pub(crate) use groups::{Cut, Plan, Slots, Subjects};
pub(crate) use hits::{Row, Total};
pub(crate) use leaves::{LeafPlan, Window};
pub(crate) use literals::Literals;
pub(crate) use matched::Match;
pub(crate) use rows::{Given, RowBatch};
pub(crate) use search::{After, Engine, SearchRequest, Sort, TrackTotal};
pub(crate) use visit::Budget;

#[cfg(test)]
mod fuzz_test;
#[cfg(test)]
mod hidden_test;
#[cfg(test)]
mod human_test;
#[cfg(test)]
mod literals_test;
#[cfg(test)]
mod search_test;
#[cfg(test)]
pub(crate) mod specimen;
