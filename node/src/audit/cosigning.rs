//! Has the newest checkpoint cosigned: by a witness of each other region, and by those an operator named.
//!
//! A round signs one head, offers it to all of them at once with a proof from what each knows, and publishes it with the lines of
//! those who cosigned. The key that a witness shows first is the only one it is ever believed with. How a witness is reached is
//! not known here.

use std::collections::BTreeMap;
use std::sync::Arc;

use domicile_proto::ids::{Name, RegionNumber, Timestamp};
use domicile_proto::message::ledger::{Cosignature, HeadOffer, SignedHead, TreeHash, Verdict};
use futures::future::{BoxFuture, join_all};
use parking_lot::Mutex;

use super::entry::Peer;
use super::errors::LedgerError;
use super::ledger::Ledger;
use super::note::Cosigner;
use super::outside::{Outside, Said};
use super::publish::Signed;
use super::witness::{halves, joined, witness_name};
use crate::clock::Clock;

/// Asks the witness of a node of another region; `None` where it gave no answer that can be taken.
pub(crate) type Ask = dyn Fn(Peer, HeadOffer) -> BoxFuture<'static, Option<Verdict>> + Send + Sync;

/// What became of a witness in the last round it was asked in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Entries of the newest head it cosigned, since the start of this node.
    pub(crate) cosigned: u64,
    /// When.
    pub(crate) at: Option<Timestamp>,
    /// Why it did not cosign the last one.
    pub(crate) trouble: Option<Trouble>,
}

/// Why a witness did not cosign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It gave no answer.
    OutOfReach,
    /// It knows more of this ledger than there is: this one is an old copy.
    Ahead {
        /// Entries of the head that it knows.
        known: u64,
    },
    /// It says that this ledger contradicts what it was shown before.
    Forked {
        /// Entries of the head that it knows.
        known: u64,
    },
    /// It signs with another key than the first time, or its signature does not hold.
    OtherKey,
    /// It did not take the head for a reason of its own.
    Refused,
}

impl Trouble {
    /// Whether somebody must look at it: it does not pass by itself.
    pub(crate) const fn is_grave(self) -> bool {
        matches!(self, Self::Ahead { .. } | Self::Forked { .. } | Self::OtherKey)
    }

    /// For people.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::OutOfReach => "it gave no answer",
            Self::Ahead { .. } => "it knows more of this ledger than there is: an old copy was restored",
            Self::Forked { .. } => "it says that this ledger contradicts what it was shown before",
            Self::OtherKey => "it signs with another key than the first time",
            Self::Refused => "it did not take the head",
        }
    }
}

/// The rounds of one ledger. Shared.
pub(crate) struct Cosigning {
    ledger: Arc<Ledger>,
    deployment: Name,
    clock: Clock,
    ask: Box<Ask>,
    outside: Vec<Outside>,
    pinned: Mutex<BTreeMap<String, Cosigner>>,
    standings: Mutex<BTreeMap<String, Standing>>,
    told: Mutex<u64>,
}

impl Cosigning {
    /// Over the ledger of this node.
    ///
    /// # Errors
    /// [`LedgerError`] where it is not remembered who cosigned before.
    pub(crate) fn new(
        ledger: Arc<Ledger>,
        deployment: Name,
        clock: Clock,
        ask: Box<Ask>,
        outside: Vec<Outside>,
    ) -> Result<Self, LedgerError> {
        let known = ledger.witnesses()?.into_iter().chain(outside.iter().map(|one| one.cosigner().clone()));
        let pinned = Mutex::new(known.map(|key| (key.name().to_owned(), key)).collect());
        let (standings, told) = (Mutex::default(), Mutex::default());
        Ok(Self { ledger, deployment, clock, ask, outside, pinned, standings, told })
    }

    /// How each witness is.
    pub(crate) fn standings(&self) -> BTreeMap<String, Standing> {
        self.standings.lock().clone()
    }

    /// One round, unless nothing but heads was recorded since the last one that all took; `us` is this region's number.
    ///
    /// # Errors
    /// [`LedgerError`] where the ledger gives no checkpoint or takes none.
    pub(crate) async fn round(&self, us: RegionNumber, witnesses: &[Peer]) -> Result<(), LedgerError> {
        let news = self.ledger.news();
        if *self.told.lock() == news {
            return Ok(());
        }
        let signed = self.ledger.offer().await?;
        if signed.head.size == 0 {
            return Ok(());
        }
        let regions = join_all(witnesses.iter().map(|peer| self.with_region(us, peer, &signed)));
        let outside = join_all(self.outside.iter().map(|one| self.with_outside(one, &signed)));
        let (regions, outside) = futures::future::join(regions, outside).await;
        let asked = regions.len() + outside.len();
        let lines: Vec<String> = regions.into_iter().chain(outside).flatten().collect();
        if !lines.is_empty() {
            let keys = self.pinned.lock().values().map(|key| format!("{key}\n")).collect();
            self.ledger.cosigned(signed.head, lines.concat(), keys)?;
        }
        if lines.len() == asked {
            *self.told.lock() = news;
        }
        Ok(())
    }

