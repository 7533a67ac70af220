//! Check digits and ranges: arithmetic on digits alone. Where a candidate comes from is decided by the finders beside this.

/// Luhn (ISO/IEC 7812-1 annex B) over digits as ASCII.
pub(crate) fn luhn(digits: &[u8]) -> bool {
    let doubled = |digit: u8| {
        let doubled = value(digit) * 2;
        if doubled > 9 { doubled - 9 } else { doubled }
    };
    let sum: u32 = digits
        .rchunks(2)
        .map(|pair| match pair {
            [left, right] => doubled(*left) + value(*right),
            _ => pair.first().map_or(0, |digit| value(*digit)),
        })
        .sum();
    !digits.is_empty() && sum.is_multiple_of(10)
}

/// ISO 7064 mod 97-10 over letters and digits in the order in which they count; 1 is the remainder of a valid number.
pub(crate) fn mod_97(mut signs: impl Iterator<Item = u8>) -> Option<u32> {
    signs.try_fold(0_u32, |rest, sign| {
        let number = match sign {
            b'0'..=b'9' => u32::from(sign - b'0'),
            b'A'..=b'Z' => u32::from(sign - b'A') + 10,
            _ => return None,
        };
        let shifted = if number > 9 { rest * 100 } else { rest * 10 };
        Some((shifted + number) % 97)
    })
}

/// An IBAN in capitals without blanks: the length of its country and ISO 7064 mod 97-10 (ISO 13616).
pub(crate) fn iban(signs: &[u8]) -> bool {
    let Some((head, body)) = signs.split_at_checked(4) else { return false };
    let [a, b, tens, ones] = *head else { return false };
    let has_shape = a.is_ascii_uppercase() && b.is_ascii_uppercase() && tens.is_ascii_digit() && ones.is_ascii_digit();
    let checks = (2..=98).contains(&(value(tens) * 10 + value(ones)));
    has_shape && checks && iban_length(a, b) == Some(signs.len()) && mod_97(body.iter().chain(head).copied()) == Some(1)
}

/// Length of the IBANs of a country, from the register of ISO 13616.
pub(super) fn iban_length(a: u8, b: u8) -> Option<usize> {
    let letter = |sign: u8| usize::from(sign.wrapping_sub(b'A'));
    let length = IBAN_TABLE.get(letter(a)).and_then(|row| row.get(letter(b)));
    length.map(|length| usize::from(*length)).filter(|length| *length > 0)
}

/// A Japanese individual number: twelve digits, the last one from the others (weights 2 to 7 and 2 to 6 from the right, mod 11).
pub(crate) fn my_number(digits: &[u8]) -> bool {
    let Some((last, front)) = digits.split_last().filter(|(_, front)| front.len() == 11) else { return false };
    let weights = [2, 3, 4, 5, 6, 7, 2, 3, 4, 5, 6];
    let sum: u32 = front.iter().rev().zip(weights).map(|(digit, weight)| value(*digit) * weight).sum();
    let rest = sum % 11;
    let expected = if rest <= 1 { 0 } else { 11 - rest };
    value(*last) == expected && !is_one_digit(digits)
}

/// A Singaporean NRIC or FIN in capitals: a prefix, seven digits and the letter that follows from both.
pub(crate) fn nric(signs: &[u8]) -> bool {
    let [prefix, digits @ .., letter] = signs else { return false };
    if digits.len() != 7 || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let sum: u32 = digits.iter().zip([2, 7, 6, 5, 4, 3, 2]).map(|(digit, weight)| value(*digit) * weight).sum();
    let (offset, letters): (u32, &[u8; 11]) = match prefix {
        b'S' => (0, b"JZIHGFEDCBA"),
        b'T' => (4, b"JZIHGFEDCBA"),
        b'F' => (0, b"XWUTRQPNMLK"),
        b'G' => (4, b"XWUTRQPNMLK"),
        b'M' => (3, b"XWUTRQPNJLK"),
        _ => return false,
    };
    let rest = usize::try_from((sum + offset) % 11).unwrap_or(0);
    letters.get(rest) == Some(letter)
}

