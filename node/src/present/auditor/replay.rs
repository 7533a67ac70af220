//! An entry of the ledger -> whether the records of this region give the answer in it again.
//!
//! Says the same, other, or why it cannot be said; never a number that is not released. What explains a difference is not said
//! here: the auditor finds that in the ledger itself.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use domicile_proto::ids::ShardId;
use domicile_proto::message::answer::AnswerHeader;
use serde_json::{Value, json};

use super::super::errors::PresentError;
use super::super::native::{Body, told};
use super::visible::Visible;
use super::{Office, number};
use crate::aggregate::{Asked, Replayed};
use crate::audit::{Entry, Event, LedgerError, Passage};
use crate::classify::Upheld;
use crate::limits::SEARCH_DEADLINE;
use crate::query::Budget;
use crate::receive::Failure;
use crate::segment::Segment;

const NO_PAIR: PresentError = PresentError::Malformed {
    place: "answer",
    wanted: "the number of an entry about an answer that left, with `question` that of its question",
};

/// `POST /api/v1/audit/replay` `{"question": …, "answer": …}`: numbers of two entries.
pub(super) async fn replay(State(office): State<Arc<Office>>, headers: HeaderMap, body: Body) -> Response {
    let replayed = async {
        let body = body.0?;
        let named = body.get("tenant").and_then(Value::as_str).map(str::to_owned);
        let (tenant, ..) = office.asked(&headers, named.as_ref())?;
        let (question, answer) = (number(&body, "question")?, number(&body, "answer")?);
        let _permit = office.desk.permit(tenant)?;
        let (ledger, visible) = (Arc::clone(&office.desk.parts.ledger), Visible::to(&office, tenant));
        let reading = office.desk.parts.tasks.blocking(move || {
            let read = |number: u64| ledger.entries_after(number.saturating_sub(1))?.next().transpose();
            Ok::<_, LedgerError>([read(question)?, read(answer)?])
        });
        let read = reading.await.map_err(|_| Failure::of(&LedgerError::Closed))?;
        let [question, answer] = read
            .map_err(|error| Failure::of(&error))?
            .map(|found| found.filter(|(_, entry)| visible.shows(entry)).map(|(_, entry)| entry));
        let pair = question.zip(answer).and_then(|(question, answer)| pair(question, answer)).ok_or(NO_PAIR)?;
        Ok(office.again(pair).await)
    };
    told(replayed.await)
}

/// A question that came in, and the answer to it that left.
fn pair(question: Entry, answer: Entry) -> Option<(Passage, Passage)> {
    let (Event::Ingress(question), Event::Egress(answer)) = (question.event, answer.event) else { return None };
    let is_pair = question.question()?.id == answer.answer()?.header.question && question.peer == answer.peer;
    is_pair.then_some((question, answer))
}

impl Office {
    async fn again(&self, (question, answer): (Passage, Passage)) -> Value {
        let found = |found: &str| json!({"found": found});
        let (Some(question), Some(told), Some(drawn)) = (question.question(), answer.answer(), answer.drawn) else {
            return found("unreadable");
        };
        // What was drawn by lot does not come again.
        if told.header.noise.is_some() {
            return found("moved");
        }
        let parts = &self.desk.parts;
        let policy = parts.policy.now();
        let stream = policy.stream_by_id(question.tenant, question.stream).cloned();
        let Some(stream) = stream else { return found("other_rules") };
        // What was told of a stream without a shard was told of nothing.
        let has_shard = drawn.shard != ShardId(0);
        if has_shard && stream.shard != Some((drawn.shard, parts.node)) {
            return found("elsewhere");
        }
        if !parts.catalog.is_whole(drawn.shard) || parts.awareness.unknown_of(question.tenant).is_some() {
            return found("unreadable");
        }
        let segments: Vec<Arc<Segment>> = parts.catalog.view(drawn.shard).iter().cloned().collect();
        if parts.catalog.unsearched(drawn.shard, question.range, &segments).is_some() {
            return found("archived");
        }
        let header = AnswerHeader::new(question.id, question.range);
        let (detector, budget) = (Arc::clone(&parts.detector), Budget::until(Instant::now() + SEARCH_DEADLINE));
        // As its policy says: where the detectors contradicted that, the rules of then say so.
        let stream = Upheld::of_then(stream, None);
        let asked = Asked { question, stream, policy, detector, header, budget };
        match self.releases.replay(asked, segments, drawn, told).await {
            Ok(Replayed::Same) => found("same"),
            Ok(Replayed::Differs { missing, has_more }) => {
                json!({"found": "differs", "missing": missing, "has_more": has_more})
            }
            Ok(Replayed::OtherRules) => found("other_rules"),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "an answer could not be asked again");
                found("unreadable")
            }
        }
    }
}
