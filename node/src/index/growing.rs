//! What one shard has taken in since its last refresh.
