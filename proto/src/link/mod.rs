//! The link: the only user of quinn and rustls. Connections between nodes, and who is at the other end of them.
//!
//! Reading order: [`identity`] (the region in a certificate), [`trust`] (one CA per region), [`rotation`] (certificates
//! change while the node runs), [`crossing`] (the ledger comes before the wire, LED-1), `stream` (one frame, whole or not
//! at all), [`foreign`] and [`neighbour`] (what may be said to whom), `pool` and [`endpoint`] (who connects when). Beside
//! them: [`limits`], [`keylog`] for auditors, [`pki`] for development, [`tls`] and [`crypto`] for client listeners, and
//! `simulated`, which no ordinary build contains.
//! Nothing here decides what an answer may hold (that is [`crate::border`]) or what an entry of the ledger looks like.

pub mod connection;
pub mod crossing;
pub mod crypto;
pub mod endpoint;
pub mod errors;
pub mod foreign;
pub mod identity;
pub mod keylog;
pub mod limits;
pub mod metadata_stream;
pub mod neighbour;
pub mod pki;
mod pool;
pub mod protocol;
pub mod rotation;
#[cfg(feature = "simulation")]
pub mod simulated;
mod socket;
mod stream;
pub mod tls;
pub mod trust;
mod turnstile;

#[cfg(test)]
mod harness;
#[cfg(test)]
mod hostile_test;
#[cfg(test)]
mod link_test;
#[cfg(test)]
mod pki_test;
