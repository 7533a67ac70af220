//! All finders over one text and all its views.

use std::borrow::Cow;
use std::cell::Cell;

use domicile_proto::privacy::PersonalClass;

use super::context::{Keys, Memory, meaning};
use super::phone::Plan;
use super::rules::Rules;
use super::shape::{self, Shape};
use super::span::{Span, are_apart, settle};
use super::view::View;
use super::words::{self, Cut};
use super::{address, email, numbers};

/// The country whose habits come first where a national number fits several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Home {
    /// Japan.
    #[default]
    Japan,
    /// Singapore.
    Singapore,
    /// Germany.
    Germany,
}

impl Home {
    /// Of a two-letter code; others count as Japan.
    pub(crate) fn of(jurisdiction: &str) -> Self {
        match jurisdiction {
            "SG" => Self::Singapore,
            "DE" => Self::Germany,
            _ => Self::Japan,
        }
    }
}

/// Which finders run, and how strictly.
#[derive(Clone, Copy)]
pub(crate) struct Finder<'a> {
    pub(super) home: Home,
    /// Weak shapes count without a word beside them.
    pub(super) is_strict: bool,
    /// Classes nobody asks for, as bits by their place in the enum.
    skipped: u32,
    rules: Option<&'a Rules>,
}

/// What is personal in a text.
pub(crate) enum Found<'t> {
    /// It is an IPv4 address as a whole, which in its one spelling is this.
    Address(Cow<'t, str>),
    /// These spans of it, in order, never overlapping.
    Spans(Vec<Span>),
}

/// A finder at work on one view of a text.
pub(super) struct At<'a> {
    pub(super) text: &'a str,
    pub(super) keys: Keys<'a>,
    pub(super) finder: &'a Finder<'a>,
    pub(super) spans: Vec<Span>,
    memory: Memory,
    /// Bytes that may still be unzipped for the text as a whole.
    pub(super) room: &'a Cell<usize>,
}

impl<'a> At<'a> {
    pub(super) fn new(text: &'a str, keys: Keys<'a>, finder: &'a Finder<'a>, room: &'a Cell<usize>) -> Self {
        Self { text, keys: keys.ends(), finder, spans: Vec::new(), memory: Memory::default(), room }
    }
}

impl At<'_> {
    pub(super) const fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    pub(super) fn byte(&self, at: usize) -> u8 {
        self.bytes().get(at).copied().unwrap_or(0)
    }

    pub(super) fn byte_before(&self, at: usize) -> u8 {
        at.checked_sub(1).map_or(0, |before| self.byte(before))
    }

    pub(super) fn slice(&self, from: usize, to: usize) -> &str {
        self.text.get(from..to).unwrap_or_default()
    }

    /// Whether something beside the span announces what it is, or nobody waits for that.
    pub(super) fn announces(&self, from: usize, to: usize, wanted: u8) -> bool {
        self.finder.is_strict || self.memory.announces(self.text, from, to, self.keys, wanted)
    }

    /// Whether a number is named as something else.
    pub(super) fn is_named_otherwise(&self, from: usize) -> bool {
        self.memory.is_named_otherwise(self.text, from, self.keys, meaning::CARD)
    }

    pub(super) fn push(&mut self, class: PersonalClass, from: usize, to: usize, value: String) {
        if !self.finder.skips(class) {
            self.spans.push(Span::known(class, from, to, value));
        }
    }
}

impl<'a> Finder<'a> {
    /// All built-in finders.
    pub(crate) const fn new(home: Home) -> Self {
        Self { home, is_strict: false, skipped: 0, rules: None }
    }

    /// Weak shapes count as they are: for texts that may not travel if there is any doubt.
    pub(crate) const fn strict(mut self) -> Self {
        self.is_strict = true;
        self
    }

    /// Without a class.
    pub(crate) fn without(mut self, class: PersonalClass) -> Self {
        self.skipped |= 1 << (class as u32);
        self
    }

    /// With the rules of a tenant.
    pub(crate) const fn with_rules(mut self, rules: Option<&'a Rules>) -> Self {
        self.rules = rules;
        self
    }

    pub(super) const fn skips(&self, class: PersonalClass) -> bool {
        self.skipped & (1 << (class as u32)) != 0
    }

    /// The order in which plans of national numbers are tried.
    pub(super) const fn plans(&self) -> [Plan; 5] {
        match self.home {
            Home::Japan => [Plan::Japan, Plan::Germany, Plan::Singapore, Plan::China, Plan::America],
            Home::Singapore => [Plan::Singapore, Plan::Japan, Plan::Germany, Plan::China, Plan::America],
            Home::Germany => [Plan::Germany, Plan::Japan, Plan::Singapore, Plan::China, Plan::America],
        }
    }

