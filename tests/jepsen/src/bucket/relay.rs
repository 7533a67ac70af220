//! A relay before an S3 server: passes whole requests on, and on a bad day lets some of them go wrong. Each of the nodes has a
//! door of its own, so that what happened is counted by whom it happened to.

use std::collections::BTreeMap;
use std::io::Error;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::message::Message;
use super::mishaps::{Deck, Mishap, Mood};

/// How long the end of a relay may take.
const END_WITHIN: Duration = Duration::from_secs(5);
/// How long the server may take for an answer; whoever asked is cut off then, lest all who create after it wait for ever.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The relay; ends with this value.
pub struct Relay {
    state: Arc<State>,
    runtime: Option<Runtime>,
}

/// How often something happened, by the door it happened at and by what was done: `tokyo-4: create: cut off`.
pub type Tally = BTreeMap<String, u64>;

struct State {
    to: SocketAddr,
    day: Mutex<Day>,
    /// S3 decides one creation of a name after the other; the server of the tests looks first and writes then.
    creating: tokio::sync::Mutex<()>,
}

struct Day {
    mood: Mood,
    creations: Deck,
    others: Deck,
    tally: Tally,
}

impl Relay {
    /// Before the server at `to`, with no door yet. What will go wrong follows from the seed.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn before(to: SocketAddr, seed: u64) -> Result<Self> {
        let mut building = tokio::runtime::Builder::new_multi_thread();
        let runtime = building.worker_threads(1).thread_name("relay").enable_all().build()?;
        let (creations, others) = (Deck::new(seed), Deck::new(!seed));
        let day = Mutex::new(Day { mood: Mood::Fair, creations, others, tally: Tally::new() });
        let creating = tokio::sync::Mutex::default();
        Ok(Self { state: Arc::new(State { to, day, creating }), runtime: Some(runtime) })
    }

    /// Serves what comes to a socket that listens; what happens there is counted under this name.
    ///
    /// # Errors
    /// When the socket is none.
    pub fn open(&self, door: &str, listener: TcpListener) -> Result<()> {
        listener.set_nonblocking(true)?;
        let runtime = self.runtime.as_ref().context("a relay that runs")?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let (state, door) = (Arc::clone(&self.state), Arc::<str>::from(door));
        runtime.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                while open.try_join_next().is_some() {}
                let Ok((stream, _)) = listener.accept().await else { continue };
                let (state, door) = (Arc::clone(&state), Arc::clone(&door));
                // A connection that breaks is the end of that connection.
                open.spawn(async move { drop(serve(stream, &door, &state).await) });
            }
        });
        Ok(())
    }

    /// What day it is from now on.
    pub fn set(&self, mood: Mood) {
        self.state.day().mood = mood;
    }

    /// What was done to whom since the beginning.
    pub fn tally(&self) -> Tally {
        self.state.day().tally.clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(END_WITHIN);
        }
    }
}

impl State {
    fn day(&self) -> std::sync::MutexGuard<'_, Day> {
        self.day.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happens to a request.
    fn fate(&self, request: &Message) -> Option<Mishap> {
        let mut day = self.day();
        let mood = day.mood;
        if is_creation(request) { day.creations.draw(mood) } else { day.others.draw(mood) }
    }

    /// Asks the server.
    async fn ask(&self, request: &Message) -> Result<Message, Error> {
        let _alone = if is_creation(request) { Some(self.creating.lock().await) } else { None };
        tokio::time::timeout(ANSWER_WITHIN, ask(self.to, request)).await?
    }

    fn happened(&self, door: &str, request: &Message, what: &str) {
        let kind = if is_creation(request) { "create" } else { request.method() };
        *self.day().tally.entry(format!("{door}: {kind}: {what}")).or_default() += 1;
    }
}

/// Whether something is put where nothing may be.
fn is_creation(request: &Message) -> bool {
    request.method() == "PUT" && request.header("if-none-match").is_some()
}

/// Serves one connection until either end is done with it.
async fn serve(stream: TcpStream, door: &str, state: &State) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    while let Some(request) = Message::request(&mut read).await? {
        let fate = state.fate(&request);
        if let Some(mishap) = fate {
            state.happened(door, &request, mishap.name());
        }
        let answer = match fate {
            Some(Mishap::CutOff) => return Ok(()),
            Some(Mishap::Refused(status)) => refusal(status),
            _ => state.ask(&request).await?,
        };
        match fate {
            Some(Mishap::DoneInSilence) => {
                if is_creation(&request) && answer.status() == 200 {
                    state.happened(door, &request, CREATED_IN_SILENCE);
                }
                return Ok(());
            }
            Some(Mishap::Late(late)) => tokio::time::sleep(late).await,
            _ => {}
        }
        let closes = request.closes();
        write.write_all(&answer.bytes(answer.told_length(request.method()), closes)).await?;
        if closes {
            return write.shutdown().await;
        }
    }
    Ok(())
}

/// What is counted beside a creation whose answer was cut off, where the server had done it.
pub const CREATED_IN_SILENCE: &str = "created and never answered";

/// Asks the server, on a connection of its own.
async fn ask(to: SocketAddr, request: &Message) -> Result<Message, Error> {
    let mut stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let has_length = !request.body.is_empty() || ["PUT", "POST"].contains(&request.method());
    stream.write_all(&request.bytes(has_length.then_some(request.body.len()), true)).await?;
    Message::answer(&mut BufReader::new(stream), request.method()).await
}

/// As S3 says it.
fn refusal(status: u16) -> Message {
    let (reason, code) =
        if status == 503 { ("Slow Down", "SlowDown") } else { ("Internal Server Error", "InternalError") };
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{reason}</Message></Error>"
    );
    let headers = vec![("Content-Type".to_owned(), "application/xml".to_owned())];
    Message { start: format!("HTTP/1.1 {status} {reason}"), headers, body: body.into_bytes() }
}

#[cfg(test)]
#[path = "relay_test.rs"]
mod tests;
