//! A tenant's own rules: a regular expression, and what must hold besides. Judged for their cost before they are used.
//!
//! A rule may hold personal text, so it lives in a file of the region and never goes through the metadata group.

use regex::{Regex, RegexBuilder};
use regex_syntax::Parser;
use regex_syntax::hir::Hir;
use serde::Deserialize;

use domicile_proto::ids::Name;
use domicile_proto::privacy::PersonalClass;

use super::check;
use super::finder::At;
use super::span::{Class, Span, What};

/// A rule as it is written.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleText {
    /// The class in its marks.
    pub(crate) name: Name,
    /// A regular expression in the syntax of the `regex` crate.
    pub(crate) pattern: String,
    /// What the digits and letters of a match must satisfy.
    #[serde(default)]
    pub(crate) validator: Validator,
    /// Words one of which must stand shortly before a match, or in the key it is sent under; none means that none is needed.
    #[serde(default)]
    pub(crate) context: Vec<String>,
}

/// What a match must satisfy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Validator {
    /// Nothing more.
    #[default]
    None,
    /// The Luhn check digit.
    Luhn,
    /// ISO 7064 mod 97-10 with the check digits at its end.
    Mod97,
    /// An IBAN.
    Iban,
    /// A Japanese individual number.
    MyNumber,
    /// A Singaporean NRIC or FIN.
    Nric,
    /// A German tax number of a person.
    TaxId,
}

/// Why a rule is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RuleError {
    /// Not a regular expression, or beyond the limits of one. The pattern itself is not repeated: it may be personal.
    #[error("its `pattern` is no regular expression within the limits ({0}); simplify it")]
    Pattern(&'static str),
    /// It matches too little.
    #[error(
        "its `pattern` matches texts of {found} bytes; let it match at least {least}, or it would replace everything"
    )]
    TooShort {
        /// The shortest match.
        found: usize,
        /// What is asked for.
        least: usize,
    },
    /// Its matches have no bound.
    #[error("its `pattern` has no longest match of at most {most} bytes; bound each repetition, as in `{{1,20}}`")]
    TooLong {
        /// What is asked for.
        most: usize,
    },
    /// The name stands for something else.
    #[error("its `name` is a built-in class; choose another")]
    NameTaken,
    /// Two rules with one name.
    #[error("its `name` is used by another rule of the file")]
    NameTwice,
    /// A word that says nothing.
    #[error("its `context` holds an empty or overlong word, or more than {most} words")]
    Context {
        /// What is allowed.
        most: usize,
    },
    /// More rules than a line can pay for.
    #[error("it is one of {found} rules; a tenant has at most {most}")]
    TooMany {
        /// How many there are.
        found: usize,
        /// What is allowed.
        most: usize,
    },
}

/// A rule, ready.
pub(crate) struct Rule {
    name: Box<str>,
    regex: Regex,
    validator: Validator,
    context: Vec<String>,
}

/// The rules of one tenant.
pub(crate) struct Rules(Vec<Rule>);

impl Rules {
    /// Judges rules.
    ///
    /// # Errors
    /// The place of the first rule that is refused, its name, and why.
    pub(crate) fn of(texts: Vec<RuleText>) -> Result<Self, (Name, RuleError)> {
        let found = texts.len();
        let mut rules: Vec<Rule> = Vec::with_capacity(found);
        for text in texts {
            let name = text.name.clone();
            let refused = |error| (name.clone(), error);
            if found > MAX_RULES {
                return Err(refused(RuleError::TooMany { found, most: MAX_RULES }));
            }
            if rules.iter().any(|rule| *rule.name == *name.as_str()) {
                return Err(refused(RuleError::NameTwice));
            }
            rules.push(Rule::of(text).map_err(refused)?);
        }
        Ok(Self(rules))
    }

    /// Adds what the rules find.
    pub(super) fn find(&self, at: &mut At<'_>) {
        for rule in &self.0 {
            rule.find(at);
        }
    }
}

