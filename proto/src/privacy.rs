//! What a region does with personal data in a stream: classes, actions, and the grounds for keeping something in the clear.
//!
//! Part of a stream's policy, so all of it travels through the metadata group: closed sets and [`Name`]s, never a text, a
//! pattern or a value (RES-2). How the classes are found is the node's affair.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::Name;

/// Most fields one stream may declare as personal.
pub const MAX_PERSONAL_FIELDS: usize = 32;

/// A kind of personal data, as the detectors tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonalClass {
    /// An e-mail address.
    Email,
    /// A telephone number.
    Phone,
    /// An IP address.
    Ip,
    /// The address of a network card.
    Mac,
    /// A payment card number.
    Card,
    /// An international bank account number.
    Iban,
    /// A Japanese individual number.
    MyNumber,
    /// A Singaporean NRIC or FIN.
    Nric,
    /// A German tax number of a person.
    TaxId,
    /// The number of a German identity card.
    IdCard,
    /// A social security number of the United States.
    Ssn,
    /// A JSON web token.
    Jwt,
    /// A bearer token or a password in a header or an address.
    Bearer,
    /// A key of a cloud or a code host.
    CloudKey,
    /// A private key.
    PrivateKey,
    /// The field that names the subject of a record.
    Subject,
    /// A field that the policy declares as personal.
    Declared,
    /// What a rule of the tenant found.
    Rule,
    /// A packed value that cannot be looked into within the limits.
    Opaque,
}

impl PersonalClass {
    /// All classes, in the order of their declaration.
    pub const ALL: [Self; 19] = [
        Self::Email,
        Self::Phone,
        Self::Ip,
        Self::Mac,
        Self::Card,
        Self::Iban,
        Self::MyNumber,
        Self::Nric,
        Self::TaxId,
        Self::IdCard,
        Self::Ssn,
        Self::Jwt,
        Self::Bearer,
        Self::CloudKey,
        Self::PrivateKey,
        Self::Subject,
        Self::Declared,
        Self::Rule,
        Self::Opaque,
    ];

    /// Its name in marks, settings and commands.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Ip => "ip",
            Self::Mac => "mac",
            Self::Card => "card",
            Self::Iban => "iban",
            Self::MyNumber => "my_number",
            Self::Nric => "nric",
            Self::TaxId => "tax_id",
            Self::IdCard => "id_card",
            Self::Ssn => "ssn",
            Self::Jwt => "jwt",
            Self::Bearer => "bearer",
            Self::CloudKey => "cloud_key",
            Self::PrivateKey => "private_key",
            Self::Subject => "subject",
            Self::Declared => "declared",
            Self::Rule => "rule",
            Self::Opaque => "opaque",
        }
    }
}

impl fmt::Display for PersonalClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for PersonalClass {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL.into_iter().find(|class| class.as_str() == text).ok_or(UnknownWord("class of personal data"))
    }
}

/// Why a region keeps a class in the clear. The first six are those of GDPR Art. 6(1), which APPI and PDPA know as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The people agreed.
    Consent,
    /// A contract with them needs it.
    Contract,
    /// A law demands it.
    LegalObligation,
    /// A life depends on it.
    VitalInterest,
    /// A public task needs it.
    PublicTask,
    /// An interest that was weighed against theirs.
    LegitimateInterest,
    /// In this stream the class stands for machines, not for people.
    NotPersonal,
}

impl Basis {
    /// All grounds.
    pub const ALL: [Self; 7] = [
        Self::Consent,
        Self::Contract,
        Self::LegalObligation,
        Self::VitalInterest,
        Self::PublicTask,
        Self::LegitimateInterest,
        Self::NotPersonal,
    ];

    /// Its name in settings and commands.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consent => "consent",
            Self::Contract => "contract",
            Self::LegalObligation => "legal_obligation",
            Self::VitalInterest => "vital_interest",
            Self::PublicTask => "public_task",
            Self::LegitimateInterest => "legitimate_interest",
            Self::NotPersonal => "not_personal",
        }
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Basis {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL.into_iter().find(|basis| basis.as_str() == text).ok_or(UnknownWord("ground for keeping a class"))
    }
}

