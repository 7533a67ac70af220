"""Which test fails without which rule of the disclosure gate: every rule is taken out of a copy of the sources in turn.

    python3 tests/attacks/mutations.py [--keep DIR] [--only RULE] [--check]

Copies the workspace to a directory of its own, writes every change of the list below into the copy at once, each behind the
environment variable `MUTANT`, builds the tests of that copy and runs them once for each rule, and once without any (all must
pass). Prints one line for each change: the rule, what was taken out, and the tests that failed. Ends with 1 where a change goes
unnoticed. `--only R11` runs what begins so; `--check` builds nothing and says whether each text of the list stands in the sources once.
Nothing of this is in the product: the sources that ship have no such switch. `CARGO_FOR_MUTATIONS` may name another cargo, and
`CARGO_TARGET_DIR` where the copy is built.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SWITCH = """
/// Whether a rule is taken out. Only in the copy that mutations are tried on.
pub fn mutant(rule: &str) -> bool {
    std::env::var_os("MUTANT").is_some_and(|found| found == *rule)
}
"""
PROTO = "domicile-proto --test leaf"
BORDER = "domicile-proto --test border"
NODE = "domicile --lib"

# Rule, what is taken out, source, the text as it is, the text without the rule, package and targets, tests to run.
MUTANTS = [
    ("R1", "an answer of another shape is taken",
     "proto/src/border.rs", "aggregate.is_well_formed() && question.ask.is_answered_by(aggregate)",
     "aggregate.is_well_formed() && (crate::mutant(\"R1\") || question.ask.is_answered_by(aggregate))",
     BORDER, "an_answer_in_another_shape"),
    ("R2", "every field may group and filter",
     "node/src/policy/snapshot.rs", "*field == Name::level() ||",
     "domicile_proto::mutant(\"R2\") || *field == Name::level() ||", NODE, "federate:: aggregate::"),
    ("R3", "values cross that nobody approved",
     "node/src/aggregate/answer.rs", "asked.policy.dictionary(asked.stream.tenant, name).approved.clone()",
     "{ let known = asked.policy.dictionary(asked.stream.tenant, name); "
     "if domicile_proto::mutant(\"R3\") { known.texts.clone() } else { known.approved.clone() } }", NODE, "aggregate::"),
    ("R4", "a cell of few subjects is told",
     "proto/src/leaf.rs", "            Counted::Subjects => self.subjects.len() as u64 >= k,",
     "            Counted::Subjects if crate::mutant(\"R4\") => self.records >= k,\n"
     "            Counted::Subjects => self.subjects.len() as u64 >= k,", PROTO, ""),
    ("R4-stated", "a statement is believed whatever is found",
     "node/src/classify/statements.rs", "_ if known.tally.contradicts(today, &days) =>",
     "_ if !domicile_proto::mutant(\"R4-stated\") && known.tally.contradicts(today, &days) =>", NODE, "classify::"),
    ("R4-rate", "any number of hits is few",
     "node/src/classify/tally.rs", "self.contradicts || (self.found > 0",
     "self.contradicts || (!domicile_proto::mutant(\"R4-rate\") && self.found > 0", NODE, "classify::"),
    ("R4-unread", "a statement is believed where nobody knows what was found",
     "node/src/classify/statements.rs", "None | Some(Standing::Stands) =>",
     "Some(Standing::Unknown) if domicile_proto::mutant(\"R4-unread\") => Upheld::of_then(stream, None),\n"
     "            None | Some(Standing::Stands) =>", NODE, "classify::"),
    ("R5", "nothing is told as nothing",
     "proto/src/leaf.rs", "let told = cells.iter().map(|cell| cell.fills(threshold)).collect();",
     "let told = cells.iter().map(|cell| cell.fills(threshold) || (crate::mutant(\"R5\") && cell.is_empty())).collect();",
     PROTO, ""),
    ("R6-closed", "cells are told before they close",
     "node/src/aggregate/answer.rs", "to: covered.to.min(closes).max(covered.from)",
     "to: if domicile_proto::mutant(\"R6-closed\") { covered.to } else { covered.to.min(closes).max(covered.from) }",
     NODE, "aggregate::"),
    ("R6-grid", "a grid finer than the leaves is answered",
     "node/src/aggregate/answer.rs", "if asked.question.ask.grid().is_some_and(|grid| !grid.step.is_multiple_of(width)) {",
     "if !domicile_proto::mutant(\"R6-grid\") && asked.question.ask.grid().is_some_and(|grid| !grid.step.is_multiple_of(width)) {",
     NODE, "aggregate::"),
    ("R6-once", "a generation is judged again under a stricter threshold",
     "node/src/aggregate/judge.rs", "now.counted && then.k >= now.k",
     "now.counted && (domicile_proto::mutant(\"R6-once\") || then.k >= now.k)", NODE, "aggregate::"),
    ("R7-line", "nothing is withheld beside a small cell",
     "proto/src/leaf.rs", "        if !is_too_little(&withheld) {", "        if crate::mutant(\"R7-line\") || !is_too_little(&withheld) {",
     PROTO, ""),
    ("R7-plane", "in a table of two fields, only the line of a small cell is looked at",
     "proto/src/leaf.rs", "while self.take_small_cells() || self.widen_lines() {}",
     "while self.take_small_cells() || (!crate::mutant(\"R7-plane\") && self.widen_lines()) {}", PROTO, ""),
    ("R7-numbers", "counts between bounds know nothing of the sums' table",
     "proto/src/numbers.rs", "Plane::over(layout.bounds, &present, threshold, Some(Lines::of(&told_with))).judge()",
     "Plane::over(layout.bounds, &present, threshold, "
     "(!crate::mutant(\"R7-numbers\")).then(|| Lines::of(&told_with))).judge()", PROTO, ""),
    ("R8-dominance", "a sum that is mostly one person's is told",
     "proto/src/numbers.rs", "is_dominant || is_revealing", "(is_dominant && !crate::mutant(\"R8-dominance\")) || is_revealing",
     NODE, "aggregate::"),
    ("R8-p%", "a sum is told whose largest part the second largest can reckon",
     "proto/src/numbers.rs", "|| is_revealing\n", "|| (is_revealing && !crate::mutant(\"R8-p%\"))\n", PROTO, ""),
    ("R8-rest", "what is left of a sum may be one person's",
     "proto/src/numbers.rs", "!withheld.is_empty() && !is_safe(withheld)",
     "!crate::mutant(\"R8-rest\") && !withheld.is_empty() && !is_safe(withheld)", PROTO, ""),
    ("R8-clamp", "numbers are not clamped to their bounds",
     "node/src/query/groups.rs", "let clamped = number.max(ends.0 as f64).min(ends.1 as f64);",
     "let clamped = if domicile_proto::mutant(\"R8-clamp\") { number } else { number.max(ends.0 as f64).min(ends.1 as f64) };",
     NODE, "aggregate::"),
    ("R8-quantile", "a quantile is told with few on a side",
     "proto/src/border/numbers.rs", "|side: &[Tally]| policy.k.get() == 1",
     "|side: &[Tally]| crate::mutant(\"R8-quantile\") || policy.k.get() == 1", NODE, "aggregate::"),
    ("R9-subjects", "distinct values are told of few",
     "proto/src/border/numbers.rs", "let is_wide = policy.k.get() == 1", "let is_wide = crate::mutant(\"R9-subjects\") || policy.k.get() == 1",
     NODE, "aggregate::"),
    ("R9-rounded", "distinct values are told to the last digit",
     "proto/src/border/numbers.rs", "while number / step >= 100 {", "while !crate::mutant(\"R9-rounded\") && number / step >= 100 {",
     "domicile-proto --lib", ""),
    ("R10-overlap", "two text questions may differ by one person",
     "node/src/aggregate/contributors.rs", "near(differing(&self.subjects, &other.subjects)) ||",
     "!domicile_proto::mutant(\"R10-overlap\") && near(differing(&self.subjects, &other.subjects)) ||", NODE, "aggregate:: federate::"),
    ("R10-literal", "a literal that looks personal leaves",
     "proto/src/border.rs", "if is_pseudonym(literal.as_str()) || detector.finds_personal_data(literal.as_str()) {",
     "if !crate::mutant(\"R10-literal\") && (is_pseudonym(literal.as_str()) || detector.finds_personal_data(literal.as_str())) {",
     BORDER, "a_token_that_stands"),
    ("R11-noise", "numbers are told as they are",
     "proto/src/noise.rs", "let moved = i128::from(records).saturating_add(drawn).max(0);",
     "let moved = i128::from(records).saturating_add(if crate::mutant(\"R11-noise\") { 0 } else { drawn }).max(0);",
     NODE, "aggregate::"),
    ("R11-cells", "a subject counts in every cell of time",
     "node/src/query/leaves.rs", "noise::counts(*by, self.leaf.start, self.plan.width)",
     "domicile_proto::mutant(\"R11-cells\") || noise::counts(*by, self.leaf.start, self.plan.width)", NODE, "aggregate::"),
    ("R11-records", "a subject counts with all its records",
     "proto/src/noise.rs", "unwrap_or(u64::MAX).min(noise.records.into());",
     "unwrap_or(u64::MAX).min(if crate::mutant(\"R11-records\") { u64::MAX } else { noise.records.into() });",
     NODE, "aggregate::"),
    ("R11-budget", "a day pays for any number of tables",
     "node/src/aggregate/spent.rs", "all <= Cost::of_tenant() && of_stream",
     "domicile_proto::mutant(\"R11-budget\") || all <= Cost::of_tenant() && of_stream", NODE, "aggregate::"),
    ("R11-exact", "what has no noise is told without",
     "node/src/aggregate/answer.rs", "if asked.stream.policy.noise.is_some() && !is_noisy(asked) {",
     "if !domicile_proto::mutant(\"R11-exact\") && asked.stream.policy.noise.is_some() && !is_noisy(asked) {",
     NODE, "aggregate::"),
    ("R11-late", "who comes late to a cell is told of again",
     "node/src/aggregate/judge.rs", "noise.is_none() || book.released_upto(**start) == 0",
     "domicile_proto::mutant(\"R11-late\") || noise.is_none() || book.released_upto(**start) == 0", NODE, "aggregate::"),
    ("R11-once", "what was told with noise is judged again without",
     "node/src/aggregate/judge.rs", "is_alike && then.counted == now.counted",
     "(domicile_proto::mutant(\"R11-once\") || is_alike) && then.counted == now.counted", NODE, "aggregate::"),
    ("R12-questions", "a tenant asks without end",
     "node/src/federate/guard.rs", "if is_new && of_tenant", "if !domicile_proto::mutant(\"R12-questions\") && is_new && of_tenant",
     NODE, "federate::"),
    ("R12-bytes", "an answer may be as large as it likes",
     "node/src/federate/guard.rs", "if codec::encode(gated.answered.answer()).is_err() {",
     "if !domicile_proto::mutant(\"R12-bytes\") && codec::encode(gated.answered.answer()).is_err() {", NODE, "federate::"),
    ("R12-cells", "an answer may have any number of cells",
     "node/src/aggregate/answer.rs", "if cells > MAX_CELLS {", "if cells > MAX_CELLS && !domicile_proto::mutant(\"R12-cells\") {",
     NODE, "aggregate::"),
    ("R13-rows", "a key without rows is shown rows",
     "node/src/query/search.rs", "let size = if rows == Rows::None { 0 }",
     "let size = if rows == Rows::None && !domicile_proto::mutant(\"R13-rows\") { 0 }", NODE, "query:: present::"),
    ("R13-home", "a key that another region issued is known here",
     "node/src/policy/build.rs", "    fn take_key(&mut self, row: KeyRow, consents: &mut Consents) {\n        if row.region != *consents.region() {",
     "    fn take_key(&mut self, row: KeyRow, consents: &mut Consents) {\n"
     "        if domicile_proto::mutant(\"R13-home\") {\n"
     "            self.policy.keys.insert(row.key.hash, Arc::new(row.key));\n            return;\n        }\n"
     "        if row.region != *consents.region() {", NODE, "policy::"),
]


def main():
    keep = sys.argv[sys.argv.index("--keep") + 1] if "--keep" in sys.argv else None
    if "--only" in sys.argv:
        wanted = sys.argv[sys.argv.index("--only") + 1]
        MUTANTS[:] = [mutant for mutant in MUTANTS if mutant[0].startswith(wanted)]
    if "--check" in sys.argv:
        patched(ROOT)
        print(f"{len(MUTANTS)} changes of the rules stand in the sources, each once")
        return 0
    work = Path(keep or tempfile.mkdtemp(prefix="domicile-mutations-"))
    try:
        copy = work / "tree"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("target", ".git", ".terraform"))
        patch(copy)
        environment = {"CARGO_TARGET_DIR": str(work / "target"), **os.environ}
        build(copy, environment)
        return 1 if not judge(copy, environment) else 0
    finally:
        if not keep:
            shutil.rmtree(work, ignore_errors=True)


def patch(copy):
    switch = copy / "proto/src/lib.rs"
    switch.write_text(switch.read_text() + SWITCH)
    for source, text in patched(copy).items():
        (copy / source).write_text(text)


def patched(root):
    texts = {}
    for rule, _, source, before, after, _, _ in MUTANTS:
        text = texts.get(source) or (root / source).read_text()
        if text.count(before) != 1:
            sys.exit(f"{rule}: `{before}` stands {text.count(before)} times in {source}; bring the list up to date")
        texts[source] = text.replace(before, after)
    return texts


def cargo(copy, environment, targets, more):
    command = shlex.split(os.environ.get("CARGO_FOR_MUTATIONS", "cargo")) + ["test", "-p", *targets.split(), *more]
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)


def build(copy, environment):
    for targets in sorted({targets for *_, targets, _ in MUTANTS}):
        built = cargo(copy, environment, targets, ["--no-run"])
        if built.returncode != 0:
            sys.exit(built.stderr[-4000:])


def run(copy, environment, targets, filters):
    ran = cargo(copy, environment, targets, ["--no-fail-fast", "--", *filters.split()])
    failed = sorted(set(re.findall(r"^test (\S+) .*FAILED$|^test (\S+) - .*FAILED$", ran.stdout, re.M)))
    return ran.returncode, [first or second for first, second in failed]


def judge(copy, environment):
    is_good = True
    for targets, filters in sorted({(targets, filters) for *_, targets, filters in MUTANTS}):
        code, failed = run(copy, environment, targets, filters)
        if code != 0:
            print(f"| (none) | {targets} {filters} | FAILS WITHOUT ANY CHANGE: {', '.join(failed)} |", flush=True)
            is_good = False
    for rule, what, _, _, _, targets, filters in MUTANTS:
        code, failed = run(copy, {**environment, "MUTANT": rule}, targets, filters)
        is_good &= code != 0
        told = ", ".join(f"`{name}`" for name in failed) or ("a process that ended" if code else "NOTHING FAILED")
        print(f"| {rule} | {what} | {told} |", flush=True)
    return is_good


if __name__ == "__main__":
    sys.exit(main())