impl Rule {
    fn of(text: RuleText) -> Result<Self, RuleError> {
        if PersonalClass::ALL.iter().any(|class| class.as_str() == text.name.as_str()) {
            return Err(RuleError::NameTaken);
        }
        let bad_word = text.context.iter().any(|word| word.trim().is_empty() || word.len() > MAX_WORD_BYTES);
        if bad_word || text.context.len() > MAX_WORDS {
            return Err(RuleError::Context { most: MAX_WORDS });
        }
        if text.pattern.len() > MAX_PATTERN_BYTES {
            return Err(RuleError::Pattern("it is longer than 512 bytes"));
        }
        judge(&Parser::new().parse(&text.pattern).map_err(|_| RuleError::Pattern("its syntax is wrong"))?)?;
        let regex = RegexBuilder::new(&text.pattern)
            .size_limit(MAX_PROGRAM_BYTES)
            .dfa_size_limit(MAX_PROGRAM_BYTES)
            .nest_limit(MAX_NESTING)
            .build()
            .map_err(|_| RuleError::Pattern("its program is too large"))?;
        let context = text.context.iter().map(|word| word.to_lowercase()).collect();
        Ok(Self { name: text.name.as_str().into(), regex, validator: text.validator, context })
    }

    fn find(&self, at: &mut At<'_>) {
        let mut spans = Vec::new();
        for found in self.regex.find_iter(at.text) {
            if self.holds(found.as_str()) && self.is_announced(at, found.start()) {
                let what = What::Personal { class: Class::Rule(self.name.clone()), value: found.as_str().to_owned() };
                spans.push(Span { from: found.start(), to: found.end(), what });
            }
        }
        if !at.finder.skips(PersonalClass::Rule) {
            at.spans.append(&mut spans);
        }
    }

    fn holds(&self, text: &str) -> bool {
        let signs: Vec<u8> =
            text.bytes().filter(u8::is_ascii_alphanumeric).map(|sign| sign.to_ascii_uppercase()).collect();
        let digits = || signs.iter().copied().filter(u8::is_ascii_digit).collect::<Vec<u8>>();
        match self.validator {
            Validator::None => true,
            Validator::Luhn => check::luhn(&digits()),
            Validator::Mod97 => check::mod_97(signs.iter().copied()) == Some(1),
            Validator::Iban => check::iban(&signs),
            Validator::MyNumber => check::my_number(&digits()),
            Validator::Nric => check::nric(&signs),
            Validator::TaxId => check::tax_id(&digits()),
        }
    }

    fn is_announced(&self, at: &At<'_>, from: usize) -> bool {
        if self.context.is_empty() || at.finder.is_strict {
            return true;
        }
        let mut begin = from.saturating_sub(CONTEXT_BYTES);
        while !at.text.is_char_boundary(begin) {
            begin += 1;
        }
        let before = at.slice(begin, from).to_lowercase();
        let key = at.keys.nearest.to_lowercase();
        self.context.iter().any(|word| before.contains(word) || key.contains(word))
    }
}

/// The cost of a search is the length of the text times the longest match over the shortest: both ends are bounded.
fn judge(hir: &Hir) -> Result<(), RuleError> {
    let properties = hir.properties();
    let found = properties.minimum_len().unwrap_or(0);
    if found < SHORTEST_MATCH {
        return Err(RuleError::TooShort { found, least: SHORTEST_MATCH });
    }
    match properties.maximum_len() {
        Some(longest) if longest <= LONGEST_MATCH => Ok(()),
        _ => Err(RuleError::TooLong { most: LONGEST_MATCH }),
    }
}

