//! The Elasticsearch API at the root of its own port, as far as clients use it; ingest is `receive`'s.
//!
//! [`names`] says which streams of which regions an index expression means, [`search`] reads a search and writes its
//! response, [`remote`] puts it to other regions (`region:index`), which give totals and aggregations and never hits.

mod about;
mod catalogue;
pub(super) mod clusters;
mod indices;
mod many;
pub(super) mod metrics;
mod names;
pub(super) mod remote;
mod request;
mod respond;
mod routes;
mod search;

pub(crate) use routes::router;

#[cfg(test)]
mod abroad_test;
#[cfg(test)]
mod elastic_test;
#[cfg(test)]
mod metrics_test;
