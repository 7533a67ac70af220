//! The tenants' own rules: one file for each tenant in a directory of the region, `<tenant>.toml`. Read when the node starts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domicile_proto::ids::{Name, TenantId};
use parking_lot::RwLock;
use serde::Deserialize;

use super::detect::{RuleError, RuleText, Rules};
use crate::errors::{Coded, Verdict};
use crate::limits::MAX_RULE_FILE_BYTES;
use crate::policy::PolicyWatch;
use crate::store::StoreError;

/// Why rules cannot be used, or a record cannot be taken under its stream's policy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClassifyError {
    /// A file or the directory cannot be read.
    #[error("the rules `{path}` cannot be read; check `rules_dir` and its owner")]
    Unreadable {
        /// The file or the directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A file is not a list of rules. What is wrong is told by its place alone: the text may be personal.
    #[error("the rules `{path}` are no list of rules (line {line}); each needs `[[rule]]`, `name` and `pattern`")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on; 0 where none is known.
        line: usize,
    },
    /// A file belongs to no tenant, or is too large.
    #[error("the rules `{path}` need the name of a tenant, `.toml`, and at most {most} bytes")]
    Named {
        /// The file.
        path: PathBuf,
        /// What is allowed.
        most: u64,
    },
    /// A rule is refused.
    #[error("the rule `{rule}` of `{path}` is refused")]
    Refused {
        /// The file.
        path: PathBuf,
        /// Its name.
        rule: Name,
        /// Why.
        #[source]
        source: RuleError,
    },
    /// A record is about several subjects. Neither is told: the field is enough to find it.
    #[error(
        "the field `{field}` names more than one subject in one record; send a record for each of them, or declare \
         another field with `--subject`"
    )]
    Subjects {
        /// The field that names the subject.
        field: Name,
    },
    /// What was counted of a stream that is stated to hold no personal data cannot be read or told.
    #[error(
        "what detectors found in a stream that is stated to hold no personal data cannot be told to the region's bucket, or \
         read from it, in time; see to the bucket"
    )]
    Statement {
        /// What the store says; nothing where it says nothing in time.
        #[source]
        source: Option<StoreError>,
    },
}

impl Coded for ClassifyError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "DMC-CLASSIFY-01",
            Self::Malformed { .. } => "DMC-CLASSIFY-02",
            Self::Named { .. } => "DMC-CLASSIFY-03",
            Self::Refused { .. } => "DMC-CLASSIFY-04",
            Self::Subjects { .. } => "DMC-CLASSIFY-05",
            Self::Statement { .. } => "DMC-CLASSIFY-06",
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Statement { .. } => Verdict::NotNow(5),
            _ => Verdict::Refused,
        }
    }
}

/// The rules of all tenants of a region. No `Debug`: patterns may be personal.
#[derive(Default)]
pub(crate) struct RuleFiles {
    by_name: BTreeMap<Box<str>, Arc<Rules>>,
    /// By id, once the metadata group has told which tenant has it.
    by_id: RwLock<BTreeMap<TenantId, Option<Arc<Rules>>>>,
    policy: Option<PolicyWatch>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rule: Vec<RuleText>,
}