    /// The line of another region's witness.
    async fn with_region(&self, us: RegionNumber, peer: &Peer, signed: &Signed) -> Option<String> {
        let name = witness_name(&self.deployment, peer);
        let (signature_r, signature_s) = halves(&signed.signature);
        let Signed { head, .. } = *signed;
        let at = self.clock.now();
        let wire = SignedHead { region: us, size: head.size, root: head.root, at, signature_r, signature_s };
        let mut known = self.known(&name);
        for _ in 0..2 {
            if known > head.size {
                break;
            }
            let Ok(proof) = self.ledger.proof(known, head).await else {
                return self.trouble(&name, Trouble::Refused);
            };
            let proof = proof.into_iter().map(TreeHash).collect();
            let offer = HeadOffer { head: wire, key: *self.ledger.verifier().public(), known, proof };
            match (self.ask)(peer.clone(), offer).await {
                Some(Verdict::Cosigned(cosignature)) => return self.taken(&name, signed, &cosignature),
                Some(Verdict::Stale { known: theirs }) => known = theirs,
                Some(Verdict::Forked { known }) => return self.trouble(&name, Trouble::Forked { known }),
                Some(Verdict::NotSigned | Verdict::Malformed | Verdict::Unavailable) => {
                    return self.trouble(&name, Trouble::Refused);
                }
                None => return self.trouble(&name, Trouble::OutOfReach),
            }
        }
        let trouble = if known > head.size { Trouble::Ahead { known } } else { Trouble::Refused };
        self.trouble(&name, trouble)
    }

    /// The line of a witness that an operator named.
    async fn with_outside(&self, outside: &Outside, signed: &Signed) -> Option<String> {
        let name = outside.cosigner().name().to_owned();
        let note = self.ledger.verifier().note_of(&signed.head, &signed.signature)?;
        let mut known = self.known(&name);
        for _ in 0..2 {
            if known > signed.head.size {
                break;
            }
            let Ok(proof) = self.ledger.proof(known, signed.head).await else {
                return self.trouble(&name, Trouble::Refused);
            };
            match outside.ask(known, &proof, &note).await {
                Said::Cosigned(line) => {
                    self.well(&name, signed);
                    return Some(line);
                }
                Said::Stale(theirs) if theirs == known => {
                    // It is told what it knows, and contradicts: of one size it has another root.
                    return self.trouble(&name, Trouble::Forked { known });
                }
                Said::Stale(theirs) => known = theirs,
                Said::Forked => return self.trouble(&name, Trouble::Forked { known }),
                Said::OtherKey => return self.trouble(&name, Trouble::OtherKey),
                Said::Refused => return self.trouble(&name, Trouble::Refused),
                Said::OutOfReach => return self.trouble(&name, Trouble::OutOfReach),
            }
        }
        let trouble = if known > signed.head.size { Trouble::Ahead { known } } else { Trouble::Refused };
        self.trouble(&name, trouble)
    }

    fn taken(&self, name: &str, signed: &Signed, given: &Cosignature) -> Option<String> {
        let key = Cosigner::of(name, given.key);
        let signature = joined(&given.signature_r, &given.signature_s);
        let line = key.line(self.ledger.verifier().name(), &signed.head, given.at, &signature);
        let is_known = self.pinned.lock().get(name).is_none_or(|known| *known == key);
        let Some(line) = line.filter(|_| is_known) else { return self.trouble(name, Trouble::OtherKey) };
        self.pinned.lock().insert(name.to_owned(), key);
        self.well(name, signed);
        Some(line)
    }

    fn known(&self, name: &str) -> u64 {
        self.standings.lock().get(name).map_or(0, |standing| standing.cosigned)
    }

    fn well(&self, name: &str, signed: &Signed) {
        let standing = Standing { cosigned: signed.head.size, at: Some(self.clock.now()), trouble: None };
        self.standings.lock().insert(name.to_owned(), standing);
    }

    fn trouble(&self, name: &str, trouble: Trouble) -> Option<String> {
        let mut standings = self.standings.lock();
        let standing = standings.entry(name.to_owned()).or_default();
        let is_new = standing.trouble.replace(trouble) != Some(trouble);
        if is_new {
            let (witness, why) = (name, trouble.words());
            if trouble.is_grave() {
                tracing::error!(witness, why, ?trouble, "a checkpoint was not cosigned");
            } else {
                tracing::warn!(witness, why, "a checkpoint was not cosigned");
            }
        }
        None
    }
}

#[cfg(test)]
#[path = "cosigning_test.rs"]
mod tests;