/// A German tax number of a person: eleven digits, ISO 7064 mod 11,10, no leading zero, and in the first ten digits one digit
/// twice or thrice, none more often, and thrice never in a row.
pub(crate) fn tax_id(digits: &[u8]) -> bool {
    let Some((last, front)) = digits.split_last().filter(|(_, front)| front.len() == 10) else { return false };
    if front.first() == Some(&b'0') || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let times = |wanted: u8| front.iter().filter(|digit| **digit == wanted).count();
    let mut repeated = (b'0'..=b'9').map(times).filter(|count| *count > 1);
    let is_twice_or_thrice = matches!((repeated.next(), repeated.next()), (Some(2 | 3), None));
    let in_a_row = front.windows(3).any(is_one_digit);
    if !is_twice_or_thrice || in_a_row {
        return false;
    }
    let product = front.iter().fold(10, |product, digit| {
        let sum = (value(*digit) + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    value(*last) == (11 - product) % 10
}

/// The number of a German identity card in capitals, with its check digit (weights 7, 3, 1; ICAO 9303 part 3).
pub(crate) fn id_card(signs: &[u8]) -> bool {
    let Some((last, front)) = signs.split_last().filter(|(_, front)| front.len() == 9) else { return false };
    last.is_ascii_digit() && is_card_serial(front) && id_card_sum(front) == value(*last)
}

/// Whether nine signs can be the serial of a German identity card: an authority's letter, and only signs that are in use.
pub(super) fn is_card_serial(signs: &[u8]) -> bool {
    let Some((first, rest)) = signs.split_first().filter(|(_, rest)| rest.len() == 8) else { return false };
    b"CFGHJKLMNPRTVWXYZ".contains(first) && rest.iter().all(|sign| b"0123456789CFGHJKLMNPRTVWXYZ".contains(sign))
}

fn id_card_sum(signs: &[u8]) -> u32 {
    let number = |sign: u8| if sign.is_ascii_digit() { value(sign) } else { u32::from(sign).saturating_sub(55) };
    signs.iter().zip([7, 3, 1].into_iter().cycle()).map(|(sign, weight)| number(*sign) * weight).sum::<u32>() % 10
}

/// A social security number of the United States: nine digits in ranges that are given out.
pub(crate) fn ssn(digits: &[u8]) -> bool {
    let number = |from: usize, to: usize| {
        digits.get(from..to).unwrap_or_default().iter().fold(0, |number, digit| number * 10 + value(*digit))
    };
    digits.len() == 9
        && !matches!(number(0, 3), 0 | 666 | 900..=999)
        && number(3, 5) != 0
        && number(5, 9) != 0
        && !matches!(number(0, 9), 78_051_120 | 219_099_999 | 457_555_462)
}

/// Whether all digits are the same.
pub(super) fn is_one_digit(digits: &[u8]) -> bool {
    digits.split_first().is_some_and(|(first, rest)| rest.iter().all(|digit| digit == first))
}

fn value(digit: u8) -> u32 {
    u32::from(digit.wrapping_sub(b'0'))
}

/// The register by both letters; 0 where no country has them.
static IBAN_TABLE: [[u8; 26]; 26] = iban_table();

#[allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "filled at compile time; lengths are below 35"
)]
const fn iban_table() -> [[u8; 26]; 26] {
    let mut table = [[0; 26]; 26];
    let mut place = 0;
    while place < IBAN_LENGTHS.len() {
        let (country, length) = IBAN_LENGTHS[place];
        table[(country[0] - b'A') as usize][(country[1] - b'A') as usize] = length as u8;
        place += 1;
    }
    table
}

/// The register, in the order of the countries.
#[rustfmt::skip]
const IBAN_LENGTHS: [(&[u8; 2], usize); 88] = [
    (b"AD", 24), (b"AE", 23), (b"AL", 28), (b"AT", 20), (b"AZ", 28), (b"BA", 20), (b"BE", 16), (b"BG", 22),
    (b"BH", 22), (b"BI", 27), (b"BR", 29), (b"BY", 28), (b"CH", 21), (b"CR", 22), (b"CY", 28), (b"CZ", 24),
    (b"DE", 22), (b"DJ", 27), (b"DK", 18), (b"DO", 28), (b"EE", 20), (b"EG", 29), (b"ES", 24), (b"FI", 18),
    (b"FK", 18), (b"FO", 18), (b"FR", 27), (b"GB", 22), (b"GE", 22), (b"GI", 23), (b"GL", 18), (b"GR", 27),
    (b"GT", 28), (b"HN", 28), (b"HR", 21), (b"HU", 28), (b"IE", 22), (b"IL", 23), (b"IQ", 23), (b"IS", 26),
    (b"IT", 27), (b"JO", 30), (b"KW", 30), (b"KZ", 20), (b"LB", 28), (b"LC", 32), (b"LI", 21), (b"LT", 20),
    (b"LU", 20), (b"LV", 21), (b"LY", 25), (b"MC", 27), (b"MD", 24), (b"ME", 22), (b"MK", 19), (b"MN", 20),
    (b"MR", 27), (b"MT", 31), (b"MU", 30), (b"NI", 28), (b"NL", 18), (b"NO", 15), (b"OM", 23), (b"PK", 24),
    (b"PL", 28), (b"PS", 29), (b"PT", 25), (b"QA", 29), (b"RO", 24), (b"RS", 22), (b"RU", 33), (b"SA", 24),
    (b"SC", 31), (b"SD", 18), (b"SE", 24), (b"SI", 19), (b"SK", 24), (b"SM", 27), (b"SO", 23), (b"ST", 25),
    (b"SV", 28), (b"TL", 23), (b"TN", 24), (b"TR", 26), (b"UA", 29), (b"VA", 22), (b"VG", 24), (b"XK", 20),
];

#[cfg(test)]
#[path = "check_test.rs"]
mod tests;
