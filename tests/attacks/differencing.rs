//! Attacks that subtract one answer from another: ranges, negations, nested grids, totals, regions, and the same answer later.

use std::collections::BTreeSet;

use domicile_tests::cluster::fixture::utc;
use serde_json::json;

use crate::ask::{count, histogram, search, term_grid, terms, within};
use crate::tally::Tally;
use crate::world::{
    CHATTY, DENSE, GUARDED, K, OPEN, Record, SPARSE, UNAPPROVED, World, account, amount, at, census, small_minutes,
};

/// Trials of an attack that asks for each of them.
const TRIALS: usize = 40;
/// Trials of an attack with text: each refusal counts against the day.
const TEXT_TRIALS: usize = 12;

/// All of them, each against the guarded stream and against the control.
pub(crate) fn run(world: &World) -> Vec<Tally> {
    let both = |name, rules, attack: fn(&World, &str) -> Vec<bool>| {
        Tally::of(name, rules, &attack(world, GUARDED), &attack(world, OPEN))
    };
    vec![
        both("one minute out of two ranges", "R4 R6", ranges),
        both("everything minus everything but a rare value", "R4 R7", negated_value),
        both("everything minus everything but a user's word", "R4 R10", negated_word),
        both("one minute out of two ranges of a text question", "R4 R10", text_ranges),
        both("the mean of many repeats", "R5", repeats),
        both("a minute out of five, by the grid above it", "R6 R7", nested_grids),
        both("a minute out of five of a text question, the same way", "R7 R10", nested_text_grids),
        both("a value of a minute out of row and column totals", "R7", totals),
        both("a minute of one region out of the total of three", "R7", regions),
        both("one user with ten thousand records", "R4", chatty),
        both("the amounts of a minute out of two sums", "R6 R8", amounts),
        // Last, for it changes the day.
        both("a late record, by the same answer before and after", "R6", late),
    ]
}

fn index(stream: &str) -> String {
    format!("frankfurt:{stream}")
}

fn targets(world: &World, most: usize) -> Vec<(i64, u64)> {
    let small = small_minutes(world.truth());
    assert!(small.len() >= 20, "the day has too few small cells: {}", small.len());
    let step = (small.len() / most).max(1);
    small.into_iter().step_by(step).take(most).collect()
}

fn ranges(world: &World, stream: &str) -> Vec<bool> {
    let (asker, index) = (world.asker(), index(stream));
    let up_to = |minute| count(&asker, &index, &[within(DENSE.start, minute)], &[]);
    let trial = |(minute, truth)| up_to(minute + 1).checked_sub(up_to(minute)) == Some(truth);
    targets(world, TRIALS).into_iter().map(trial).collect()
}

/// Windows of ten minutes with what some records in them number, where these are of 1 to k-1 users.
fn rare(world: &World, is_rare: impl Fn(&Record) -> bool) -> Vec<(i64, u64)> {
    let starts = (DENSE.start..SPARSE.end).step_by(10);
    let windows = starts.map(|from| {
        let fits = |record: &Record| (from..from + 10).contains(&record.minute) && is_rare(record);
        (from, census(world.truth(), fits))
    });
    windows.filter(|(_, (_, users))| (1..K).contains(users)).map(|(from, (records, _))| (from, records)).collect()
}

fn negated_value(world: &World, stream: &str) -> Vec<bool> {
    let (asker, index) = (world.asker(), index(stream));
    let without = |from, field: &str, value: &str| {
        let range = [within(from, from + 10)];
        let whole = count(&asker, &index, &range, &[]);
        whole.checked_sub(count(&asker, &index, &range, &[json!({"term": {field: value}})]))
    };
    let vault = rare(world, |record| record.service == "vault");
    let fatal = rare(world, |record| record.level == "FATAL");
    assert!(vault.len() + fatal.len() >= 8, "nothing is rare enough: {} and {}", vault.len(), fatal.len());
    let vault = vault.into_iter().map(|(from, truth)| without(from, "service", "vault") == Some(truth));
    let fatal = fatal.into_iter().map(|(from, truth)| without(from, "level", "FATAL") == Some(truth));
    vault.chain(fatal).collect()
}

