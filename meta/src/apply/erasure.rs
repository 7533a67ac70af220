//! Orders of erasure: that there is one, and how far it is.
//!
//! What a row commits to never changes, and its state only grows, so that every node of the region may record what it sees in
//! any order and as often as it likes. Nothing is decided here about whose records are erased (RES-2).

use domicile_proto::metadata::{Applied, CommandRefusal, ErasureRow, ErasureState};

use super::Outcome;
use crate::limits::MAX_ERASURES_PER_REGION;
use crate::state::State;

impl State {
    pub(super) fn record_erasure(&mut self, row: &ErasureRow) -> Outcome {
        self.require_region(&row.region)?;
        self.require_tenant(row.tenant)?;
        let place = (row.region.clone(), row.id);
        let recorded = match self.erasures.get(&place) {
            Some(known) if (known.tenant, known.commitment, known.proof) != (row.tenant, row.commitment, row.proof) => {
                return Err(CommandRefusal::Taken);
            }
            Some(known) if known.state >= row.state => return Ok(Applied::Done),
            Some(known) => ErasureRow { state: row.state, ..known.clone() },
            None => {
                self.make_room(row)?;
                row.clone()
            }
        };
        self.erasures.insert(place, recorded);
        Ok(Applied::Done)
    }

    /// Forgets the oldest order of the region that is gone, where there are as many as may be.
    fn make_room(&mut self, row: &ErasureRow) -> Result<(), CommandRefusal> {
        if self.erasures_of(&row.region).count() < MAX_ERASURES_PER_REGION {
            return Ok(());
        }
        let gone = self.erasures_of(&row.region).filter(|known| known.state == ErasureState::Gone);
        let oldest = gone.min_by_key(|known| (known.at, known.id)).map(|known| known.id);
        let oldest = oldest.ok_or(CommandRefusal::TooMany)?;
        self.erasures.remove(&(row.region.clone(), oldest));
        Ok(())
    }
}

#[cfg(test)]
#[path = "erasure_test.rs"]
mod tests;
