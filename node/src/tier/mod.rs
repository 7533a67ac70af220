//! Stage 8, `Segment` -> where it lies. Does not search.
