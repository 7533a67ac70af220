//! Nodes and the group: run one, begin a deployment, bring nodes in and out.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use domicile_proto::ids::NodeId;
use domicile_proto::metadata::{AccessKey, Change, Command, Roles, Rows};
use serde_json::json;

use super::admin;
use super::arguments::{ClusterVerb, NodeArguments, NodeVerb, RunArguments};
use super::door::Door;
use super::officer::Officer;
use super::profile::Profile;
use crate::config::NodeConfig;
use crate::node;

/// The tenant every deployment begins with; the metadata group gives its first tenant this number.
pub(super) const FIRST_TENANT: domicile_proto::ids::TenantId = domicile_proto::ids::TenantId(1);

pub(super) async fn node(arguments: NodeArguments, profile: Option<&Path>) -> anyhow::Result<ExitCode> {
    let profile = || Profile::find(profile);
    match arguments.verb {
        None => run_node(arguments.run).await,
        Some(NodeVerb::Run(run)) => run_node(run).await,
        Some(NodeVerb::Join { node, addr, consent }) => {
            let door = profile()?.door_for(&consent.region)?;
            let officer =
                Officer::read(&consent.region, consent.officer_key.as_deref())?.after_newest_at(&door).await?;
            let change = Change::AddNode { node: NodeId(node), addr };
            admin::submit(&door, &with_region_key(vec![officer.consent(change)], &officer)).await?;
            eprintln!("node {node} of region `{}` is approved; it enters the group once it runs", consent.region);
            Ok(ExitCode::SUCCESS)
        }
        Some(NodeVerb::Drain { region }) => {
            let drained = profile()?.door(&region)?.post("/api/v1/admin/node/drain", &json!({})).await?;
            let handed_over = drained.get("handed_over").and_then(serde_json::Value::as_u64).unwrap_or(0);
            let stay = drained.get("stay").and_then(serde_json::Value::as_array).map_or(0, Vec::len);
            eprintln!(
                "the node of `{region}` no longer leads the metadata group; {handed_over} stream(s) went to other nodes of the \
                 region, {stay} stay: they lie on its disk, or no other node is there"
            );
            Ok(ExitCode::SUCCESS)
        }
        Some(NodeVerb::Remove { node, consent }) => {
            let door = profile()?.door_for(&consent.region)?;
            let officer =
                Officer::read(&consent.region, consent.officer_key.as_deref())?.after_newest_at(&door).await?;
            admin::submit(&door, &[officer.consent(Change::RemoveNode { node: NodeId(node) })]).await?;
            eprintln!("node {node} of region `{}` is taken out; its machine must not come back", consent.region);
            Ok(ExitCode::SUCCESS)
        }
        Some(NodeVerb::Leave { region, accept_loss }) => {
            let door = profile()?.door(&region)?;
            let status = door.read("/api/v1/status").await?;
            let shards = status.get("shards").and_then(serde_json::Value::as_u64).unwrap_or(0);
            if shards > 0 && !accept_loss {
                bail!(
                    "the node of `{region}` holds {shards} stream(s), which nobody in the region could then write or search; \
                     say `--accept-loss` if that is meant"
                );
            }
            door.post("/api/v1/admin/node/leave", &json!({})).await?;
            eprintln!("the node of `{region}` has left the metadata group; stop it now");
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn run_node(arguments: RunArguments) -> anyhow::Result<ExitCode> {
    let config = NodeConfig::read(&arguments.config).map_err(coded)?;
    node::run(config, arguments.parent_pipe).await.map_err(coded)?;
    Ok(ExitCode::SUCCESS)
}

/// An error of the node with its code in front.
fn coded<E: crate::errors::Coded + Send + Sync + 'static>(error: E) -> anyhow::Error {
    let code = error.code();
    anyhow::Error::new(error).context(format!("the node did not run ({code}, see docs/errors/{code}.md)"))
}

pub(super) async fn run(verb: ClusterVerb) -> anyhow::Result<()> {
    let ClusterVerb::Init { url, ca, node, addr, consent } = verb;
    let officer = Officer::read(&consent.region, consent.officer_key.as_deref())?;
    let door = Door::new(None, &url, "", ca.as_deref())?;
    let roles = Roles { admin: true, ingest: true, search: true, audit: false, create: true, reveal: false };
    let (secret, key) = admin::draw_key(&consent.region, "first-admin".parse()?, FIRST_TENANT, roles, Rows::Redacted)?;
    let begun = beginning(&officer, NodeId(node), addr, key);
    init(&door, &begun).await.context("the deployment did not begin")?;
    eprintln!("the deployment has begun; first admin key of region `{}`, shown this once:", consent.region);
    println!("{secret}");
    Ok(())
}

/// What a deployment begins with. The key comes last: what is interrupted before it is there may be given again, and afterwards
/// nobody would have its secret.
fn beginning(officer: &Officer, node: NodeId, addr: SocketAddr, key: AccessKey) -> Vec<Command> {
    let mut commands = with_region_key(vec![officer.consent(Change::AddNode { node, addr })], officer);
    commands.push(officer.consent(Change::AddKey(key)));
    commands
}

/// The commands, and the one that makes known with which key the region's nodes speak.
fn with_region_key(mut commands: Vec<Command>, officer: &Officer) -> Vec<Command> {
    match officer.region_key() {
        Some(command) => commands.push(command),
        None => eprintln!(
            "there is no `region.pub` beside the officer's key: unless the group knows the region's key already, its nodes \
             begin no stream"
        ),
    }
    commands
}

/// Begins a deployment on a node that knows no group yet: it becomes the only voter and applies these commands, the first
/// of which must carry the consent of its own officer.
pub(super) async fn init(door: &Door, commands: &[Command]) -> anyhow::Result<()> {
    door.post("/api/v1/admin/cluster/init", &json!({ "commands": commands })).await.map(drop)
}

#[cfg(test)]
mod tests {
    use domicile_proto::link::pki::RegionCa;

    use super::*;
    use crate::clock::Clock;

    #[test]
    fn the_first_key_comes_last() {
        let (dir, region) = (tempfile::tempdir().expect("a directory"), "tokyo".parse().expect("a name"));
        RegionCa::init(dir.path(), &region, &"acme".parse().expect("a name"), Clock::system().now()).expect("a CA");
        let officer = Officer::read(&region, Some(&dir.path().join("officer.key"))).expect("the officer's key");
        let roles = Roles { admin: true, ingest: false, search: false, audit: false, create: false, reveal: false };
        let (_, key) =
            admin::draw_key(&region, "first-admin".parse().expect("a name"), FIRST_TENANT, roles, Rows::Redacted)
                .expect("a key");
        let commands = beginning(&officer, NodeId(1), "192.0.2.1:7443".parse().expect("an address"), key);
        let changes: Vec<_> = commands
            .iter()
            .map(|command| match command {
                Command::Regional(signed) => &signed.change,
                other => panic!("not the region's: {other:?}"),
            })
            .collect();
        assert!(
            matches!(changes[..], [Change::AddNode { .. }, Change::SetRegionKey { .. }, Change::AddKey(_)]),
            "{changes:?}"
        );
    }
}
