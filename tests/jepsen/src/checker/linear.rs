//! Linearizability by search: is there an order of the operations that respects real time and that the model accepts?
//!
//! The method is the one of Wing and Gong as Lowe refined it: try the operations that may come first, depth first, and never
//! look twice at the same set of done operations with the same state.

use std::collections::HashSet;
use std::hash::Hash;

/// What a right system would do with one operation after the other.
pub trait Model {
    /// All it remembers.
    type State: Clone + Eq + Hash;
    /// What is asked.
    type Input;
    /// What is answered.
    type Output;

    /// Before the first operation.
    fn begin(&self) -> Self::State;

    /// The state after an operation, if this answer is right in this state. An answer that never came is always right.
    fn step(&self, state: &Self::State, input: &Self::Input, output: Option<&Self::Output>) -> Option<Self::State>;
}

/// An operation to be put in order. `ended` is the end of time where nobody knows what became of it.
#[derive(Clone, Debug)]
pub struct Call<I, O> {
    /// What was asked.
    pub input: I,
    /// What was answered; none where no answer came.
    pub output: Option<O>,
    /// When it was asked.
    pub began: u64,
    /// When it was answered.
    pub ended: u64,
}

/// What the search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is such an order.
    Linearizable,
    /// There is none; at most so many operations can be put in order.
    Broken {
        /// Operations of the longest order found.
        longest: usize,
    },
    /// Not found within the steps allowed.
    Unknown,
}

/// Searches, at most `steps` steps.
pub fn search<M: Model>(model: &M, calls: &[Call<M::Input, M::Output>], steps: u64) -> Found {
    let mut line = Line::new(calls);
    let mut state = model.begin();
    let mut done = vec![0_u64; calls.len().div_ceil(64)];
    let mut seen = HashSet::from([(done.clone(), state.clone())]);
    let mut stack: Vec<(usize, M::State)> = Vec::new();
    let mut at = line.next[HEAD];
    let mut longest = 0;
    for _ in 0..steps {
        if line.next[HEAD] == END {
            return Found::Linearizable;
        }
        let Some(call) = line.call(at) else {
            // An answer is reached before its question could be put in order: the last choice was wrong.
            let Some((entry, before)) = stack.pop() else { return Found::Broken { longest } };
            let call = line.call(entry).unwrap_or_default();
            state = before;
            done[call / 64] &= !(1 << (call % 64));
            line.put_back(entry);
            at = line.next[entry];
            continue;
        };
        let after = model.step(&state, &calls[call].input, calls[call].output.as_ref()).filter(|after| {
            let mut with = done.clone();
            with[call / 64] |= 1 << (call % 64);
            seen.insert((with, after.clone()))
        });
        match after {
            Some(after) => {
                stack.push((at, std::mem::replace(&mut state, after)));
                longest = longest.max(stack.len());
                done[call / 64] |= 1 << (call % 64);
                line.take_out(at);
                at = line.next[HEAD];
            }
            None => at = line.next[at],
        }
    }
    if line.next[HEAD] == END { Found::Linearizable } else { Found::Unknown }
}

/// Questions and answers in the order of their times, as a doubly linked list over indices.
struct Line {
    /// Which call an entry is of, and whether it is the question.
    entries: Vec<(usize, bool)>,
    /// The answer of each question's entry.
    answers: Vec<usize>,
    next: Vec<usize>,
    previous: Vec<usize>,
}

const HEAD: usize = 0;
const END: usize = usize::MAX;

impl Line {
    fn new<I, O>(calls: &[Call<I, O>]) -> Self {
        let mut times: Vec<(u64, bool, usize)> = Vec::with_capacity(calls.len() * 2);
        for (index, call) in calls.iter().enumerate() {
            // At equal times questions come first: the weaker claim about what came before what.
            times.push((call.began, false, index));
            times.push((call.ended, true, index));
        }
        times.sort_unstable();
        let mut entries = vec![(0, false)];
        entries.extend(times.iter().map(|(_, is_answer, index)| (*index, !is_answer)));
        let mut answers = vec![END; entries.len()];
        let mut question_of = vec![END; calls.len()];
        for (entry, (call, is_question)) in entries.iter().enumerate().skip(1) {
            if *is_question {
                question_of[*call] = entry;
            } else {
                answers[question_of[*call]] = entry;
            }
        }
        let last = entries.len() - 1;
        let next = (0..=last).map(|entry| if entry == last { END } else { entry + 1 }).collect();
        let previous = (0..=last).map(|entry: usize| entry.saturating_sub(1)).collect();
        Self { entries, answers, next, previous }
    }

    /// The call whose question stands at an entry.
    fn call(&self, entry: usize) -> Option<usize> {
        self.entries.get(entry).filter(|(_, is_question)| *is_question && entry != HEAD).map(|(call, _)| *call)
    }

