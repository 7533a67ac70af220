//! What the level of compression of stored events does: lines in blocks as large as a segment's, at each level.

use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use crate::measure::{blocks, lines};

/// As large as the blocks of a segment's stored events.
const BLOCK_BYTES: usize = 512 << 10;

pub(crate) fn measure() -> Result<()> {
    let lines = lines(50)?;
    for level in [1, 3, 6, 9, 12, 19] {
        let begun = Instant::now();
        let mut packed = Vec::new();
        for block in blocks(&lines, BLOCK_BYTES) {
            packed.push(zstd::bulk::compress(block, level)?);
        }
        let packing = begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        for block in &packed {
            zstd::bulk::decompress(block, 2 * BLOCK_BYTES)?;
        }
        let bytes: usize = packed.iter().map(Vec::len).sum();
        let megabytes = lines.len() as f64 / 1e6;
        println!(
            "{}",
            json!({
                "figure": "zstd", "level": level, "bytes_per_raw_byte": bytes as f64 / lines.len() as f64,
                "packed_mb_s": megabytes / packing, "unpacked_mb_s": megabytes / begun.elapsed().as_secs_f64(),
            })
        );
    }
    Ok(())
}
