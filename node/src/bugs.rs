//! Bugs on purpose, to show that the fault suite catches them. Only with the feature `jepsen-bugs`, which no manifest enables.

/// Whether this process was started with the bug of this name.
pub(crate) fn is_seeded(name: &str) -> bool {
    std::env::var("JEPSEN_BUG").is_ok_and(|seeded| seeded == name)
}
