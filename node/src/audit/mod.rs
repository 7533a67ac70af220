//! Beside the line: the ledger of every question, answer and ledger head, durable before it is sent (LED-1).
//!
//! An append-only Merkle log after RFC 6962 in the files of C2SP tlog-tiles, with checkpoints as signed notes. An entry is
//! durable in the tail before anybody is told; tiles, bodies and checkpoints follow from there. The link asks the ledger before a
//! byte crosses; if it cannot write, nothing crosses. Every stage may write to it, none reads it. What may cross is not
//! decided here.
//!
//! `witness` cosigns what other regions' ledgers publish, `cosigning` has this one cosigned.

mod breach;
mod chains;
mod copy;
mod cosigned;
mod cosigning;
#[cfg(test)]
mod crossing_cost_test;
mod crossings;
mod destroyed;
mod edge;
mod entry;
mod errors;
mod files;
mod finding;
#[cfg(test)]
mod fuzz_test;
mod gone;
mod ledger;
#[cfg(test)]
mod measure_test;
mod merkle;
mod note;
mod outside;
mod passing;
mod past;
mod prove;
mod publish;
mod read;
mod recover;
mod sbom;
mod strays;
mod tail;
mod tiles;
mod unsigned;
mod verify;
mod witness;
mod writer;

pub(crate) use breach::{Breach, BreachStep, Breaches, CLOCKS, Clock as BreachClock};
pub(crate) use copy::{Copy, Shown, roots_at};
pub(crate) use cosigning::{Ask, Cosigning, Standing, Trouble};
pub(crate) use destroyed::{Destroyed, Order, sort};
pub(crate) use entry::{Adopted, Drawn, Entry, Event, Passage, Peer, Purpose, Why};
pub(crate) use errors::LedgerError;
pub(crate) use finding::{About, Finding};
pub(crate) use ledger::Ledger;
#[cfg(test)]
pub(crate) use measure_test::peak_since;
pub(crate) use note::Verifier;
pub(crate) use outside::Outside;
pub(crate) use passing::Elapsed;
pub(crate) use prove::{prove_entry, prove_since};
#[cfg(test)]
pub(crate) use read::Entries;
pub(crate) use sbom::{sbom, sbom_digest};
pub(crate) use unsigned::Unsigned;
pub(crate) use verify::{Broken, Checked, verify};
pub(crate) use witness::{Witness, WitnessFacts};
