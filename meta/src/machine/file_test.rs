//! Files of snapshots: any bytes, good files that are changed, and whole frames in any order and with any bodies.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use bolero::{TypeGenerator, check};
use domicile_proto::ids::NodeId;
use domicile_proto::message::metadata::{LogPlace, Membership};

use super::*;
use crate::apply::apply_test;
use crate::fuzz::{Edit, cases, edited};

/// What becomes a file.
#[derive(Debug, TypeGenerator)]
enum Input {
    /// A good one, changed here and there.
    Changed { edits: Vec<Edit> },
    /// One of good frames in another order, with the right number of them in its head.
    Moved { order: Move, then: Option<Move> },
    /// Changed bodies behind right headers.
    Bodies { first: (u8, Edit), then: Option<(u8, Edit)> },
    /// Anything.
    Raw(Vec<u8>),
}

#[derive(Debug, TypeGenerator)]
enum Move {
    Leave { at: u8 },
    Twice { at: u8, from: u8 },
    Swap { at: u8, with: u8 },
}

/// The beginning of a header, and a body.
type Frame = (Vec<u8>, Vec<u8>);

impl Move {
    fn apply(&self, frames: &mut Vec<Frame>) {
        let length = frames.len();
        // The head stays where it is.
        let place = |at: u8| 1 + usize::from(at) % (length - 1);
        match *self {
            Self::Leave { at } => drop(frames.remove(place(at))),
            Self::Twice { at, from } => frames.insert(place(at), frames[place(from)].clone()),
            Self::Swap { at, with } => frames.swap(place(at), place(with)),
        }
    }
}

fn joined(frames: &[Frame]) -> Vec<u8> {
    let frame = |(header, body): &Frame| {
        let length = u32::try_from(body.len()).unwrap();
        [header.as_slice(), &length.to_be_bytes(), &crc32fast::hash(body).to_be_bytes(), body].concat()
    };
    frames.iter().flat_map(frame).collect()
}

/// A good file with a row of every kind, in its frames.
struct Good {
    bytes: Vec<u8>,
    head: SnapshotHead,
    frames: Vec<Frame>,
}

impl Good {
    fn new() -> Self {
        let state = apply_test::with_every_row();
        let kinds: HashSet<_> = state.rows().map(|row| std::mem::discriminant(&row)).collect();
        assert_eq!(kinds.len(), 14, "a row of every kind");
        let last = Some(LogPlace { term: 3, node: NodeId(1), index: 41 });
        let nodes = vec![(NodeId(1), "127.0.0.1:7443".parse().unwrap())];
        let membership = Membership { voters: vec![vec![NodeId(1)]], nodes };
        let head = SnapshotHead { last, membership: (last, membership), rows: state.row_count() };
        let meta = convert::snapshot_meta(head.clone());
        let mut bytes = Vec::new();
        encode(&mut bytes, &meta, &state).unwrap();
        assert_eq!(decode(&bytes), Ok((meta, state)));
        let (mut frames, mut rest) = (Vec::new(), bytes.as_slice());
        while !rest.is_empty() {
            let length = u32::from_be_bytes(rest[6..10].try_into().unwrap()) as usize;
            let (one, more) = rest.split_at(HEADER_BYTES + length);
            frames.push((one[..6].to_vec(), one[HEADER_BYTES..].to_vec()));
            rest = more;
        }
        Self { bytes, head, frames }
    }

    fn file(&self, input: &Input) -> Vec<u8> {
        match input {
            Input::Raw(bytes) => bytes.clone(),
            Input::Changed { edits } => edited(&self.bytes, edits),
            Input::Moved { order, then } => {
                let mut frames = self.frames.clone();
                [order].into_iter().chain(then).for_each(|one| one.apply(&mut frames));
                let head = SnapshotHead { rows: frames.len() as u64 - 1, ..self.head.clone() };
                frames[0].1 = codec::encode(&head).unwrap()[HEADER_BYTES..].to_vec();
                joined(&frames)
            }
            Input::Bodies { first, then } => {
                let mut frames = self.frames.clone();
                for (at, edit) in [first].into_iter().chain(then) {
                    let at = usize::from(*at) % frames.len();
                    frames[at].1 = edited(&frames[at].1, std::slice::from_ref(edit));
                }
                joined(&frames)
            }
        }
    }
}

#[test]
fn no_snapshot_of_the_group_panics() {
    let good = Good::new();
    let (taken, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    check!().with_iterations(cases()).with_type::<Input>().for_each(|input| match decode(&good.file(input)) {
        Ok((meta, state)) => {
            taken.fetch_add(1, Ordering::Relaxed);
            let mut again = Vec::new();
            encode(&mut again, &meta, &state).unwrap();
            assert_eq!(decode(&again), Ok((meta, state)), "what was taken is written as the same");
        }
        Err(_) => drop(refused.fetch_add(1, Ordering::Relaxed)),
    });
    let (taken, refused) = (taken.into_inner(), refused.into_inner());
    let is_tame = taken < refused / 100 || refused == 0;
    assert!(!is_tame || taken + refused < 1_000, "{taken} taken, {refused} refused: too tame or too wild");
}
