//! The product, as a binary of this package, so that no fault is ever tried on a stale one.

use std::process::ExitCode;

fn main() -> ExitCode {
    domicile::main()
}