impl RuleFiles {
    /// Reads every file of a directory.
    ///
    /// # Errors
    /// [`ClassifyError`] names the file, and the rule.
    pub(crate) fn read(dir: &Path, policy: PolicyWatch) -> Result<Self, ClassifyError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| ClassifyError::Unreadable { path, source }
        };
        let mut by_name = BTreeMap::new();
        for entry in std::fs::read_dir(dir).map_err(unreadable(dir))? {
            let path = entry.map_err(unreadable(dir))?.path();
            let size = std::fs::metadata(&path).map_err(unreadable(&path))?.len();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<Name>().ok());
            let named = || ClassifyError::Named { path: path.clone(), most: MAX_RULE_FILE_BYTES };
            let is_toml = path.extension().is_some_and(|ending| ending == "toml");
            let tenant = stem.filter(|_| is_toml && size <= MAX_RULE_FILE_BYTES).ok_or_else(named)?;
            let text = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
            let file: File = toml::from_str(&text).map_err(|error| {
                let before = error.span().and_then(|span| text.get(..span.start));
                let line = before.map_or(0, |before| before.matches('\n').count() + 1);
                ClassifyError::Malformed { path: path.clone(), line }
            })?;
            let rules = Rules::of(file.rule).map_err(|(rule, source)| ClassifyError::Refused {
                path: path.clone(),
                rule,
                source,
            })?;
            by_name.insert(tenant.as_str().into(), Arc::new(rules));
        }
        Ok(Self { by_name, by_id: RwLock::default(), policy: Some(policy) })
    }

    /// The rules of a tenant.
    pub(super) fn of(&self, tenant: TenantId) -> Option<Arc<Rules>> {
        if self.by_name.is_empty() {
            return None;
        }
        if let Some(known) = self.by_id.read().get(&tenant) {
            return known.clone();
        }
        let policy = self.policy.as_ref()?.now();
        let (name, _) = policy.tenants.iter().find(|(_, id)| **id == tenant)?;
        let rules = self.by_name.get(name.as_str()).cloned();
        self.by_id.write().insert(tenant, rules.clone());
        rules
    }

    /// All rules.
    pub(super) fn all(&self) -> impl Iterator<Item = &Rules> {
        self.by_name.values().map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Input, cases};
    use crate::policy::Policy;

    fn watch() -> PolicyWatch {
        let mut policy = Policy::empty("tokyo".parse().unwrap());
        policy.tenants =
            [("shop", 7), ("bank", 8)].into_iter().map(|(name, id)| (name.parse().unwrap(), TenantId(id))).collect();
        PolicyWatch::new(policy)
    }

    fn read(files: &[(&str, &str)]) -> Result<RuleFiles, ClassifyError> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        RuleFiles::read(dir.path(), watch())
    }

    #[test]
    fn each_tenant_has_its_own_rules_and_no_others() {
        let rules = read(&[("shop.toml", "[[rule]]\nname = \"staff\"\npattern = 'E-\\d{6}'\n")]).ok().unwrap();
        assert!(rules.of(TenantId(9)).is_none(), "nobody has heard of it yet");
        assert!(rules.of(TenantId(7)).is_some());
        assert!(rules.of(TenantId(8)).is_none());
    }

    #[test]
    fn no_file_of_rules_panics() {
        let dir = tempfile::tempdir().unwrap();
        let good = [
            "[[rule]]\nname = \"staff\"\npattern = 'E-\\d{6}'\n",
            "[[rule]]\nname = \"card\"\npattern = '(?:4|5)[0-9]{3}(?:-[0-9]{4}){3}'\nvalidator = \"luhn\"\nwords = [\"card\"]\n",
        ];
        let good: Vec<Vec<u8>> = good.iter().map(|text| text.as_bytes().to_vec()).collect();
        bolero::check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
            std::fs::write(dir.path().join("shop.toml"), input.bytes(&good)).unwrap();
            match RuleFiles::read(dir.path(), watch()) {
                Ok(rules) => assert!(rules.of(TenantId(7)).is_some()),
                Err(error) => assert!(error.to_string().contains("shop.toml"), "{error}"),
            }
        });
    }

    #[track_caller]
    fn refused(file: &str, text: &str, code: &str, says: &str) {
        let error = read(&[(file, text)]).err().expect("a refusal");
        assert_eq!(error.code(), code, "{error}");
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        let whole = format!("{error}: {source}");
        assert!(whole.contains(says) && whole.contains(file), "{whole}");
        assert!(!whole.contains("john"), "{whole}");
    }

    #[test]
    fn a_wrong_file_is_refused_by_name_and_never_quoted() {
        refused("shop.toml", "[[rule]]\nname = \"a\"\npattern = 'john+'\n", "DMC-CLASSIFY-04", "no longest match");
        refused("shop.toml", "[[rule]]\nname = \"a\"\n\nnote = 'john'\n", "DMC-CLASSIFY-02", "line 4");
        refused("shop.toml", "john@example.com", "DMC-CLASSIFY-02", "line 1");
        refused("Shop.toml", "", "DMC-CLASSIFY-03", "name of a tenant");
        refused("shop.yaml", "", "DMC-CLASSIFY-03", "name of a tenant");
        let long = " ".repeat(usize::try_from(MAX_RULE_FILE_BYTES).unwrap() + 1);
        refused("shop.toml", &long, "DMC-CLASSIFY-03", "at most");
        let missing = RuleFiles::read(Path::new("/nonexistent/rules"), watch()).err().unwrap();
        assert_eq!(missing.code(), "DMC-CLASSIFY-01");
    }
}
