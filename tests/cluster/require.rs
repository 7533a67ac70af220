//! Tools some tests need. Without one a test skips itself by name; with `DOMICILE_REQUIRE=all` it fails instead.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Whether a missing tool is a failure.
pub fn everything_is_required() -> bool {
    std::env::var("DOMICILE_REQUIRE").is_ok_and(|value| value == "all")
}

/// The program, if it runs; else the test says that it skips itself and why.
///
/// # Panics
/// When it is missing and everything is required.
#[track_caller]
pub fn require(tool: &str) -> Option<PathBuf> {
    if runs(tool) { Some(PathBuf::from(tool)) } else { missing(tool) }
}

/// Whether a program runs here.
pub fn runs(tool: &str) -> bool {
    let runs = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    runs.is_ok_and(|status| status.success())
}

/// The Python that has the Elasticsearch client of this major version: named by `DOMICILE_ELASTICSEARCH<version>`, else the
/// ordinary one if its client has that version.
///
/// # Panics
/// When it is missing and everything is required.
#[track_caller]
pub fn require_python_client(version: u8) -> Option<PathBuf> {
    let named = std::env::var(format!("DOMICILE_ELASTICSEARCH{version}")).ok();
    let python = named.unwrap_or_else(|| "python3".to_owned());
    let check = format!("import elasticsearch, sys; sys.exit(elasticsearch.__version__[0] != {version})");
    let runs = Command::new(&python).args(["-c", &check]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if runs.is_ok_and(|status| status.success()) {
        Some(PathBuf::from(python))
    } else {
        missing(&format!("Python elasticsearch {version}"))
    }
}

/// The Python that an environment variable names, if it has the module.
///
/// # Panics
/// When it is missing and everything is required.
#[track_caller]
pub fn require_python_with(variable: &str, module: &str) -> Option<PathBuf> {
    let python = std::env::var_os(variable).map(PathBuf::from).unwrap_or_else(|| PathBuf::from("python3"));
    let check = format!("import {module}");
    let runs = Command::new(&python).args(["-c", &check]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if runs.is_ok_and(|status| status.success()) { Some(python) } else { missing(&format!("Python with {module}")) }
}

/// Says that a test skips itself for want of something.
///
/// # Panics
/// When everything is required.
#[track_caller]
pub fn missing(what: &str) -> Option<PathBuf> {
    assert!(!everything_is_required(), "`{what}` is missing and DOMICILE_REQUIRE=all");
    eprintln!("SKIPPED: {}: `{what}` is missing", std::thread::current().name().unwrap_or("a test"));
    None
}
