//! On which legal basis something leaves one region for another: routes of the transfer register, as the metadata group holds them.
//!
//! A route is opened by the officer of the region that sends, and closed by anybody there. Closed sets and days, never a text
//! (RES-2). What a region's own file does not open stays shut, whatever stands here; that is for its nodes to say (RES-4).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{PolicyVersion, Region};
use crate::metadata::RegionalChange;
use crate::privacy::UnknownWord;

/// The legal basis of a route: a closed set. Which of them a law takes for which route stands in the region's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferBasis {
    /// The authority found the other country's protection adequate: GDPR Art. 45, APPI Art. 28(1) for the EEA.
    Adequacy,
    /// Standard contractual clauses with an assessment of the transfer: GDPR Art. 46(2)(c).
    StandardClauses,
    /// Binding corporate rules: GDPR Art. 47, PDPA Regulations 2021 r. 11.
    BindingRules,
    /// The recipient keeps measures that match the law's, looked at every year: APPI Art. 28(1) and (3).
    EquivalentMeasures,
    /// Informed consent of the persons: APPI Art. 28(1), PDPA Regulations 2021 r. 10(2)(a), GDPR Art. 49(1)(a).
    Consent,
    /// A contract that binds the recipient to comparable protection and names the countries: PDPA s. 26, r. 11.
    Contract,
    /// The recipient holds a certification that the law names: PDPA r. 12 (CBPR, PRP), GDPR Art. 46(2)(f).
    Certification,
}

impl TransferBasis {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 7] = [
        Self::Adequacy,
        Self::StandardClauses,
        Self::BindingRules,
        Self::EquivalentMeasures,
        Self::Consent,
        Self::Contract,
        Self::Certification,
    ];

    /// Its name in files, commands and registers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Adequacy => "adequacy",
            Self::StandardClauses => "standard_clauses",
            Self::BindingRules => "binding_rules",
            Self::EquivalentMeasures => "equivalent_measures",
            Self::Consent => "consent",
            Self::Contract => "contract",
            Self::Certification => "certification",
        }
    }
}

impl fmt::Display for TransferBasis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TransferBasis {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let found = Self::ALL.into_iter().find(|basis| basis.as_str() == text);
        found.ok_or(UnknownWord::of("legal basis of a route"))
    }
}

/// A calendar day: days since 1970-01-01, in no time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(pub u32);

/// What the group says of a route. A row is never taken out: a route that was closed stays closed until it is opened again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferRow {
    /// The region that sends.
    pub from: Region,
    /// The region that receives.
    pub to: Region,
    /// The version with which it came.
    pub version: PolicyVersion,
    /// The signed approval; none where the route was closed.
    pub approval: Option<RegionalChange>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_as_it_is_written() {
        for basis in TransferBasis::ALL {
            assert_eq!(basis.as_str().parse(), Ok(basis));
            assert_eq!(serde_json::to_value(basis).expect("json"), basis.to_string());
        }
        assert!("undecided".parse::<TransferBasis>().is_err() && "".parse::<TransferBasis>().is_err());
    }
}
