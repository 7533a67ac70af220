//! What a run came to: `report.json` for programs and `report.html` for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::checker::Verdict;
use crate::checker::availability::{Fault, Served};
use crate::history::{Kind, Operation};

/// The whole of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Where the schedule was drawn from.
    pub seed: u64,
    /// How long clients worked, in seconds.
    pub seconds: u64,
    /// For how many seconds what came through had to be enough; 0 in the evidence of earlier builds, which had no such number.
    #[serde(default)]
    pub enough_for: u64,
    /// What they did.
    pub workload: String,
    /// What was done to the cluster.
    pub nemesis: Vec<String>,
    /// The network it was done in.
    pub net: String,
    /// How far the regions were apart, in milliseconds; none where they were not.
    #[serde(default)]
    pub round_trip_ms: Option<u64>,
    /// The disks it was done on; empty for the machine's own.
    pub disk: String,
    /// What this machine could not do.
    pub skipped: Vec<String>,
    /// Every fault, with the proof that it bit.
    pub faults: Vec<Fault>,
    /// From the end of the faults until every region was ready and the group had a leader, in milliseconds.
    pub healed_ms: u64,
    /// By operation: before, during and after the faults.
    pub phases: BTreeMap<String, [Served; 3]>,
    /// What the checkers found.
    pub verdicts: Vec<Verdict>,
}

impl Report {
    /// Everything that must not be.
    pub fn violations(&self) -> Vec<String> {
        let of = |verdict: &Verdict| {
            verdict.violations.iter().map(|what| format!("{}: {what}", verdict.checker)).collect::<Vec<_>>()
        };
        self.verdicts.iter().flat_map(of).collect()
    }

    /// A count of a checker; 0 where there is none.
    pub fn count(&self, checker: &str, what: &str) -> u64 {
        let verdict = self.verdicts.iter().find(|verdict| verdict.checker == checker);
        verdict.and_then(|verdict| verdict.counts.get(what)).copied().unwrap_or_default()
    }

    /// Writes both files.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, directory: &Path, operations: &[Operation]) -> Result<()> {
        std::fs::write(directory.join("report.json"), serde_json::to_vec_pretty(self)?)?;
        std::fs::write(directory.join("report.html"), self.page(operations)?)?;
        Ok(())
    }

    fn page(&self, operations: &[Operation]) -> Result<String> {
        let mut page = String::from(
            "<!doctype html><meta charset=\"utf-8\"><title>domicile: faults</title>\
             <style>body{font:14px system-ui;margin:2em}td,th{padding:2px 12px;text-align:right}\
             td:first-child,th:first-child{text-align:left}.bad{color:#b00}</style>",
        );
        write!(
            page,
            "<h1>{} under {}</h1><p>seed {}, {} s, network: {}, disks: {}, healed in {} ms</p>",
            self.workload,
            if self.nemesis.is_empty() { "nothing".to_owned() } else { self.nemesis.join(", ") },
            self.seed,
            self.seconds,
            self.net,
            if self.disk.is_empty() { "the machine's" } else { &self.disk },
            self.healed_ms
        )?;
        for what in self.violations() {
            write!(page, "<p class=\"bad\">{}</p>", escaped(&what))?;
        }
        for what in &self.skipped {
            write!(page, "<p>skipped: {}</p>", escaped(what))?;
        }
        page.push_str("<table><tr><th>operation<th>phase<th>ok<th>fail<th>unknown<th>p50 ms<th>p99 ms</tr>");
        for (f, phases) in &self.phases {
            for (phase, served) in ["before", "during", "after"].iter().zip(phases) {
                let Served { ok, fail, info, p50_ms, p99_ms } = served;
                write!(page, "<tr><td>{f}<td>{phase}<td>{ok}<td>{fail}<td>{info}<td>{p50_ms:.1}<td>{p99_ms:.1}</tr>")?;
            }
        }
        page.push_str("</table>");
        self.picture(&mut page, operations)?;
        page.push_str("<table><tr><th>checker<th>counted</tr>");
        for verdict in &self.verdicts {
            let counts: Vec<String> = verdict.counts.iter().map(|(what, number)| format!("{what}: {number}")).collect();
            write!(page, "<tr><td>{}<td>{}</tr>", verdict.checker, escaped(&counts.join(", ")))?;
        }
        page.push_str("</table>");
        Ok(page)
    }

    /// Latency over time, a point for each operation, with the faults as bands.
    fn picture(&self, page: &mut String, operations: &[Operation]) -> Result<()> {
        let end = operations.iter().map(|one| one.began).max().unwrap_or(1).max(1) as f64;
        let x = |time: u64| time as f64 / end * 1_000.0;
        page.push_str("<svg viewBox=\"0 0 1000 320\" width=\"1000\" style=\"border:1px solid #ccc\">");
        for fault in &self.faults {
            let (from, until) = (x(fault.from), x(fault.until));
            write!(
                page,
                "<rect x=\"{from:.1}\" y=\"0\" width=\"{:.1}\" height=\"320\" fill=\"#fdd\"><title>{} {} ({} bites)</title></rect>",
                until - from,
                fault.name,
                fault.region,
                fault.bites
            )?;
        }
        for one in operations {
            let ms = one.ended.saturating_sub(one.began) as f64 / 1e6;
            // Logarithmic, 1 ms at the bottom, 100 s at the top.
            let y = 300.0 - ms.clamp(1.0, 100_000.0).log10() * 56.0;
            let color = match one.kind {
                Kind::Ok => "#2a6",
                Kind::Fail => "#e90",
                Kind::Info | Kind::Invoke => "#c22",
            };
            let y = if one.kind == Kind::Ok { y } else { 310.0 };
            write!(page, "<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"1.2\" fill=\"{color}\"/>", x(one.began))?;
        }
        page.push_str("</svg>");
        Ok(())
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
