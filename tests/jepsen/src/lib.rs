//! The room of the fault suite: faults, histories and checkers against real processes. Nothing is here yet; the crash and
//! partition tests that exist live in `tests/ingest` and `tests/federation`.
