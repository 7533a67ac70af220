//! What a walk over a log learns of bodies that are gone: which, and which of them an officer's order explains.
//!
//! An order counts where the officer who signed it is the one whom the node honoured by then, as an entry before it says. An
//! entry that names an officer of its own choosing explains nothing, and one order explains one body: it is signed over what stands
//! in the tree for it.

use std::collections::BTreeMap;

use domicile_proto::officer::OfficerPublic;

use super::destroyed::Destroyed;
use super::merkle::Hash;

/// Bodies that are gone, and the officer whose orders count.
#[derive(Default)]
pub(super) struct Gone {
    /// What stands in the tree for each of them, and the first entry that explained it.
    bodies: BTreeMap<u64, (Hash, Option<Destroyed>)>,
    /// Whom the node honours at this entry.
    officer: Option<OfficerPublic>,
}

impl Gone {
    /// The body of an entry is not there.
    pub(super) fn add(&mut self, entry: u64, commitment: Hash) {
        self.bodies.insert(entry, (commitment, None));
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.bodies.len() as u64
    }

    /// From here on the node honours this officer.
    pub(super) const fn honour(&mut self, officer: OfficerPublic) {
        self.officer = Some(officer);
    }

    /// An entry of the log with this name says that the body of another is gone: it is, and the region's officer ordered it.
    ///
    /// # Errors
    /// What does not hold of it, in words.
    pub(super) fn explain(&mut self, origin: &str, gone: &Destroyed) -> Result<(), &'static str> {
        if self.officer != Some(gone.officer) {
            return Err("the officer it names is not the one whom the node honoured by then, for the body of entry");
        }
        if !gone.is_ordered(origin) {
            return Err("the officer it names did not order that the body be destroyed of entry");
        }
        let Some((commitment, explained)) = self.bodies.get_mut(&gone.entry) else {
            return Err("it calls a body destroyed that is there, of entry");
        };
        if *commitment != gone.commitment {
            return Err("it names another body than stood in the tree, of entry");
        }
        let before = explained.get_or_insert_with(|| gone.clone());
        if before.said() == gone.said() {
            Ok(())
        } else {
            Err("it says otherwise than one before it what it was, of entry")
        }
    }

    /// Those that nothing explains: how many, and the first.
    pub(super) fn unexplained(&self) -> Option<(usize, u64)> {
        let mut open = self.bodies.iter().filter(|(_, (_, explained))| explained.is_none()).map(|(entry, _)| *entry);
        let first = open.next()?;
        Some((open.count() + 1, first))
    }
}
