//! Numbers with letters in them: NRIC and FIN, IBAN, identity cards, and addresses of network cards without colons.

use domicile_proto::privacy::PersonalClass;

use super::address;
use super::check;
use super::context::meaning;
use super::finder::At;

/// Judges one word with letters and digits.
pub(super) fn judge(at: &mut At<'_>, from: usize, to: usize) {
    let length = to - from;
    if length == 9 {
        nric(at, from, to);
    }
    if matches!(length, 9 | 10) {
        id_card(at, from, to);
    }
    if let Some([a, b, c, d]) = at.bytes().get(from..from + 4)
        && c.is_ascii_digit()
        && d.is_ascii_digit()
        && let Some(wanted) = check::iban_length(a.to_ascii_uppercase(), b.to_ascii_uppercase())
    {
        iban(at, from, to, wanted);
    }
}

/// Judges the first digits of what may be the address of a network card.
pub(super) fn pair(at: &mut At<'_>, from: usize, length: usize) {
    if length == 2 { address::dashed(at, from) } else { address::dotted(at, from) }
}

fn nric(at: &mut At<'_>, from: usize, to: usize) {
    let Some(value) = loud::<9>(at, from, to) else { return };
    // In small letters it is more often a piece of something else.
    let is_loud = at.byte(from).is_ascii_uppercase() == at.byte(to - 1).is_ascii_uppercase();
    if is_loud && check::nric(&value) {
        at.push(PersonalClass::Nric, from, to, spelt(&value));
    }
}

fn id_card(at: &mut At<'_>, from: usize, to: usize) {
    let whole = loud::<10>(at, from, to).filter(|signs| check::id_card(signs)).map(|signs| spelt(&signs));
    let serial = || loud::<9>(at, from, to).filter(|signs| check::is_card_serial(signs)).map(|signs| spelt(&signs));
    if let Some(value) = whole.or_else(serial)
        && at.announces(from, to, meaning::ID_CARD)
    {
        at.push(PersonalClass::IdCard, from, to, value);
    }
}

/// A word of so many signs in capitals.
fn loud<const SIGNS: usize>(at: &At<'_>, from: usize, to: usize) -> Option<[u8; SIGNS]> {
    let mut signs: [u8; SIGNS] = at.bytes().get(from..to)?.try_into().ok()?;
    signs.make_ascii_uppercase();
    Some(signs)
}

fn spelt(signs: &[u8]) -> String {
    signs.iter().map(|sign| char::from(*sign)).collect()
}

/// Of a country whose numbers have `wanted` signs: in one word, or in groups of four with one sign between them.
fn iban(at: &mut At<'_>, from: usize, to: usize, wanted: usize) {
    let mut value = [0_u8; 34];
    let mut length = 0;
    let mut here = from;
    let is_grouped = to - from == 4;
    if !is_grouped && to - from != wanted {
        return;
    }
    while length < wanted {
        let byte = at.byte(here);
        if is_grouped && length > 0 && length % 4 == 0 {
            if !matches!(byte, b' ' | b'-') {
                return;
            }
            here += 1;
        }
        let byte = at.byte(here);
        let Some(slot) = value.get_mut(length).filter(|_| byte.is_ascii_alphanumeric()) else { return };
        *slot = byte.to_ascii_uppercase();
        length += 1;
        here += 1;
    }
    let Some(value) = value.get(..length) else { return };
    if !at.byte(here).is_ascii_alphanumeric() && check::iban(value) {
        let value = spelt(value);
        at.push(PersonalClass::Iban, from, here, value);
    }
}
