//! Beside the line: our own log and metrics. No content of any record, no search text, no subject ever.
