//! Stage 12, answers and local hits -> HTTP and console. Does not decide residency.
