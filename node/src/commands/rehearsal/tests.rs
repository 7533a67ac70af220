//! The attacks against the gate of this build: they fail where somebody is guarded, succeed where nobody is, and come to the same
//! numbers twice.

use super::*;

async fn one(rules: Rules) -> Rehearsed {
    rehearse(SEED, [("tokyo/shop".to_owned(), rules)]).await.expect("rehearsed").runs.remove(0)
}

#[tokio::test]
async fn every_attack_fails_under_the_default_rules_and_the_same_seed_gives_the_same_numbers() {
    let run = one(Rules::DEFAULT).await;
    let (failed, all) = (run.count(Verdict::Held), run.attacks.len());
    assert_eq!(failed, all, "{run:#?}");
    assert!(all >= 17, "{all}");
    assert_eq!(run, one(Rules::DEFAULT).await);
    for seed in [1, 2, 3] {
        let other =
            rehearse(seed, [("tokyo/shop".to_owned(), Rules::DEFAULT)]).await.expect("rehearsed").runs.remove(0);
        assert_eq!(other.count(Verdict::Held), other.attacks.len(), "seed {seed}: {other:#?}");
        assert_ne!(other.attacks, run.attacks, "other records");
    }
}

#[tokio::test]
async fn with_a_threshold_of_one_the_evidence_says_that_attacks_succeed() {
    let run = one(Rules { guards: Guards::Nobody, k: 1, ..Rules::DEFAULT }).await;
    let succeeds = |name: &str| {
        let attack = run.attacks.iter().find(|attack| attack.name.contains(name)).expect(name);
        assert_eq!(attack.verdict(), Verdict::Succeeded, "{attack:?}");
    };
    for name in [
        "two ranges",
        "rare value",
        "user's word occurs",
        "mean of many",
        "five, by the grid",
        "totals",
        "three",
        "ten thousand",
        "quantile",
    ] {
        succeeds(name);
    }
    let said = crate::commands::pack::attack_words::verdict(&run);
    assert!(said.starts_with("ATTACKS SUCCEED"), "{said}");
    // Of persons no policy lowers it below the floor, whatever it says.
    let floor = one(Rules { k: 1, ..Rules::DEFAULT }).await;
    assert_eq!(floor.count(Verdict::Succeeded), 0, "{floor:#?}");
}

#[tokio::test]
async fn where_records_are_counted_one_person_who_writes_much_is_seen_and_the_evidence_says_so() {
    let run = one(Rules { guards: Guards::Records, k: 50, ..Rules::DEFAULT }).await;
    let chatty = run.attacks.iter().find(|attack| attack.name.contains("ten thousand")).expect("the attack");
    assert_eq!(chatty.verdict(), Verdict::Succeeded, "{chatty:?}");
    let said = crate::commands::pack::attack_words::verdict(&run);
    assert!(said.starts_with("ATTENTION: ATTACKS SUCCEED"), "{said}");
}

#[tokio::test]
async fn other_grids_thresholds_and_noise_hold_as_well() {
    let noise = Noise { mechanism: domicile_proto::noise::Mechanism::Gaussian, epsilon: 1_000, records: 10 };
    for rules in [
        Rules { grid_s: 3_600, k: 12, ..Rules::DEFAULT },
        Rules { grid_s: 300, k: 3, text_questions: false, ..Rules::DEFAULT },
        Rules { noise: Some(noise), ..Rules::DEFAULT },
    ] {
        let run = one(rules).await;
        assert_eq!(run.count(Verdict::Held), run.attacks.len(), "{run:#?}");
    }
}

#[test]
fn rules_beyond_the_cap_are_named_and_the_commonest_are_attacked() {
    let rules = |close_after_s| Rules { close_after_s, ..Rules::DEFAULT };
    let cap = u32::try_from(crate::limits::REHEARSED_RULES).expect("small");
    let mut streams: Vec<(String, Rules)> = (0..=cap).map(|n| (format!("tokyo/s{n}"), rules(n))).collect();
    streams.push(("frankfurt/last".to_owned(), rules(cap)));
    let (sets, left_out) = sets(streams);
    assert_eq!((sets.len(), left_out.len()), (cap as usize, 1));
    assert_eq!(sets[0], (rules(cap), vec![format!("tokyo/s{cap}"), "frankfurt/last".to_owned()]));
}

