//! The newest checkpoint that others cosigned, as an auditor finds it: who they are, and that every line is theirs.

use std::path::Path;

use super::merkle::Head;
use super::note::{Cosigner, Verifier, has_no_strangers};
use super::tiles::{COSIGNED, WITNESSES};
use super::verify::{Broken, broken};

/// The head under the cosigned checkpoint of a log, and who cosigned it; `None` where nobody has yet.
pub(super) fn read(log: &Path, verifier: &Verifier) -> Result<Option<(Head, Vec<Cosigner>)>, Broken> {
    let keys = text(log, WITNESSES)?;
    let Some(note) = text(log, COSIGNED)? else {
        // The keys are written first.
        return Ok(None);
    };
    let keys = keys.ok_or_else(|| broken(WITNESSES, "this file is missing or cannot be read"))?;
    let keys = keys.strip_suffix('\n').and_then(|keys| keys.split('\n').map(Cosigner::read).collect());
    let keys: Vec<Cosigner> = keys.ok_or_else(|| broken(WITNESSES, "one of these is no key of a witness"))?;
    let head = verifier.checkpoint(&note);
    let head = head.ok_or_else(|| broken(COSIGNED, "the log's key did not sign this checkpoint"))?;
    if !has_no_strangers(&note, verifier, &keys) {
        return Err(broken(COSIGNED, "a line under this checkpoint is of nobody in the list of witnesses"));
    }
    let cosigners: Vec<Cosigner> = keys.into_iter().filter(|key| key.cosigned(&note).is_some()).collect();
    Ok(Some((head, cosigners)))
}

fn text(log: &Path, name: &'static str) -> Result<Option<String>, Broken> {
    match std::fs::read_to_string(log.join(name)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(_) => Err(broken(name, "this file is missing or cannot be read")),
    }
}
