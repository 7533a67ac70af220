//! The register of breaches: what was learnt, judged and told, step by step, as entries of the ledger. No words: those are the
//! officer's own records. The ledger is the register; what stands here folds it. Which clock runs when is not decided here.

use std::collections::BTreeMap;

use domicile_proto::ids::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use super::entry::{Entry, Event};

/// A step in a breach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BreachStep {
    /// Somebody learnt of it.
    Opened,
    /// It was judged whether somebody must be told, and whether malice is likely.
    Assessed {
        /// Whether somebody must be told.
        notifiable: bool,
        /// Whether malice is likely.
        malicious: bool,
    },
    /// Somebody was told.
    Notified {
        /// Who.
        whom: Told,
    },
    /// Nothing more is done about it.
    Closed,
}

/// Who is told of a breach: a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    /// The controller, by the processor: GDPR Art. 33(2), APPI Art. 26(1), PDPA s. 26C(3)(a).
    Controller,
    /// The supervisory authority: GDPR Art. 33.
    GdprAuthority,
    /// The persons: GDPR Art. 34.
    GdprPersons,
    /// The PPC, in a first report: APPI Art. 26.
    AppiFirst,
    /// The PPC, in a final report.
    AppiFinal,
    /// The persons: APPI Art. 26(2).
    AppiPersons,
    /// The PDPC: PDPA s. 26D.
    PdpaAuthority,
    /// The persons: PDPA s. 26D(2).
    PdpaPersons,
}

/// One breach, as its entries leave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Breach {
    /// When somebody learnt of it.
    pub(crate) learned: Timestamp,
    /// When it was first judged to be notifiable or not, and how it was judged last: notifiable, malicious.
    pub(crate) assessed: Option<(Timestamp, bool, bool)>,
    /// Who was told, and when first.
    pub(crate) told: BTreeMap<Told, Timestamp>,
    /// When it was closed.
    pub(crate) closed: Option<Timestamp>,
    /// Numbers of its entries.
    pub(crate) entries: Vec<u64>,
}

/// Breaches by tenant and id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Breaches {
    all: BTreeMap<(TenantId, Box<str>), Breach>,
    upto: u64,
}

impl Breaches {
    /// One more entry of the ledger.
    pub(crate) fn take(&mut self, number: u64, entry: &Entry) {
        self.upto = self.upto.max(number);
        let Event::Breach { breach, tenant, step, when } = &entry.event else { return };
        let place = (*tenant, breach.clone());
        if *step == BreachStep::Opened {
            self.all.entry(place.clone()).or_insert_with(|| Breach {
                learned: *when,
                assessed: None,
                told: BTreeMap::new(),
                closed: None,
                entries: Vec::new(),
            });
        }
        let Some(known) = self.all.get_mut(&place) else { return };
        known.entries.push(number);
        match step {
            BreachStep::Opened => {}
            BreachStep::Assessed { notifiable, malicious } => {
                // Of two judgements of the same kind the clock began with the first.
                let same = known.assessed.filter(|(_, before, _)| before == notifiable).map(|(at, ..)| at);
                known.assessed = Some((same.unwrap_or(*when), *notifiable, *malicious));
            }
            BreachStep::Notified { whom } => {
                known.told.entry(*whom).or_insert(*when);
            }
            BreachStep::Closed => {
                known.closed.get_or_insert(*when);
            }
        }
    }

    /// Number of the last entry that was taken.
    pub(crate) const fn upto(&self) -> u64 {
        self.upto
    }

    /// A breach of a tenant.
    pub(crate) fn get(&self, tenant: TenantId, id: &str) -> Option<&Breach> {
        self.all.get(&(tenant, id.into()))
    }

    /// Those of a tenant, by id.
    pub(crate) fn of(&self, tenant: TenantId) -> impl Iterator<Item = (&str, &Breach)> {
        let own = self.all.iter().filter(move |((owner, _), _)| *owner == tenant);
        own.map(|((_, id), breach)| (id.as_ref(), breach))
    }
}

/// What a clock waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// For the judgement whether somebody must be told.
    Assessment,
    /// For somebody to be told.
    Notice(Told),
}

/// A clock of a law.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// The law, as the files of regions call it.
    pub(crate) law: &'static str,
    /// Where it says so.
    pub(crate) source: &'static str,
    /// What it waits for.
    pub(crate) wait: Wait,
    /// Days; and where malice is likely. None: without undue delay.
    days: Option<(i64, i64)>,
    /// Whether it begins with the judgement, and not when somebody learnt of it.
    from_assessment: bool,
}

impl Clock {
    /// When it ends; none where it does not run, or has no end in days.
    pub(crate) fn due(&self, breach: &Breach) -> Option<Timestamp> {
        let (usual, malicious) = self.days?;
        let is_malicious = breach.assessed.is_some_and(|(_, _, malicious)| malicious);
        let from = if self.from_assessment { breach.assessed?.0 } else { breach.learned };
        let days = if is_malicious { malicious } else { usual };
        Some(Timestamp(from.0.saturating_add(days * 86_400 * Timestamp::MICROS)))
    }

    /// When what it waits for was done.
    pub(crate) fn done(&self, breach: &Breach) -> Option<Timestamp> {
        match self.wait {
            Wait::Assessment => breach.assessed.map(|(at, ..)| at),
            Wait::Notice(whom) => breach.told.get(&whom).copied(),
        }
    }

    /// Whether it runs no more, for it was judged that nobody must be told.
    pub(crate) fn is_void(&self, breach: &Breach) -> bool {
        matches!(self.wait, Wait::Notice(_)) && breach.assessed.is_some_and(|(_, notifiable, _)| !notifiable)
    }
}

