//! Walks a record and treats what is personal in it, field by field.

use domicile_proto::privacy::{Action, PersonalClass};
use serde_json::{Map, Number, Value};
use zeroize::Zeroizing;

use super::detect::{Finder, Found, Keys, Packed, Span, What};
use super::mark;
use super::named::{self, Named, Rest};
use super::treatment::Treatment;
use crate::keys::{Bucket, Original, PseudonymKeys, TenantPseudonyms};

/// A walk over one record.
pub(super) struct Cleaner<'a> {
    pub(super) keys: &'a TenantPseudonyms,
    pub(super) treatment: &'a Treatment,
    pub(super) finder: Finder<'a>,
    /// Keyed hash of the record's subject.
    pub(super) subject: Option<u64>,
    /// What knows values that are sealed already, and in which bucket they must be.
    pub(super) met: Option<(&'a PseudonymKeys, Bucket)>,
    /// The values that tokens of this record stand for.
    pub(super) originals: Vec<Original>,
    /// Whether anything personal was found in it.
    pub(super) found: bool,
    /// Whether something was found that takes the whole event with it.
    pub(super) drops_event: bool,
    /// Whether a field is gone.
    pub(super) dropped_fields: bool,
}

/// What becomes of a field.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    Goes,
}

/// Where a text stands, as far as treating it goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In a field that can be dropped.
    Field,
    /// In an id that must stay one of its kind.
    Id,
    /// In a question, where a token must stay a token.
    Question,
}

impl<'a> Cleaner<'a> {
    pub(super) const fn new(
        keys: &'a TenantPseudonyms,
        treatment: &'a Treatment,
        finder: Finder<'a>,
        subject: Option<u64>,
    ) -> Self {
        let originals = Vec::new();
        let [found, drops_event, dropped_fields] = [false; 3];
        Self { keys, treatment, finder, subject, met: None, originals, found, drops_event, dropped_fields }
    }

    /// Hands values that are sealed in a bucket not on again.
    pub(super) const fn meeting(mut self, keys: &'a PseudonymKeys, bucket: Option<Bucket>) -> Self {
        self.met = match bucket {
            Some(bucket) => Some((keys, bucket)),
            None => None,
        };
        self
    }

    /// All fields below; `wanted` are those that are replaced whole.
    pub(super) fn map(&mut self, map: &mut Map<String, Value>, outer: &str, wanted: &[Rest<'_>]) {
        let mut going = Vec::new();
        let mut is_key_personal = false;
        for (key, value) in map.iter_mut() {
            let keys = Keys { nearest: key, outer };
            let fate = match self.treated_whole(named::class_of(wanted, key)) {
                Some(class) => self.whole_value(class, value, keys),
                None => {
                    let is_nested = matches!(value, Value::Object(_) | Value::Array(_));
                    let below = if is_nested { named::below(wanted, key) } else { Vec::new() };
                    self.value(value, keys, &below)
                }
            };
            if fate == Fate::Goes {
                going.push(key.clone());
            }
            is_key_personal |= !self.finder.spans(key, Keys::default()).is_empty() || is_mark_like(key);
        }
        for key in going {
            map.shift_remove(&key);
        }
        if is_key_personal {
            for (key, value) in std::mem::take(map) {
                let (clean, fate) = self.text(&key, Keys::default(), Place::Field);
                if fate == Fate::Goes {
                    self.dropped_fields = true;
                    continue;
                }
                let mut clean = clean.unwrap_or(key);
                while map.contains_key(&clean) {
                    clean.push('~');
                }
                map.insert(clean, value);
            }
        }
    }

    fn value(&mut self, value: &mut Value, keys: Keys<'_>, wanted: &[Rest<'_>]) -> Fate {
        let fate = match value {
            Value::String(text) => {
                let (clean, fate) = self.text(text, keys, Place::Field);
                if let Some(clean) = clean {
                    *text = clean;
                }
                fate
            }
            Value::Object(map) => {
                self.map(map, keys.nearest, wanted);
                Fate::Stays
            }
            Value::Array(list) => {
                list.retain_mut(|value| self.value(value, keys, wanted) == Fate::Stays);
                Fate::Stays
            }
            Value::Number(number) => match whole(number).filter(|number| *number >= SMALLEST_NUMBER) {
                Some(number) => {
                    let (clean, fate) = self.text(&number.to_string(), keys, Place::Field);
                    if let Some(clean) = clean {
                        *value = Value::String(clean);
                    }
                    fate
                }
                None => Fate::Stays,
            },
            Value::Null | Value::Bool(_) => Fate::Stays,
        };
        self.dropped_fields |= fate == Fate::Goes;
        fate
    }

