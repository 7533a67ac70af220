//! The newest checkpoint of a log with the parts of tiles that are there for its size alone. A node that goes on writing puts others in their
//! place a moment after its next checkpoint: whoever reads a log that is written on takes these first, and all of one size.

use std::collections::BTreeMap;
use std::path::Path;

use super::merkle::{Head, WIDTH};
use super::note::Verifier;
use super::tiles::{self, CHECKPOINT};
use super::verify::{Broken, broken, text};

/// How often the checkpoint is read again at most where parts of its tiles went while they were read.
const READ_AGAIN: u32 = 100;

/// The bytes of parts of tiles and bundles, by their places.
pub(super) type Parts = BTreeMap<String, Vec<u8>>;

/// Reads a checkpoint and the parts that go with it. One that is missing though no other checkpoint came is left out: whoever needs it says so.
///
/// # Errors
/// [`Broken`] where there is no checkpoint that the key signed.
pub(super) fn read(log: &Path, verifier: &Verifier) -> Result<(Head, Parts), Broken> {
    read_by(log, verifier, &mut |place| std::fs::read(log.join(place)).ok())
}

fn read_by(
    log: &Path,
    verifier: &Verifier,
    part: &mut dyn FnMut(&str) -> Option<Vec<u8>>,
) -> Result<(Head, Parts), Broken> {
    let mut note = text(&log.join(CHECKPOINT))?;
    let mut left = READ_AGAIN;
    loop {
        let head = verifier.checkpoint(&note);
        let head = head.ok_or_else(|| broken(CHECKPOINT, "the log's key did not sign this checkpoint"))?;
        let wanted = places(head.size);
        let parts: Parts = wanted.iter().filter_map(|place| Some((place.clone(), part(place)?))).collect();
        let now = text(&log.join(CHECKPOINT))?;
        if parts.len() == wanted.len() || now == note || left == 0 {
            return Ok((head, parts));
        }
        (note, left) = (now, left - 1);
    }
}

/// Where the parts of a log of this size lie.
fn places(size: u64) -> Vec<String> {
    let mut places = Vec::new();
    if !size.is_multiple_of(WIDTH) {
        places.push(tiles::bundle_path(size / WIDTH, size % WIDTH));
    }
    let (mut level, mut hashes) = (0, size);
    while hashes > 0 {
        if !hashes.is_multiple_of(WIDTH) {
            places.push(tiles::hashes_path(level, hashes / WIDTH, hashes % WIDTH));
        }
        (level, hashes) = (level + 1, hashes / WIDTH);
    }
    places
}

#[cfg(test)]
mod tests {
    use std::fs;

    use domicile_proto::ids::Timestamp;

    use super::super::{Event, Ledger, verify};
    use super::*;
    use crate::clock::Clock;

    fn open(dir: &Path) -> Ledger {
        let clock = Clock::standing_at(Timestamp(1_700_000_000_000_000));
        Ledger::open(dir, &"tokyo".parse().expect("a name"), clock).expect("opened")
    }

    /// Goes on by so many entries, and signs a checkpoint over them.
    fn go_on(ledger: &Ledger, by: usize) {
        let all = (0..by).map(|number| ledger.record(Event::HoldSet { hold: number.to_string().into() }));
        let all = futures::executor::block_on(futures::future::join_all(all));
        assert!(all.iter().all(Result::is_ok), "{all:?}");
        ledger.publish();
    }

    #[test]
    fn the_parts_are_those_of_the_format_at_every_size() {
        assert_eq!(places(0), [""; 0]);
        assert_eq!(places(255), ["tile/entries/000.p/255", "tile/0/000.p/255"]);
        assert_eq!(places(256), ["tile/1/000.p/1"]);
        assert_eq!(
            places(65_536 + 512 + 3),
            ["tile/entries/258.p/3", "tile/0/258.p/3", "tile/1/001.p/2", "tile/2/000.p/1",]
        );
    }

    #[test]
    fn a_log_that_goes_on_while_it_is_read_holds_as_it_was() {
        let dir = tempfile::tempdir().expect("a directory");
        let ledger = open(dir.path());
        let mut size = 0;
        for by in [1, 254, 1, 44, 212, 700] {
            go_on(&ledger, by);
            size += by as u64;
            let mut more = 0;
            // A part of every tile is another by then, or a whole one.
            let checked = verify(dir.path(), None, &[], &mut |number, _| {
                if number == 1 || number == size {
                    go_on(&ledger, 300);
                    more += 300;
                }
            });
            let checked = checked.expect("it holds");
            assert_eq!((checked.head.map(|head| head.size), checked.findings), (Some(size), vec![]), "{size}");
            assert!(more > 0, "the test is not blind");
            size += more;
        }
    }

    #[test]
    fn a_checkpoint_that_comes_while_its_parts_are_read_is_read_with_its_own() {
        let dir = tempfile::tempdir().expect("a directory");
        let (ledger, log) = (open(dir.path()), dir.path().join("log"));
        go_on(&ledger, 300);
        let verifier = ledger.verifier().clone();
        let mut goes_on = 2;
        let read = |place: &str| fs::read(log.join(place)).ok();
        let (head, parts) = read_by(&log, &verifier, &mut |place| {
            if goes_on > 0 {
                goes_on -= 1;
                go_on(&ledger, 10);
            }
            read(place)
        })
        .expect("signed");
        assert_eq!((head.size, goes_on), (320, 0));
        assert_eq!(parts.keys().cloned().collect::<std::collections::BTreeSet<_>>(), places(320).into_iter().collect());
        // What is missing is missing, and nobody waits for it.
        let gone = places(320)[0].clone();
        fs::remove_file(log.join(&gone)).expect("there");
        let mut reads = 0;
        let (_, parts) = read_by(&log, &verifier, &mut |place| {
            reads += 1;
            read(place)
        })
        .expect("signed");
        assert_eq!((reads, parts.contains_key(&gone)), (3, false));
        let broken = verify(dir.path(), None, &[], &mut |_, _| {}).expect_err("a part is missing");
        assert!(broken.place == gone && broken.why.contains("missing"), "{broken}");
    }
}