    /// The personal spans of a text, in order, never overlapping.
    pub(crate) fn spans(&self, text: &str, keys: Keys<'_>) -> Vec<Span> {
        match self.look(text, keys) {
            Found::Address(value) => vec![Span::known(PersonalClass::Ip, 0, text.len(), value.into_owned())],
            Found::Spans(spans) => spans,
        }
    }

    /// What is personal in a text.
    pub(crate) fn look<'t>(&self, text: &'t str, keys: Keys<'_>) -> Found<'t> {
        if self.rules.is_none() && words::is_bare(text) {
            return Found::Spans(Vec::new());
        }
        if self.rules.is_none() && !self.is_strict && self.skipped & SOUGHT != SOUGHT {
            match shape::of(text) {
                Shape::Harmless => return Found::Spans(Vec::new()),
                Shape::V4(_) if self.skips(PersonalClass::Ip) => return Found::Spans(Vec::new()),
                Shape::V4(value) => return Found::Address(value),
                Shape::Other => {}
            }
        }
        Found::Spans(self.all_spans(text, keys))
    }

    /// [`Finder::spans`], whatever the shape of the text.
    pub(super) fn all_spans(&self, text: &str, keys: Keys<'_>) -> Vec<Span> {
        self.spans_to_depth(text, keys, 0, &Cell::new(MAX_UNZIPPED_BYTES))
    }

    pub(super) fn spans_to_depth(&self, text: &str, keys: Keys<'_>, depth: u8, room: &Cell<usize>) -> Vec<Span> {
        if text.len() < SHORTEST || (self.rules.is_none() && (self.skipped & SOUGHT == SOUGHT || words::is_bare(text)))
        {
            return Vec::new();
        }
        let mut views: Vec<View> = words::has_wide(text).then(|| View::folded(text)).flatten().into_iter().collect();
        let top = views.last().map_or(text, View::text);
        let (mut spans, mut is_escaped) = self.view(top, (keys, room), depth);
        let below = |top: &str, is_escaped: bool, layer: u8| {
            if is_escaped && depth + layer < MAX_DEPTH { View::unescaped(top) } else { None }
        };
        let mut next = below(top, is_escaped, 0);
        // Most texts are what they seem, and their spans lie apart.
        if views.is_empty() && next.is_none() && are_apart(&mut spans) {
            return spans;
        }
        let mut found: Vec<(u8, Span)> = spans.into_iter().map(|span| (0, back(span, &views))).collect();
        let mut layer = 0;
        while let Some(view) = next {
            layer += 1;
            (spans, is_escaped) = self.view(view.text(), (keys, room), depth + layer);
            next = below(view.text(), is_escaped, layer);
            views.push(view);
            found.extend(spans.into_iter().map(|span| (layer, back(span, &views))));
        }
        settle(&mut found);
        found.into_iter().map(|(_, span)| span).collect()
    }

    /// All finders over one view: what they found, and whether it holds what may be an escape.
    fn view(&self, text: &str, (keys, room): (Keys<'_>, &Cell<usize>), depth: u8) -> (Vec<Span>, bool) {
        let mut at = At::new(text, keys, self, room);
        let cut = Cut::of(&mut at, depth);
        if cut.seen.has_at {
            email::find(&mut at);
        }
        if cut.seen.has_colon {
            address::find(&mut at);
        }
        if !cut.groups.is_empty() {
            numbers::find(&mut at, &cut.groups, cut.likely);
        }
        if let Some(rules) = self.rules {
            rules.find(&mut at);
        }
        let is_escaped = cut.seen.is_escaped;
        cut.put_back();
        (at.spans, is_escaped)
    }
}

/// Carries a span back through all views to the text that was sent.
fn back(mut span: Span, views: &[View]) -> Span {
    for view in views.iter().rev() {
        (span.from, span.to) = view.back(span.from, span.to);
    }
    span
}

/// Shortest text that can hold anything personal: `::1`.
const SHORTEST: usize = 3;
/// The classes that built-in finders look for, as bits; the others are fields or a tenant's rules.
const SOUGHT: u32 = {
    use PersonalClass::{Declared, Rule, Subject};
    ((1 << PersonalClass::ALL.len()) - 1) & !(1 << Declared as u32 | 1 << Rule as u32 | 1 << Subject as u32)
};
/// Most bytes that come out of gzip for one text: a bomb costs no more than a long line.
const MAX_UNZIPPED_BYTES: usize = 1 << 20;
/// Layers of escapes and packing that are looked through.
pub(super) const MAX_DEPTH: u8 = 3;

#[cfg(test)]
#[path = "finder_test.rs"]
mod tests;
