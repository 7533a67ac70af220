//! Batches that other nodes of the region bring for streams which this one writes: looked at here as if they had come in here,
//! and taken the same way from the piece on.
//!
//! The key is looked up here, in this node's own policy. Nothing is carried on, so that no batch goes in a circle; a stream that
//! this node does not write is named as such.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domicile_proto::ids::TenantId;
use domicile_proto::link::connection::RegionReplyTo;
use domicile_proto::link::neighbour::Neighbour;
use domicile_proto::message::batch::{BatchFailure, BatchFates, BatchForm, GivenId, NotTaken, RecordBatch, RecordFate};
use domicile_proto::message::region::RegionReply;
use tokio::sync::TryAcquireError;

use super::ingest::{Framed, Line, Stream};
use super::outcomes::Walked;
use crate::limits::{CARRIED_LEAST, MAX_RECORD_BYTES, TAKEN_IN_BYTES};
use crate::parse::{Document, Form, ParseError};
use crate::receive::{Action, Failure, ItemOutcome, ReceiveError};
use crate::wal::ProducerBatch;

/// How long a neighbour may take to take its answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of replaced ids in one answer, so that it fits its message; records beyond are told of by the ids they were given.
const TOLD_IDS_BYTES: usize = 8 << 20;

impl Line {
    /// Takes a batch of a neighbour and answers it.
    pub(crate) async fn answer(&self, neighbour: &Neighbour, batch: RecordBatch, to: RegionReplyTo) {
        let reply = match self.take_in(batch).await {
            Ok(fates) => RegionReply::Fates(fates),
            Err(why) => RegionReply::NotTaken(why),
        };
        match tokio::time::timeout(ANSWER_DEADLINE, neighbour.say(to, &reply)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(code = error.code(), %error, "a neighbour did not hear of its batch"),
            Err(_) => tracing::debug!("a neighbour took too long to hear of its batch"),
        }
    }

    /// Takes a batch of a neighbour; what became of each of its records, or why none of them was looked at.
    pub(super) async fn take_in(&self, batch: RecordBatch) -> Result<BatchFates, NotTaken> {
        if !batch.is_bounded() {
            return Err(NotTaken::Unread);
        }
        let work = &self.work;
        let _place = work.places.try_acquire().map_err(|error| match error {
            TryAcquireError::Closed => NotTaken::Stopping,
            TryAcquireError::NoPermits => full(ReceiveError::QueueFull),
        })?;
        let bytes = u32::try_from(batch.weight().clamp(CARRIED_LEAST, TAKEN_IN_BYTES)).unwrap_or(u32::MAX);
        let _bytes = work.taken_in.try_acquire_many(bytes).map_err(|_| full(ReceiveError::NoRoom))?;
        let records = u32::try_from(batch.records.len()).unwrap_or(u32::MAX);
        let _records = work.documents.try_acquire_many(records).map_err(|_| full(ReceiveError::NoRoom))?;
        let principal = self.admitter.brought(&batch.asker).ok_or(NotTaken::Stranger)?;
        self.admitter.charge(principal.tenant(), batch.body.0.len()).map_err(full)?;
        let (refresh, id) = (batch.refresh, batch.id.clone());
        let framed = Arc::new(self.framed(principal.tenant(), batch));
        let digested = match id {
            None => None,
            Some(id) => {
                let (classifier, tenant, body) = (self.classifier.clone(), principal.tenant(), framed.body.clone());
                let digest = self.tasks.blocking(move || classifier.batch(tenant, &id.0, &body));
                let (id, sha256) = digest.await.map_err(|_| NotTaken::Stopping)?;
                Some(ProducerBatch { id: hex::encode(id).into(), sha256 })
            }
        };
        let walked = self.pieces(&framed, digested.as_ref(), None).await;
        // Only a node that ends gives up halfway.
        let walked = walked.map_err(full)?.brought(&framed);
        if refresh {
            self.show(&walked).await;
        }
        walked.count(&self.metrics);
        Ok(fates(&framed, walked))
    }

    /// Its records as documents, for streams that this node writes.
    fn framed(&self, tenant: TenantId, batch: RecordBatch) -> Framed {
        let unnamed: Arc<str> = "".into();
        let not_here = || Stream::Nowhere(ReceiveError::NoReply.into());
        let streams =
            batch.streams.iter().map(|id| self.ownership.mine(tenant, *id).map_or_else(not_here, Stream::Here));
        let slots = batch.records.iter().map(|record| usize::from(record.stream)).collect();
        let streams = streams.collect();
        let documents = batch.records.into_iter().map(|record| {
            let place = (record.from as usize)..(record.to as usize);
            let is_large = place.len() > MAX_RECORD_BYTES;
            Document {
                action: if record.is_create { Action::Create } else { Action::Index },
                index: Arc::clone(&unnamed),
                id: record.id.map(|id| id.0),
                place: if is_large { Err(ParseError::TooLarge { limit: MAX_RECORD_BYTES }) } else { Ok(place) },
            }
        });
        Framed {
            documents: documents.collect(),
            slots,
            streams,
            body: Bytes::from(batch.body.0),
            form: if batch.form == BatchForm::Text { Form::Text } else { Form::Json },
            received_at: self.days.heard(batch.received_at),
        }
    }
}

/// What became of the records, in the words of the link.
fn fates(framed: &Framed, walked: Walked) -> BatchFates {
    let mut reasons: Vec<Failure> = Vec::new();
    let (mut ids, mut room) = (Vec::new(), TOLD_IDS_BYTES);
    let repeated = walked.repeated;
    let records = framed.slots.iter().zip(&framed.documents).zip(walked.told).enumerate();
    let fates = records.map(|(place, ((slot, document), told))| {
        if let (Some(given), Some(told), Ok(place)) = (&document.id, &told.id, u32::try_from(place))
            && given != told
            && told.len() <= room
        {
            room -= told.len();
            ids.push((place, GivenId(told.clone())));
        }
        if matches!(framed.streams.get(*slot), Some(Stream::Nowhere(_)) | None) {
            return RecordFate::NotMine;
        }
        match told.outcome {
            ItemOutcome::Created { seq } => RecordFate::Created(seq),
            ItemOutcome::Noop { seq } => RecordFate::Noop(seq),
            ItemOutcome::Dropped => RecordFate::Dropped,
            ItemOutcome::Failed(failure) => {
                let which = reasons.iter().position(|known| *known == failure).unwrap_or_else(|| {
                    reasons.push(failure);
                    reasons.len() - 1
                });
                RecordFate::Failed(u16::try_from(which).unwrap_or(u16::MAX), told.id.is_some())
            }
        }
    });
    let fates = fates.collect();
    BatchFates { fates, failures: reasons.into_iter().map(told).collect(), ids, repeated }
}

fn full(failure: impl Into<Failure>) -> NotTaken {
    NotTaken::Full(told(failure.into()))
}

/// In the words of the link.
fn told(failure: Failure) -> BatchFailure {
    let Failure { status, kind, code, reason, retry_after } = failure;
    BatchFailure { status, kind: kind.as_ref().into(), code: code.as_ref().into(), reason, retry_after }
}

/// In the words of the doors.
pub(super) fn heard(failure: &BatchFailure) -> Failure {
    let BatchFailure { status, kind, code, reason, retry_after } = failure;
    Failure {
        // A door writes it as it is: nothing but a refusal may stand there.
        status: if (400..600).contains(status) { *status } else { 503 },
        kind: Cow::Owned(kind.to_string()),
        code: Cow::Owned(code.to_string()),
        reason: reason.clone(),
        retry_after: *retry_after,
    }
}
