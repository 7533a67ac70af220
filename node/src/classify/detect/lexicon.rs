//! The words that say what a number beside them is, and how one is found in a text.
//!
//! The leftmost word counts, of several the longest, and the next one is looked for behind it. Most places of a text begin no
//! word: one look into a small table settles each, without a chain of states of which every one waits for the one before.

use super::context::meaning;

/// A word in small letters, and what it announces.
type Entry = (&'static str, u8);

/// The first word from a place on, whatever stands beside it, and where it begins.
pub(super) fn next(text: &[u8], from: usize) -> Option<(usize, Entry)> {
    let mut at = from;
    while let Some(&[a, b, c]) = text.get(at..).and_then(<[u8]>::first_chunk) {
        let head = CHAINS.heads.get(slot(a, b, c)).copied().unwrap_or(NONE);
        if (head != NONE) | is_short(a, b) {
            let found = longest(text.get(at..).unwrap_or_default(), head).or_else(|| short(a, b));
            if let Some(entry) = found {
                return Some((at, entry));
            }
        }
        at += 1;
    }
    match text.get(at..) {
        Some(&[a, b]) => short(a, b).map(|entry| (at, entry)),
        _ => None,
    }
}

/// The longest word of a chain that a text begins with.
fn longest(text: &[u8], head: u8) -> Option<Entry> {
    let mut place = usize::from(head);
    while let Some(entry) = LIST.get(place) {
        let word = entry.0.as_bytes();
        if text.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word)) {
            return Some(*entry);
        }
        place = usize::from(CHAINS.next.get(place).copied().unwrap_or(NONE));
    }
    None
}

/// The word of two letters that these are.
fn short(a: u8, b: u8) -> Option<Entry> {
    SHORT.into_iter().find(|(word, _)| word.as_bytes().eq_ignore_ascii_case(&[a, b]))
}

/// Whether two signs may be a word, without a branch.
fn is_short(a: u8, b: u8) -> bool {
    let pair = [a | SMALL, b | SMALL];
    (pair == *b"hp") | (pair == *b"cc")
}

/// Where words that begin with these signs are looked for: the same for capital and small letters, and now and then for others.
const fn slot(a: u8, b: u8, c: u8) -> usize {
    let signs = (a | SMALL) as u32 | ((b | SMALL) as u32) << 8 | ((c | SMALL) as u32) << 16;
    (signs.wrapping_mul(MIXER) >> (u32::BITS - SLOT_BITS)) as usize
}

/// For each slot the place in [`LIST`] of the longest of its words, and for each word that of the next shorter one.
struct Chains {
    heads: [u8; 1 << SLOT_BITS],
    next: [u8; LIST.len()],
}

#[allow(clippy::indexing_slicing, reason = "constant tables, filled at compile time")]
static CHAINS: Chains = {
    assert!(LIST.len() < NONE as usize);
    let mut chains = Chains { heads: [NONE; 1 << SLOT_BITS], next: [NONE; LIST.len()] };
    let mut place = 0;
    while place < LIST.len() {
        let word = LIST[place].0.as_bytes();
        let slot = slot(word[0], word[1], word[2]);
        let (mut before, mut behind) = (NONE, chains.heads[slot]);
        while behind != NONE && LIST[behind as usize].0.len() >= word.len() {
            before = behind;
            behind = chains.next[behind as usize];
        }
        chains.next[place] = behind;
        if before == NONE {
            chains.heads[slot] = place as u8;
        } else {
            chains.next[before as usize] = place as u8;
        }
        place += 1;
    }
    chains
};

/// No place.
const NONE: u8 = u8::MAX;
/// The bit that makes a small letter of a capital one.
const SMALL: u8 = 0x20;
/// So many that hardly any has a word by chance.
const SLOT_BITS: u32 = 12;
/// 2^32 over the golden ratio.
const MIXER: u32 = 0x9E37_79B1;

/// Words of two letters.
const SHORT: [Entry; 2] = [("hp", meaning::PHONE), ("cc", meaning::CARD)];

