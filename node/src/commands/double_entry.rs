//! Double entry: what arrived in one ledger left another. One book for each ledger, filled by the walk that checks it.
//!
//! A body that was destroyed can be compared with nothing. The officer's order says what it was and who was at the other end: it
//! stands for one message of that kind between those two nodes, and for no second one.

use std::collections::BTreeMap;

use domicile_proto::border::EgressClass;
use domicile_proto::ids::{QuestionId, Timestamp};

use crate::audit::{Entry, Event, Peer, sort};

/// What is known of a message whose body is gone: its class, and which question it was or answered.
type Sort = (EgressClass, QuestionId);

/// Frames of one digest that left for one node.
#[derive(Debug)]
struct Left {
    times: u64,
    sort: Option<Sort>,
}

/// Something that arrived.
#[derive(Debug)]
struct Arrival {
    number: u64,
    at: Timestamp,
    from: usize,
    sha256: [u8; 32],
    sort: Option<Sort>,
}

/// A message whose body is gone.
#[derive(Debug)]
struct Ordered {
    left: bool,
    peer: usize,
    sort: Sort,
    /// When the entry was written that says so.
    at: Timestamp,
}

/// What left and what arrived, as one ledger has it.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// The nodes at the other end, each with its number here.
    peers: BTreeMap<Peer, usize>,
    left: BTreeMap<(usize, [u8; 32]), Left>,
    arrived: Vec<Arrival>,
    /// By entry: an order that is put twice counts once.
    ordered: BTreeMap<u64, Ordered>,
}

impl Book {
    /// One more entry.
    pub(super) fn take(&mut self, number: u64, entry: &Entry) {
        match &entry.event {
            Event::Egress(passage) => {
                let key = (self.peer(&passage.peer), passage.sha256);
                self.left.entry(key).or_insert_with(|| Left { times: 0, sort: sort(passage) }).times += 1;
            }
            Event::Ingress(passage) => {
                let (from, sha256, sort) = (self.peer(&passage.peer), passage.sha256, sort(passage));
                self.arrived.push(Arrival { number, at: entry.at, from, sha256, sort });
            }
            Event::BodyDestroyed(gone) => {
                let (left, peer, sort) = (gone.left, self.peer(&gone.peer), (gone.class, gone.question));
                self.ordered.entry(gone.entry).or_insert(Ordered { left, peer, sort, at: entry.at });
            }
            _ => {}
        }
    }

    /// The number of a node at the other end, where anything went to it or came from it.
    pub(super) fn known(&self, peer: &Peer) -> Option<usize> {
        self.peers.get(peer).copied()
    }

    /// From which nodes messages arrived, and how many from each.
    pub(super) fn senders(&self) -> BTreeMap<&Peer, u64> {
        let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
        for arrival in &self.arrived {
            *counts.entry(arrival.from).or_default() += 1;
        }
        self.peers.iter().filter_map(|(peer, number)| Some((peer, *counts.get(number)?))).collect()
    }

