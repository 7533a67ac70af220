//! A vault for tests of others: its root lies beside its keyring.

use std::path::Path;

use domicile_proto::ids::Region;

use super::root::local::Local;
use super::vault::Vault;
use crate::clock::Clock;

/// Opens or makes a vault in a directory.
pub(crate) fn vault(dir: &Path, region: Region, clock: Clock) -> Vault {
    let store = Box::new(Local::open(&dir.join("root.key")).expect("a root"));
    Vault::open(dir, region, store, clock).expect("a keyring")
}