const fn clock(law: &'static str, source: &'static str, whom: Told, days: Option<(i64, i64)>) -> Clock {
    Clock { law, source, wait: Wait::Notice(whom), days, from_assessment: false }
}

/// The clocks of the laws. Sources: GDPR Art. 33, 34; APPI Art. 26 and its guideline (3 to 5 days: the strict end is kept);
/// PDPA s. 26C, 26D.
pub(crate) const CLOCKS: [Clock; 9] = [
    clock("GDPR", "Art. 33(1), 72 hours", Told::GdprAuthority, Some((3, 3))),
    clock("GDPR", "Art. 34, without undue delay", Told::GdprPersons, None),
    clock("APPI", "Art. 26(1), first report, 3 to 5 days", Told::AppiFirst, Some((3, 3))),
    clock("APPI", "Art. 26(1), final report, 30 days, 60 with malice", Told::AppiFinal, Some((30, 60))),
    clock("APPI", "Art. 26(2), promptly", Told::AppiPersons, None),
    Clock {
        law: "PDPA",
        source: "s. 26C, assessment, 30 days",
        wait: Wait::Assessment,
        days: Some((30, 30)),
        from_assessment: false,
    },
    Clock {
        law: "PDPA",
        source: "s. 26D(1), 3 calendar days after the assessment",
        wait: Wait::Notice(Told::PdpaAuthority),
        days: Some((3, 3)),
        from_assessment: true,
    },
    clock("PDPA", "s. 26D(2), with or after the PDPC", Told::PdpaPersons, None),
    clock("", "a processor tells the controller at once", Told::Controller, None),
];

#[cfg(test)]
mod tests {
    use super::super::chains::Link;
    use super::*;

    const DAY: i64 = 86_400 * Timestamp::MICROS;

    fn folded(steps: &[(&str, BreachStep, i64)]) -> Breaches {
        let mut breaches = Breaches::default();
        for (number, (id, step, when)) in (1..).zip(steps) {
            let (breach, tenant, when) = ((*id).into(), TenantId(1), Timestamp(*when));
            let event = Event::Breach { breach, tenant, step: *step, when };
            let link = Link { seq: 0, commitment: [0; 32] };
            let entry = Entry::new(Timestamp(0), Some(tenant), &link, event);
            assert_eq!(Entry::read(&entry.body()), Some(entry.clone()), "it has one form");
            breaches.take(number, &entry);
        }
        breaches
    }

    fn due(breach: &Breach, whom: Wait) -> Option<i64> {
        CLOCKS.iter().find(|clock| clock.wait == whom)?.due(breach).map(|at| at.0 / DAY)
    }

    #[test]
    fn the_register_is_what_its_entries_leave() {
        let judged = |notifiable, malicious| BreachStep::Assessed { notifiable, malicious };
        let told = |whom| BreachStep::Notified { whom };
        let breaches = folded(&[
            ("a", BreachStep::Opened, 0),
            ("b", judged(true, true), DAY),
            ("a", judged(false, false), DAY),
            ("a", judged(true, true), 2 * DAY),
            ("a", judged(true, false), 5 * DAY),
            ("a", told(Told::GdprAuthority), 3 * DAY),
            ("a", told(Told::GdprAuthority), 9 * DAY),
            ("a", BreachStep::Opened, 7 * DAY),
            ("a", BreachStep::Closed, 40 * DAY),
        ]);
        assert_eq!(breaches.upto(), 9);
        assert!(breaches.get(TenantId(1), "b").is_none(), "a step of what was never opened is none");
        let breach = breaches.get(TenantId(1), "a").expect("opened");
        assert_eq!((breach.learned, breach.closed), (Timestamp(0), Some(Timestamp(40 * DAY))));
        assert_eq!(breach.assessed, Some((Timestamp(2 * DAY), true, false)), "its clock began with the first");
        assert_eq!(breach.told.get(&Told::GdprAuthority), Some(&Timestamp(3 * DAY)));
        assert_eq!(breach.entries, [1, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(breaches.of(TenantId(2)).count(), 0);
    }

    #[test]
    fn each_law_has_its_clock() {
        let opened = ("a", BreachStep::Opened, 0);
        let judged = |notifiable, malicious, day| ("a", BreachStep::Assessed { notifiable, malicious }, day * DAY);
        let of = |steps: &[(&str, BreachStep, i64)]| folded(steps).get(TenantId(1), "a").expect("opened").clone();
        let open = of(&[opened]);
        let notice = Wait::Notice;
        for (wait, day) in [
            (notice(Told::GdprAuthority), Some(3)),
            (notice(Told::AppiFirst), Some(3)),
            (notice(Told::AppiFinal), Some(30)),
            (Wait::Assessment, Some(30)),
            (notice(Told::PdpaAuthority), None),
            (notice(Told::GdprPersons), None),
        ] {
            assert_eq!(due(&open, wait), day, "{wait:?}");
        }
        let malicious = of(&[opened, judged(true, true, 10)]);
        assert_eq!(due(&malicious, notice(Told::AppiFinal)), Some(60));
        assert_eq!(due(&malicious, notice(Told::PdpaAuthority)), Some(13), "counted from the assessment");
        let harmless = of(&[opened, judged(false, false, 1)]);
        let void: Vec<bool> = CLOCKS.iter().map(|clock| clock.is_void(&harmless)).collect();
        assert_eq!(void.iter().filter(|void| !**void).count(), 1, "only the assessment itself is not void");
    }
}
