//! What happens to each class: the stream's policy where it speaks, else the region's own defaults.

use domicile_proto::metadata::{Personal, StreamPolicy};
use domicile_proto::privacy::{Action, PersonalClass};

use super::detect::{Finder, Home, Rules};

/// What a region does where a stream's policy says nothing, and whose numbers it knows best.
#[derive(Clone, Debug)]
pub(crate) struct Defaults {
    home: Home,
    actions: [Action; PersonalClass::ALL.len()],
}

impl Defaults {
    /// Of a region's facts; a class that is not named is pseudonymised.
    pub(crate) fn new(jurisdiction: &str, named: impl IntoIterator<Item = (PersonalClass, Action)>) -> Self {
        let mut actions = [Action::default(); PersonalClass::ALL.len()];
        for (class, action) in named {
            if let Some(slot) = actions.get_mut(class as usize) {
                *slot = action;
            }
        }
        Self { home: Home::of(jurisdiction), actions }
    }

    /// The finders of this region, without any policy.
    pub(super) const fn finder(&self) -> Finder<'static> {
        Finder::new(self.home)
    }

    /// As if every class were pseudonymised: which tokens of a value there may be, whatever is done with it now.
    pub(super) const fn pseudonymising(&self) -> Treatment {
        Treatment { home: self.home, actions: [Action::Pseudonymise; PersonalClass::ALL.len()] }
    }

    /// What happens in a stream.
    pub(super) fn of(&self, policy: &StreamPolicy) -> Treatment {
        let mut actions = self.actions;
        for (class, _) in policy.privacy.actions() {
            if let (Some(slot), Some(action)) = (actions.get_mut(*class as usize), policy.privacy.action(*class)) {
                *slot = action;
            }
        }
        Treatment { home: self.home, actions }
    }
}

/// What happens to each class in one stream.
pub(super) struct Treatment {
    home: Home,
    actions: [Action; PersonalClass::ALL.len()],
}

impl Treatment {
    /// What happens to a class.
    pub(super) fn action(&self, class: PersonalClass) -> Action {
        self.actions.get(class as usize).copied().unwrap_or_default()
    }

    /// The finders that run: a class that is kept is not looked for.
    pub(super) fn finder<'a>(&self, rules: Option<&'a Rules>) -> Finder<'a> {
        let kept = PersonalClass::ALL.into_iter().filter(|class| matches!(self.action(*class), Action::Keep(_)));
        kept.fold(Finder::new(self.home).with_rules(rules), Finder::without)
    }
}

/// The fields of a record that are replaced whole, with their classes; the subject first.
pub(super) fn whole_fields(policy: &StreamPolicy) -> impl Iterator<Item = (&str, PersonalClass)> {
    let subject = match &policy.personal {
        Personal::Subject(field) => Some((field.as_str(), PersonalClass::Subject)),
        Personal::Undeclared | Personal::No => None,
    };
    subject.into_iter().chain(policy.privacy.fields().iter().map(|field| (field.as_str(), PersonalClass::Declared)))
}
