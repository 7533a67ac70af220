//! What the nodes of a region say of its orders of erasure, one beside the other: when the clock of an order began at a node, and which
//! node has not got one that it should have.
//!
//! Goes by entries of signed ledgers where there are any, for a statement is written when the pack is and can say of earlier what it
//! likes. Judges no clock: the register of erasures does.

use std::collections::{BTreeMap, BTreeSet};

use domicile_proto::ids::Timestamp;

use super::compose::{Home, Request, YOUNG};
use super::tally::{Order, instant, span};
use crate::limits::SUPPRESS_FOR;
use crate::present::auditor::StatedErasure;

/// From an order to the destruction of its keys (ERA-1).
pub(super) const SHREDDED_WITHIN: i64 = 60_000_000;
/// A node that came when an order was over, or so long before, may have found nobody any more who told of it.
const ASKED_AROUND_WITHIN: i64 = 86_400_000_000;

/// The times of an order at one node, by which its clocks are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    /// When it was asked for, by the earliest word of the region.
    pub(super) ordered: Timestamp,
    /// When its clock began at this node.
    pub(super) from: Timestamp,
    /// When it was hidden and when it was gone: by the first entry, and as stated where the ledger has none yet.
    pub(super) hidden: Option<Timestamp>,
    pub(super) purged: Option<Timestamp>,
}

impl Times {
    /// At a node whose ledger has this of it and that came at a moment, where others of the region speak of it from another one on.
    pub(super) fn new(
        erasure: &StatedErasure,
        order: &Order,
        came: Option<Timestamp>,
        others: Option<Timestamp>,
    ) -> Self {
        let at = |entry: Option<(u64, Timestamp)>| entry.map(|(_, at)| at);
        let words = at(order.requested).into_iter().chain(others);
        let ordered = words.fold(erasure.ordered_at, Ord::min);
        // A node hides before it shows anything, so at one that came later the clock begins with that.
        let from = came.map_or(ordered, |came| came.max(ordered));
        let (hidden, purged) =
            (at(order.shredded).or(erasure.shredded_at), at(order.purged).or_else(|| purged_at(erasure)));
        Self { ordered, from, hidden, purged }
    }
}

/// When the last segment of an erasure was made anew, as its receipt says.
pub(super) fn purged_at(erasure: &StatedErasure) -> Option<Timestamp> {
    let said: serde_json::Value = serde_json::from_str(erasure.receipt.as_ref()?.get("receipt")?.as_str()?).ok()?;
    said.get("purged_at")?.as_i64().map(Timestamp)
}

/// The orders of all nodes in a pack.
pub(super) struct Orders<'a>(Vec<Node<'a>>);

/// A node, and when each order was given by its statement.
struct Node<'a> {
    home: &'a Home,
    stated: BTreeMap<&'a str, Timestamp>,
}

/// What one node says of an order.
struct Said {
    at: Timestamp,
    commitment: Option<[u8; 32]>,
}

/// An order that a node of its region neither states nor has in its ledger, and others do.
pub(super) struct Lacking<'a> {
    pub(super) home: &'a Home,
    pub(super) id: &'a str,
    pub(super) ordered: Timestamp,
    /// The number of the first node that has it.
    by: u64,
    /// Why it proves nothing against the node, where it does not.
    pub(super) doubt: Option<&'static str>,
}

impl Lacking<'_> {
    pub(super) fn words(&self) -> String {
        let (ours, by, at) = (self.home.statement.node, self.by, instant(self.ordered));
        let doubt = self.doubt.map_or_else(String::new, |doubt| format!("; {doubt}"));
        format!(
            "node {by} of the region has this order, which was given on {at}, and node {ours} neither states it nor has an entry about it{doubt}"
        )
    }
}

impl<'a> Node<'a> {
    /// Every order that the node states or has in its ledger.
    fn ids(&self) -> impl Iterator<Item = &'a str> {
        let home = self.home;
        let stated: Vec<&'a str> = self.stated.keys().copied().collect();
        stated.into_iter().chain(home.tally.erasures.keys().map(String::as_str))
    }

    fn has(&self, id: &str) -> bool {
        self.stated.contains_key(id) || self.home.tally.erasures.contains_key(id)
    }

    /// The time that comes with an order is the same at every node; that of an entry is by the node's own clock.
    fn said(&self, id: &str) -> Option<Said> {
        let order = self.home.tally.order(id);
        let entered = order.requested.map(|(_, at)| Timestamp(at.0.saturating_add(YOUNG)));
        let at = self.stated.get(id).copied().into_iter().chain(entered).min()?;
        Some(Said { at, commitment: order.commitment })
    }
}

