//! The node: all stages in a line.

pub(crate) mod ingest;