fn negated_word(world: &World, stream: &str) -> Vec<bool> {
    let (asker, index) = (world.asker(), index(stream));
    let is_early = |record: &&Record| record.minute < SPARSE.end;
    let users: BTreeSet<u64> = world.truth().iter().filter(is_early).map(|record| record.user).collect();
    let users: Vec<u64> = users.into_iter().step_by(17).take(TEXT_TRIALS).collect();
    let day = [within(DENSE.start, SPARSE.end), json!({"match": {"message": "order"}})];
    let trial = |user: u64| {
        let (truth, _) = census(world.truth(), |record| record.user == user && record.minute < SPARSE.end);
        let whole = count(&asker, &index, &day, &[]);
        whole.checked_sub(count(&asker, &index, &day, &[json!({"match": {"message": account(user)}})])) == Some(truth)
    };
    users.into_iter().map(trial).collect()
}

fn text_ranges(world: &World, stream: &str) -> Vec<bool> {
    let (asker, index) = (world.asker(), index(stream));
    let up_to = |minute| {
        let filter = [within(DENSE.start, minute), json!({"match": {"message": "placed"}})];
        count(&asker, &index, &filter, &[])
    };
    let trial = |(minute, truth)| up_to(minute + 1).checked_sub(up_to(minute)) == Some(truth);
    targets(world, TEXT_TRIALS).into_iter().map(trial).collect()
}

fn repeats(world: &World, stream: &str) -> Vec<bool> {
    let (asker, index) = (world.asker(), index(stream));
    let trial = |(minute, truth): (i64, u64)| {
        let asked = (0..20).map(|_| count(&asker, &index, &[within(minute, minute + 1)], &[]));
        let sum: u64 = asked.sum();
        (sum + 10) / 20 == truth
    };
    targets(world, 10).into_iter().map(trial).collect()
}

fn nested_grids(world: &World, stream: &str) -> Vec<bool> {
    nested(world, stream, &[])
}

fn nested_text_grids(world: &World, stream: &str) -> Vec<bool> {
    nested(world, stream, &[json!({"match": {"message": "order"}})])
}

fn nested(world: &World, stream: &str, more: &[serde_json::Value]) -> Vec<bool> {
    let (asker, index) = (world.asker(), index(stream));
    let range = (SPARSE.start, SPARSE.end);
    let (fine, coarse) = (histogram(&asker, &index, 1, range, more), histogram(&asker, &index, 5, range, more));
    let trial = |(minute, truth): (i64, u64)| {
        let parent = minute - minute.rem_euclid(5);
        let whole = coarse.get(&parent).copied().unwrap_or_default();
        let others = (parent..parent + 5).filter(|other| *other != minute);
        let others: u64 = others.map(|other| fine.get(&other).copied().unwrap_or_default()).sum();
        whole.checked_sub(others) == Some(truth)
    };
    small_minutes(world.truth()).into_iter().map(trial).collect()
}

fn totals(world: &World, stream: &str) -> Vec<bool> {
    let asker = world.asker();
    let range = (SPARSE.start, SPARSE.end);
    let cells = term_grid(&asker, stream, range);
    let columns = histogram(&asker, &index(stream), 1, range, &[]);
    let services = ["checkout", "payments", "search", "vault", "__other__"];
    let cell = |service: &str, minute: i64| cells.get(&(service.to_owned(), minute)).copied().unwrap_or_default();
    let mut successes = Vec::new();
    for window in SPARSE.step_by(10) {
        let rows = terms(&asker, &index(stream), "service", (window, window + 10));
        for minute in window..window + 10 {
            for service in services {
                let is_it = |record: &Record| match service {
                    "__other__" => record.service == UNAPPROVED,
                    named => record.service == named,
                };
                let (truth, users) = census(world.truth(), |record| record.minute == minute && is_it(record));
                if !(1..K).contains(&users) {
                    continue;
                }
                let column: u64 =
                    services.iter().filter(|other| **other != service).map(|other| cell(other, minute)).sum();
                let by_column = columns.get(&minute).copied().unwrap_or_default().checked_sub(column);
                let row: u64 =
                    (window..window + 10).filter(|other| *other != minute).map(|other| cell(service, other)).sum();
                let by_row = rows.get(service).copied().unwrap_or_default().checked_sub(row);
                successes.push(by_column == Some(truth) || by_row == Some(truth));
            }
        }
    }
    successes
}

