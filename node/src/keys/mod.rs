//! Beside the line: the keys of this region.
