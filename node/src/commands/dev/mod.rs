//! `domicile dev`: three regions as three processes on this machine, as real as three machines, with certificates, keys and
//! sample lines. The parent is a client like any other, and the network between the regions where `--wan` asks for one.
//!
//! Keeps everything in one directory, stops everything it started, and restarts nothing: a region that dies is named.

mod child;
mod feed;
mod first;
mod layout;
mod page;
mod ports;
mod relay;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use domicile_proto::ids::Region;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::arguments::DevArguments;
use super::door::{Door, Refusal};
use child::Child;
use layout::Layout;

/// Longest wait for the regions to come up and answer; they need a few seconds, and longer where the machine does much else.
const START: Duration = Duration::from_secs(120);
/// Pause between two looks at what is not yet there.
const LOOK: Duration = Duration::from_millis(50);
/// Pause before something is asked for again.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) async fn run(arguments: DevArguments) -> anyhow::Result<ExitCode> {
    let data = std::path::absolute(&arguments.data)?;
    if arguments.clean {
        layout::remove(&data)?;
        eprintln!("removed {}", data.display());
        return Ok(ExitCode::SUCCESS);
    }
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    if let Some(path) = &arguments.ready_file {
        page::forget(path)?;
    }
    let layout = Layout::prepare(&data, arguments.base_port, arguments.wan).await?;
    let mut children = Vec::new();
    let outcome = tokio::select! {
        _ = interrupt.recv() => Ok(ExitCode::SUCCESS),
        _ = terminate.recv() => Ok(ExitCode::SUCCESS),
        outcome = live(&layout, &arguments, &mut children) => outcome,
    };
    eprintln!("stopping the regions");
    child::stop(children).await;
    if let Some(path) = &arguments.ready_file {
        page::forget(path)?;
    }
    outcome
}

/// Starts the regions. The first begins the group before the others start, so that nobody knocks unapproved.
async fn start(layout: &Layout, children: &mut Vec<Child>) -> anyhow::Result<()> {
    for (place, number) in layout.regions.iter().zip(1..) {
        children.push(Child::start(place.region.clone(), &place.config, &place.log)?);
        if number == 1 && !layout.has_done("group") {
            let begun = async {
                wait_ready(&place.door("")?).await;
                first::begin(layout).await
            };
            tokio::select! {
                begun = tokio::time::timeout(START, begun) => begun.context("the first region did not come up")??,
                dead = first_death(children) => return Err(died_early(layout, &dead)),
            }
        }
    }
    Ok(())
}

fn died_early(layout: &Layout, dead: &Region) -> anyhow::Error {
    anyhow::anyhow!("region `{dead}` ended while starting; its log is {}", layout.log(dead))
}

/// Brings the regions together, says so, and then watches them until the last is gone.
async fn live(layout: &Layout, arguments: &DevArguments, children: &mut Vec<Child>) -> anyhow::Result<ExitCode> {
    start(layout, children).await?;
    tokio::select! {
        ready = bring_up(layout) => ready?,
        dead = first_death(children) => return Err(died_early(layout, &dead)),
    }
    if let Some(path) = &arguments.ready_file {
        page::write_ready(path, layout, children)?;
    }
    let fed = async {
        if !arguments.no_samples {
            feed::samples(layout).await?;
        }
        page::print(layout, !arguments.no_samples);
        std::future::pending::<anyhow::Result<ExitCode>>().await
    };
    tokio::select! {
        outcome = fed => outcome,
        () = all_deaths(children, layout) => {
            eprintln!("no region is left");
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn first_death(children: &mut [Child]) -> Region {
    loop {
        for child in children.iter_mut() {
            if child.ended().is_some() {
                return child.region.clone();
            }
        }
        sleep(LOOK).await;
    }
}

/// Names each region that dies, once; ends with the last one.
async fn all_deaths(children: &mut [Child], layout: &Layout) {
    let mut named = vec![false; children.len()];
    while named.contains(&false) {
        for (child, is_named) in children.iter_mut().zip(&mut named) {
            if let (Some(how), false) = (child.ended(), *is_named) {
                *is_named = true;
                let (region, log) = (&child.region, layout.log(&child.region));
                eprintln!("region `{region}` has ended ({how}) and is not restarted; its log is {log}");
            }
        }
        sleep(LOOK).await;
    }
}

async fn bring_up(layout: &Layout) -> anyhow::Result<()> {
    let deadline = Instant::now() + START;
    let patient = async {
        for place in &layout.regions {
            wait_ready(&place.door("")?).await;
        }
        first::wait_for_keys(layout).await?;
        until_decided(async || first::declare_streams(layout).await).await?;
        first::wait_for_answer(layout).await
    };
    match tokio::time::timeout_at(deadline, patient).await {
        Ok(outcome) => outcome.context("the regions did not come together"),
        Err(_) => bail!(
            "the regions did not answer together within {} s; look at the logs under {}",
            START.as_secs(),
            layout.data.join("nodes").display()
        ),
    }
}

/// Asks again while a node says that it could not, or not in time: where the machine is busy an election may end after what a node
/// waits for it. What was decided before is decided the same once more.
async fn until_decided(ask: impl AsyncFn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    loop {
        match ask().await {
            Err(error) if error.downcast_ref::<Refusal>().is_some_and(Refusal::is_passing) => {
                eprintln!("not yet: {error:#}; asking again");
                sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

async fn wait_ready(door: &Door) {
    loop {
        let request = door.request(reqwest::Method::GET, "/readyz").timeout(Duration::from_secs(2));
        if request.send().await.is_ok_and(|response| response.status().is_success()) {
            return;
        }
        sleep(LOOK).await;
    }
}

/// Whether a file is there.
fn is_there(path: &Path) -> bool {
    path.try_exists().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use reqwest::StatusCode;

    use super::*;

    /// How often it is asked where these are the answers, and whether it was done in the end.
    async fn asked(answers: &[StatusCode]) -> (usize, bool) {
        let count = Cell::new(0);
        let outcome = until_decided(async || {
            let status = answers[count.replace(count.get() + 1)];
            if status.is_success() { Ok(()) } else { Err(Refusal::of(status).into()) }
        });
        let is_done = outcome.await.is_ok();
        (count.get(), is_done)
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_group_did_not_decide_is_asked_again_and_what_it_refused_is_not() {
        let away = StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!(asked(&[away, away, StatusCode::OK]).await, (3, true));
        assert_eq!(asked(&[away, StatusCode::FORBIDDEN, StatusCode::OK]).await, (2, false));
    }
}
