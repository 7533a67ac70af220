//! The mouth of the line: a bounded queue of arrivals and a budget of bytes, both before 429.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::arrival::{Arrival, Posted};
use super::errors::ReceiveError;
use super::reply::{Failure, Reply};
use crate::clock::Clock;
use crate::tasks::Tasks;

/// Asks, by the headers alone, whether a body is worth reading: a stranger's is not. `admit` gives the answer.
pub(crate) type Knock = Arc<dyn Fn(&HeaderMap) -> Result<(), Failure> + Send + Sync>;

/// Room that a body takes; given back on drop.
pub(crate) struct Room(Option<OwnedSemaphorePermit>);

impl Room {
    /// No room at all, for a body of no bytes.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// Bytes it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    fn add(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.0 {
            Some(held) => held.merge(more),
            None => self.0 = Some(more),
        }
    }
}

/// The mouth of the line, cloned into every door.
#[derive(Clone)]
pub(crate) struct Inlet {
    line: mpsc::Sender<Posted>,
    budget: Arc<Semaphore>,
    budget_bytes: usize,
    knock: Knock,
    clock: Clock,
    tasks: Tasks,
    deadline: Duration,
}

impl Inlet {
    /// A mouth with room for `budget_bytes`, and the queue that the line drains.
    pub(crate) fn new(
        queue: usize,
        budget_bytes: usize,
        deadline: Duration,
        knock: Knock,
        clock: Clock,
        tasks: Tasks,
    ) -> (Self, mpsc::Receiver<Posted>) {
        let (line, inbox) = mpsc::channel(queue);
        let budget = Arc::new(Semaphore::new(budget_bytes));
        (Self { line, budget, budget_bytes, knock, clock, tasks, deadline }, inbox)
    }

    /// Whether this sender may go on to its body.
    pub(super) fn knock(&self, headers: &HeaderMap) -> Result<(), Failure> {
        (self.knock)(headers)
    }

    pub(super) const fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) const fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// All the bytes there could ever be room for.
    pub(super) const fn budget_bytes(&self) -> usize {
        self.budget_bytes
    }

    /// Enlarges a room, or says that there is none right now.
    pub(super) fn enlarge(&self, room: &mut Room, bytes: usize) -> Result<(), ReceiveError> {
        if bytes == 0 {
            return Ok(());
        }
        let bytes = u32::try_from(bytes).map_err(|_| ReceiveError::NoRoom)?;
        let more = Arc::clone(&self.budget).try_acquire_many_owned(bytes).map_err(|_| ReceiveError::NoRoom)?;
        room.add(more);
        Ok(())
    }

    /// Hands an arrival to the line and waits for the reply.
    pub(super) async fn send(&self, arrival: Arrival) -> Reply {
        let place = match self.line.try_reserve() {
            Ok(place) => place,
            Err(mpsc::error::TrySendError::Full(())) => return Reply::Failed(ReceiveError::QueueFull.into()),
            Err(mpsc::error::TrySendError::Closed(())) => return Reply::Failed(ReceiveError::NoReply.into()),
        };
        let (reply, answer) = oneshot::channel();
        place.send(Posted { arrival, reply });
        match tokio::time::timeout(self.deadline, answer).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) | Err(_) => Reply::Failed(ReceiveError::NoReply.into()),
        }
    }
}
