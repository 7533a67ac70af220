//! Beside the line: the ledger of every question, answer and ledger head, durable before it is sent (LED-1).
//!
//! An append-only file of entries, each with the hash of all before it. The link asks it before a byte crosses; if it cannot
//! write, nothing crosses. Every stage may write to it, none reads it. What may cross is not decided here.

mod chain;
mod crossings;
mod entry;
mod errors;
mod file;
mod ledger;
mod read;

pub(crate) use entry::{Event, Purpose, Why};
pub(crate) use errors::LedgerError;
pub(crate) use ledger::Ledger;
#[cfg(test)]
pub(crate) use read::Entries;
