//! What the program was built of, as a CycloneDX document: every package of the lock file that the build was made with.
//!
//! Made from the lock file inside the program, so that it is always that of this build and always the same bytes. Says nothing
//! of what runs beside the program.

use serde::Deserialize;
use serde_json::{Value, json};

use super::merkle::{Hash, sha256};

const LOCK: &str = include_str!("../../../Cargo.lock");

#[derive(Deserialize)]
struct Lock {
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
}

impl Package {
    fn purl(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version)
    }

    /// Whether a dependency, as the lock file writes it, is this package.
    fn is(&self, dependency: &str) -> bool {
        let mut words = dependency.split(' ');
        words.next() == Some(&self.name) && words.next().is_none_or(|version| version == self.version)
    }
}

/// The document: CycloneDX 1.5 in JSON.
pub(crate) fn sbom() -> String {
    // The lock file was read by cargo before this was compiled.
    let packages = toml::from_str::<Lock>(LOCK).map(|lock| lock.package).unwrap_or_default();
    let component = |package: &Package| {
        let mut component = json!({
            "type": if package.name == env!("CARGO_PKG_NAME") { "application" } else { "library" },
            "bom-ref": package.purl(), "name": package.name, "version": package.version, "purl": package.purl(),
        });
        if let (Some(checksum), Some(object)) = (&package.checksum, component.as_object_mut()) {
            object.insert("hashes".to_owned(), json!([{"alg": "SHA-256", "content": checksum}]));
        }
        if let (None, Some(object)) = (&package.source, component.as_object_mut()) {
            object.insert("scope".to_owned(), json!("required"));
        }
        component
    };
    let depends = |package: &Package| {
        let of = |dependency: &String| packages.iter().find(|other| other.is(dependency)).map(Package::purl);
        let on: Vec<String> = package.dependencies.iter().filter_map(of).collect();
        json!({"ref": package.purl(), "dependsOn": on})
    };
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {
            "type": "application", "bom-ref": "domicile", "name": "domicile", "version": env!("CARGO_PKG_VERSION"),
        }},
        "components": packages.iter().map(component).collect::<Vec<Value>>(),
        "dependencies": packages.iter().map(depends).collect::<Vec<Value>>(),
    });
    format!("{document:#}\n")
}

/// SHA-256 of the document.
pub(crate) fn sbom_digest() -> Hash {
    sha256(&[sbom().as_bytes()])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::process::Command;

    use super::*;

    fn cargo(arguments: &[&str]) -> Vec<u8> {
        let output = Command::new(env!("CARGO")).args(arguments).output().expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Every package that cargo builds the workspace of here. Those of other platforms alone were never fetched on a new machine.
    #[test]
    fn every_package_that_cargo_knows_is_in_it_with_its_checksum() {
        let version = String::from_utf8(cargo(&["-vV"])).expect("text");
        let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("a platform");
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let asked = ["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", host];
        let metadata = cargo(&[&asked[..], &["--manifest-path", manifest]].concat());
        let metadata: Value = serde_json::from_slice(&metadata).expect("JSON");
        let purl = |package: &Value| {
            format!(
                "pkg:cargo/{}@{}",
                package["name"].as_str().expect("a name"),
                package["version"].as_str().expect("one")
            )
        };
        let known: BTreeSet<String> = metadata["packages"].as_array().expect("packages").iter().map(purl).collect();
        let document: Value = serde_json::from_str(&sbom()).expect("JSON");
        let components = document["components"].as_array().expect("components");
        let listed: BTreeSet<String> =
            components.iter().map(|component| component["purl"].as_str().expect("a purl").to_owned()).collect();
        assert_eq!(known.difference(&listed).collect::<Vec<_>>(), Vec::<&String>::new());
        assert!(known.len() > 300 && listed.len() == components.len(), "{} packages", known.len());
        let without = components.iter().filter(|component| component.get("hashes").is_none());
        assert!(without.count() <= 6, "what comes from a registry has a checksum");
        let refs: BTreeSet<&str> = components.iter().filter_map(|component| component["bom-ref"].as_str()).collect();
        for edge in document["dependencies"].as_array().expect("edges") {
            for on in edge["dependsOn"].as_array().expect("a list") {
                assert!(refs.contains(on.as_str().expect("a reference")), "{on}");
            }
        }
    }

    #[test]
    fn it_is_the_same_bytes_every_time_and_its_digest_is_theirs() {
        assert_eq!(sbom(), sbom());
        assert_eq!(sbom_digest(), sha256(&[sbom().as_bytes()]));
    }
}
