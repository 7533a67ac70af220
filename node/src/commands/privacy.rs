//! What can be typed about the personal data of a stream. Finding it is the node's affair.

use domicile_proto::ids::Name;
use domicile_proto::privacy::{Action, Basis, PersonalClass, Privacy, UnknownWord};

/// What happens to personal data in a stream before anything is stored.
#[derive(Debug, clap::Args)]
pub(super) struct PrivacyArguments {
    /// Class of personal data that is stored as it is, as `ip`; may be repeated
    #[arg(long, value_name = "CLASS", requires = "because")]
    pub(super) keep: Vec<PersonalClass>,
    /// Ground for keeping: consent, contract, legal_obligation, vital_interest, public_task, legitimate_interest, not_personal
    #[arg(long, value_name = "GROUND", requires = "keep")]
    pub(super) because: Option<Basis>,
    /// What happens to a class: `CLASS=drop_event|drop_field|mask|pseudonymise|mask_partly`; may be repeated
    #[arg(long, value_name = "CLASS=ACTION", value_parser = class_and_action)]
    pub(super) action: Vec<(PersonalClass, Action)>,
    /// Field that is personal as a whole; may be repeated
    #[arg(long, value_name = "FIELD")]
    pub(super) personal: Vec<Name>,
}

impl PrivacyArguments {
    /// As a policy holds it.
    pub(super) fn privacy(self) -> Privacy {
        let kept =
            self.because.into_iter().flat_map(|basis| self.keep.iter().map(move |class| (*class, Action::Keep(basis))));
        Privacy::new(kept.chain(self.action.iter().copied()).collect::<Vec<_>>(), self.personal)
    }
}

fn class_and_action(text: &str) -> Result<(PersonalClass, Action), String> {
    let (class, action) = text.split_once('=').ok_or("write `CLASS=ACTION`, as `phone=mask`")?;
    let class = class.parse().map_err(|error: UnknownWord| error.to_string())?;
    Ok((class, action.parse().map_err(|error: UnknownWord| error.to_string())?))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        privacy: PrivacyArguments,
    }

    fn read(words: &str) -> Result<Privacy, clap::Error> {
        Line::try_parse_from(std::iter::once("x").chain(words.split_whitespace())).map(|line| line.privacy.privacy())
    }

    #[test]
    fn keeping_a_class_needs_a_ground_from_the_list() {
        let kept = read("--keep ip --keep mac --because not_personal --action phone=mask --personal address").unwrap();
        assert_eq!(kept.action(PersonalClass::Mac), Some(Action::Keep(Basis::NotPersonal)));
        assert_eq!(kept.action(PersonalClass::Phone), Some(Action::Mask));
        assert_eq!(kept.fields().len(), 1);
        for wrong in ["--keep ip", "--because consent", "--keep ip --because fun", "--keep name --because consent"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        for wrong in ["--action ip=keep", "--action ip", "--action x=mask"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(read("").unwrap(), Privacy::default());
    }
}