/// What happens to a value of a class before its record is stored. The order of declaration is the order of what is left
/// afterwards, from nothing to everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The whole event is dropped, and counted.
    DropEvent,
    /// The field it stands in is dropped.
    DropField,
    /// A mark with the class takes its place; the value is gone.
    Mask,
    /// A keyed token takes its place, and the value is sealed.
    #[default]
    Pseudonymise,
    /// A mark with the class and the last four characters takes its place; the rest is gone.
    MaskPartly,
    /// It is stored as it is.
    Keep(Basis),
}

impl Action {
    /// The actions that need no ground.
    pub const WITHOUT_BASIS: [Self; 5] =
        [Self::DropEvent, Self::DropField, Self::Mask, Self::Pseudonymise, Self::MaskPartly];

    /// Its name in settings and commands.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DropEvent => "drop_event",
            Self::DropField => "drop_field",
            Self::Mask => "mask",
            Self::Pseudonymise => "pseudonymise",
            Self::MaskPartly => "mask_partly",
            Self::Keep(_) => "keep",
        }
    }

    /// Whether nothing stays of a value that `other` would not leave. Two grounds for keeping are never each other's.
    pub fn is_within(self, other: Self) -> bool {
        match (self, other) {
            (Self::Keep(ours), Self::Keep(theirs)) => ours == theirs,
            _ => self.left() <= other.left(),
        }
    }

    const fn left(self) -> u8 {
        match self {
            Self::DropEvent => 0,
            Self::DropField => 1,
            Self::Mask => 2,
            Self::Pseudonymise => 3,
            Self::MaskPartly => 4,
            Self::Keep(_) => 5,
        }
    }
}

impl FromStr for Action {
    type Err = UnknownWord;

    /// Reads an action that needs no ground.
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::WITHOUT_BASIS.into_iter().find(|action| action.as_str() == text).ok_or(UnknownWord("action"))
    }
}

/// A word that is not in a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such {0}; `docs/guide/officer.md` lists them")]
pub struct UnknownWord(&'static str);

impl UnknownWord {
    /// For a word that should have named `what`.
    pub(crate) const fn of(what: &'static str) -> Self {
        Self(what)
    }
}

/// What a stream's policy says about the personal data in its records. What it does not mention is left to the region's
/// own defaults, which may be anything but [`Action::Keep`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Privacy {
    /// By class, in rising order, each class once.
    actions: Box<[(PersonalClass, Action)]>,
    /// Fields replaced whole.
    fields: Box<[Name]>,
}

impl Privacy {
    /// With these actions and fields; of two actions for a class the one that leaves less holds.
    pub fn new(actions: impl IntoIterator<Item = (PersonalClass, Action)>, fields: Vec<Name>) -> Self {
        let mut sorted: Vec<_> = actions.into_iter().collect();
        sorted.sort_by_key(|(class, action)| (*class, action.left()));
        sorted.dedup_by_key(|(class, _)| *class);
        Self { actions: sorted.into(), fields: fields.into() }
    }

    /// What is said about a class.
    pub fn action(&self, class: PersonalClass) -> Option<Action> {
        // Decoded from elsewhere the list may be in any order, so the one that leaves least holds here too.
        self.actions.iter().filter(|(of, _)| *of == class).map(|(_, action)| *action).min_by_key(|action| action.left())
    }

    /// All that is said about classes.
    pub fn actions(&self) -> &[(PersonalClass, Action)] {
        &self.actions
    }

    /// Fields replaced whole.
    pub fn fields(&self) -> &[Name] {
        &self.fields
    }

    /// Whether it is within the bounds of the metadata group.
    pub fn is_bounded(&self) -> bool {
        self.actions.len() <= PersonalClass::ALL.len() && self.fields.len() <= MAX_PERSONAL_FIELDS
    }

