//! Placeholder for tests of the ledger.