    /// What arrived at `us` from a node, and of which the book of that node knows nothing: numbers of our entries, and their times; where
    /// the body is gone, the time of the entry that says so.
    pub(super) fn missing(&self, us: &Peer, sender: &Peer, theirs: &Self) -> Vec<(u64, Timestamp)> {
        let Some(from) = self.peers.get(sender).copied() else { return Vec::new() };
        let to = theirs.peers.get(us).copied().unwrap_or(usize::MAX);
        let (gone, theirs_gone) = (self.ordered(false, from), theirs.ordered(true, to));
        let whole = if gone.is_empty() && theirs_gone.is_empty() { BTreeMap::new() } else { theirs.whole(to) };
        let count = |of: &BTreeMap<Sort, u64>, sort| of.get(&sort).copied().unwrap_or_default();
        let mut used: BTreeMap<[u8; 32], u64> = BTreeMap::new();
        let mut open: BTreeMap<Option<Sort>, Vec<(u64, Timestamp)>> = BTreeMap::new();
        let mut matched: BTreeMap<Sort, u64> = BTreeMap::new();
        for arrival in self.arrived.iter().filter(|arrival| arrival.from == from) {
            let used = used.entry(arrival.sha256).or_default();
            if theirs.left.get(&(to, arrival.sha256)).is_some_and(|left| *used < left.times) {
                *used += 1;
                arrival.sort.into_iter().for_each(|sort| *matched.entry(sort).or_default() += 1);
            } else {
                open.entry(arrival.sort).or_default().push((arrival.number, arrival.at));
            }
        }
        let mut missing = Vec::new();
        let mut excused: BTreeMap<Sort, u64> = BTreeMap::new();
        for (sort, arrivals) in open {
            let most = sort.map_or(0, |sort| {
                let ordered = count(&theirs_gone, sort);
                // As many as left, but those that are accounted for: by their digest, or by an order over here.
                let accounted = count(&matched, sort) + count(&gone, sort);
                ordered.min((count(&whole, sort) + ordered).saturating_sub(accounted))
            });
            let taken = most.min(arrivals.len() as u64);
            excused.extend(sort.map(|sort| (sort, taken)));
            missing.extend(arrivals.into_iter().skip(usize::try_from(taken).unwrap_or(usize::MAX)));
        }
        // What is gone over here came from somewhere as well: no more than left and is not accounted for.
        let mut covered: BTreeMap<Sort, u64> = BTreeMap::new();
        for (number, ordered) in self.ordered.iter().filter(|(_, one)| !one.left && one.peer == from) {
            let sort = ordered.sort;
            let left = count(&whole, sort) + count(&theirs_gone, sort);
            let covered = covered.entry(sort).or_insert_with(|| count(&matched, sort) + count(&excused, sort));
            if *covered < left {
                *covered += 1;
            } else {
                missing.push((*number, ordered.at));
            }
        }
        missing.sort_unstable();
        missing
    }

    /// Bodies that went to a node, or came from it, and are gone by order: how many of each kind.
    fn ordered(&self, left: bool, peer: usize) -> BTreeMap<Sort, u64> {
        let of = self.ordered.values().filter(|ordered| ordered.left == left && ordered.peer == peer);
        of.fold(BTreeMap::new(), |mut all, ordered| {
            *all.entry(ordered.sort).or_default() += 1;
            all
        })
    }

    /// Bodies that left for a node and are there: how many of each kind.
    fn whole(&self, to: usize) -> BTreeMap<Sort, u64> {
        let of_node = self.left.range((to, [0; 32])..=(to, [255; 32]));
        of_node.fold(BTreeMap::new(), |mut all, (_, left)| {
            left.sort.into_iter().for_each(|sort| *all.entry(sort).or_default() += left.times);
            all
        })
    }

    /// The number that a node at the other end has here.
    pub(super) fn peer(&mut self, peer: &Peer) -> usize {
        let next = self.peers.len();
        *self.peers.entry(peer.clone()).or_insert(next)
    }
}

#[cfg(test)]
mod tests {
    use domicile_proto::codec;
    use domicile_proto::ids::{ByteCount, NodeId, StreamId, TenantId, TimeRange};
    use domicile_proto::message::question::{Ask, Question};
    use domicile_proto::officer::{OfficerPublic, OrderGround};

    use super::*;
    use crate::audit::{Destroyed, Passage};

    fn node(region: &str, number: u64) -> Peer {
        Peer { region: region.parse().expect("a name"), node: NodeId(number) }
    }

    /// A question; `deadline` tells one frame of it from another.
    fn passage(peer: &Peer, id: u128, deadline: u32) -> Passage {
        let question = Question {
            id: QuestionId(id),
            tenant: TenantId(1),
            stream: StreamId(1),
            range: TimeRange { from: Timestamp(0), to: Timestamp(60_000_000) },
            filters: Vec::new(),
            ask: Ask::Count,
            deadline_ms: deadline,
        };
        let body = codec::encode(&question).expect("a question");
        let mut sha256 = [0; 32];
        sha256[..16].copy_from_slice(&id.to_be_bytes());
        sha256[16..20].copy_from_slice(&deadline.to_be_bytes());
        let bytes = ByteCount(body.len() as u64);
        Passage { peer: peer.clone(), class: EgressClass::Question, bytes, sha256, body, drawn: None }
    }

    fn gone(entry: u64, left: bool, peer: &Peer, id: u128) -> Event {
        Event::BodyDestroyed(Destroyed {
            entry,
            commitment: [0; 32],
            left,
            peer: peer.clone(),
            class: EgressClass::Question,
            question: QuestionId(id),
            ground: OrderGround::PersonalData,
            officer: OfficerPublic::try_from("aa".repeat(32)).expect("a key"),
            signature: "".into(),
        })
    }

