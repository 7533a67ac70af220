//! Who contributed to the answer of a text question: what the overlap guard compares (CBAP-1 rule R10).

use std::collections::BTreeSet;

use crate::limits::CONTRIBUTORS;

/// Distinct contributors in rising order: hashes of subjects, or places of records where the stream names no subject.
/// Never leaves the region: no `Serialize`, no `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Contributors(Vec<u64>);

impl Contributors {
    /// `None` where there are more than are named: such a set differs from a small one by more than any k.
    pub(super) fn of(found: &BTreeSet<u64>) -> Option<Self> {
        (found.len() <= CONTRIBUTORS).then(|| Self(found.iter().copied().collect()))
    }

    /// In rising order.
    #[allow(dead_code, reason = "the overlap guard compares them")]
    pub(crate) fn as_slice(&self) -> &[u64] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn are_named_up_to_the_bound() {
        let many = (0..=CONTRIBUTORS as u64).collect::<BTreeSet<_>>();
        assert!(Contributors::of(&many).is_none());
        let fewer = many.iter().copied().skip(1).collect();
        assert_eq!(Contributors::of(&fewer).map(|named| named.as_slice().len()), Some(CONTRIBUTORS));
    }
}
