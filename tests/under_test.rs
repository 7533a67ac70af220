//! The product, as a binary of the tests package, so that whole-system tests never run a stale one. Its clock can be moved: it
//! follows a file, as `cluster::moved` says.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use domicile_tests::cluster::moved::CLOCK;

/// That of the node's own binary: how fast it is and how much memory it takes is measured here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Some(file) = std::env::var_os(CLOCK) {
        follow(file);
    }
    domicile::main()
}

/// Takes the seconds that a file names before anything else is done, and whenever they change; says so beside it.
fn follow(file: OsString) {
    let mut beside = file.clone();
    beside.push(format!(".{}", std::process::id()));
    let (file, beside) = (PathBuf::from(file), PathBuf::from(beside));
    let mut known = String::new();
    let mut look = move || {
        let Ok(text) = std::fs::read_to_string(&file) else { return };
        if let Ok(seconds) = text.parse()
            && text != known
        {
            domicile::run_ahead(Duration::from_secs(seconds));
            // Who waits for it sees that it is missing.
            drop(std::fs::write(&beside, &text));
            known = text;
        }
    };
    look();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(20));
            look();
        }
    });
}