/// Most rules of a tenant: each is a pass over each text.
const MAX_RULES: usize = 32;
/// Longest pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 512;
/// Largest compiled pattern, in bytes; a tenth of the crate's own bound.
const MAX_PROGRAM_BYTES: usize = 1 << 20;
const MAX_NESTING: u32 = 16;
/// Shortest match, in bytes: a rule that matches less replaces half of every line.
const SHORTEST_MATCH: usize = 4;
/// Longest match, in bytes.
const LONGEST_MATCH: usize = 128;
const MAX_WORDS: usize = 16;
/// Longest word, in bytes.
const MAX_WORD_BYTES: usize = 64;
/// How far before a match a word may stand, in bytes.
const CONTEXT_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::context::Keys;
    use super::super::finder::{Finder, Home};
    use super::*;

    fn rule(pattern: &str) -> RuleText {
        let name = "employee".parse().unwrap();
        RuleText { name, pattern: pattern.to_owned(), validator: Validator::None, context: Vec::new() }
    }

    #[track_caller]
    fn refused(text: RuleText) -> RuleError {
        Rules::of(vec![text]).err().expect("a refusal").1
    }

    #[test]
    fn rules_that_cost_or_match_too_much_are_refused_with_the_reason() {
        assert_eq!(refused(rule("E-[")), RuleError::Pattern("its syntax is wrong"));
        assert_eq!(refused(rule(r"(?i)\w{60}{60}{60}")), RuleError::TooLong { most: LONGEST_MATCH });
        assert_eq!(refused(rule(r"[\pL\pN]{200}[\pL]{12}\w{20}")), RuleError::TooLong { most: LONGEST_MATCH });
        assert_eq!(
            refused(rule(r"(\w{0,3}\w{1,30}\w{1,30}x)|(\pL{4}){5}")),
            RuleError::TooShort { found: 3, least: 4 }
        );
        assert_eq!(refused(rule("")), RuleError::TooShort { found: 0, least: 4 });
        assert_eq!(refused(rule("(abcdef)?")), RuleError::TooShort { found: 0, least: 4 });
        assert_eq!(refused(rule("E-[0-9]+x")), RuleError::TooLong { most: LONGEST_MATCH });
        assert_eq!(refused(rule("(a+)+bcd")), RuleError::TooLong { most: LONGEST_MATCH });
        assert!(matches!(refused(rule(&"a".repeat(513))), RuleError::Pattern(_)));
        assert!(matches!(refused(rule(&format!("{}abcd{}", "(".repeat(40), ")".repeat(40)))), RuleError::Pattern(_)));
        assert_eq!(refused(RuleText { name: "email".parse().unwrap(), ..rule("abcd") }), RuleError::NameTaken);
        assert_eq!(
            refused(RuleText { context: vec![" ".to_owned()], ..rule("abcd") }),
            RuleError::Context { most: 16 }
        );
        assert_eq!(Rules::of(vec![rule("abcd"), rule("efgh")]).err().unwrap().1, RuleError::NameTwice);
        assert!(matches!(Rules::of(vec![rule("abcd"); 33]).err().unwrap().1, RuleError::TooMany { found: 33, .. }));
    }

    #[test]
    fn a_refusal_never_repeats_the_pattern() {
        for pattern in ["john@example.com(", "john@example.com+", "john?"] {
            assert!(!refused(rule(pattern)).to_string().contains("john"), "{pattern}");
        }
    }

    #[test]
    fn a_rule_finds_what_its_validator_and_its_words_allow() {
        let found = |text: RuleText, line: &str, key: &str| {
            let rules = Rules::of(vec![text]).ok().unwrap();
            let finder = Finder::new(Home::Japan).with_rules(Some(&rules));
            finder.spans(line, Keys { nearest: key, outer: "" }).len()
        };
        assert_eq!(found(rule("E-[0-9]{6}"), "by E-123456 and E-654321", ""), 2);
        let checked = || RuleText { validator: Validator::Luhn, ..rule("[0-9]{8}") };
        assert_eq!(found(checked(), "x 12345674 12345675", ""), 1);
        let announced =
            || RuleText { context: vec!["社員番号".to_owned(), "Staff".to_owned()], ..rule("[0-9]{6}") };
        assert_eq!(found(announced(), "社員番号は123456、注文 654321", ""), 2);
        assert_eq!(found(announced(), "注文 654321", ""), 0);
        assert_eq!(found(announced(), "654321", "staffId"), 1);
    }
}
