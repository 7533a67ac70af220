//! The consensus library's requests as frames, over a [`Transport`].
//!
//! Entries and rows travel as typed commands and rows (RES-2). Who may send what is checked on the other side, in `serve`.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use domicile_proto::codec;
use domicile_proto::ids::NodeId;
use domicile_proto::message::metadata::{AppendOutcome, Entry, MetadataFrame, Unavailable};
use openraft::error::{
    Fatal, NetworkError, PayloadTooLarge, RPCError, RaftError, RemoteError, ReplicationClosed, StreamingError,
    Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};

use crate::convert;
use crate::limits::APPEND_BYTES;
use crate::raft::{Member, Snapshot, Types, Vote};
use crate::transport::{Transport, TransportError};

type Failed = RPCError<u64, Member, RaftError<u64>>;
type SnapshotFailed = StreamingError<Types, Fatal<u64>>;

/// Makes the connections to other members.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) transport: Arc<dyn Transport>,
    /// Pause before a member that was not reachable is tried again.
    pub(crate) pause: Duration,
}

/// The way to one member.
pub(crate) struct Peer {
    network: Network,
    node: NodeId,
    member: Member,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, node: u64, member: &Member) -> Peer {
        Peer { network: self.clone(), node: NodeId(node), member: *member }
    }
}

impl Peer {
    async fn call(&self, frame: MetadataFrame, ttl: Duration) -> Result<MetadataFrame, TransportError> {
        match self.network.transport.call(self.node, self.member.addr, frame, ttl).await? {
            MetadataFrame::Unavailable(_) => Err(TransportError::Unreachable),
            answer => Ok(answer),
        }
    }
}

impl RaftNetwork<Types> for Peer {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, Failed> {
        let asked = request.entries.len() as u64;
        let entries: Vec<Entry> = request.entries.into_iter().map(convert::wire_entry).collect();
        if let Some(fitting) = fitting(&entries) {
            return Err(PayloadTooLarge::new_entries_hint(fitting.clamp(1, asked.max(1))).into());
        }
        let frame = MetadataFrame::Append {
            vote: convert::wire_vote(&request.vote),
            previous: request.prev_log_id.as_ref().map(convert::place),
            entries,
            committed: request.leader_commit.as_ref().map(convert::place),
        };
        let outcome = match self.call(frame, option.hard_ttl()).await {
            Ok(MetadataFrame::Appended(outcome)) => outcome,
            Ok(_) => return Err(failed(TransportError::Unexpected)),
            Err(error) => return Err(failed(error)),
        };
        Ok(match outcome {
            AppendOutcome::Success => AppendEntriesResponse::Success,
            AppendOutcome::Partial(place) => AppendEntriesResponse::PartialSuccess(place.as_ref().map(convert::log_id)),
            AppendOutcome::Conflict => AppendEntriesResponse::Conflict,
            AppendOutcome::HigherVote(vote) => AppendEntriesResponse::HigherVote(convert::vote(&vote)),
        })
    }

    async fn vote(&mut self, request: VoteRequest<u64>, option: RPCOption) -> Result<VoteResponse<u64>, Failed> {
        let frame = MetadataFrame::RequestVote {
            vote: convert::wire_vote(&request.vote),
            last: request.last_log_id.as_ref().map(convert::place),
        };
        match self.call(frame, option.hard_ttl()).await {
            Ok(MetadataFrame::Voted { vote, granted, last }) => {
                Ok(VoteResponse::new(convert::vote(&vote), last.as_ref().map(convert::log_id), granted))
            }
            Ok(_) => Err(failed(TransportError::Unexpected)),
            Err(error) => Err(failed(error)),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, SnapshotFailed> {
        let head = convert::wire_head(&snapshot.meta, snapshot.snapshot.row_count());
        let head = MetadataFrame::Snapshot { vote: convert::wire_vote(&vote), head };
        let rows = snapshot.snapshot.rows().collect();
        let sent = self.network.transport.snapshot(self.node, self.member.addr, head, rows, option.hard_ttl());
        let answer = tokio::select! {
            closed = cancel => return Err(closed.into()),
            answer = sent => answer,
        };
        match answer {
            Ok(MetadataFrame::Installed(vote)) => Ok(SnapshotResponse::new(convert::vote(&vote))),
            Ok(MetadataFrame::Unavailable(Unavailable::Stopped)) => {
                Err(RemoteError::new(self.node.0, Fatal::Stopped).into())
            }
            Ok(MetadataFrame::Unavailable(_)) | Err(TransportError::Unreachable) => {
                Err(Unreachable::new(&TransportError::Unreachable).into())
            }
            Ok(_) => Err(NetworkError::new(&TransportError::Unexpected).into()),
            Err(error) => Err(NetworkError::new(&error).into()),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(self.network.pause))
    }
}

/// How many of the entries fit a frame, where not all of them do.
fn fitting(entries: &[Entry]) -> Option<u64> {
    // One entry alone always fits: its own frame is bounded below this.
    if entries.len() < 2 {
        return None;
    }
    let mut bytes = 0;
    for (count, entry) in entries.iter().enumerate() {
        bytes += codec::encode(entry).map_or(APPEND_BYTES, |frame| frame.len());
        if bytes > APPEND_BYTES {
            return Some(count as u64);
        }
    }
    None
}

fn failed(error: TransportError) -> Failed {
    match error {
        TransportError::Unreachable => Unreachable::new(&error).into(),
        TransportError::Lost | TransportError::Unexpected => NetworkError::new(&error).into(),
    }
}