    fn book(events: Vec<Event>) -> Book {
        let mut book = Book::default();
        for (number, event) in (1..).zip(events) {
            book.take(number, &Entry::specimen(Timestamp(1), None, event));
        }
        book
    }

    /// Numbers of arrivals at singapore's node 2 from tokyo's node 1 that tokyo's book does not have.
    fn missing(tokyo: Vec<Event>, singapore: Vec<Event>) -> Vec<u64> {
        let missing = book(singapore).missing(&node("singapore", 2), &node("tokyo", 1), &book(tokyo));
        missing.into_iter().map(|(number, _)| number).collect()
    }

    fn left(id: u128, deadline: u32) -> Event {
        Event::Egress(passage(&node("singapore", 2), id, deadline))
    }

    fn came(id: u128, deadline: u32) -> Event {
        Event::Ingress(passage(&node("tokyo", 1), id, deadline))
    }

    #[test]
    fn what_arrived_left_as_often_and_for_this_node() {
        assert_eq!(missing(vec![left(1, 5), left(2, 5)], vec![came(2, 5), came(1, 5)]), [0; 0]);
        assert_eq!(missing(vec![left(1, 5)], vec![came(1, 5), came(1, 5), came(2, 5)]), [2, 3]);
        let elsewhere = Event::Egress(passage(&node("frankfurt", 2), 1, 5));
        assert_eq!(missing(vec![elsewhere], vec![came(1, 5)]), [1], "it left for another node");
        assert_eq!(missing(Vec::new(), vec![came(1, 5)]), [1]);
    }

    #[test]
    fn one_order_excuses_one_arrival_of_its_question_at_its_node() {
        let (here, elsewhere) = (node("singapore", 2), node("frankfurt", 2));
        assert_eq!(missing(vec![gone(9, true, &here, 1)], vec![came(1, 5)]), [0; 0]);
        assert_eq!(missing(vec![gone(9, true, &here, 1)], vec![came(1, 5), came(1, 6), came(1, 7)]), [2, 3]);
        assert_eq!(missing(vec![gone(9, true, &here, 1), gone(9, true, &here, 1)], vec![came(1, 5), came(1, 6)]), [2]);
        for other in [gone(9, true, &elsewhere, 1), gone(9, false, &here, 1), gone(9, true, &here, 2)] {
            assert_eq!(missing(vec![other.clone()], vec![came(1, 5)]), [1], "{other:?}");
        }
    }

    #[test]
    fn a_body_that_is_gone_over_here_had_come_from_there() {
        let (here, there) = (node("singapore", 2), node("tokyo", 1));
        let came_and_gone = || vec![gone(9, false, &there, 1)];
        assert_eq!(missing(Vec::new(), came_and_gone()), [9], "nothing of the kind ever left");
        assert_eq!(missing(vec![left(1, 5)], came_and_gone()), [0; 0]);
        assert_eq!(missing(vec![gone(7, true, &here, 1)], came_and_gone()), [0; 0], "gone at both ends");
        let two = vec![gone(8, false, &there, 1), gone(9, false, &there, 1)];
        assert_eq!(missing(vec![left(1, 5)], two), [9], "one left, and two are gone");
        assert_eq!(missing(vec![left(1, 5)], vec![came(1, 5), gone(9, false, &there, 1)]), [9], "it is accounted for");
    }

    #[test]
    fn an_order_is_used_up_by_the_arrival_that_was_destroyed_as_well() {
        let (here, there) = (node("singapore", 2), node("tokyo", 1));
        let both = vec![gone(9, false, &there, 1), came(1, 6)];
        assert_eq!(missing(vec![gone(9, true, &here, 1)], both.clone()), [2], "one left, and two arrived");
        // The one that was destroyed over here is the one that is whole over there.
        assert_eq!(missing(vec![left(1, 5), gone(9, true, &here, 1)], both), [0; 0]);
        let known = vec![came(1, 5), came(1, 6), gone(9, false, &there, 1)];
        assert_eq!(missing(vec![left(1, 5), gone(9, true, &here, 1)], known), [2], "two left, and three arrived");
    }
}
