//! Bugs on purpose, to show that the fault suite catches them. Only with the feature `jepsen-bugs`, which no manifest enables.

/// Whether this process was started with the bug of this name.
pub(crate) fn is_seeded(name: &str) -> bool {
    std::env::var("JEPSEN_BUG").is_ok_and(|seeded| seeded == name)
}

/// The beginning of the last message that came in.
static LAST: parking_lot::Mutex<[u8; 32]> = parking_lot::Mutex::new([0; 32]);

/// Remembers the beginning of a record's message, for `leak-record`.
pub(crate) fn remember(json: &str) {
    let message = json.split_once("\"message\":\"").map(|(_, message)| message.as_bytes());
    if let Some(piece) = message.and_then(|message| message.first_chunk()).filter(|_| is_seeded("leak-record")) {
        *LAST.lock() = *piece;
    }
}

/// What an answer carries abroad as the root of a ledger: with `leak-record`, a piece of somebody's log line. The types of the
/// border cannot refuse it, for a hash is a hash to them; the capture can.
pub(crate) fn root(root: [u8; 32]) -> [u8; 32] {
    if is_seeded("leak-record") { *LAST.lock() } else { root }
}
