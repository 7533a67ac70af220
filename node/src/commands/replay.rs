//! `domicile audit replay PACK`: asks sampled answers of a pack again in the regions that gave them, and compares bytes.
//!
//! What is sampled follows from a seed and the entries alone, so that no region chooses. A region says same or other; whether
//! a difference is explained is decided here, by the leaves of its ledger in the pack. What nothing explains fails.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use domicile_proto::ids::{PolicyVersion, QuestionId, StreamId, TenantId, Timestamp};
use domicile_proto::message::answer::Outcome;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::door::Door;
use super::pack::{self, Trust};
use super::profile::Profile;
use super::reconcile::Counters;
use crate::audit::{Drawn, Entry, Event, Verifier, verify};

/// What `audit replay` is told.
#[derive(Debug, Args)]
pub(super) struct ReplayArguments {
    /// An audit pack; it is checked first
    #[arg(value_name = "PACK")]
    pack: PathBuf,
    /// Answers of each region at most
    #[arg(long, value_name = "N", default_value_t = 20)]
    sample: usize,
    /// What the sample follows from; default: the root of each ledger
    #[arg(long, value_name = "TEXT")]
    seed: Option<String>,
    /// Verifier key that you were given, or a file with it; may be repeated
    #[arg(long, value_name = "KEY")]
    pub(super) key: Vec<String>,
    /// Only answers from when on, as `2026-11-21T00:00:00Z`
    #[arg(long, value_name = "TIME", value_parser = super::audit::instant)]
    from: Option<Timestamp>,
    /// Only answers until when
    #[arg(long, value_name = "TIME", value_parser = super::audit::instant)]
    to: Option<Timestamp>,
}

/// An answer that left, as the ledger has it.
struct Answer {
    number: u64,
    at: Timestamp,
    peer: String,
    policy: PolicyVersion,
    drawn: Option<Drawn>,
    has_noise: bool,
    question: Option<(u64, TenantId, StreamId)>,
}

/// What of a ledger bears on answers.
#[derive(Default)]
struct Leaves {
    answers: Vec<Answer>,
    asked: BTreeMap<(String, QuestionId), (u64, TenantId, StreamId)>,
    /// Entries after which fewer records are there: number, what it is, and how many.
    gone: Vec<(u64, &'static str, u64)>,
    policies: Vec<(u64, PolicyVersion)>,
    /// Rules by stream and version of the policy: one, where nobody lies.
    rules: BTreeMap<(TenantId, StreamId, PolicyVersion), BTreeSet<[u8; 32]>>,
}

impl Leaves {
    fn take(&mut self, number: u64, entry: &Entry) {
        match &entry.event {
            Event::Ingress(passage) => {
                if let Some(question) = passage.question() {
                    let peer = format!("{}/{}", passage.peer.region, passage.peer.node);
                    self.asked.insert((peer, question.id), (number, question.tenant, question.stream));
                }
            }
            Event::Egress(passage) => {
                let Some(answer) = passage.answer() else { return };
                if matches!(answer.outcome, Outcome::Refused(_)) {
                    return;
                }
                let peer = format!("{}/{}", passage.peer.region, passage.peer.node);
                let question = self.asked.get(&(peer.clone(), answer.header.question)).copied();
                let (policy, drawn) = (answer.header.policy, passage.drawn);
                if let (Some((_, tenant, stream)), Some(drawn)) = (question, drawn) {
                    self.rules.entry((tenant, stream, policy)).or_default().insert(drawn.rules);
                }
                let has_noise = answer.header.noise.is_some();
                self.answers.push(Answer { number, at: entry.at, peer, policy, drawn, has_noise, question });
            }
            Event::Shredded { hidden, .. } => self.gone.push((number, "erasure", *hidden)),
            Event::RetentionBegun { records, .. } => self.gone.push((number, "retention", *records)),
            Event::PolicyChanged { version, .. } => self.policies.push((number, *version)),
            _ => {}
        }
    }

