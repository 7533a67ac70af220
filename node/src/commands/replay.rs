//! `domicile audit replay PACK`: asks sampled answers of a pack again in the regions that gave them, and compares bytes.
//!
//! What is sampled follows from a seed and the entries alone, so that no region chooses. A region says same or other; whether
//! a difference is explained is decided here, by the leaves of its ledger in the pack. What nothing explains fails.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use domicile_proto::border::EgressClass;
use domicile_proto::ids::{PolicyVersion, QuestionId, StreamId, TenantId, Timestamp};
use domicile_proto::message::answer::Outcome;
use domicile_proto::officer::OfficerPublic;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::door::Door;
use super::pack::{self, Trust};
use super::profile::Profile;
use super::reconcile::Counters;
use crate::audit::{Destroyed, Drawn, Entry, Event, Verifier, verify};

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
    /// The question's own id, and its entry where that is here.
    id: QuestionId,
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
    /// Rules by stream, version of the policy and officer: one, where nobody lies.
    rules: BTreeMap<(TenantId, StreamId, PolicyVersion, usize), BTreeSet<[u8; 32]>>,
    /// Officers that the node honoured, one behind the other, each with the entry from which on.
    officers: Vec<(u64, OfficerPublic)>,
    /// Bodies that were destroyed: the entry, what it was, and the entry that says so.
    destroyed: Vec<(Destroyed, u64)>,
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
                let (policy, drawn, id) = (answer.header.policy, passage.drawn, answer.header.question);
                if let (Some((_, tenant, stream)), Some(drawn)) = (question, drawn) {
                    let rules = (tenant, stream, policy, self.officer_at(number));
                    self.rules.entry(rules).or_default().insert(drawn.rules);
                }
                let has_noise = answer.header.noise.is_some();
                self.answers.push(Answer { number, at: entry.at, peer, policy, drawn, has_noise, id, question });
            }
            Event::Shredded { hidden, .. } => self.gone.push((number, "erasure", *hidden)),
            Event::RetentionBegun { records, .. } => self.gone.push((number, "retention", *records)),
            Event::PolicyChanged { version, .. } => self.policies.push((number, *version)),
            Event::OfficerHonoured { officer } if self.officers.last().is_none_or(|(_, last)| last != officer) => {
                self.officers.push((number, *officer));
            }
            Event::BodyDestroyed(gone) => self.destroyed.push((gone.clone(), number)),
            _ => {}
        }
    }

    /// Under which of the officers an entry was written.
    fn officer_at(&self, number: u64) -> usize {
        self.officers.iter().filter(|(since, _)| *since < number).count()
    }

    /// The entry that says that the question with this id, of this node, was destroyed.
    fn question_destroyed(&self, peer: &str, question: QuestionId) -> Option<u64> {
        let is_from = |gone: &Destroyed| !gone.left && format!("{}/{}", gone.peer.region, gone.peer.node) == peer;
        let is_it =
            |gone: &Destroyed| gone.class == EgressClass::Question && gone.question == question && is_from(gone);
        self.destroyed.iter().find(|(gone, _)| is_it(gone)).map(|(_, number)| *number)
    }

    /// Answers that left and whose bodies are gone: nobody can ask them again.
    fn answers_destroyed(&self) -> impl Iterator<Item = &(Destroyed, u64)> {
        self.destroyed.iter().filter(|(gone, _)| gone.left && gone.class != EgressClass::Question)
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
            _ if self.has_two_rules(answer) => {
                Verdict::Differs("entries under one version of the policy and one officer name different rules")
            }
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
            Some("archived") => Verdict::Unexplained(
                "records it was drawn from lie in the archive; have the region restore their range, and ask again",
            ),
            Some("elsewhere") => Verdict::Unexplained("another node owns the shard now; ask again when this one does"),
            _ => Verdict::Unexplained("the region cannot read what it was drawn from; see its node's log"),
        }
    }

    /// Whether the ledger says of the stream that it had more than one set of rules under the version of the answer.
    fn has_two_rules(&self, answer: &Answer) -> bool {
        let officer = self.officer_at(answer.number);
        let stream = answer.question.map(|(_, tenant, stream)| (tenant, stream, answer.policy, officer));
        stream.and_then(|stream| self.rules.get(&stream)).is_some_and(|rules| rules.len() > 1)
    }

    /// The rules of now are others, and the region has not kept those of then. A later policy makes that possible; what the answer
    /// should have been it does not say.
    fn by_policy(&self, answer: &Answer) -> Verdict {
        let later = self.policies.iter().filter(|(_, version)| *version > answer.policy).map(|(number, _)| *number);
        // The first officer that an entry names may be the one there was all along.
        let officers = self.officers.iter().skip(1).map(|(number, _)| *number).filter(|number| *number > answer.number);
        match later.chain(officers).min() {
            Some(leaf) => Verdict::Unjudged(leaf),
            None => Verdict::Differs(
                "the rules are others, and the ledger knows of no other policy and no other officer since",
            ),
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
    /// Nobody can say: the rules of then are gone, since the entry.
    Unjudged(u64),
    Differs(&'static str),
    Unexplained(&'static str),
}

pub(super) async fn run(arguments: &ReplayArguments, trust: Trust, profile: &Profile) -> anyhow::Result<ExitCode> {
    let Some(sound) = pack::sound(&arguments.pack, &trust) else {
        // Says itself what does not hold.
        return pack::verify(&arguments.pack, &trust, None, &Counters::default());
    };
    let (mut lines, mut counts, mut first) = (Vec::new(), [0_u64; 4], [None, None]);
    for home in &sound.homes {
        let log = arguments.pack.join("regions").join(&home.place).join("log");
        let (leaves, root) = leaves(&log)?;
        for (gone, leaf) in leaves.answers_destroyed() {
            let why = gone.ground.words();
            lines.push(format!(
                "  {}, entry {}: not replayable: its body was destroyed, entry {leaf} ({why})",
                home.origin, gone.entry
            ));
        }
        let door = door_of(home, profile).await?;
        for answer in leaves.sample(arguments, arguments.seed.as_deref().unwrap_or(&root)) {
            let verdict = ask(&door, &leaves, answer, &sound.tenant).await?;
            let place = format!("{}, entry {}", home.origin, answer.number);
            let words = match verdict {
                Verdict::Same => "the same bytes".to_owned(),
                Verdict::Explained(what, leaf) => format!("not replayable: {what}, entry {leaf}"),
                Verdict::Unjudged(leaf) => {
                    format!("not replayable: the rules of then were not kept; others hold since entry {leaf}")
                }
                Verdict::Differs(why) => format!("DIFFERS: {why}"),
                Verdict::Unexplained(why) => format!("NOT EXPLAINED: {why}"),
            };
            let kind = match verdict {
                Verdict::Same => 0,
                Verdict::Explained(..) => 1,
                Verdict::Unjudged(_) => 2,
                Verdict::Differs(_) | Verdict::Unexplained(_) => 3,
            };
            if let Some(count) = counts.get_mut(kind) {
                *count += 1;
            }
            if let Some(first) = kind.checked_sub(2).and_then(|kind| first.get_mut(kind)) {
                first.get_or_insert_with(|| format!("{place}: {words}"));
            }
            lines.push(format!("  {place}, to {}: {words}", answer.peer));
        }
    }
    let headline = headline(&counts, &first, &sound.tenant);
    println!("{headline}");
    lines.iter().for_each(|line| println!("{line}"));
    Ok(if headline.starts_with("SOUND") { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The verdict over all: how many came out again, are explained, cannot be judged and fail; with the first of the last two.
fn headline(counts: &[u64; 4], [unjudged, failed]: &[Option<String>; 2], tenant: &str) -> String {
    let [same, explained, gone, wrong] = counts;
    let more = |count: &u64| if *count > 1 { format!(" (and {} more)", count - 1) } else { String::new() };
    match (failed, unjudged) {
        (Some(first), _) => {
            format!("NOT SOUND: an answer that left is not what the records give: {first}{}.", more(wrong))
        }
        (None, Some(first)) => format!(
            "NOT JUDGED: {same} sampled answers of tenant `{tenant}` came out again byte by byte and {explained} name why they cannot, but nobody can say it of this one: {first}{}.",
            more(gone)
        ),
        (None, None) if *counts == [0; 4] => {
            format!("NOTHING ASKED: the pack holds no such answer of tenant `{tenant}`, so nothing was compared.")
        }
        (None, None) => format!(
            "SOUND: {same} sampled answers of tenant `{tenant}` came out again byte by byte; {explained} cannot be asked again, and each names why."
        ),
    }
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
    if let (None, Some(leaf)) = (answer.question, leaves.question_destroyed(&answer.peer, answer.id)) {
        return Ok(Verdict::Explained("its question's body was destroyed", leaf));
    }
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
        let drawn = Some(Drawn { shard: ShardId(1), upto: 9, journal: 1, rules: [1; 32], k: None });
        let (at, policy) = (Timestamp(number.cast_signed()), PolicyVersion(policy));
        let question = Some((1, TenantId(1), StreamId(1)));
        let id = QuestionId(number.into());
        Answer { number, at, peer: "tokyo/1".to_owned(), policy, drawn, has_noise: false, id, question }
    }

    fn leaves() -> Leaves {
        let mut leaves = Leaves { gone: vec![(5, "erasure", 2), (30, "retention", 4)], ..Leaves::default() };
        leaves.policies = vec![(3, PolicyVersion(1)), (20, PolicyVersion(2))];
        leaves.rules.insert((TenantId(1), StreamId(1), PolicyVersion(1), 0), [[1; 32]].into());
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
    fn a_later_policy_excuses_no_difference_and_one_version_has_one_set_of_rules() {
        let mut leaves = leaves();
        let other = json!({"found": "other_rules"});
        assert_eq!(leaves.judge(&answer(10, 1), &other), Verdict::Unjudged(20));
        assert!(matches!(leaves.judge(&answer(21, 2), &other), Verdict::Differs(_)), "no policy since");
        // By the rules of then the numbers are others: the policy since has nothing to do with it.
        let differs = json!({"found": "differs", "missing": 0, "has_more": false});
        assert!(matches!(leaves.judge(&answer(10, 1), &differs), Verdict::Differs(_)));
        leaves.rules.insert((TenantId(1), StreamId(1), PolicyVersion(1), 0), [[1; 32], [2; 32]].into());
        for said in [other, json!({"found": "same"})] {
            assert!(matches!(leaves.judge(&answer(10, 1), &said), Verdict::Differs(_)), "one of the two is a lie");
        }
    }

    #[test]
    fn another_officer_brings_other_rules_under_the_same_version_and_a_restart_with_the_same_does_not() {
        let officer = |byte: &str| OfficerPublic::try_from(byte.repeat(32)).expect("a key");
        let honoured = |byte: &str| Event::OfficerHonoured { officer: officer(byte) };
        let (tenant, stream) = (TenantId(1), StreamId(1));
        let told = |second: &str| {
            let mut leaves = leaves();
            leaves.rules.clear();
            let mut tell = |number, event| leaves.take(number, &Entry::specimen(Timestamp(1), None, event));
            tell(1, honoured("aa"));
            tell(11, honoured(second));
            for (number, rules) in [(10, [1; 32]), (12, [2; 32])] {
                let key = (tenant, stream, PolicyVersion(1), leaves.officer_at(number));
                leaves.rules.entry(key).or_default().insert(rules);
            }
            leaves
        };
        let (same, other) = (json!({"found": "same"}), json!({"found": "other_rules"}));
        let changed = told("bb");
        for number in [10, 12] {
            assert_eq!(changed.judge(&answer(number, 1), &same), Verdict::Same, "{number}");
        }
        assert_eq!(changed.judge(&answer(10, 1), &other), Verdict::Unjudged(11), "the officer since explains it");
        assert_eq!(changed.judge(&answer(12, 1), &other), Verdict::Unjudged(20), "only the policy since does");
        for number in [10, 12] {
            let verdict = told("aa").judge(&answer(number, 1), &same);
            assert!(matches!(verdict, Verdict::Differs(_)), "one of the two is a lie: {verdict:?}");
        }
    }

    #[test]
    fn a_destroyed_question_is_named_and_no_other_is_excused_by_it() {
        let gone = |left, class, question: u128| Destroyed {
            entry: 7,
            commitment: [0; 32],
            left,
            peer: crate::audit::Peer {
                region: "singapore".parse().expect("a name"),
                node: domicile_proto::ids::NodeId(2),
            },
            class,
            question: QuestionId(question),
            ground: domicile_proto::officer::OrderGround::PersonalData,
            officer: OfficerPublic::try_from("aa".repeat(32)).expect("a key"),
            signature: "".into(),
        };
        let mut leaves = leaves();
        leaves.destroyed = vec![
            (gone(false, EgressClass::Question, 10), 40),
            (gone(true, EgressClass::Question, 11), 41),
            (gone(true, EgressClass::Count, 12), 42),
        ];
        assert_eq!(leaves.question_destroyed("singapore/2", QuestionId(10)), Some(40));
        assert_eq!(leaves.question_destroyed("singapore/3", QuestionId(10)), None, "another node's question");
        assert_eq!(
            leaves.question_destroyed("singapore/2", QuestionId(11)),
            None,
            "that one left here and did not arrive"
        );
        assert_eq!(leaves.question_destroyed("singapore/2", QuestionId(12)), None, "that was an answer");
        assert_eq!(leaves.answers_destroyed().map(|(_, leaf)| *leaf).collect::<Vec<_>>(), [42]);
    }

    #[test]
    fn an_answer_that_nobody_can_judge_is_not_called_sound() {
        let told = |counts: [u64; 4]| {
            let first = |kind: usize| (counts[kind] > 0).then(|| format!("entry {kind}: words"));
            headline(&counts, &[first(2), first(3)], "shop")
        };
        assert!(told([3, 2, 0, 0]).starts_with("SOUND: 3 sampled answers of tenant `shop`"));
        assert!(
            told([3, 2, 2, 0]).starts_with("NOT JUDGED: ")
                && told([3, 2, 2, 0]).contains("entry 2: words (and 1 more)")
        );
        assert!(told([3, 2, 2, 1]).starts_with("NOT SOUND: ") && told([3, 2, 2, 1]).ends_with("entry 3: words."));
        assert!(told([0; 4]).starts_with("NOTHING ASKED: "));
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
