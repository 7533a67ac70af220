//! What the attacks came to: one list for each set of rules that streams have. Written by `audit report` into the pack, read and
//! made again by whoever checks it: it holds no time and nothing of a machine, so the same program and seed give the same bytes.

use domicile_proto::ids::KThreshold;
use domicile_proto::leaf::LeafWidth;
use domicile_proto::metadata::{NumberField, Personal, StreamPolicy};
use domicile_proto::noise::Noise;
use serde::{Deserialize, Serialize};

use super::region::name;
use crate::attack::day::{AMOUNT_BOUNDS, Counted};
use crate::attack::{FEWEST_OF_CONTROL_PER_MILLE, MOST_PER_MILLE};
use crate::limits::REHEARSED_RULES;
use crate::present::auditor::Stream;

/// Layout of the evidence.
pub(in super::super) const VERSION: u32 = 1;

/// The evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Evidence {
    pub(in super::super) version: u32,
    /// The program that attacked its own gate: its name and version, and SHA-256 of its file.
    pub(in super::super) tool: String,
    pub(in super::super) program_sha256: String,
    /// What the synthetic records were drawn from.
    pub(in super::super) seed: u64,
    pub(in super::super) runs: Vec<Rehearsed>,
    /// Streams whose rules were not attacked, for there are too many sets.
    pub(in super::super) left_out: Vec<String>,
}

/// The attacks under one set of rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Rehearsed {
    pub(in super::super) rules: Rules,
    /// Whose rules they are: region and stream.
    pub(in super::super) streams: Vec<String>,
    pub(in super::super) attacks: Vec<Attacked>,
}

/// Whom the threshold guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum Guards {
    /// Distinct subjects are counted.
    Subjects,
    /// Records are counted, for nobody said whose they are.
    Records,
    /// Nobody: an officer stated that nobody is in the stream.
    Nobody,
}

/// The rules of a stream, as far as they decide what an attack learns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Rules {
    pub(in super::super) guards: Guards,
    pub(in super::super) k: u32,
    pub(in super::super) grid_s: u32,
    pub(in super::super) close_after_s: u32,
    pub(in super::super) text_questions: bool,
    /// As settings name it; none where there is none.
    pub(in super::super) noise: Option<Noise>,
}

/// How one attack went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Attacked {
    pub(in super::super) name: String,
    /// The rules that stand against it.
    pub(in super::super) rules: String,
    pub(in super::super) tries: u64,
    pub(in super::super) successes: u64,
    /// The same against the same records without a threshold: an attack that never works proves nothing.
    pub(in super::super) control_tries: u64,
    pub(in super::super) control_successes: u64,
    /// The bar, and what one who asks nothing gets by guessing; both in thousandths.
    pub(in super::super) bar_per_mille: u64,
    pub(in super::super) guess_per_mille: u64,
}

/// What an attack came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Verdict {
    /// It did no better than the bar.
    Held,
    /// It did better.
    Succeeded,
    /// It does not even work where nothing stands against it.
    Blind,
}

impl Attacked {
    /// By the bar of this build, whatever stands in the evidence.
    pub(in super::super) fn verdict(&self) -> Verdict {
        // Wide enough for any numbers that somebody wrote into a file.
        let per_mille =
            |part: u64, whole: u64, bar: u64| (u128::from(part) * 1_000).cmp(&(u128::from(whole) * u128::from(bar)));
        let control = per_mille(self.control_successes, self.control_tries, FEWEST_OF_CONTROL_PER_MILLE).is_ge();
        let held = self.tries > 0 && per_mille(self.successes, self.tries, MOST_PER_MILLE).is_le();
        match (held, control && self.control_tries > 0) {
            (false, _) if self.successes > 0 => Verdict::Succeeded,
            (true, true) => Verdict::Held,
            _ => Verdict::Blind,
        }
    }

    pub(super) fn of((name, rules, guess_per_mille): (&str, &str, u64), guarded: &[bool], control: &[bool]) -> Self {
        let successes = |trials: &[bool]| trials.iter().filter(|success| **success).count() as u64;
        Self {
            name: name.to_owned(),
            rules: rules.to_owned(),
            tries: guarded.len() as u64,
            successes: successes(guarded),
            control_tries: control.len() as u64,
            control_successes: successes(control),
            bar_per_mille: MOST_PER_MILLE,
            guess_per_mille,
        }
    }
}

