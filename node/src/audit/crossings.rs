//! The ledger as the link sees it (LED-1).
