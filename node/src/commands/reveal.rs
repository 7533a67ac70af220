//! The original behind a token, and new keys for what is sealed: both ask the region's own node.

use serde_json::{Value, json};

use super::arguments::{KeysVerb, RevealArguments};
use super::profile::Profile;

pub(super) async fn run(arguments: RevealArguments, profile: &Profile) -> anyhow::Result<()> {
    let RevealArguments { token, purpose, region } = arguments;
    let door = profile.door_at(region.as_ref())?;
    let answer = door.post("/api/v1/reveal", &json!({"token": token, "purpose": purpose.as_str()})).await?;
    let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let entry = answer.pointer("/ledger/entry").and_then(Value::as_u64).unwrap_or_default();
    eprintln!("revealed in region `{}` as entry {entry} of its ledger says:", text("/region"));
    println!("{}", text("/value"));
    Ok(())
}

pub(super) async fn keys(verb: KeysVerb, profile: &Profile) -> anyhow::Result<()> {
    let KeysVerb::Rotate { region } = verb;
    profile.door(&region)?.post("/api/v1/admin/keys/rotate", &json!({})).await?;
    eprintln!("the keyring of the node of `{region}` has new keys up to the root; copies from before no longer open");
    Ok(())
}
