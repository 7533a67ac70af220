//! Whose orders count: the officers whom nodes say that they honour, held against keys that the reader was handed.
//!
//! A node writes into its ledger at each start whom it honours, and everything that an officer signs is judged by that. Only a key
//! from elsewhere shows that it is the officer's.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use domicile_proto::ids::Region;
use domicile_proto::officer::OfficerPublic;

/// Keys of officers that the reader brought along, by region.
#[derive(Debug, Default)]
pub(super) struct Officers(BTreeMap<Region, BTreeSet<OfficerPublic>>);

impl Officers {
    /// Reads `REGION=KEY`, or `REGION=FILE`; a region may stand there more than once, where its key was changed.
    ///
    /// # Errors
    /// Where one is neither; the text says which.
    pub(super) fn read(given: &[String]) -> anyhow::Result<Self> {
        let mut officers: BTreeMap<Region, BTreeSet<OfficerPublic>> = BTreeMap::new();
        for text in given {
            let wrong = || {
                format!(
                    "`{text}` is no officer's key: write `REGION=KEY` with the 64 digits of `officer.pub`, or a file"
                )
            };
            let (region, key) = text.split_once('=').with_context(wrong)?;
            let key = std::fs::read_to_string(key).unwrap_or_else(|_| key.to_owned()).trim().to_owned();
            let key = OfficerPublic::try_from(key).with_context(wrong)?;
            officers.entry(region.parse().with_context(wrong)?).or_default().insert(key);
        }
        Ok(Self(officers))
    }

    /// Holds those whom a node honoured against the keys that were given for its region: whether any were given.
    ///
    /// # Errors
    /// In words, where it honoured another one, or does not say whom.
    pub(super) fn holds(&self, region: &str, honoured: &[(u64, OfficerPublic)]) -> Result<bool, String> {
        let Some((_, known)) = self.0.iter().find(|(known, _)| known.as_str() == region) else { return Ok(false) };
        if honoured.is_empty() {
            return Err("no entry says whom the node honours as its officer, so that it cannot be held against the key you gave".to_owned());
        }
        match honoured.iter().find(|(_, key)| !known.contains(key)) {
            None => Ok(true),
            Some((entry, key)) => Err(format!(
                "from entry {entry} on the node honours {}, which is no key that you gave for the officer of {region}",
                String::from(*key)
            )),
        }
    }

    /// Regions that a key was given for and that are not among these.
    pub(super) fn without(&self, regions: &[&str]) -> Vec<&Region> {
        self.0.keys().filter(|region| !regions.contains(&region.as_str())).collect()
    }

    /// Whom a node honours, a line for each.
    pub(super) fn lines(&self, region: &str, node: u64, honoured: &[(u64, OfficerPublic)]) -> Vec<String> {
        let known = self.0.iter().find(|(known, _)| known.as_str() == region).map(|(_, keys)| keys);
        let line = |(entry, key): &(u64, OfficerPublic)| {
            let held = match known.map(|known| known.contains(key)) {
                Some(true) => "as you gave it".to_owned(),
                Some(false) => "NOT as you gave it".to_owned(),
                None => format!("the node's own word; give the key that you were handed with --officer {region}=KEY"),
            };
            format!("officer of {region}, by node {node} from entry {entry} on: {} ({held})", String::from(*key))
        };
        honoured.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(digits: &str) -> OfficerPublic {
        OfficerPublic::try_from(digits.repeat(32)).expect("a key")
    }

    #[test]
    fn whom_a_node_honours_is_one_of_the_keys_that_were_given_for_its_region() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("officer.pub");
        std::fs::write(&file, format!("{}\n", "bb".repeat(32))).expect("written");
        let given = [format!("tokyo={}", "aa".repeat(32)), format!("tokyo={}", file.display())];
        let officers = Officers::read(&given).expect("keys");
        assert_eq!(officers.holds("tokyo", &[(1, key("aa"))]), Ok(true));
        assert_eq!(officers.holds("tokyo", &[(1, key("bb")), (7, key("aa"))]), Ok(true));
        assert_eq!(officers.holds("singapore", &[(1, key("cc"))]), Ok(false), "nothing was given for it");
        let why = officers.holds("tokyo", &[(1, key("aa")), (7, key("cc"))]).expect_err("another one");
        assert!(why.contains("from entry 7 on") && why.contains(&"cc".repeat(32)), "{why}");
        assert!(officers.holds("tokyo", &[]).is_err(), "nobody is nobody's key");
        assert_eq!(officers.without(&["singapore", "tokyo"]), Vec::<&Region>::new());
        assert_eq!(officers.without(&["singapore"]).len(), 1);
        let lines = officers.lines("tokyo", 1, &[(1, key("aa")), (7, key("cc"))]);
        assert!(lines[0].ends_with("(as you gave it)") && lines[1].ends_with("(NOT as you gave it)"), "{lines:?}");
        assert!(Officers::default().lines("tokyo", 1, &[(1, key("aa"))])[0].contains("--officer tokyo=KEY"));
        for wrong in ["tokyo", "tokyo=", "tokyo=aa", "=aa", "Tokyo!=aa"] {
            assert!(Officers::read(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
