//! The register of breaches with the clocks that run: what the ledgers say, against the laws of each region.

use domicile_proto::ids::Timestamp;

use super::super::compose::{Home, Request, firsts, of_region};
use super::super::paper::{Section, Table};
use super::super::tally::{instant, span};
use crate::audit::{Breach, BreachClock, CLOCKS};

/// How a clock stands at a moment.
fn clock_state(clock: &BreachClock, breach: &Breach, now: Timestamp) -> String {
    match (clock.done(breach), clock.due(breach)) {
        (Some(done), Some(due)) if done > due => format!("ATTENTION: done {} late", span(done.0 - due.0)),
        (Some(done), _) => format!("done {}", instant(done)),
        (None, _) if clock.is_void(breach) => "judged as not notifiable".to_owned(),
        (None, Some(due)) if now > due => format!("ATTENTION: {} late", span(now.0 - due.0)),
        (None, Some(due)) => format!("runs, {} left", span(due.0 - now.0)),
        (None, None) if breach.closed.is_some() => "closed".to_owned(),
        (None, None) => "open".to_owned(),
    }
}

/// The clocks of a region's laws.
fn running(home: &Home) -> impl Iterator<Item = &'static BreachClock> {
    let laws = home.statement.laws.clone();
    CLOCKS.iter().filter(move |clock| clock.law.is_empty() || laws.iter().any(|law| law == clock.law))
}

/// How many clocks of the breaches in the pack have run out.
pub(in super::super) fn late_clocks(request: &Request, homes: &[Home]) -> u64 {
    let mut late = 0;
    for home in homes {
        for (_, breach) in home.tally.breaches() {
            let out =
                running(home).filter(|clock| clock_state(clock, breach, request.made_at).starts_with("ATTENTION"));
            late += out.count() as u64;
        }
    }
    late
}

/// The register.
pub(in super::super) fn breaches(request: &Request, homes: &[Home]) -> Section {
    let mut rows = Vec::new();
    let mut clocks = Vec::new();
    for first in firsts(homes) {
        for home in of_region(homes, first.name()) {
            for (id, breach) in home.tally.breaches() {
                let judged = breach.assessed.map(|(at, notifiable, malicious)| {
                    let verdict = if notifiable { "notifiable" } else { "not notifiable" };
                    format!("{}: {verdict}{}", instant(at), if malicious { ", malice likely" } else { "" })
                });
                let entries: Vec<String> = breach.entries.iter().map(ToString::to_string).collect();
                rows.push([
                    home.label(),
                    id.to_owned(),
                    instant(breach.learned),
                    judged.unwrap_or_else(|| "not yet".to_owned()),
                    breach.closed.map_or_else(|| "open".to_owned(), instant),
                    entries.join(", "),
                ]);
                for clock in running(home) {
                    clocks.push([
                        home.label(),
                        id.to_owned(),
                        clock.law.to_owned(),
                        clock.source.to_owned(),
                        clock.due(breach).map_or_else(|| "–".to_owned(), instant),
                        clock_state(clock, breach, request.made_at),
                    ]);
                }
            }
        }
    }
    let columns = ["Region", "Breach", "Learnt", "Judged", "Closed", "Ledger entries"];
    let clock_columns = ["Region", "Breach", "Law", "What it asks", "Until", "State"];
    Section::new("breaches", "Register of breaches")
        .say("Each step is an entry of the ledger, with a time that the officer gave, and without words: what happened stands in the officer's own records under the same id. GDPR Art. 33(5) asks for a register of all breaches, told or not.")
        .table(Table::new("breaches", "Breaches, of all times", &columns, "none was opened.").rows(rows))
        .table(Table::new("breach-clocks", "Clocks at the moment of this pack", &clock_columns, "none runs.").rows(clocks))
}
