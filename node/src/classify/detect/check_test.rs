//! Check digits against numbers that their issuers or standards publish, and against the same numbers with one digit changed.

use super::*;

/// Each is right, and wrong as soon as any one of its last eight digits is another.
#[track_caller]
fn published(holds: fn(&[u8]) -> bool, numbers: &[&str]) {
    for number in numbers {
        assert!(holds(number.as_bytes()), "{number}");
        let digits = number.bytes().enumerate().filter(|(_, b)| b.is_ascii_digit());
        for (place, digit) in digits.collect::<Vec<_>>().into_iter().rev().take(8) {
            let mut other = number.as_bytes().to_vec();
            other[place] = b'0' + (digit - b'0' + 1) % 10;
            assert!(!holds(&other), "{}", String::from_utf8_lossy(&other));
        }
    }
}

#[test]
fn luhn_and_iban_hold_for_published_numbers() {
    published(luhn, &["4111111111111111", "5555555555554444", "378282246310005", "79927398713", "49015420323751"]);
    assert!(!luhn(b""));
    published(
        iban,
        &[
            "GB82WEST12345698765432",
            "DE89370400440532013000",
            "FR1420041010050500013M02606",
            "NO9386011117947",
            "BE71096123456769",
            "MT31MALT01100000000000000000123",
            "SA4420000001234567891234",
        ],
    );
    for wrong in [
        "",
        "GB82",
        "GB82WEST1234569876543",
        "gb82WEST12345698765432",
        "XX82WEST12345698765432",
        "DE0037040044053201300",
    ] {
        assert!(!iban(wrong.as_bytes()), "{wrong}");
    }
}

#[test]
fn numbers_of_people_hold_for_published_numbers() {
    published(my_number, &["123456789018"]);
    assert!(!my_number(b"000000000000") && !my_number(b"12345678901"));
    for right in ["S0000001I", "S1234567D", "T0000001E", "T1234567J", "F1234567N", "G1234567X", "M1234567K"] {
        assert!(nric(right.as_bytes()), "{right}");
        for letter in b'A'..=b'Z' {
            let mut other = right.as_bytes().to_vec();
            other[8] = letter;
            assert_eq!(nric(&other), other == right.as_bytes(), "one letter fits");
        }
    }
    for wrong in ["A1234567D", "S123456D", "S12345678D", "s1234567d", "S123456ID", ""] {
        assert!(!nric(wrong.as_bytes()), "{wrong}");
    }
    published(tax_id, &["36574261809", "65929970489", "47036892816"]);
    // No digit twice, one four times, two of them twice, thrice in a row, a leading zero.
    for wrong in ["12345678903", "11112345678", "11223456789", "11145678901", "04703689281", "4703689281"] {
        assert!(!tax_id(wrong.as_bytes()), "{wrong}");
    }
    published(id_card, &["T220001293", "L01X00T471"]);
    assert!(!id_card(b"A220001293") && !id_card(b"T22000129") && !is_card_serial(b"T22000I29"));
    assert!(ssn(b"219099998") && ssn(b"536904399"));
    for wrong in ["000123456", "666123456", "900123456", "123003456", "123450000", "078051120", "12345678"] {
        assert!(!ssn(wrong.as_bytes()), "{wrong}");
    }
}
