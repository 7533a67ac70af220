//! Stage 10, `Groups` -> `Cells` -> `Released` through the border. Does not talk to the network.
