//! The operator's commands: what people type, and nothing a node does.
//!
//! Every command but `node`, `dev`, `pki`, `wire`, `audit` and `residency` is a client of the public HTTP doors and knows no more than any other
//! client: an address and an access key per region, out of a profile. Rows of several regions meet here, on the user's
//! machine, and nowhere else. What an officer must consent to is signed here with a key that is never sent.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "commands talk to a person, or to a pipe")]

mod admin;
mod adoption;
mod arguments;
mod audit;
mod breach;
mod canary;
mod cluster;
mod dev;
mod door;
mod double_entry;
mod honoured;
mod ingest;
mod ledger;
mod lifecycle;
mod looks;
mod meta;
mod noise;
mod officer;
pub(crate) mod pack;
mod pki;
mod privacy;
mod profile;
mod reconcile;
mod rehearsal;
mod replay;
mod residency;
mod retention;
mod reveal;
mod revoke;
mod samples;
mod scan;
mod search;
mod selftest;
mod status;
mod subject;
mod table;
mod transfer;
mod wire;

use std::process::ExitCode;

use clap::Parser;
use domicile_proto::link::crypto;
use domicile_proto::link::pki::PkiError;

use arguments::{Arguments, Verb};

/// Parses the arguments, does what they say, and tells how it went.
pub(crate) fn run() -> ExitCode {
    let arguments = Arguments::parse();
    end_with_the_reader();
    crypto::install_default_provider();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime did not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(perform(arguments));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Who reads a command's output may stop reading (`| head`): then the command ends as the shell knows it, and says nothing of it.
fn end_with_the_reader() {
    /// What shells call the end by a broken pipe: 128 and the number of SIGPIPE.
    const READER_GONE: i32 = 141;
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload_as_str().unwrap_or_default();
        if said.starts_with("failed printing to std") && said.contains("Broken pipe") {
            std::process::exit(READER_GONE);
        }
        usual(panic);
    }));
}

async fn perform(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let profile = || profile::Profile::find(arguments.profile.as_deref());
    match arguments.verb {
        Verb::Dev(dev) => return dev::run(dev).await,
        Verb::Node(node) => return cluster::node(node, arguments.profile.as_deref()).await,
        Verb::Cluster(cluster) => cluster::run(cluster).await?,
        Verb::Pki(pki) => pki::run(pki)?,
        Verb::Wire(wire) => wire::run(&wire)?,
        Verb::Ingest(ingest) => return ingest::run(ingest, profile).await,
        Verb::Search(search) => search::run(search, &profile()?).await?,
        Verb::Status(status) => status::run(&status, &profile()?).await?,
        Verb::Tenant(tenant) => admin::tenant(tenant, &profile()?).await?,
        Verb::Stream(stream) => admin::stream(stream, &profile()?).await?,
        Verb::Key(key) => admin::key(key, &profile()?).await?,
        Verb::Reveal(reveal) => reveal::run(reveal, &profile()?).await?,
        Verb::Keys(keys) => reveal::keys(keys, &profile()?).await?,
        Verb::Audit(audit) => return audit::run(audit, profile).await,
        Verb::Breach(breach) => breach::run(breach, &profile()?).await?,
        Verb::Ledger(verb) => ledger::run(verb, &profile()?).await?,
        Verb::Sbom => print!("{}", crate::audit::sbom()),
        Verb::Residency(residency) => return residency::run(&residency),
        Verb::Dictionary(dictionary) => admin::dictionary(dictionary, &profile()?).await?,
        Verb::Lifecycle(verb) => lifecycle::lifecycle(verb, &profile()?).await?,
        Verb::Meta(verb) => meta::run(verb, profile).await?,
        Verb::Shard(verb) => return adoption::shard(verb, &profile()?).await,
        Verb::Region(verb) => return adoption::region(verb, &profile()?).await,
        Verb::Storage(verb) => return lifecycle::storage(verb, &profile()?).await,
        Verb::Transfer(transfer) => transfer::run(transfer, &profile()?).await?,
        Verb::Retention(retention) => retention::run(retention, &profile()?).await?,
        Verb::Subject(subject) => subject::run(subject, &profile()?).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// An error with its causes, one after the other, each once, with the code where one has its own.
fn chain(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let code = cause.downcast_ref::<PkiError>().map_or_else(String::new, |pki| format!(" ({})", pki.code()));
        let words = cause.to_string();
        if parts.last().is_none_or(|last| !last.contains(&words)) {
            parts.push(words + &code);
        }
    }
    parts.join("\n  because: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_said_once_with_its_code() {
        let error = domicile_proto::link::pki::describe(std::path::Path::new("/nowhere/a.crt")).err();
        let error = anyhow::Error::new(error.expect("there is none")).context("the certificate is not shown");
        let said = chain(&error);
        assert!(said.contains("`/nowhere/a.crt`") && said.contains("(DMC-PKI-02)"), "{said}");
        assert_eq!(said.matches("cannot be read").count(), 1, "{said}");
    }
}
