//! How long a connection is waited for: its first bytes, a client that does not read, and which one goes when all places are
//! taken. Knows no HTTP beyond the first bytes of its second version.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::listen::Wire;

/// What every HTTP/2 connection begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The first bytes of a connection, as many as it takes to know its protocol; `None` where they do not come in time.
pub(super) async fn first_bytes(wire: &mut (impl AsyncRead + Unpin), within: Duration) -> Option<Vec<u8>> {
    let read = async {
        let mut first = Vec::with_capacity(PREFACE.len());
        while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
            let mut piece = [0; PREFACE.len()];
            let room = piece.get_mut(first.len()..).unwrap_or_default();
            let count = wire.read(room).await.ok().filter(|count| *count > 0)?;
            first.extend_from_slice(room.get(..count).unwrap_or_default());
        }
        Some(first)
    };
    timeout(within, read).await.ok().flatten()
}

/// When something last went over a connection, and how many requests run on it.
pub(super) struct Activity {
    began: Instant,
    last: AtomicU64,
    running: AtomicUsize,
}

impl Activity {
    pub(super) fn of(began: Instant) -> Arc<Self> {
        let activity = Self { began, last: AtomicU64::new(0), running: AtomicUsize::new(0) };
        activity.touch();
        Arc::new(activity)
    }

    fn touch(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }

    /// One more request runs until what is returned is dropped.
    pub(super) fn run(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::Relaxed);
        Running(Arc::clone(self))
    }
}

/// A request that runs.
pub(super) struct Running(Arc<Activity>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.touch();
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The open connections of one listener.
#[derive(Default)]
pub(super) struct Open(Mutex<BTreeMap<u64, (Arc<Activity>, CancellationToken)>>);

impl Open {
    pub(super) fn enter(&self, number: u64, activity: Arc<Activity>, end: CancellationToken) {
        self.0.lock().insert(number, (activity, end));
    }

    pub(super) fn leave(&self, number: u64) {
        self.0.lock().remove(&number);
    }

    /// Ends the connection that was silent longest, of those on which no request runs.
    pub(super) fn end_most_silent(&self) {
        let mut open = self.0.lock();
        let silent = open.iter().filter(|(_, (activity, _))| activity.running.load(Ordering::Relaxed) == 0);
        let longest = silent.min_by_key(|(_, (activity, _))| activity.last.load(Ordering::Relaxed));
        let longest = longest.map(|(number, _)| *number);
        if let Some((_, end)) = longest.and_then(|number| open.remove(&number)) {
            end.cancel();
        }
    }
}

/// A connection whose first bytes were read already, and whose client is not waited for without end.
pub(super) struct Patient {
    wire: Box<dyn Wire>,
    first: Vec<u8>,
    given: usize,
    activity: Arc<Activity>,
    /// How long the client may take nothing.
    silence: Duration,
    /// Runs while the client takes nothing.
    stuck: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    pub(super) fn new(wire: Box<dyn Wire>, first: Vec<u8>, activity: Arc<Activity>, silence: Duration) -> Self {
        Self { wire, first, given: 0, activity, silence, stuck: None }
    }

    fn waited<T>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stuck = None;
            self.activity.touch();
            return outcome;
        }
        let silence = self.silence;
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(sleep(silence)));
        match stuck.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let kept = self.first.get(self.given..).unwrap_or_default();
        if !kept.is_empty() {
            let count = kept.len().min(into.remaining());
            into.put_slice(kept.get(..count).unwrap_or_default());
            self.given += count;
            return Poll::Ready(Ok(()));
        }
        let outcome = Pin::new(&mut self.wire).poll_read(context, into);
        if outcome.is_ready() {
            self.activity.touch();
        }
        outcome
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.wire).poll_write(context, bytes);
        self.waited(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.wire).poll_write_vectored(context, pieces);
        self.waited(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.wire).poll_flush(context);
        self.waited(context, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.wire).poll_shutdown(context);
        self.waited(context, outcome)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const LATE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_client_that_says_nothing_or_half_a_preface_is_not_waited_for() {
        for said in [&b""[..], b"PRI * HTT"] {
            let (mut client, mut server) = tokio::io::duplex(64);
            client.write_all(said).await.unwrap();
            assert_eq!(first_bytes(&mut server, SOON).await, None);
        }
        for said in [&b"G"[..], PREFACE, b"PRI  "] {
            let (mut client, mut server) = tokio::io::duplex(64);
            client.write_all(said).await.unwrap();
            assert_eq!(first_bytes(&mut server, LATE).await.as_deref(), Some(said));
        }
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_is_given_up() {
        let (mut client, server) = tokio::io::duplex(8);
        let activity = Activity::of(Instant::now());
        let mut patient = Patient::new(Box::new(server), b"first".to_vec(), activity, LATE);
        let mut first = [0; 5];
        patient.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"first");
        let mut read = [0; 32];
        let (written, whole) = tokio::join!(patient.write_all(&[7; 32]), client.read_exact(&mut read));
        assert!(written.is_ok() && whole.is_ok(), "whoever reads in pieces is waited for");
        patient.silence = SOON;
        let stuck = patient.write_all(&[7; 32]).await;
        assert_eq!(stuck.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
    }

    #[test]
    fn the_connection_that_was_silent_longest_goes_and_none_on_which_a_request_runs() {
        let open = Open::default();
        let began = Instant::now();
        let enter = |number: u64, last: u64| {
            let (activity, end) = (Activity::of(began), CancellationToken::new());
            activity.last.store(last, Ordering::Relaxed);
            open.enter(number, Arc::clone(&activity), end.clone());
            (activity, end)
        };
        let (busy, busy_end) = enter(1, 0);
        let (_, newer) = enter(2, 20);
        let (_, older) = enter(3, 10);
        let running = busy.run();
        open.end_most_silent();
        assert!(older.is_cancelled() && !newer.is_cancelled() && !busy_end.is_cancelled());
        open.end_most_silent();
        assert!(newer.is_cancelled());
        open.end_most_silent();
        assert!(!busy_end.is_cancelled(), "its request is not cut off");
        drop(running);
        open.end_most_silent();
        assert!(busy_end.is_cancelled());
    }
}