    /// As many answers as are wanted, in an order that follows from the seed.
    fn sample(&self, arguments: &ReplayArguments, seed: &str) -> Vec<&Answer> {
        let is_asked = |answer: &&Answer| {
            arguments.from.is_none_or(|from| from <= answer.at) && arguments.to.is_none_or(|to| answer.at < to)
        };
        let drawn =
            |answer: &&Answer| digest(&SHA256, format!("{seed}\n{}", answer.number).as_bytes()).as_ref().to_vec();
        let mut answers: Vec<&Answer> = self.answers.iter().filter(is_asked).collect();
        answers.sort_by_cached_key(drawn);
        answers.truncate(arguments.sample);
        answers.sort_by_key(|answer| answer.number);
        answers
    }

    /// What a region said of an answer -> what that comes to.
    fn judge(&self, answer: &Answer, said: &Value) -> Verdict {
        let missing = said.get("missing").and_then(Value::as_u64);
        let has_more = said.get("has_more").and_then(Value::as_bool).unwrap_or(false);
        match said.get("found").and_then(Value::as_str) {
            Some("same") => Verdict::Same,
            Some("other_rules") => self.by_policy(answer),
            Some("moved") => self.by_noise(answer),
            Some("differs") if has_more => {
                Verdict::Differs("the records give other numbers than were told, whatever was lost")
            }
            Some("differs") if missing == Some(0) => {
                Verdict::Differs("all records are there, and give other numbers than were told")
            }
            Some("differs") => self.by_loss(answer, missing),
            Some("elsewhere") => Verdict::Unexplained("another node owns the shard now; ask again when this one does"),
            _ => Verdict::Unexplained("the region cannot read what it was drawn from; see its node's log"),
        }
    }

    fn by_policy(&self, answer: &Answer) -> Verdict {
        let stream = answer.question.map(|(_, tenant, stream)| (tenant, stream, answer.policy));
        if stream.and_then(|stream| self.rules.get(&stream)).is_some_and(|rules| rules.len() > 1) {
            return Verdict::Differs("entries under one version of the policy name different rules");
        }
        let later = self.policies.iter().filter(|(_, version)| *version > answer.policy).map(|(number, _)| *number);
        match later.min() {
            Some(leaf) => Verdict::Explained("policy", leaf),
            None => Verdict::Differs("the rules are others, and the ledger knows of no other policy since"),
        }
    }

    /// Its numbers were moved by lot, as the policy of then wanted and the answer itself says.
    fn by_noise(&self, answer: &Answer) -> Verdict {
        let then = self.policies.iter().rfind(|(number, version)| *number < answer.number && *version <= answer.policy);
        match then {
            Some((leaf, _)) if answer.has_noise => Verdict::Explained("noise by the policy", *leaf),
            _ => Verdict::Differs(
                "the region calls its numbers moved by noise, and the answer that left says nothing of it",
            ),
        }
    }

