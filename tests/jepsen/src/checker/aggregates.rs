//! No silent gap (HON-1): a total is the sum of the regions that are named complete, and every other region is named.
//!
//! `planted` has the region as key and gives the records that lie there, in cells that are closed and large enough to leave.
//! `ask` has the asking region as key, the asked regions as input, and gives `{total, regions: {name: coverage}}`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Verdict;
use crate::history::{Kind, Operation};

/// Judges every answer.
pub fn check(operations: &[Operation]) -> Verdict {
    let mut verdict = Verdict::new("no-silent-gap");
    let planted: BTreeMap<&str, u64> = operations
        .iter()
        .filter(|one| one.f == "planted" && one.kind == Kind::Ok)
        .filter_map(|one| Some((one.key.as_str()?, one.output.as_u64()?)))
        .collect();
    for answer in operations.iter().filter(|one| one.f == "ask" && one.kind == Kind::Ok) {
        verdict.count("answers", 1);
        if let Err(wrong) = judge(answer, &planted, &mut verdict) {
            verdict.violation(format!("asked in {} at {} ms: {wrong}", answer.key, answer.began / 1_000_000));
        }
    }
    if !verdict.counts.contains_key("whole answers") {
        verdict.violation("void: no answer was whole, so nothing shows that a gap would be seen".to_owned());
    }
    verdict
}

fn judge(answer: &Operation, planted: &BTreeMap<&str, u64>, verdict: &mut Verdict) -> Result<(), String> {
    let total = answer.output["total"].as_u64().ok_or("no total")?;
    let asked = answer.input.as_array().ok_or("no regions asked")?;
    let (mut complete, mut flagged) = (0, 0);
    for region in asked.iter().filter_map(Value::as_str) {
        let holds = planted.get(region).copied().unwrap_or_default();
        match answer.output["regions"].get(region).and_then(Value::as_str) {
            None => return Err(format!("`{region}` is not named")),
            Some("complete") => complete += holds,
            Some(_) => flagged += holds,
        }
    }
    verdict.count(if flagged == 0 { "whole answers" } else { "answers that name a gap" }, 1);
    if total < complete {
        return Err(format!("silently smaller: {total}, and the regions named complete hold {complete}"));
    }
    if total > complete + flagged {
        return Err(format!("{total} is more than the {} there are", complete + flagged));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn history(total: u64, regions: Value) -> Vec<Operation> {
        let operation = |f: &str, key: &str, input, output| Operation {
            f: f.to_owned(),
            key: json!(key),
            region: String::new(),
            input,
            output,
            kind: Kind::Ok,
            began: 0,
            ended: 1,
            err: String::new(),
        };
        vec![
            operation("planted", "tokyo", Value::Null, json!(600)),
            operation("planted", "singapore", Value::Null, json!(500)),
            operation("ask", "singapore", json!(["tokyo"]), json!({"total": 600, "regions": {"tokyo": "complete"}})),
            operation("ask", "tokyo", json!(["tokyo", "singapore"]), json!({"total": total, "regions": regions})),
        ]
    }

    #[test]
    fn an_answer_that_names_its_gap_is_acquitted_and_a_silent_one_convicted() {
        let whole = json!({"tokyo": "complete", "singapore": "complete"});
        let gap = json!({"tokyo": "complete", "singapore": "unreachable"});
        for (total, regions) in [(1_100, &whole), (600, &gap), (1_100, &gap)] {
            assert_eq!(check(&history(total, regions.clone())).violations, Vec::<String>::new());
        }
        for (total, regions) in [(600, whole.clone()), (1_200, whole), (500, gap), (600, json!({"tokyo": "complete"}))]
        {
            assert_eq!(check(&history(total, regions)).violations.len(), 1);
        }
    }
}