    /// The producer's id of a record: it stays an id whatever happens to its class, or it goes with its event.
    pub(super) fn id(&mut self, id: &str) -> Option<String> {
        self.text(id, Keys::default(), Place::Id).0
    }

    /// A text of a question, as it would stand in a record.
    pub(super) fn question(&mut self, text: &str, keys: Keys<'_>) -> Option<String> {
        self.text(text, keys, Place::Question).0
    }

    /// The class by which a value is treated as a whole; none where what stands there is looked through like any other.
    pub(super) fn treated_whole(&self, named: Option<Named>) -> Option<PersonalClass> {
        match named? {
            Named::Field(class) => Some(class),
            Named::Part(class) => self.leaves_nothing(class).then_some(class),
        }
    }

    /// Whether nothing of a value of the class stays. The ground on which one is kept is given for the field and not for everything that
    /// may stand in it.
    fn leaves_nothing(&self, class: PersonalClass) -> bool {
        !matches!(self.treatment.action(class), Action::Keep(_) | Action::MaskPartly)
    }

    /// A value of a field that is personal as a whole: each value of a list for itself, so that each is found by what it was.
    fn whole_value(&mut self, class: PersonalClass, value: &mut Value, keys: Keys<'_>) -> Fate {
        if let Value::Array(list) = value {
            list.retain_mut(|value| self.whole_value(class, value, keys) == Fate::Stays);
            return Fate::Stays;
        }
        if value.is_object() && !self.leaves_nothing(class) {
            return self.value(value, keys, &[]);
        }
        let Some(treated) = named::text_of(value).map(|text| self.whole(class, &text)) else { return Fate::Stays };
        match treated {
            Ok(clean) => {
                *value = Value::String(clean);
                Fate::Stays
            }
            Err(fate) => fate,
        }
    }

    /// A text that is personal as a whole, under its class.
    pub(super) fn whole(&mut self, class: PersonalClass, text: &str) -> Result<String, Fate> {
        let mut out = String::new();
        match self.treat(&mut out, class, class.as_str(), text, text, Place::Field) {
            Fate::Stays => Ok(out),
            Fate::Goes => {
                self.dropped_fields = true;
                Err(Fate::Goes)
            }
        }
    }

    /// The text as it may be stored, if it is another one; and what becomes of its field.
    fn text(&mut self, text: &str, keys: Keys<'_>, place: Place) -> (Option<String>, Fate) {
        let spans = match self.finder.look(text, keys) {
            Found::Spans(spans) => spans,
            Found::Address(value) => {
                let mut clean = String::with_capacity(ROOM_FOR_TOKEN);
                let class = PersonalClass::Ip;
                let fate = self.treat(&mut clean, class, class.as_str(), &value, text, place);
                return (Some(clean), fate);
            }
        };
        if place == Place::Question {
            return if spans.is_empty() { (None, Fate::Stays) } else { self.replaced(text, &spans, place) };
        }
        if spans.is_empty() {
            return match mark::defused(text) {
                std::borrow::Cow::Borrowed(_) => (None, Fate::Stays),
                std::borrow::Cow::Owned(text) => (Some(text), Fate::Stays),
            };
        }
        self.replaced(text, &spans, place)
    }

