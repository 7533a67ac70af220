//! The product, as a binary of the tests package, so that whole-system tests never run a stale one.

use std::process::ExitCode;

fn main() -> ExitCode {
    domicile::main()
}