#[test]
fn an_attack_that_works_nowhere_proves_nothing() {
    let of = |guarded: &[bool], control: &[bool]| Attacked::of(("a", "R4", 0), guarded, control).verdict();
    assert_eq!(of(&[false; 100], &[true; 10]), Verdict::Held);
    assert_eq!(of(&[false; 100], &[false; 10]), Verdict::Blind);
    assert_eq!(of(&[], &[true; 10]), Verdict::Blind);
    assert_eq!(of(&[&[true; 2][..], &[false; 98]].concat(), &[true]), Verdict::Succeeded);
    assert_eq!(of(&[&[true; 1][..], &[false; 99]].concat(), &[true]), Verdict::Held, "within the bar");
}

/// Evidence as this build writes it, but for the numbers.
fn evidence(streams: Vec<(String, Rules)>) -> Evidence {
    let (sets, left_out) = sets(streams);
    let attacks = || listed().into_iter().map(|(name, rules)| Attacked::of((name, rules, 0), &[false; 200], &[true]));
    let run = |(rules, streams)| Rehearsed { rules, streams, attacks: attacks().collect() };
    let (tool, program_sha256) = (String::new(), String::new());
    let runs = sets.into_iter().map(run).collect();
    Evidence { version: VERSION, tool, program_sha256, seed: SEED, runs, left_out }
}

#[test]
fn evidence_is_about_the_rules_that_were_stated_and_all_attacks() {
    let stated = || {
        let loose = Rules { guards: Guards::Nobody, k: 1, ..Rules::DEFAULT };
        vec![("tokyo/shop".to_owned(), Rules::DEFAULT), ("tokyo/web".to_owned(), loose)]
    };
    let sound = evidence(stated());
    assert_eq!(sound.differs(stated()), None);
    let other = |change: fn(&mut Evidence)| {
        let mut evidence = evidence(stated());
        change(&mut evidence);
        evidence.differs(stated())
    };
    let rules = Some("the rules that were attacked are not those that the regions stated of their streams");
    assert_eq!(other(|evidence| evidence.runs[1].rules = Rules { k: 12, ..Rules::DEFAULT }), rules);
    assert_eq!(other(|evidence| evidence.runs[1].streams.clear()), rules);
    assert_eq!(other(|evidence| drop(evidence.runs.pop())), rules);
    assert_eq!(other(|evidence| evidence.left_out.push("tokyo/more".to_owned())), rules);
    assert_eq!(sound.differs(stated().split_off(1)), rules);
    let attacks = Some("the attacks in it are not those of this build");
    assert_eq!(other(|evidence| drop(evidence.runs[0].attacks.pop())), attacks);
    assert_eq!(other(|evidence| evidence.runs[0].attacks.swap(0, 1)), attacks);
    assert_eq!(other(|evidence| evidence.runs[0].attacks[0].rules.clear()), attacks);
}

#[test]
fn the_bar_is_that_of_the_build_and_no_number_is_too_large_to_judge() {
    let mut bent = evidence(vec![("tokyo/shop".to_owned(), Rules::DEFAULT)]);
    assert!(!bent.is_bent());
    bent.runs[0].attacks[0].bar_per_mille = 1_000;
    bent.runs[0].attacks[0].successes = 100;
    assert!(bent.is_bent());
    assert_eq!(bent.runs[0].attacks[0].verdict(), Verdict::Succeeded, "half of the tries, whatever bar stands there");
    let (tries, control_tries) = (u64::MAX, u64::MAX);
    let huge = Attacked { tries, successes: u64::MAX, control_tries, ..bent.runs[0].attacks[1].clone() };
    assert_eq!(huge.verdict(), Verdict::Succeeded, "{huge:?}");
    bent.runs[0].attacks = vec![Attacked { tries: 1, successes: u64::MAX, ..huge }];
    assert!(bent.is_bent());
    let said = crate::commands::pack::attack_words::verdict(&bent.runs[0]);
    assert!(said.starts_with("ATTENTION: ATTACKS SUCCEED"), "{said}");
}

#[test]
fn an_attack_that_proves_nothing_is_a_failure_where_somebody_is_guarded() {
    let run = |guards| {
        let attacks = vec![Attacked::of(("a", "R4", 0), &[false; 100], &[false; 10])];
        Rehearsed { rules: Rules { guards, ..Rules::DEFAULT }, streams: Vec::new(), attacks }
    };
    let said = |guards| crate::commands::pack::attack_words::verdict(&run(guards));
    for guards in [Guards::Subjects, Guards::Records] {
        assert_eq!(run(guards).failed(), (0, 1));
        assert!(said(guards).starts_with("ATTENTION: 0 of 1") && said(guards).contains("1 could prove nothing"));
    }
    assert_eq!(run(Guards::Nobody).failed(), (0, 0));
    assert!(!said(Guards::Nobody).contains("ATTENTION"));
}