    fn by_loss(&self, answer: &Answer, missing: Option<u64>) -> Verdict {
        let after = self.gone.iter().find(|(number, _, gone)| *number > answer.number && *gone > 0);
        let Some(missing) = missing else {
            // Where nothing was cut, what was counted then is known to the answer alone.
            return match after {
                Some((leaf, what, _)) => Verdict::Explained(what, *leaf),
                None => Verdict::Differs("the same records give other numbers than were told"),
            };
        };
        let all: u64 = self.gone.iter().map(|(_, _, gone)| gone).sum();
        let leaf = after.or_else(|| self.gone.iter().rfind(|(_, _, gone)| *gone > 0));
        match leaf {
            Some((leaf, what, _)) if missing <= all => Verdict::Explained(what, *leaf),
            Some(_) => Verdict::Differs("more records are missing than were ever erased or deleted"),
            None => Verdict::Differs("records are missing, and nothing was ever erased or deleted"),
        }
    }
}

/// What came of one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Same,
    Explained(&'static str, u64),
    Differs(&'static str),
    Unexplained(&'static str),
}

pub(super) async fn run(arguments: &ReplayArguments, trust: Trust, profile: &Profile) -> anyhow::Result<ExitCode> {
    let Some(sound) = pack::sound(&arguments.pack, &trust) else {
        // Says itself what does not hold.
        return pack::verify(&arguments.pack, &trust, None, &Counters::default());
    };
    let (mut lines, mut counts, mut first) = (Vec::new(), [0_u64; 3], None);
    for home in &sound.homes {
        let log = arguments.pack.join("regions").join(&home.place).join("log");
        let (leaves, root) = leaves(&log)?;
        let door = door_of(home, profile).await?;
        for answer in leaves.sample(arguments, arguments.seed.as_deref().unwrap_or(&root)) {
            let verdict = ask(&door, &leaves, answer, &sound.tenant).await?;
            let place = format!("{}, entry {}", home.origin, answer.number);
            let words = match verdict {
                Verdict::Same => "the same bytes".to_owned(),
                Verdict::Explained(what, leaf) => format!("not replayable: {what}, entry {leaf}"),
                Verdict::Differs(why) => format!("DIFFERS: {why}"),
                Verdict::Unexplained(why) => format!("NOT EXPLAINED: {why}"),
            };
            match verdict {
                Verdict::Same => counts[0] += 1,
                Verdict::Explained(..) => counts[1] += 1,
                Verdict::Differs(_) | Verdict::Unexplained(_) => {
                    counts[2] += 1;
                    first.get_or_insert_with(|| format!("{place}: {words}"));
                }
            }
            lines.push(format!("  {place}, to {}: {words}", answer.peer));
        }
    }
    if counts == [0; 3] {
        println!("NOTHING ASKED: the pack holds no such answer of tenant `{}`, so nothing was compared.", sound.tenant);
        return Ok(ExitCode::FAILURE);
    }
    let [same, explained, failed] = counts;
    match &first {
        None => println!(
            "SOUND: {same} sampled answers of tenant `{}` came out again byte by byte; {explained} cannot be asked again, and each names why.",
            sound.tenant
        ),
        Some(first) => {
            let more = if failed > 1 { format!(" (and {} more)", failed - 1) } else { String::new() };
            println!("NOT SOUND: an answer that left is not what the records give: {first}{more}.");
        }
    }
    lines.iter().for_each(|line| println!("{line}"));
    Ok(if first.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a log in a pack that was checked holds about answers, and its root.
fn leaves(log: &Path) -> anyhow::Result<(Leaves, String)> {
    let key = std::fs::read_to_string(log.join("log.vkey"))?;
    let key = Verifier::read(key.trim_end()).context("the pack was changed while it was read")?;
    let mut leaves = Leaves::default();
    let checked = verify(log, Some(&key), &[], &mut |number, entry| leaves.take(number, entry))?;
    let Some(head) = checked.head else { bail!("a log without a head") };
    Ok((leaves, hex::encode(head.root)))
}

/// The door to the node that a log is of.
async fn door_of(home: &pack::SoundHome, profile: &Profile) -> anyhow::Result<Door> {
    let region = home.region.parse().context("the pack names no region")?;
    for door in std::iter::once(profile.door(&region)?).chain(profile.doors_beside(&region)?) {
        let status = door.read("/api/v1/status").await?;
        if status.get("node").and_then(Value::as_u64) == Some(home.node) {
            return Ok(door);
        }
    }
    bail!("no door of the profile leads to node {} of region `{region}`; name it in `other_nodes`", home.node)
}

async fn ask(door: &Door, leaves: &Leaves, answer: &Answer, tenant: &str) -> anyhow::Result<Verdict> {
    let Some((question, ..)) = answer.question else {
        return Ok(Verdict::Unexplained("its question is not in the pack: withheld, or destroyed"));
    };
    if answer.drawn.is_none() {
        let why = "the entry does not say what it was drawn from: an earlier build wrote it; leave it out with --from";
        return Ok(Verdict::Unexplained(why));
    }
    let asked = json!({"question": question, "answer": answer.number, "tenant": tenant});
    let said = door.post("/api/v1/audit/replay", &asked).await?;
    Ok(leaves.judge(answer, &said))
}

#[cfg(test)]
mod tests {
    use domicile_proto::ids::ShardId;

    use super::*;

    fn answer(number: u64, policy: u64) -> Answer {
        let drawn = Some(Drawn { shard: ShardId(1), upto: 9, journal: 1, rules: [1; 32] });
        let (at, policy) = (Timestamp(number.cast_signed()), PolicyVersion(policy));
        let question = Some((1, TenantId(1), StreamId(1)));
        Answer { number, at, peer: "tokyo/1".to_owned(), policy, drawn, has_noise: false, question }
    }

    fn leaves() -> Leaves {
        let mut leaves = Leaves { gone: vec![(5, "erasure", 2), (30, "retention", 4)], ..Leaves::default() };
        leaves.policies = vec![(3, PolicyVersion(1)), (20, PolicyVersion(2))];
        leaves.rules.insert((TenantId(1), StreamId(1), PolicyVersion(1)), [[1; 32]].into());
        leaves
    }

    fn arguments(sample: usize) -> ReplayArguments {
        ReplayArguments { pack: PathBuf::new(), sample, seed: None, key: Vec::new(), from: None, to: None }
    }

    #[test]
    fn a_loss_is_explained_by_a_leaf_that_is_large_enough_and_by_no_other() {
        let leaves = leaves();
        let judge = |number, said| leaves.judge(&answer(number, 1), &said);
        let lost = |missing: Option<u64>| json!({"found": "differs", "missing": missing, "has_more": false});
        assert_eq!(judge(10, json!({"found": "same"})), Verdict::Same);
        assert_eq!(judge(10, lost(Some(4))), Verdict::Explained("retention", 30));
        assert_eq!(judge(4, lost(Some(1))), Verdict::Explained("erasure", 5));
        assert_eq!(judge(40, lost(Some(1))), Verdict::Explained("retention", 30), "cut before, told again after");
        assert_eq!(judge(10, lost(None)), Verdict::Explained("retention", 30));
        for said in [lost(Some(0)), lost(Some(7)), json!({"found": "differs", "missing": 1, "has_more": true})] {
            assert!(matches!(judge(10, said), Verdict::Differs(_)));
        }
        assert!(matches!(judge(40, lost(None)), Verdict::Differs(_)), "nothing went since");
        for said in [json!({"found": "elsewhere"}), json!({"found": "unreadable"}), json!({}), json!({"found": "fine"})]
        {
            assert!(matches!(judge(10, said), Verdict::Unexplained(_)));
        }
    }

    #[test]
    fn noise_explains_only_an_answer_that_says_of_itself_that_it_was_moved() {
        let (leaves, said) = (leaves(), json!({"found": "moved"}));
        let moved = Answer { has_noise: true, ..answer(10, 1) };
        assert_eq!(leaves.judge(&moved, &said), Verdict::Explained("noise by the policy", 3));
        assert!(matches!(leaves.judge(&answer(10, 1), &said), Verdict::Differs(_)));
        let before = Answer { has_noise: true, ..answer(2, 1) };
        assert!(matches!(leaves.judge(&before, &said), Verdict::Differs(_)), "no policy by then");
    }

    #[test]
    fn other_rules_need_another_policy_and_one_version_has_one_set_of_rules() {
        let mut leaves = leaves();
        let other = json!({"found": "other_rules", "missing": null, "has_more": false});
        assert_eq!(leaves.judge(&answer(10, 1), &other), Verdict::Explained("policy", 20));
        assert!(matches!(leaves.judge(&answer(21, 2), &other), Verdict::Differs(_)), "no policy since");
        leaves.rules.insert((TenantId(1), StreamId(1), PolicyVersion(1)), [[1; 32], [2; 32]].into());
        assert!(matches!(leaves.judge(&answer(10, 1), &other), Verdict::Differs(_)), "one of the two is a lie");
    }

    #[test]
    fn a_sample_follows_from_its_seed_alone() {
        let leaves = Leaves { answers: (1..=100).map(|number| answer(number, 1)).collect(), ..Leaves::default() };
        let numbers = |sample, seed: &str| -> Vec<u64> {
            leaves.sample(&arguments(sample), seed).iter().map(|answer| answer.number).collect()
        };
        assert_eq!(numbers(10, "a"), numbers(10, "a"));
        assert_ne!(numbers(10, "a"), numbers(10, "b"));
        assert_eq!(numbers(1_000, "a").len(), 100);
        let small: BTreeSet<u64> = numbers(10, "a").into_iter().collect();
        assert!(small.is_subset(&numbers(20, "a").into_iter().collect()), "a larger sample holds the smaller one");
        let late = ReplayArguments { from: Some(Timestamp(99)), ..arguments(10) };
        assert_eq!(leaves.sample(&late, "a").len(), 2);
    }
}