impl<'a> Orders<'a> {
    pub(super) fn of(homes: &'a [Home]) -> Self {
        let node = |home: &'a Home| {
            let stated = home.statement.erasures.iter();
            Node { home, stated: stated.map(|erasure| (erasure.id.as_str(), erasure.ordered_at)).collect() }
        };
        Self(homes.iter().map(node).collect())
    }

    /// The other nodes of a node's region.
    fn beside(&self, home: &Home) -> impl Iterator<Item = &Node<'a>> {
        self.0.iter().filter(move |node| node.home.name() == home.name() && node.home.place != home.place)
    }

    /// Whether any statement has a node among those of the deployment.
    fn is_member(&self, home: &Home) -> bool {
        let is_it = |node: &Node<'a>| {
            let mut nodes = node.home.statement.nodes.iter();
            nodes.any(|one| one.region == home.name() && one.node == home.statement.node)
        };
        self.0.iter().any(is_it)
    }

    /// Whether the ledger of another node of the region says that an order was asked for.
    pub(super) fn is_entered_beside(&self, home: &Home, id: &str) -> bool {
        self.beside(home).any(|other| other.home.tally.order(id).requested.is_some())
    }

    /// The times of an order at a node that states it.
    pub(super) fn times(&self, home: &Home, erasure: &StatedErasure) -> Times {
        let order = home.tally.order(&erasure.id);
        // A node with other keys is told by itself, and makes another order under the same id: that one began later.
        let is_same =
            |said: &Said| said.commitment.is_none_or(|theirs| order.commitment.is_none_or(|ours| ours == theirs));
        let others = self.beside(home).filter_map(|other| other.said(&erasure.id));
        let others = others.filter(is_same).map(|said| said.at).min();
        let times = Times::new(erasure, &order, home.tally.came(), others);
        match order.requested {
            // With the first order in the same bucket, a node may state when that one was given.
            Some((_, taken))
                if home.tally.was_held(&order) || self.was_other(home, erasure).is_some_and(|at| at < taken) =>
            {
                Times { from: times.from.max(taken), ..times }
            }
            _ => times,
        }
    }

    /// When another node of the region was asked for an order under the same id that is another one, for it was made with other keys.
    fn was_other(&self, home: &Home, erasure: &StatedErasure) -> Option<Timestamp> {
        let ours = home.tally.order(&erasure.id).commitment?;
        let others = self.beside(home).map(|other| other.home.tally.order(&erasure.id));
        let others = others.filter(|other| other.commitment.is_some_and(|theirs| theirs != ours));
        others.filter_map(|other| other.requested).map(|(_, at)| at).min()
    }

    /// Why the times of an order at a node are to be looked at, though they prove nothing against it.
    pub(super) fn doubt(&self, home: &Home, erasure: &StatedErasure) -> Option<String> {
        let order = home.tally.order(&erasure.id);
        let (_, taken) = order.requested?;
        if home.tally.was_held(&order) {
            return Some(
                "by its ledger a legal hold stood against it here, and its clock began when it was taken".to_owned(),
            );
        }
        let later = taken.0.saturating_sub(self.was_other(home, erasure)?.0);
        (later > SHREDDED_WITHIN)
            .then(|| format!("it was given anew at this node, {} after another one of the region had it", span(later)))
    }

    /// Orders that were asked for before the pack was begun and that a node of the region has not got, though it was there.
    pub(super) fn lacking(&self, request: &Request) -> Vec<Lacking<'a>> {
        let mut found = Vec::new();
        for node in &self.0 {
            let home = node.home;
            let ids: BTreeSet<&'a str> =
                self.beside(home).flat_map(|other| other.ids()).filter(|id| !node.has(id)).collect();
            for id in ids {
                let said: Vec<(&Home, Said)> =
                    self.beside(home).filter_map(|other| Some((other.home, other.said(id)?))).collect();
                let Some(ordered) = said.iter().map(|(_, said)| said.at).min() else { continue };
                let Some(by) = said.first().map(|(other, _)| other.statement.node) else { continue };
                if !request.follows(ordered) || home.tally.came().is_some_and(|came| is_excused(came, ordered, request))
                {
                    continue;
                }
                let is_held = |said: &Said| said.commitment.is_some_and(|what| home.tally.held.contains_key(&what));
                let doubt = if said.iter().any(|(_, said)| is_held(said)) {
                    Some("by its ledger a legal hold stands against it here")
                } else if !self.is_member(home) || !said.iter().any(|(other, _)| self.is_member(other)) {
                    Some("no statement has both among the nodes of the deployment")
                } else {
                    None
                };
                found.push(Lacking { home, id, ordered, by, doubt });
            }
        }
        found
    }
}

/// Whether a node that came at a moment need not have an order: it came while the pack was made, or when the order was over, of which others
/// tell no more.
fn is_excused(came: Timestamp, ordered: Timestamp, request: &Request) -> bool {
    let told_for = i64::try_from(SUPPRESS_FOR.as_micros()).unwrap_or(i64::MAX);
    let is_over = came.0.saturating_add(ASKED_AROUND_WITHIN) >= ordered.0.saturating_add(told_for);
    !request.follows(came) || is_over
}