/// Words of three bytes and more.
const LIST: &[Entry] = {
    use meaning::{CARD, ID_CARD, MY_NUMBER, OTHER, PHONE, SECRET, SSN, TAX_ID};
    &[
        ("phone", PHONE),
        ("telephone", PHONE),
        ("telefon", PHONE),
        ("tel", PHONE),
        ("fax", PHONE),
        ("mobile", PHONE),
        ("mobil", PHONE),
        ("cell", PHONE),
        ("handy", PHONE),
        ("msisdn", PHONE),
        ("rufnummer", PHONE),
        ("rückruf", PHONE),
        ("durchwahl", PHONE),
        ("whatsapp", PHONE),
        ("sms", PHONE),
        ("call", PHONE),
        ("caller", PHONE),
        ("dial", PHONE),
        ("desk", PHONE),
        ("answering", PHONE),
        ("messages to", PHONE),
        ("my registered", PHONE),
        ("電話", PHONE),
        ("携帯", PHONE),
        ("連絡先", PHONE),
        ("でんわ", PHONE),
        ("ケータイ", PHONE),
        ("ファックス", PHONE),
        ("电话", PHONE),
        ("手机", PHONE),
        ("手機", PHONE),
        ("联系", PHONE),
        ("聯絡", PHONE),
        ("来电", PHONE),
        ("短信", PHONE),
        ("マイナンバー", MY_NUMBER),
        ("個人番号", MY_NUMBER),
        ("my number", MY_NUMBER),
        ("my_number", MY_NUMBER),
        ("my-number", MY_NUMBER),
        ("mynumber", MY_NUMBER),
        ("individual number", MY_NUMBER),
        ("individual_number", MY_NUMBER),
        ("kojin_bango", MY_NUMBER),
        ("steuer", TAX_ID),
        ("idnr", TAX_ID),
        ("tax_id", TAX_ID),
        ("tax id", TAX_ID),
        ("tax-id", TAX_ID),
        ("taxid", TAX_ID),
        ("tax number", TAX_ID),
        ("tax_number", TAX_ID),
        ("identifikationsnummer", TAX_ID),
        ("税号", TAX_ID),
        ("personalausweis", ID_CARD),
        ("ausweis", ID_CARD),
        ("id card", ID_CARD),
        ("id_card", ID_CARD),
        ("id-card", ID_CARD),
        ("idcard", ID_CARD),
        ("identity card", ID_CARD),
        ("identity_card", ID_CARD),
        ("身份证", ID_CARD),
        ("身分証", ID_CARD),
        ("perso", ID_CARD),
        ("ssn", SSN),
        ("social security", SSN),
        ("social_security", SSN),
        ("socialsecurity", SSN),
        ("社会保障", SSN),
        ("secret", SECRET),
        ("accesskey", SECRET),
        ("access_key", SECRET),
        ("accountkey", SECRET),
        ("account_key", SECRET),
        ("sharedaccess", SECRET),
        ("sig", SECRET),
        ("api_key", SECRET),
        ("apikey", SECRET),
        ("api-key", SECRET),
        ("token", SECRET),
        ("password", SECRET),
        ("passwd", SECRET),
        ("card", CARD),
        ("pan", CARD),
        ("カード", CARD),
        ("卡号", CARD),
        ("karte", CARD),
        ("order", OTHER),
        ("invoice", OTHER),
        ("ticket", OTHER),
        ("sku", OTHER),
        ("version", OTHER),
        ("build", OTHER),
        ("trace", OTHER),
        ("span", OTHER),
        ("request", OTHER),
        ("epoch", OTHER),
        ("timestamp", OTHER),
        ("offset", OTHER),
        ("seq", OTHER),
        ("pid", OTHER),
        ("thread", OTHER),
        ("block", OTHER),
        ("blk", OTHER),
        ("parcel", OTHER),
        ("tracking", OTHER),
        ("batch", OTHER),
        ("serial", OTHER),
        ("bytes", OTHER),
        ("duration", OTHER),
        ("item", OTHER),
        ("product", OTHER),
        ("article", OTHER),
        ("artikel", OTHER),
        ("auftrag", OTHER),
        ("bestell", OTHER),
        ("rechnung", OTHER),
        ("sendung", OTHER),
        ("ean", OTHER),
        ("jan", OTHER),
        ("isbn", OTHER),
        ("注文", OTHER),
        ("伝票", OTHER),
        ("商品", OTHER),
        ("管理番号", OTHER),
        ("追跡", OTHER),
        ("订单", OTHER),
        ("訂單", OTHER),
        ("流水", OTHER),
        ("快递", OTHER),
    ]
};

