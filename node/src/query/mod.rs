//! Stage 9, a question and a principal -> `Hits`: filters, plan, limits, rows for this region's eyes. Does not leave the region.
