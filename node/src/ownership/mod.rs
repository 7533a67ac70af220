//! Beside the line: who writes a shard; streams that begin with their first record.