    /// Whether under this nothing is stored that `other` would not store, whatever the region's defaults are.
    pub fn is_within(&self, other: &Self) -> bool {
        let fields = other.fields.iter().all(|field| self.fields.contains(field));
        fields
            && PersonalClass::ALL.into_iter().all(|class| match (self.action(class), other.action(class)) {
                (None, None) => true,
                (Some(ours), Some(theirs)) => ours.is_within(theirs),
                // The default may drop the event already.
                (Some(ours), None) => ours == Action::DropEvent,
                // The default leaves at most the last four characters.
                (None, Some(theirs)) => Action::MaskPartly.is_within(theirs),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(class: PersonalClass, action: Action) -> Privacy {
        Privacy::new([(class, action)], Vec::new())
    }

    fn all_actions() -> Vec<Option<Action>> {
        let kept = Basis::ALL.map(Action::Keep);
        std::iter::once(None).chain(Action::WITHOUT_BASIS.into_iter().chain(kept).map(Some)).collect()
    }

    /// What is left of a value, as far as an outsider can tell: the default leaves something between nothing and four characters.
    fn left(action: Option<Action>) -> (u8, u8) {
        action.map_or((0, 4), |action| (action.left(), action.left()))
    }

    #[test]
    fn only_what_leaves_less_or_the_same_is_narrower() {
        for ours in all_actions() {
            for theirs in all_actions() {
                let of = |action: Option<Action>| {
                    action.map_or_else(Privacy::default, |action| says(PersonalClass::Ip, action))
                };
                let kept_on_other_ground =
                    matches!((ours, theirs), (Some(Action::Keep(a)), Some(Action::Keep(b))) if a != b);
                let expected = (ours == theirs || left(ours).1 <= left(theirs).0) && !kept_on_other_ground;
                assert_eq!(of(ours).is_within(&of(theirs)), expected, "{ours:?} {theirs:?}");
            }
        }
    }

    #[test]
    fn another_class_is_no_excuse_and_fields_only_grow() {
        let name = |text: &str| text.parse::<Name>().expect("a name");
        let mail = says(PersonalClass::Email, Action::DropEvent);
        let keeps = says(PersonalClass::Ip, Action::Keep(Basis::Consent));
        assert!(!keeps.is_within(&mail));
        assert!(Privacy::default().is_within(&keeps));
        let one = Privacy::new([], vec![name("ip")]);
        let two = Privacy::new([], vec![name("email"), name("ip")]);
        assert!(two.is_within(&one) && !one.is_within(&two) && one.is_within(&Privacy::default()));
    }

    #[test]
    fn of_two_actions_for_one_class_the_stricter_holds() {
        let both = [(PersonalClass::Ip, Action::Keep(Basis::Consent)), (PersonalClass::Ip, Action::Mask)];
        let made = Privacy::new(both, Vec::new());
        assert_eq!(made.action(PersonalClass::Ip), Some(Action::Mask));
        let forged = Privacy { actions: both.into(), fields: Box::default() };
        assert_eq!(forged.action(PersonalClass::Ip), Some(Action::Mask));
        assert!(!forged.actions.is_empty() && forged.is_bounded());
        assert!(!Privacy { actions: both.repeat(20).into(), fields: Box::default() }.is_bounded());
    }

    #[test]
    fn every_word_is_read_as_it_is_written() {
        for class in PersonalClass::ALL {
            assert_eq!(class.as_str().parse(), Ok(class));
            assert_eq!(serde_json::to_value(class).expect("json"), class.as_str());
        }
        for basis in Basis::ALL {
            assert_eq!(basis.as_str().parse(), Ok(basis));
            assert_eq!(serde_json::to_value(basis).expect("json"), basis.as_str());
        }
        for action in Action::WITHOUT_BASIS {
            assert_eq!(action.as_str().parse(), Ok(action));
        }
        assert!("keep".parse::<Action>().is_err(), "keeping needs a ground");
    }
}
