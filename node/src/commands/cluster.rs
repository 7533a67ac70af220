//! Nodes and the group: run one, begin a deployment, bring nodes in and out.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use domicile_proto::ids::NodeId;
use domicile_proto::metadata::{AccessKey, Change, Command, Roles, Rows};
use serde_json::json;
use tokio::time::Instant;

use super::admin;
use super::arguments::{ClusterVerb, NodeArguments, NodeVerb, RunArguments};
use super::door::{Door, Refusal};
use super::officer::Officer;
use super::profile::Profile;
use crate::config::NodeConfig;
use crate::node;

/// The tenant every deployment begins with; the metadata group gives its first tenant this number.
pub(super) const FIRST_TENANT: domicile_proto::ids::TenantId = domicile_proto::ids::TenantId(1);

/// Longest a deployment is asked to begin.
const BEGIN: Duration = Duration::from_secs(120);
/// Pause before it is asked again.
const PAUSE: Duration = Duration::from_millis(500);

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
                 region, {stay} stay: they lie on its disk, or no other node takes them"
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
    begin(&door, &officer, NodeId(node), addr, &key).await.context("the deployment did not begin")?;
    eprintln!("the deployment has begun; first admin key of region `{}`, shown this once:", consent.region);
    println!("{secret}");
    Ok(())
}

/// Begins the deployment, and asks again with the same key while the node cannot tell whether it was done: another key would be
/// refused where the first one arrived, and nobody was shown that one's secret.
async fn begin(door: &Door, officer: &Officer, node: NodeId, addr: SocketAddr, key: &AccessKey) -> anyhow::Result<()> {
    let end = Instant::now() + BEGIN;
    loop {
        let Err(error) = init(door, &beginning(officer, node, addr, key.clone())).await else { return Ok(()) };
        let is_passing = error.downcast_ref::<Refusal>().is_some_and(Refusal::is_passing);
        if !is_passing || Instant::now() >= end {
            return Err(error);
        }
        eprintln!("not yet: {error:#}; asking again");
        tokio::time::sleep(PAUSE).await;
    }
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use domicile_proto::link::pki::RegionCa;
    use tokio::task::JoinSet;

    use super::*;
    use crate::clock::Clock;

    fn tokyo(dir: &Path) -> (Officer, AccessKey) {
        let region = "tokyo".parse().expect("a name");
        RegionCa::init(dir, &region, &"acme".parse().expect("a name"), Clock::system().now()).expect("a CA");
        let officer = Officer::read(&region, Some(&dir.join("officer.key"))).expect("the officer's key");
        let roles = Roles { admin: true, ingest: false, search: false, audit: false, create: false, reveal: false };
        let name = "first-admin".parse().expect("a name");
        let (_, key) = admin::draw_key(&region, name, FIRST_TENANT, roles, Rows::Redacted).expect("a key");
        (officer, key)
    }

    /// A node that cannot tell whether it was done is asked again with the same key; one that refuses is not.
    #[tokio::test]
    async fn an_answer_that_was_lost_costs_no_key() {
        domicile_proto::link::crypto::install_default_provider();
        let dir = tempfile::tempdir().expect("a directory");
        let (officer, key) = tokyo(dir.path());
        for (statuses, is_begun) in [(vec![503, 503, 200], true), (vec![503, 409], false), (vec![403], false)] {
            let (asked, mut heard) = tokio::sync::mpsc::channel(8);
            let (asked, count) = (Arc::new((asked, AtomicUsize::new(0))), statuses.len());
            let answer = move |body: axum::Json<serde_json::Value>| async move {
                let (bodies, number) = &*asked;
                let status = statuses[number.fetch_add(1, Ordering::Relaxed)];
                bodies.try_send(body.0).expect("there is room");
                (axum::http::StatusCode::from_u16(status).expect("a status"), axum::Json(json!({})))
            };
            let router = axum::Router::new().route("/api/v1/admin/cluster/init", axum::routing::post(answer));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let url = format!("http://{}", listener.local_addr().expect("an address"));
            let mut servers = JoinSet::new();
            servers.spawn(async move { axum::serve(listener, router).await });
            let door = Door::new(None, &url, "", None).expect("a door");
            let addr = "192.0.2.1:7443".parse().expect("an address");
            let begun = begin(&door, &officer, NodeId(1), addr, &key).await;
            servers.abort_all();
            assert_eq!(begun.is_ok(), is_begun, "{begun:?}");
            let mut bodies = Vec::new();
            while let Ok(body) = heard.try_recv() {
                let commands: Vec<Command> = serde_json::from_value(body["commands"].clone()).expect("commands");
                match commands.last() {
                    Some(Command::Regional(change)) => assert_eq!(change.change, Change::AddKey(key.clone())),
                    other => panic!("not a key: {other:?}"),
                }
                bodies.push(commands);
            }
            assert_eq!(bodies.len(), count);
        }
    }

    #[test]
    fn the_first_key_comes_last() {
        let dir = tempfile::tempdir().expect("a directory");
        let (officer, key) = tokyo(dir.path());
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
