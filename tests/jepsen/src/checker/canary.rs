//! RES-1 and RES-2: of what was planted in records, nothing is in what the regions sent each other, decrypted.

use domicile_tests::cluster::canary::Canary;

use super::Verdict;

/// Looks for a planted word in every disguise. `control` is a name that must have crossed: without it the tap was blind.
pub fn check(plain: &[u8], planted: &str, control: &str) -> Verdict {
    let mut verdict = Verdict::new("residency");
    verdict.count("decrypted bytes", plain.len() as u64);
    if Canary::new(control).find_in(plain).is_none() {
        verdict.violation(format!("void: the control `{control}` was not seen, the tap was blind"));
    }
    if let Some(disguise) = Canary::new(planted).find_in(plain) {
        verdict.violation(format!("{disguise} crossed between regions"));
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTROL: &str = "r1-control-pelican";
    const PLANTED: &str = "kqXvZmPwLtRsBnCjHdFg";

    #[test]
    fn a_link_with_the_control_alone_is_acquitted() {
        assert!(check(format!("..{CONTROL}..").as_bytes(), PLANTED, CONTROL).violations.is_empty());
    }

    #[test]
    fn a_piece_of_a_record_and_a_blind_tap_are_convicted() {
        let leak = format!("{CONTROL}..{}..", &PLANTED[3..12]);
        assert_eq!(check(leak.as_bytes(), PLANTED, CONTROL).violations.len(), 1);
        assert!(check(&[0; 1_000], PLANTED, CONTROL).violations[0].starts_with("void:"));
    }
}
