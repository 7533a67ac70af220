//! Bit flips and truncations of the files of a stopped node.