    fn replaced(&mut self, text: &str, spans: &[Span], place: Place) -> (Option<String>, Fate) {
        let mut clean = String::with_capacity(text.len() + spans.len() * ROOM_FOR_TOKEN);
        let mut from = 0;
        let mut fate = Fate::Stays;
        let between = |from: usize, to: usize| {
            let text = text.get(from..to).unwrap_or_default();
            if place == Place::Question { std::borrow::Cow::Borrowed(text) } else { mark::defused(text) }
        };
        for span in spans {
            clean.push_str(&between(from, span.from));
            let original = text.get(span.from..span.to).unwrap_or_default();
            let became = match &span.what {
                What::Personal { class, value } => {
                    self.treat(&mut clean, class.of_policy(), class.as_str(), value, original, place)
                }
                What::Packed(packed) => self.packed(&mut clean, packed, place),
            };
            if became == Fate::Goes {
                fate = Fate::Goes;
            }
            from = span.to;
        }
        clean.push_str(&between(from, text.len()));
        (Some(clean), fate)
    }

    fn packed(&mut self, clean: &mut String, packed: &Packed, place: Place) -> Fate {
        let (inside, fate) = self.replaced(&packed.text, &packed.spans, place);
        clean.push_str(&packed.pack(inside.as_deref().unwrap_or(&packed.text)));
        fate
    }

    fn treat(
        &mut self,
        clean: &mut String,
        class: PersonalClass,
        word: &str,
        value: &str,
        original: &str,
        place: Place,
    ) -> Fate {
        let action = match self.treatment.action(class) {
            // An id that names only its class would be the id of many.
            Action::DropField | Action::Mask | Action::MaskPartly if place == Place::Id => Action::Pseudonymise,
            action => action,
        };
        self.found |= !matches!(action, Action::Keep(_));
        match action {
            Action::Keep(_) => clean.push_str(&mark::defused(original)),
            Action::Pseudonymise => self.pseudonymise(clean, word, value, original, place),
            Action::Mask => clean.push_str(&mark::mask(word)),
            Action::MaskPartly => clean.push_str(&mark::partial(word, value)),
            Action::DropField => return Fate::Goes,
            Action::DropEvent => {
                self.drops_event = true;
                return Fate::Goes;
            }
        }
        Fate::Stays
    }
}

impl Cleaner<'_> {
    /// Puts the token of a value into a text, and the value with those that are to be sealed.
    fn pseudonymise(&mut self, clean: &mut String, word: &str, value: &str, original: &str, place: Place) {
        let met = self.met.filter(|_| place != Place::Question);
        let met = met.map(|(keys, bucket)| keys.meet(bucket, self.subject, word, value));
        if let Some((_, Some(hash))) = met {
            mark::push_token(clean, word, hash);
            return;
        }
        let (hash, begin) = (self.keys.token(word, value), clean.len());
        mark::push_token(clean, word, hash);
        if place != Place::Question {
            let token = clean.get(begin..).unwrap_or_default().into();
            let text = Zeroizing::new(original.to_owned());
            let met = met.map(|(sight, _)| (sight, hash));
            self.originals.push(Original { token, subject: self.subject, text, met });
        }
    }
}

/// The digits of a whole number, however it was written: with a sign, or as `4.1e15`.
fn whole(number: &Number) -> Option<u64> {
    let integer = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
    integer.or_else(|| {
        let float = number.as_f64().map(f64::abs)?;
        let is_whole = (float - float.trunc()).abs() < f64::EPSILON;
        is_whole.then(|| format!("{float:.0}").parse().ok()).flatten()
    })
}

fn is_mark_like(key: &str) -> bool {
    matches!(mark::defused(key), std::borrow::Cow::Owned(_))
}

/// Bytes of a token of most classes.
const ROOM_FOR_TOKEN: usize = 40;
/// Smallest number that can be a telephone number or more.
const SMALLEST_NUMBER: u64 = 10_000_000;