    fn take_out(&mut self, question: usize) {
        for entry in [question, self.answers[question]] {
            let (before, after) = (self.previous[entry], self.next[entry]);
            self.next[before] = after;
            if after != END {
                self.previous[after] = before;
            }
        }
    }

    fn put_back(&mut self, question: usize) {
        for entry in [self.answers[question], question] {
            let (before, after) = (self.previous[entry], self.next[entry]);
            self.next[before] = entry;
            if after != END {
                self.previous[after] = entry;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stateright::semantics::register::{Register as Theirs, RegisterOp, RegisterRet};
    use stateright::semantics::{ConsistencyTester, LinearizabilityTester};

    use super::*;

    /// A register of small numbers.
    struct Register;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Op {
        Read,
        Write(u8),
    }

    impl Model for Register {
        type State = u8;
        type Input = Op;
        type Output = u8;

        fn begin(&self) -> u8 {
            0
        }

        fn step(&self, state: &u8, input: &Op, output: Option<&u8>) -> Option<u8> {
            match input {
                Op::Read => output.is_none_or(|read| read == state).then_some(*state),
                Op::Write(value) => Some(*value),
            }
        }
    }

    fn call(input: Op, output: Option<u8>, began: u64, ended: u64) -> Call<Op, u8> {
        Call { input, output, began, ended }
    }

    #[test]
    fn concurrent_operations_may_take_either_order_and_later_ones_may_not() {
        let overlapping =
            [call(Op::Write(1), Some(0), 0, 10), call(Op::Read, Some(0), 1, 2), call(Op::Read, Some(1), 3, 4)];
        assert_eq!(search(&Register, &overlapping, 1_000), Found::Linearizable);
        let stale = [call(Op::Write(1), Some(0), 0, 1), call(Op::Read, Some(0), 2, 3)];
        assert!(matches!(search(&Register, &stale, 1_000), Found::Broken { .. }));
        let back = [call(Op::Write(1), Some(0), 0, 10), call(Op::Read, Some(1), 1, 2), call(Op::Read, Some(0), 3, 4)];
        assert!(matches!(search(&Register, &back, 1_000), Found::Broken { .. }), "once seen, a value stays");
    }

    #[test]
    fn a_write_nobody_heard_of_may_take_effect_late_or_never() {
        let doubt = call(Op::Write(1), None, 0, u64::MAX);
        let late = [doubt.clone(), call(Op::Read, Some(0), 1, 2), call(Op::Read, Some(1), 3, 4)];
        assert_eq!(search(&Register, &late, 1_000), Found::Linearizable);
        assert_eq!(search(&Register, &[doubt, call(Op::Read, Some(0), 1, 2)], 1_000), Found::Linearizable);
    }

    #[test]
    fn a_search_that_is_cut_short_says_so() {
        let calls: Vec<_> = (0..30).map(|n| call(Op::Write(n), None, 0, u64::MAX)).collect();
        assert_eq!(search(&Register, &calls, 10), Found::Unknown);
    }

    /// Small histories: each thread asks and is answered in turn, with answers drawn at will.
    fn histories() -> impl Strategy<Value = Vec<(u8, bool, u8)>> {
        // (thread, whether an open read is asked of, value)
        proptest::collection::vec((0_u8..3, any::<bool>(), 0_u8..3), 1..14)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3_000))]

        #[test]
        fn another_judge_comes_to_the_same_verdict(steps in histories()) {
            let mut theirs = LinearizabilityTester::new(Theirs(0_u8));
            let mut ours: Vec<Call<Op, u8>> = Vec::new();
            let mut open: [Option<usize>; 3] = [None; 3];
            for (time, (thread, reads, value)) in (0_u64..).zip(steps) {
                let place = usize::from(thread);
                match open[place].take() {
                    None => {
                        let op = if reads { Op::Read } else { Op::Write(value) };
                        let asked = if reads { RegisterOp::Read } else { RegisterOp::Write(value) };
                        theirs.on_invoke(thread, asked).unwrap();
                        open[place] = Some(ours.len());
                        ours.push(call(op, None, time, u64::MAX));
                    }
                    Some(index) => {
                        let is_read = ours[index].input == Op::Read;
                        let answered = if is_read { RegisterRet::ReadOk(value) } else { RegisterRet::WriteOk };
                        theirs.on_return(thread, answered).unwrap();
                        ours[index].output = Some(value);
                        ours[index].ended = time;
                    }
                }
            }
            let is_right = search(&Register, &ours, 1_000_000) == Found::Linearizable;
            prop_assert_eq!(is_right, theirs.is_consistent(), "{:?}", ours);
        }
    }
}
