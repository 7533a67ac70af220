//! Finds personal spans in one text. No I/O, no keys, no policy: text in, spans out.
//!
//! In reading order: [`shape`] settles what is nothing but a stamp, an id or an address; [`finder`] asks cheap questions and calls the precise finders only where those say maybe; [`view`] shows
//! a text without its escapes; [`words`] cuts it once into words and runs of digits, by the bits of [`mask`]; [`numbers`] ([`card`], [`phone`] and the
//! national numbers), [`signs`] (numbers with letters), [`address`], [`email`] and [`secret`] judge; [`check`] is arithmetic,
//! [`context`] the words around a weak shape, which [`lexicon`] lists and finds; [`packed`] opens base64 and gzip; [`rules`] are a tenant's own.

mod address;
mod card;
pub(super) mod check;
mod context;
mod email;
mod finder;
mod lexicon;
mod mask;
mod numbers;
mod packed;
mod phone;
mod rules;
mod secret;
mod shape;
mod signs;
mod span;
mod view;
mod words;

pub(crate) use context::Keys;
pub(crate) use finder::{Finder, Found, Home};
pub(crate) use packed::Packed;
pub(crate) use rules::{RuleError, RuleText, Rules};
pub(crate) use span::{Span, What};
