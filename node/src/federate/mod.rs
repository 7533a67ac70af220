//! Stage 11, released answers of all regions -> `Answer` with `Coverage`. Never sees a record or a hit.
