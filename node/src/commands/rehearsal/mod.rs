//! Runs the attacks against the disclosure gate of this very build, on synthetic records, under the rules that streams have:
//! evidence that an auditor makes again with the same program and the same seed. No node is asked and no record is read.
//!
//! What is attacked is the gate and everything behind it: the guard of a day's questions, the released table, the border. Before it
//! lie the doors of a node, which the whole-system tests attack in the same way.

mod evidence;
mod probes;
mod region;

use std::rc::Rc;
use std::sync::Arc;

use domicile_proto::ids::KThreshold;
use domicile_proto::metadata::StreamPolicy;
use domicile_proto::noise::Noise;
use tokio::runtime::Runtime;

use crate::attack::day::{Counted, Day};
use crate::attack::{self, Guess};
use crate::classify::Defaults;
use crate::index::builder::Layout;
use crate::policy::Suppression;
use crate::segment::Segment;
use crate::tasks::Tasks;
pub(super) use evidence::{Attacked, Evidence, Guards, Rehearsed, Rules, Verdict};
use evidence::{VERSION, sets};
use region::{Detector, Region, segment};

/// The seed where none is given. Any does: it is written down so that the same records can be drawn again.
pub(super) const SEED: u64 = 20_261_122;

/// Attacks beside those on answers: what is tried, the rules that stand against it, and what a guess is.
type Named = (&'static str, &'static str, Guess);
const SCALARS: Named = ("a distinct number or a quantile of few", "R8 R9", Guess::Nothing);
const ERRORS: Named = ("a word of a record in what is said of a wrong question", "R1", Guess::Nothing);
const FRAMES: Named = ("a word of a record in any frame of these", "R1", Guess::Nothing);
const TIMES: Named = ("a user's word, by how long the answer takes", "R5", Guess::Coin);
const AGAIN: Named = ("another answer to the same question, to average", "R6 R11", Guess::Nothing);

/// Every attack of a run, in its order: what is tried, and the rules that stand against it.
pub(super) fn listed() -> Vec<(&'static str, &'static str)> {
    let answers = attack::all::<Region>();
    let more = [SCALARS, ERRORS, FRAMES, TIMES, AGAIN].map(|(name, rules, _)| (name, rules));
    answers.iter().map(|attack| (attack.name, attack.rules)).chain(more).collect()
}

/// Runs the attacks under the rules of these streams.
pub(super) async fn rehearse(
    seed: u64,
    streams: impl IntoIterator<Item = (String, Rules)>,
) -> anyhow::Result<Evidence> {
    let (sets, left_out) = sets(streams);
    // A runtime cannot be entered twice: the attacks have one of their own, on a thread of their own.
    let work = move || sets.into_iter().map(|(rules, streams)| run(seed, rules, streams)).collect();
    let runs: anyhow::Result<Vec<Rehearsed>> = Tasks::default().blocking(work).await?;
    let program_sha256 = crate::node::program_digest();
    Ok(Evidence { version: VERSION, tool: super::pack::tool(), program_sha256, seed, runs: runs?, left_out })
}

/// The attacks under one set of rules.
fn run(seed: u64, rules: Rules, streams: Vec<String>) -> anyhow::Result<Rehearsed> {
    let runtime = Rc::new(tokio::runtime::Builder::new_current_thread().enable_all().build()?);
    let detector: Detector = Arc::new(Defaults::new("", []));
    let (layout, guarded) = (Layout::under(Suppression::default()), rules.policy(rules.guards)?);
    let (width, day) = (guarded.grid.seconds(), Day::draw(seed, true, rules.small()?));
    let segments = vec![segment(&layout, &day.records, width, 1)?];
    let beside = |other| {
        // What these hold is no secret: they have no small groups.
        let day =
            Day::draw(seed.wrapping_add(other), false, (usize::try_from(KThreshold::SUBJECTS.get())?, Counted::Users));
        Ok(vec![segment(&layout, &day.records, width, 1)?])
    };
    let others: anyhow::Result<Vec<_>> = (1..=2).map(beside).collect();
    let stage = Stage { runtime, detector, day, segments, others: others? };
    // The same records where an officer says that nobody is in them, and every question is let in.
    let open = Rules { k: 1, text_questions: true, ..rules.clone() };
    let (open, home) = (open.policy(Guards::Nobody)?, open.policy(Guards::Subjects)?);
    let mut attacks = stage.on_answers(&guarded, &open)?;
    attacks.extend(stage.on_the_gate(&guarded, (&open, &home), rules.noise)?);
    Ok(Rehearsed { rules, streams, attacks })
}

/// What all attacks of one run have in common.
struct Stage {
    runtime: Rc<Runtime>,
    detector: Detector,
    day: Day,
    segments: Vec<Arc<Segment>>,
    /// Of the two regions that are not attacked.
    others: Vec<Vec<Arc<Segment>>>,
}

impl Stage {
    fn region(&self, policy: &StreamPolicy) -> anyhow::Result<Region> {
        Region::new(&self.runtime, policy, self.segments.clone(), &self.detector)
    }

    fn three(&self, policy: &StreamPolicy) -> anyhow::Result<Region> {
        let mut region = self.region(policy)?;
        for segments in &self.others {
            region.others.push(Region::new(&self.runtime, policy, segments.clone(), &self.detector)?);
        }
        Ok(region)
    }

    fn of(&self, (name, rules, guess): Named, guarded: &[bool], control: &[bool]) -> Attacked {
        Attacked::of((name, rules, guess.per_mille(&self.day)), guarded, control)
    }

    /// All of them in one day, one behind the other: what was learnt by one may help the next.
    fn on_answers(&self, guarded: &StreamPolicy, open: &StreamPolicy) -> anyhow::Result<Vec<Attacked>> {
        let (mut ours, mut open) = (self.three(guarded)?, self.three(open)?);
        let mut attacks = Vec::new();
        for attack in attack::all() {
            let (ours, open) = (attack.run(&mut ours, &self.day), attack.run(&mut open, &self.day));
            attacks.push(self.of((attack.name, attack.rules, attack.guess), &ours, &open));
        }
        let (few, all) = (probes::scalars(&mut ours, &self.day), probes::scalars(&mut open, &self.day));
        attacks.push(self.of(SCALARS, &few, &all));
        let (rows, errors) = (probes::rows(&self.day), probes::errors(&mut ours));
        attacks.push(self.of(ERRORS, &errors, &rows));
        let frames = probes::frames(&ours);
        attacks.push(self.of(FRAMES, &frames, &rows));
        Ok(attacks)
    }

    /// Each has a day of its own, for it asks much. The control of the time is the region's own question: it is not padded.
    fn on_the_gate(
        &self,
        guarded: &StreamPolicy,
        (open, home): (&StreamPolicy, &StreamPolicy),
        noise: Option<Noise>,
    ) -> anyhow::Result<Vec<Attacked>> {
        let (padded, bare) =
            (probes::times(&mut self.region(guarded)?, true), probes::times(&mut self.region(home)?, false));
        let noisy = StreamPolicy { noise, ..guarded.clone() };
        let (once, anew) =
            (probes::again(&mut self.region(&noisy)?, false), probes::again(&mut self.region(open)?, true));
        Ok(vec![self.of(TIMES, &padded, &bare), self.of(AGAIN, &once, &anew)])
    }
}

#[cfg(test)]
mod tests;
