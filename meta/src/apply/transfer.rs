//! Routes of the transfer register: opened by the officer of the region that sends, closed without a signature.
//!
//! A row stays where a route was closed, so that the route does not fall back to what a region's file says. There is one for
//! each pair of regions at most. Whether a region's nodes take an approval is for them to say (RES-4).

use domicile_proto::ids::Region;
use domicile_proto::metadata::{Applied, CommandRefusal, RegionalChange};
use domicile_proto::transfer::TransferRow;

use super::Outcome;
use crate::state::State;

impl State {
    pub(super) fn approve_transfer(&mut self, change: &RegionalChange, to: &Region) -> Outcome {
        if change.signature.is_none() {
            return Err(CommandRefusal::Unsigned);
        }
        self.set_transfer(&change.region, to, Some(change.clone()))
    }

    pub(super) fn revoke_transfer(&mut self, from: &Region, to: &Region) -> Outcome {
        self.require_region(from)?;
        self.set_transfer(from, to, None)
    }

    fn set_transfer(&mut self, from: &Region, to: &Region, approval: Option<RegionalChange>) -> Outcome {
        self.require_region(to)?;
        if from == to {
            return Err(CommandRefusal::UnknownRegion);
        }
        if self.transfer(from, to).is_some_and(|known| known.approval == approval) {
            return Ok(Applied::Done);
        }
        let version = self.advance_policy();
        let row = TransferRow { from: from.clone(), to: to.clone(), version, approval };
        self.transfers.insert((from.clone(), to.clone()), row);
        Ok(Applied::Done)
    }
}

#[cfg(test)]
#[path = "transfer_test.rs"]
mod tests;
