//! What a finder found: a span of the text as it was sent, and what stands there.

use domicile_proto::privacy::PersonalClass;

use super::packed::Packed;

/// What a span is: a class of the policy, or a rule of the tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// One of the built-in classes.
    Known(PersonalClass),
    /// A rule of the tenant, by its name.
    Rule(Box<str>),
}

impl Class {
    /// The class whose action holds.
    pub(crate) const fn of_policy(&self) -> PersonalClass {
        match self {
            Self::Known(class) => *class,
            Self::Rule(_) => PersonalClass::Rule,
        }
    }

    /// The word in the mark.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Known(class) => class.as_str(),
            Self::Rule(name) => name,
        }
    }
}

/// A personal span of a text. No `Debug` and no `Display`: it holds the value.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) what: What,
}

/// What stands there.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// A value of a class, in its one spelling.
    Personal { class: Class, value: String },
    /// A packed text with personal spans in it.
    Packed(Box<Packed>),
}

impl Span {
    pub(super) const fn known(class: PersonalClass, from: usize, to: usize, value: String) -> Self {
        Self { from, to, what: What::Personal { class: Class::Known(class), value } }
    }
}

/// Puts spans in order; whether none of them overlaps another, so that there is nothing to settle.
pub(super) fn are_apart(spans: &mut [Span]) -> bool {
    spans.sort_by_key(|span| (span.from, std::cmp::Reverse(span.to)));
    spans.iter().zip(spans.iter().skip(1)).all(|(span, next)| span.to <= next.from)
}

/// Spans in order, never overlapping. Where two overlap, the one that lies deeper in escapes knows better what it is, then the
/// longer one; its neighbour's rest is covered too, unless that is no more than a sign of an escape.
pub(super) fn settle(spans: &mut Vec<(u8, Span)>) {
    if spans.len() < 2 {
        return;
    }
    spans.sort_by_key(|(_, span)| (span.from, std::cmp::Reverse(span.to)));
    let mut settled: Vec<(u8, Span)> = Vec::with_capacity(spans.len());
    for (depth, span) in spans.drain(..) {
        let Some((last_depth, last)) = settled.last_mut().filter(|(_, last)| span.from < last.to) else {
            settled.push((depth, span));
            continue;
        };
        let (from, to) = (last.from, last.to.max(span.to));
        let is_packed = |span: &Span| matches!(span.what, What::Packed(_));
        let is_better = match (is_packed(last), is_packed(&span)) {
            (true, false) => true,
            (false, true) => false,
            _ => (depth, span.to - span.from) > (*last_depth, last.to - last.from),
        };
        let (better, rest) = if is_better {
            (&span, to - (span.to - span.from) - from)
        } else {
            (&*last, to - (last.to - last.from) - from)
        };
        let (from, to) =
            if rest <= MOST_ESCAPE_BYTES && depth != *last_depth { (better.from, better.to) } else { (from, to) };
        if is_better {
            *last_depth = depth;
            last.what = span.what;
        }
        (last.from, last.to) = (from, to);
    }
    *spans = settled;
}

/// What an undone escape may leave of its neighbour, in bytes.
const MOST_ESCAPE_BYTES: usize = 3;
