//! A verdict on a plan: for people, for programs, and for code scanning (SARIF 2.1.0).

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::{Value, json};

use super::judge::Verdict;

pub(super) fn text(verdict: &Verdict) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    for breach in &verdict.breaches {
        let _ = writeln!(out, "{}: {} {}", breach.rule, breach.address, breach.why);
    }
    if !verdict.strange.is_empty() {
        let _ = writeln!(out, "not judged, of providers that no rule knows: {}", verdict.strange.join(", "));
    }
    let _ = writeln!(out, "{} resources judged, {} breaches", verdict.judged, verdict.breaches.len());
    out
}

pub(super) fn json(verdict: &Verdict) -> Value {
    let breaches = verdict.breaches.iter();
    let breaches = breaches.map(|breach| json!({"rule": breach.rule, "address": breach.address, "why": breach.why}));
    json!({
        "judged": verdict.judged,
        "not_judged": verdict.strange,
        "breaches": breaches.collect::<Vec<_>>(),
    })
}

pub(super) fn sarif(verdict: &Verdict, plan: &str) -> Value {
    let rules: BTreeSet<&str> = verdict.breaches.iter().map(|breach| breach.rule).collect();
    let results = verdict.breaches.iter().map(|breach| {
        json!({
            "ruleId": breach.rule,
            "level": "error",
            "message": {"text": format!("{} {}", breach.address, breach.why)},
            "locations": [{
                "physicalLocation": {"artifactLocation": {"uri": plan}},
                "logicalLocations": [{"fullyQualifiedName": breach.address, "kind": "resource"}],
            }],
        })
    });
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "domicile residency check-plan",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.into_iter().map(|rule| json!({"id": rule})).collect::<Vec<_>>(),
            }},
            "results": results.collect::<Vec<_>>(),
        }],
    })
}