#[cfg(test)]
mod tests {
    use aho_corasick::{AhoCorasick, MatchKind};
    use proptest::prelude::*;

    use super::*;

    fn all() -> Vec<Entry> {
        SHORT.into_iter().chain(LIST.iter().copied()).collect()
    }

    fn found(text: &str) -> Vec<(usize, Entry)> {
        let mut from = 0;
        let next = || {
            let (at, entry) = next(text.as_bytes(), from)?;
            from = at + entry.0.len();
            Some((at, entry))
        };
        std::iter::from_fn(next).collect()
    }

    /// What an automaton of the same words finds.
    fn found_by_automaton(automaton: &AhoCorasick, text: &str) -> Vec<(usize, Entry)> {
        let all = all();
        automaton.find_iter(text).map(|found| (found.start(), all[found.pattern().as_usize()])).collect()
    }

    fn automaton() -> AhoCorasick {
        let words = all().into_iter().map(|(word, _)| word);
        AhoCorasick::builder().ascii_case_insensitive(true).match_kind(MatchKind::LeftmostLongest).build(words).unwrap()
    }

    #[test]
    fn a_word_has_one_meaning_and_stands_in_the_list_once() {
        let words: std::collections::BTreeSet<&str> = all().into_iter().map(|(word, _)| word).collect();
        assert_eq!(words.len(), all().len());
        assert!(all().iter().all(|(word, said)| said.count_ones() == 1 && *word == word.to_ascii_lowercase()));
        assert!(SHORT.iter().all(|(word, _)| word.len() == 2 && is_short(word.as_bytes()[0], word.as_bytes()[1])));
    }

    #[test]
    fn every_word_is_found_at_every_place_and_of_two_the_longer_one() {
        let automaton = automaton();
        for (word, said) in all() {
            for text in [
                word.to_owned(),
                word.to_ascii_uppercase(),
                format!("x{word}"),
                format!(" {word} 1"),
                format!("é{word}{word}"),
            ] {
                assert_eq!(found(&text), found_by_automaton(&automaton, &text), "{text}");
            }
            assert_eq!(found(word), [(0, (word, said))]);
            for end in (0..word.len()).filter(|end| word.is_char_boundary(*end)) {
                for (other, _) in all() {
                    let text = format!("{}{other}", &word[..end]);
                    assert_eq!(found(&text), found_by_automaton(&automaton, &text), "{text}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4_096, ..ProptestConfig::default() })]

        #[test]
        fn words_are_those_that_an_automaton_finds(
            pieces in prop::collection::vec(
                (prop::sample::select(all()), 0..24_usize, 0..24_usize, any::<bool>(), "[ -~]{0,3}|[a-zA-Z_]{0,3}|\\PC{0,2}"), 0..12,
            ),
        ) {
            let mut text = String::new();
            for ((word, _), from, to, is_loud, other) in pieces {
                let (from, to) = (from.min(word.len()), to.max(from).min(word.len()));
                let piece = word.get(from..to).unwrap_or(word);
                text.push_str(&if is_loud { piece.to_ascii_uppercase() } else { piece.to_owned() });
                text.push_str(&other);
            }
            let found = found(&text);
            prop_assert_eq!(found, found_by_automaton(&automaton(), &text), "{}", text);
        }
    }
}
