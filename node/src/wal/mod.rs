//! Stage 5, `Classified` -> `Durable`: what accepted means. Group commit, fsync, idempotence; poisoned by a failed fsync. Does not index.