fn regions(world: &World, stream: &str) -> Vec<bool> {
    let asker = world.asker();
    let index =
        |regions: &[&str]| regions.iter().map(|region| format!("{region}:{stream}")).collect::<Vec<_>>().join(",");
    let (three, two) = (index(&["tokyo", "singapore", "frankfurt"]), index(&["tokyo", "singapore"]));
    let trial = |(minute, truth)| {
        let range = [within(minute, minute + 1)];
        count(&asker, &three, &range, &[]).checked_sub(count(&asker, &two, &range, &[])) == Some(truth)
    };
    targets(world, TRIALS).into_iter().map(trial).collect()
}

fn chatty(world: &World, stream: &str) -> Vec<bool> {
    let (asker, index) = (world.asker(), index(stream));
    let range = (CHATTY.start, CHATTY.end);
    let minutes = histogram(&asker, &index, 1, range, &[]);
    let mut successes: Vec<bool> = CHATTY.map(|minute| minutes.get(&minute).is_some_and(|count| *count > 0)).collect();
    successes.push(count(&asker, &index, &[within(range.0, range.1)], &[]) > 0);
    successes.push(terms(&asker, &index, "service", range).values().any(|count| *count > 0));
    successes.push(terms(&asker, &index, "level", range).values().any(|count| *count > 0));
    successes
}

/// What the few users of a minute paid, by the sum up to the minute and the sum with it; and what one user alone paid.
fn amounts(world: &World, stream: &str) -> Vec<bool> {
    let (asker, index) = (world.asker(), index(stream));
    let paid = |range: (i64, i64)| {
        let body = json!({
            "size": 0, "query": {"bool": {"filter": [within(range.0, range.1)]}},
            "aggs": {"a": {"sum": {"field": "amount"}}},
        });
        search(&asker, &index, &body)["aggregations"]["a"]["value"].as_u64().unwrap_or_default()
    };
    let truth = |minute: i64| -> u64 {
        let of_minute = world.truth().iter().filter(|record| record.minute == minute);
        of_minute.map(|record| amount(record.user)).sum()
    };
    let minutes = targets(world, TRIALS).into_iter().map(|(minute, _)| minute);
    let trial =
        |minute| paid((DENSE.start, minute + 1)).checked_sub(paid((DENSE.start, minute))) == Some(truth(minute));
    minutes.map(trial).chain([paid((CHATTY.start, CHATTY.end)) > 0]).collect()
}

/// A record that comes late into a cell that was told: what was told must not change by one.
fn late(world: &World, stream: &str) -> Vec<bool> {
    let (asker, index) = (world.asker(), index(stream));
    let minutes: Vec<i64> = DENSE.step_by(6).collect();
    let told = || histogram(&asker, &index, 1, (DENSE.start, DENSE.end), &[]);
    let before = told();
    let frankfurt = world.cluster.region("frankfurt");
    let mut body = String::new();
    for minute in &minutes {
        let event = json!({
            "timestamp": utc(at(*minute) + 30_000), "level": "INFO", "service": "checkout",
            "user": format!("late{minute}"), "message": "order placed late",
        });
        body.push_str(&format!("{{\"create\":{{}}}}\n{event}\n"));
    }
    assert_eq!(frankfurt.bulk(stream, body.as_bytes(), &[]).unwrap().status, 200);
    frankfurt.refresh(stream);
    let after = told();
    let of = |told: &std::collections::BTreeMap<i64, u64>, minute: &i64| told.get(minute).copied().unwrap_or_default();
    minutes.iter().map(|minute| of(&after, minute).checked_sub(of(&before, minute)) == Some(1)).collect()
}