impl Evidence {
    /// What in it is not as this very build writes it, for streams with these rules; the numbers aside, which only another run tells.
    pub(in super::super) fn differs(&self, stated: Vec<(String, Rules)>) -> Option<&'static str> {
        let (sets, left_out) = sets(stated);
        let runs = self.runs.iter().map(|run| (&run.rules, &run.streams));
        if !runs.eq(sets.iter().map(|(rules, streams)| (rules, streams))) || self.left_out != left_out {
            return Some("the rules that were attacked are not those that the regions stated of their streams");
        }
        let listed = super::listed();
        let is_all = |run: &Rehearsed| {
            let names = run.attacks.iter().map(|one| (one.name.as_str(), one.rules.as_str()));
            names.eq(listed.iter().copied())
        };
        if !self.runs.iter().all(is_all) {
            return Some("the attacks in it are not those of this build");
        }
        None
    }

    /// Whether another bar stands in it than attacks are judged by, or numbers that cannot be.
    pub(in super::super) fn is_bent(&self) -> bool {
        let bent = |one: &Attacked| {
            one.bar_per_mille != MOST_PER_MILLE
                || one.successes > one.tries
                || one.control_successes > one.control_tries
                || one.guess_per_mille > 1_000
        };
        self.runs.iter().flat_map(|run| &run.attacks).any(bent)
    }
}

impl Rehearsed {
    /// Attacks that succeeded where somebody is guarded, and those that could prove nothing there.
    pub(in super::super) fn failed(&self) -> (usize, usize) {
        match self.rules.guards {
            Guards::Nobody => (0, 0),
            Guards::Subjects | Guards::Records => (self.count(Verdict::Succeeded), self.count(Verdict::Blind)),
        }
    }

    /// Attacks with this outcome.
    pub(in super::super) fn count(&self, verdict: Verdict) -> usize {
        self.attacks.iter().filter(|attack| attack.verdict() == verdict).count()
    }
}

impl Rules {
    /// What holds of a stream before anybody decides otherwise, but that its subjects are known.
    pub(in super::super) const DEFAULT: Self = Self {
        guards: Guards::Subjects,
        k: KThreshold::SUBJECTS.0.get(),
        grid_s: LeafWidth::Minute.seconds(),
        close_after_s: 60,
        text_questions: true,
        noise: None,
    };

    /// Those that a region stated of a stream.
    pub(in super::super) fn stated(stream: &Stream) -> Self {
        let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            guards: match stream.personal.as_str() {
                "no" => Guards::Nobody,
                subject if subject.starts_with("subject ") => Guards::Subjects,
                _ => Guards::Records,
            },
            k: number(stream.k),
            grid_s: number(stream.grid_s),
            close_after_s: number(stream.close_after_s),
            text_questions: stream.has_text_questions,
            noise: stream.noise,
        }
    }

    /// As the gate takes them. Noise is left out: what it hides must be hidden without it.
    pub(super) fn policy(&self, guards: Guards) -> anyhow::Result<StreamPolicy> {
        let number = NumberField { field: name("amount")?, bounds: AMOUNT_BOUNDS.to_vec() };
        Ok(StreamPolicy {
            personal: match guards {
                Guards::Subjects => Personal::Subject(name("user")?),
                Guards::Records => Personal::Undeclared,
                Guards::Nobody => Personal::No,
            },
            k: std::num::NonZeroU32::new(self.k).map(KThreshold),
            group_fields: vec![name("service")?],
            text_questions: self.text_questions,
            grid: LeafWidth::of_seconds(self.grid_s).unwrap_or_default(),
            close_after_s: self.close_after_s,
            numbers: vec![number],
            ..StreamPolicy::default()
        })
    }

    /// Groups of fewer are small, and by what they are measured. Where nobody is guarded, what the default would guard.
    pub(super) fn small(&self) -> anyhow::Result<(usize, Counted)> {
        let k = usize::try_from(self.policy(self.guards)?.threshold().get())?;
        Ok(match self.guards {
            Guards::Subjects => (k, Counted::Users),
            Guards::Records => (k, Counted::Records),
            Guards::Nobody => (k.max(usize::try_from(KThreshold::SUBJECTS.get())?), Counted::Users),
        })
    }
}

/// The sets of rules that streams have, with the streams of each, the commonest first; and the streams of those beyond the cap.
pub(super) fn sets(streams: impl IntoIterator<Item = (String, Rules)>) -> (Vec<(Rules, Vec<String>)>, Vec<String>) {
    let mut sets: Vec<(Rules, Vec<String>)> = Vec::new();
    for (stream, rules) in streams {
        match sets.iter_mut().find(|(known, _)| *known == rules) {
            Some((_, streams)) => streams.push(stream),
            None => sets.push((rules, vec![stream])),
        }
    }
    sets.sort_by_key(|(_, streams)| std::cmp::Reverse(streams.len()));
    let left_out = sets.split_off(sets.len().min(REHEARSED_RULES));
    (sets, left_out.into_iter().flat_map(|(_, streams)| streams).collect())
}
