//! The bytes of every message stand still: `golden/` holds what every released version wrote.
//!
//! `DOMICILE_GOLDEN=write cargo test -p domicile-proto --test golden` writes the files of messages that have none, and
//! changes none that is there. A message whose bytes must change gets a new version and new files beside the old ones.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod samples;

use std::path::Path;

// cargo-bolero builds every test of the package with hooks that bolero alone resolves.
use bolero as _;
use domicile_proto::codec::{CodecError, HEADER_BYTES};
use samples::Sample;

#[test]
fn every_message_has_the_bytes_it_always_had() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let writes = std::env::var_os("DOMICILE_GOLDEN").is_some_and(|value| value == "write");
    let mut names = Vec::new();
    for sample in samples::all() {
        let path = dir.join(format!("{}.bin", sample.name));
        if writes && !path.try_exists().expect("a readable directory") {
            std::fs::write(&path, &sample.frame).expect("written");
        }
        let golden = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(hex::encode(&sample.frame), hex::encode(&golden), "{}", sample.name);
        let again = (sample.again)(&golden).expect("what was once written can be read");
        assert_eq!(again, golden, "{}", sample.name);
        names.push(format!("{}.bin", sample.name));
    }
    for entry in std::fs::read_dir(&dir).expect("a directory") {
        let found = entry.expect("an entry").file_name().into_string().expect("a name");
        assert!(names.contains(&found), "`{found}` belongs to no message any more; old versions must stay readable");
    }
}

#[test]
fn a_damaged_frame_is_refused_for_what_is_wrong_with_it() {
    for sample in samples::all() {
        let Sample { name, frame, again } = &sample;
        let damaged = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut frame = frame.clone();
            change(&mut frame);
            again(&frame).expect_err(name)
        };
        let (kind, version, length) = (frame[4], frame[5], frame.len());
        assert_eq!(damaged(&|frame| frame[0] ^= 1), CodecError::Magic, "{name}");
        assert_eq!(damaged(&|frame| frame[4] = 200), CodecError::Kind { found: 200, wanted: kind }, "{name}");
        let wrong_version = CodecError::Version { found: version + 1, wanted: version };
        assert_eq!(damaged(&|frame| frame[5] += 1), wrong_version, "{name}");
        assert_eq!(damaged(&|frame| frame.push(0)), CodecError::Trailing { extra: 1 }, "{name}");
        assert_eq!(damaged(&|frame| frame[10] ^= 1), CodecError::Checksum, "{name}");
        let too_large = damaged(&|frame| frame[6..10].copy_from_slice(&u32::MAX.to_be_bytes()));
        assert!(matches!(too_large, CodecError::TooLarge { found: 0xffff_ffff, .. }), "{name}");
        for cut in 0..length {
            let wanted = if cut < HEADER_BYTES { HEADER_BYTES } else { length };
            let truncated = damaged(&|frame| frame.truncate(cut));
            assert_eq!(truncated, CodecError::Truncated { found: cut, wanted }, "{name} at {cut}");
        }
        for at in HEADER_BYTES..length {
            assert_eq!(damaged(&|frame| frame[at] ^= 0x10), CodecError::Checksum, "{name} at {at}");
        }
    }
}

#[test]
fn no_frame_is_taken_for_another_message() {
    for sample in samples::all() {
        let taken = samples::DECODERS.iter().filter(|decode| decode(&sample.frame).is_ok()).count();
        assert_eq!(taken, 1, "{}", sample.name);
    }
}
