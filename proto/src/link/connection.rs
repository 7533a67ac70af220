//! A connection with a peer, which is a neighbour or foreign from the handshake on.
//!
//! What each of the two may be told stands in [`super::neighbour`] and [`super::foreign`]; the exchanges themselves are
//! here, once, and take nothing but the sealed types of the border. The node that dialled begins every exchange; the other
//! one reads them in tasks of their own, so that a slow stream holds up no other.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use quinn::{RecvStream, VarInt};
use tokio::sync::{Mutex, mpsc};
use tokio_util::task::TaskTracker;

use super::crossing::{Sent, Standing};
use super::errors::{GivenUp, LinkError};
use super::foreign::Foreign;
use super::identity::PeerId;
use super::limits::LinkLimits;
use super::metadata_stream::{Channel, MetadataStream};
use super::neighbour::Neighbour;
use super::protocol::Protocol;
use super::stream::{FrameReceiver, FrameSender};
use crate::border::relayed::Relayed;
use crate::border::{CrossesBorder, EgressClass, Nothing, Received, ReceivedQuestion, Released, VettedQuestion};
use crate::codec::CodecError;
use crate::ids::QuestionId;
use crate::message::answer::{Answer, AnswerHeader, RefusalCode};
use crate::message::gated::{DrawnFrom, GatedQuestion};
use crate::message::ledger::{HeadOffer, Verdict};
use crate::message::metadata::MetadataFrame;
use crate::message::question::Question;
use crate::message::region::{RegionAsk, RegionReply, RowBytes};

/// A peer, as its certificate decided.
#[derive(Clone, Debug)]
pub enum Peer {
    /// Of this node's region.
    Neighbour(Neighbour),
    /// Of another region.
    Foreign(Foreign),
}

/// What a peer began on an accepted connection.
pub enum Inbound {
    /// A question, and where its answer goes.
    Question(ReceivedQuestion, Reply),
    /// An exchange of the metadata group.
    Metadata(MetadataStream),
    /// A ledger head, and where the verdict of the witness goes.
    LedgerHead(HeadOffer, HeadReply),
    /// What a node of this node's own region asks about orders of erasure, and where the answer goes.
    Region(RegionAsk, RegionReplyTo),
}

/// Where the answer to a neighbour's ask goes. Dropped unanswered, it tells the neighbour so.
pub struct RegionReplyTo(FrameSender);

impl RegionReplyTo {
    /// Waits until the neighbour waits no more: it gave up what it asked, or is lost. What is done for it can end then.
    pub fn given_up(&self) -> impl Future<Output = ()> + Send + use<> {
        self.0.given_up()
    }
}

/// Where the answer to one question goes. Dropped unanswered, it tells the peer so.
pub struct Reply {
    question: QuestionId,
    sender: FrameSender,
}

/// Where the verdict on one ledger head goes. Dropped unanswered, it tells the peer so.
pub struct HeadReply {
    sender: FrameSender,
}

impl Reply {
    /// The question.
    pub const fn question(&self) -> QuestionId {
        self.question
    }
}

impl Peer {
    pub(super) fn of(line: Arc<Line>) -> Self {
        if line.standing.is_foreign() { Self::Foreign(Foreign(line)) } else { Self::Neighbour(Neighbour(line)) }
    }

    const fn line(&self) -> &Arc<Line> {
        match self {
            Self::Neighbour(Neighbour(line)) | Self::Foreign(Foreign(line)) => line,
        }
    }

    pub(super) fn prove(&self) {
        self.line().prove();
    }

    /// Who it is.
    pub fn id(&self) -> &PeerId {
        &self.line().standing.peer
    }

    /// What this connection speaks.
    pub fn protocol(&self) -> Protocol {
        self.line().standing.protocol
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.line().connection.close_reason().is_some()
    }

    /// Smoothed round-trip time.
    pub fn round_trip(&self) -> Duration {
        self.line().connection.rtt()
    }

    /// Opens an exchange of the metadata group. Nothing is sent before the first frame.
    ///
    /// # Errors
    /// [`LinkError::WrongProtocol`], [`LinkError::WrongDirection`] or [`LinkError::Lost`].
    pub async fn metadata_stream(&self) -> Result<MetadataStream, LinkError> {
        let (sender, receiver) = self.line().open(Protocol::Raft).await?;
        Ok(MetadataStream::new(self.clone(), Channel::new(sender, receiver)))
    }

    /// Sends one frame of the metadata group and waits for the one that answers it. The deadline is the caller's.
    ///
    /// # Errors
    /// [`LinkError`] where no whole answer came.
    pub async fn metadata_call(&self, frame: &MetadataFrame) -> Result<MetadataFrame, LinkError> {
        let mut stream = self.metadata_stream().await?;
        stream.send(frame).await?;
        stream.finish()?;
        stream.only().await
    }

    /// As [`Foreign::ask`], to either kind of peer.
    ///
    /// # Errors
    /// As [`Foreign::ask`].
    pub async fn ask(&self, question: &VettedQuestion, deadline: Duration) -> Result<Received, LinkError> {
        match self {
            Self::Neighbour(neighbour) => neighbour.ask(question, deadline).await,
            Self::Foreign(foreign) => foreign.ask(question, deadline).await,
        }
    }

    /// As [`Foreign::answer`], to either kind of peer.
    ///
    /// # Errors
    /// As [`Foreign::answer`].
    pub async fn answer<A: CrossesBorder>(&self, to: Reply, answer: &Released<A>) -> Result<Sent, LinkError> {
        match self {
            Self::Neighbour(neighbour) => neighbour.answer(to, answer).await,
            Self::Foreign(foreign) => foreign.answer(to, answer).await,
        }
    }

    /// As [`Foreign::ledger_head`], to either kind of peer.
    ///
    /// # Errors
    /// As [`Foreign::ledger_head`].
    pub async fn ledger_head(&self, offer: &HeadOffer) -> Result<Verdict, LinkError> {
        match self {
            Self::Neighbour(neighbour) => neighbour.ledger_head(offer).await,
            Self::Foreign(foreign) => foreign.ledger_head(offer).await,
        }
    }

    /// As [`Foreign::cosign`], to either kind of peer.
    ///
    /// # Errors
    /// As [`Foreign::cosign`].
    pub async fn cosign(&self, to: HeadReply, verdict: &Verdict) -> Result<Sent, LinkError> {
        match self {
            Self::Neighbour(neighbour) => neighbour.cosign(to, verdict).await,
            Self::Foreign(foreign) => foreign.cosign(to, verdict).await,
        }
    }

    /// As [`Foreign::next`], from either kind of peer.
    ///
    /// # Errors
    /// As [`Foreign::next`].
    pub async fn next(&self) -> Result<Inbound, LinkError> {
        self.line().next().await
    }
}

/// One connection and all that is said over it.
pub(super) struct Line {
    connection: quinn::Connection,
    standing: Arc<Standing>,
    limits: Arc<LinkLimits>,
    /// What the peer began; `None` where this node dialled.
    inbound: Option<Mutex<mpsc::Receiver<Inbound>>>,
    /// Whether the peer has answered anything. In TLS 1.3 a dial succeeds before the peer has looked at our certificate.
    is_proven: AtomicBool,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} over {}", self.standing.peer, self.standing.protocol)
    }
}

impl Line {
    /// A connection this node dialled.
    pub(super) fn dialled(connection: quinn::Connection, standing: Standing, limits: Arc<LinkLimits>) -> Arc<Self> {
        let is_proven = AtomicBool::new(false);
        Arc::new(Self { connection, standing: Arc::new(standing), limits, inbound: None, is_proven })
    }

    /// A connection the peer dialled; its streams are read from now on.
    pub(super) fn accepted(
        connection: quinn::Connection,
        standing: Standing,
        limits: Arc<LinkLimits>,
        tasks: &TaskTracker,
    ) -> Arc<Self> {
        let (sender, receiver) = mpsc::channel(limits.waiting);
        let standing = Arc::new(standing);
        let line = Arc::new(Self {
            connection: connection.clone(),
            standing: Arc::clone(&standing),
            limits: Arc::clone(&limits),
            inbound: Some(Mutex::new(receiver)),
            is_proven: AtomicBool::new(true),
        });
        let reader = Reader { connection, standing, limits, line: Arc::downgrade(&line), node: sender };
        tasks.spawn(reader.run(tasks.clone()));
        line
    }

    pub(super) const fn connection(&self) -> &quinn::Connection {
        &self.connection
    }

    pub(super) fn is_proven(&self) -> bool {
        self.is_proven.load(Ordering::Relaxed)
    }

    fn prove(&self) {
        self.is_proven.store(true, Ordering::Relaxed);
    }

    fn peer(&self) -> PeerId {
        self.standing.peer.clone()
    }

    /// Whether an exchange may begin here.
    fn may_begin(&self, protocol: Protocol) -> Result<(), LinkError> {
        self.standing.speaks(protocol)?;
        if self.inbound.is_some() {
            return Err(LinkError::WrongDirection { peer: self.peer() });
        }
        match self.connection.close_reason() {
            Some(source) => Err(self.lost(source)),
            None => Ok(()),
        }
    }

    async fn open(&self, protocol: Protocol) -> Result<(FrameSender, FrameReceiver), LinkError> {
        self.may_begin(protocol)?;
        let opened = self.connection.open_bi().await;
        let (send, receive) = opened.map_err(|source| self.lost(source))?;
        let sender = FrameSender::new(send, Arc::clone(&self.standing));
        Ok((sender, FrameReceiver::awaiting(receive, Arc::clone(&self.standing), self.limits.frame)))
    }

    pub(super) async fn ask(&self, question: &VettedQuestion, deadline: Duration) -> Result<Received, LinkError> {
        let asked = tokio::time::timeout(deadline, self.ask_and_wait(question)).await;
        asked.unwrap_or_else(|_| Err(LinkError::Deadline { peer: self.peer(), deadline }))
    }

    async fn ask_and_wait(&self, question: &VettedQuestion) -> Result<Received, LinkError> {
        self.may_begin(Protocol::Query)?;
        let frame = self.standing.depart(EgressClass::Question, question.question()).await?;
        let (mut sender, mut receiver) = self.open(Protocol::Query).await?;
        sender.send(&frame).await?;
        sender.finish()?;
        let answered = receiver.only::<Answer>().await?;
        let (answer, frame) = answered.ok_or_else(|| LinkError::NoReply { peer: self.peer() })?;
        self.prove();
        // Recorded first and judged then: what a malicious peer sent is evidence.
        self.standing.arrive(EgressClass::of(&answer), frame).await?;
        Received::check(answer, question).map_err(|source| LinkError::Answer { peer: self.peer(), source })
    }

    pub(super) async fn answer<A: CrossesBorder>(&self, to: Reply, answer: &Released<A>) -> Result<Sent, LinkError> {
        let belongs = Arc::ptr_eq(to.sender.standing(), &self.standing);
        if !belongs || answer.answer().header.question != to.question {
            return Err(LinkError::OtherQuestion { peer: self.peer() });
        }
        send_answer(to, answer).await
    }

    pub(super) async fn ledger_head(&self, offer: &HeadOffer) -> Result<Verdict, LinkError> {
        let deadline = self.limits.frame;
        let sent = tokio::time::timeout(deadline, self.ledger_head_and_wait(offer)).await;
        sent.unwrap_or_else(|_| Err(LinkError::Deadline { peer: self.peer(), deadline }))
    }

    async fn ledger_head_and_wait(&self, offer: &HeadOffer) -> Result<Verdict, LinkError> {
        self.may_begin(Protocol::Ledger)?;
        let frame = self.standing.depart(EgressClass::LedgerHead, offer).await?;
        let (mut sender, mut receiver) = self.open(Protocol::Ledger).await?;
        sender.send(&frame).await?;
        sender.finish()?;
        let said = receiver.only::<Verdict>().await?;
        let (verdict, frame) = said.ok_or_else(|| LinkError::NoReply { peer: self.peer() })?;
        self.prove();
        self.standing.arrive(EgressClass::LedgerHead, frame).await?;
        Ok(verdict)
    }

    pub(super) async fn cosign(&self, mut to: HeadReply, verdict: &Verdict) -> Result<Sent, LinkError> {
        if !Arc::ptr_eq(to.sender.standing(), &self.standing) {
            return Err(LinkError::OtherQuestion { peer: self.peer() });
        }
        let departed = self.standing.depart(EgressClass::LedgerHead, verdict).await;
        let frame = departed.inspect_err(|error| to.sender.give_up(reason_of(error)))?;
        to.sender.send(&frame).await?;
        to.sender.finish()?;
        Ok(frame.sent())
    }

    pub(super) async fn tell(&self, ask: &RegionAsk, deadline: Duration) -> Result<RegionReply, LinkError> {
        let told = tokio::time::timeout(deadline, self.tell_and_wait(ask)).await;
        told.unwrap_or_else(|_| Err(LinkError::Deadline { peer: self.peer(), deadline }))
    }

    async fn tell_and_wait(&self, ask: &RegionAsk) -> Result<RegionReply, LinkError> {
        self.may_begin(Protocol::Region)?;
        let frame = self.standing.depart_at_home(ask)?;
        let (mut sender, mut receiver) = self.open(Protocol::Region).await?;
        sender.send(&frame).await?;
        sender.finish()?;
        let (reply, _) =
            receiver.only::<RegionReply>().await?.ok_or_else(|| LinkError::NoReply { peer: self.peer() })?;
        self.prove();
        Ok(reply)
    }

    pub(super) async fn tell_rows(
        &self,
        ask: &RegionAsk,
        most: usize,
        deadline: Duration,
    ) -> Result<(Vec<RowBytes>, RegionReply), LinkError> {
        let (mut pieces, mut found) = (Vec::new(), 0_usize);
        let mut take = |rows: RowBytes| {
            found = found.saturating_add(rows.0.len());
            pieces.push(rows);
            found <= most
        };
        let told = self.tell_pieces(ask, &mut take, deadline).await;
        if found > most {
            let source = CodecError::TooLarge { found, limit: most };
            return Err(LinkError::Codec { peer: self.peer(), source });
        }
        told.map(|reply| (pieces, reply))
    }

    pub(super) async fn tell_pieces(
        &self,
        ask: &RegionAsk,
        take: &mut (dyn FnMut(RowBytes) -> bool + Send),
        deadline: Duration,
    ) -> Result<RegionReply, LinkError> {
        let told = tokio::time::timeout(deadline, self.tell_and_take(ask, take)).await;
        told.unwrap_or_else(|_| Err(LinkError::Deadline { peer: self.peer(), deadline }))
    }

    async fn tell_and_take(
        &self,
        ask: &RegionAsk,
        take: &mut (dyn FnMut(RowBytes) -> bool + Send),
    ) -> Result<RegionReply, LinkError> {
        self.may_begin(Protocol::Region)?;
        let frame = self.standing.depart_at_home(ask)?;
        let (mut sender, mut receiver) = self.open(Protocol::Region).await?;
        sender.send(&frame).await?;
        sender.finish()?;
        loop {
            let next = receiver.next::<RegionReply>().await?;
            let (reply, _) = next.ok_or_else(|| LinkError::NoReply { peer: self.peer() })?;
            self.prove();
            let RegionReply::Rows(rows) = reply else { return Ok(reply) };
            if !take(rows) {
                receiver.give_up(GivenUp::TooMany);
                return Err(LinkError::GivenUp { peer: self.peer(), reason: GivenUp::TooMany });
            }
        }
    }

    pub(super) async fn send_rows(&self, to: &mut RegionReplyTo, rows: RowBytes) -> Result<(), LinkError> {
        let frame = to.0.standing().depart_at_home(&RegionReply::Rows(rows))?;
        to.0.send(&frame).await
    }

    pub(super) async fn say(&self, to: RegionReplyTo, reply: &RegionReply) -> Result<(), LinkError> {
        let RegionReplyTo(mut sender) = to;
        let frame = sender.standing().depart_at_home(reply)?;
        sender.send(&frame).await?;
        sender.finish()
    }

    pub(super) async fn carry(
        &self,
        asked: GatedQuestion,
        deadline: Duration,
    ) -> Result<(Relayed, Option<DrawnFrom>), LinkError> {
        let carried = tokio::time::timeout(deadline, self.carry_and_wait(asked)).await;
        carried.unwrap_or_else(|_| Err(LinkError::Deadline { peer: self.peer(), deadline }))
    }

    async fn carry_and_wait(&self, asked: GatedQuestion) -> Result<(Relayed, Option<DrawnFrom>), LinkError> {
        self.may_begin(Protocol::Region)?;
        let question = asked.question.clone();
        // Fails on a connection with another region: what comes back was released in this one.
        let frame = self.standing.depart_at_home(&RegionAsk::Gated(asked))?;
        let (mut sender, mut receiver) = self.open(Protocol::Region).await?;
        sender.send(&frame).await?;
        sender.finish()?;
        let answered = receiver.next::<Answer>().await?;
        let (answer, _) = answered.ok_or_else(|| LinkError::NoReply { peer: self.peer() })?;
        self.prove();
        let drawn = receiver.only::<DrawnFrom>().await?.map(|(drawn, _)| drawn);
        let relayed = Relayed::check(answer, &question);
        Ok((relayed.map_err(|source| LinkError::Answer { peer: self.peer(), source })?, drawn))
    }

    pub(super) async fn bring<A: CrossesBorder>(
        &self,
        to: RegionReplyTo,
        answer: &Released<A>,
        drawn: Option<DrawnFrom>,
    ) -> Result<(), LinkError> {
        let RegionReplyTo(mut sender) = to;
        let frame = sender.standing().depart_at_home(answer.answer())?;
        sender.send(&frame).await?;
        if let Some(drawn) = drawn {
            let frame = sender.standing().depart_at_home(&drawn)?;
            sender.send(&frame).await?;
        }
        sender.finish()
    }

    pub(super) async fn next(&self) -> Result<Inbound, LinkError> {
        let Some(inbound) = &self.inbound else {
            return Err(LinkError::WrongDirection { peer: self.peer() });
        };
        if let Some(found) = inbound.lock().await.recv().await {
            return Ok(found);
        }
        let source = self.connection.close_reason().unwrap_or(quinn::ConnectionError::LocallyClosed);
        Err(self.lost(source))
    }

    fn lost(&self, source: quinn::ConnectionError) -> LinkError {
        LinkError::Lost { peer: self.peer(), source: Box::new(source) }
    }
}

/// Reads what the peer begins. Ends with the connection, and ends the connection when nobody listens any more.
struct Reader {
    connection: quinn::Connection,
    standing: Arc<Standing>,
    limits: Arc<LinkLimits>,
    line: Weak<Line>,
    node: mpsc::Sender<Inbound>,
}

impl Reader {
    async fn run(self, tasks: TaskTracker) {
        if self.standing.protocol == Protocol::Region && self.standing.is_foreign() {
            tracing::warn!(peer = %self.standing.peer, "a node of another region is not listened to over the region's own protocol");
            self.connection.close(VarInt::from_u32(GivenUp::Protocol.wire()), b"for nodes of the same region");
            return;
        }
        let reader = Arc::new(self);
        loop {
            let opened = tokio::select! {
                () = reader.node.closed() => {
                    reader.connection.close(VarInt::from_u32(0), b"nobody serves this connection any more");
                    return;
                }
                opened = reader.connection.accept_bi() => opened,
            };
            let Ok((send, receive)) = opened else { return };
            let sender = FrameSender::new(send, Arc::clone(&reader.standing));
            if reader.standing.protocol == Protocol::Raft {
                reader.begin_metadata(sender, receive).await;
            } else {
                let reader = Arc::clone(&reader);
                tasks.spawn(async move { reader.read(sender, receive).await });
            }
        }
    }

    async fn begin_metadata(&self, sender: FrameSender, receive: RecvStream) {
        let Some(line) = self.line.upgrade() else { return };
        let receiver = FrameReceiver::awaiting(receive, Arc::clone(&self.standing), self.limits.frame);
        self.hand_up(Inbound::Metadata(MetadataStream::new(Peer::of(line), Channel::new(sender, receiver)))).await;
    }

    async fn read(&self, mut sender: FrameSender, receive: RecvStream) {
        let mut receiver = FrameReceiver::due(receive, Arc::clone(&self.standing), self.limits.frame);
        if !self.standing.may_begin_another() {
            // Before a byte is read, and before the ledger grows by it.
            sender.give_up(GivenUp::TooMany);
            receiver.give_up(GivenUp::TooMany);
            return;
        }
        let read = match self.standing.protocol {
            Protocol::Ledger => self.read_head(&mut receiver).await,
            Protocol::Region => self.read_region(&mut receiver).await,
            _ => self.read_question(&mut receiver).await,
        };
        match read {
            Ok(Some(Read::Region(ask))) => self.hand_up(Inbound::Region(ask, RegionReplyTo(sender))).await,
            Ok(Some(Read::Head(offer))) => self.hand_up(Inbound::LedgerHead(offer, HeadReply { sender })).await,
            Ok(Some(Read::Question(question))) => {
                let id = question.question().id;
                self.hand_up(Inbound::Question(question, Reply { question: id, sender })).await;
            }
            Ok(Some(Read::OutOfBounds(header))) => {
                let reply = Reply { question: header.question, sender };
                let refusal = Released::<Nothing>::refused(header, RefusalCode::OutOfBounds);
                if let Err(error) = send_answer(reply, &refusal).await {
                    tracing::debug!(peer = %self.standing.peer, %error, "a refusal did not arrive");
                }
            }
            Ok(None) => sender.give_up(GivenUp::Malformed),
            Err(error) => {
                sender.give_up(reason_of(&error));
                receiver.give_up(reason_of(&error));
                match error {
                    LinkError::GivenUp { .. } | LinkError::Lost { .. } => {
                        tracing::debug!(peer = %self.standing.peer, %error, "an exchange was given up");
                    }
                    _ => tracing::warn!(
                        peer = %self.standing.peer,
                        code = error.code(),
                        error = &error as &dyn std::error::Error,
                        "a message of a peer was not taken"
                    ),
                }
            }
        }
    }

    async fn read_head(&self, receiver: &mut FrameReceiver) -> Result<Option<Read>, LinkError> {
        let Some((offer, frame)) = receiver.only::<HeadOffer>().await? else { return Ok(None) };
        self.standing.arrive(EgressClass::LedgerHead, frame).await?;
        Ok(Some(Read::Head(offer)))
    }

    async fn read_region(&self, receiver: &mut FrameReceiver) -> Result<Option<Read>, LinkError> {
        if self.standing.is_foreign() {
            return Err(LinkError::Home { peer: self.standing.peer.clone() });
        }
        Ok(receiver.only::<RegionAsk>().await?.map(|(ask, _)| Read::Region(ask)))
    }

    async fn read_question(&self, receiver: &mut FrameReceiver) -> Result<Option<Read>, LinkError> {
        let Some((question, frame)) = receiver.only::<Question>().await? else { return Ok(None) };
        self.standing.arrive(EgressClass::Question, frame).await?;
        let header = AnswerHeader::new(question.id, question.range);
        Ok(Some(ReceivedQuestion::check(question).map_or(Read::OutOfBounds(header), Read::Question)))
    }

    async fn hand_up(&self, inbound: Inbound) {
        // Dropped where the connection ended or nobody listens: what is inside resets its stream.
        tokio::select! {
            _ = self.node.send(inbound) => {}
            _ = self.connection.closed() => {}
        }
    }
}

enum Read {
    Question(ReceivedQuestion),
    OutOfBounds(AnswerHeader),
    Head(HeadOffer),
    Region(RegionAsk),
}

async fn send_answer<A: CrossesBorder>(mut to: Reply, answer: &Released<A>) -> Result<Sent, LinkError> {
    let standing = Arc::clone(to.sender.standing());
    let departed = standing.depart(A::CLASS, answer.answer()).await;
    let frame = departed.inspect_err(|error| to.sender.give_up(reason_of(error)))?;
    to.sender.send(&frame).await?;
    to.sender.finish()?;
    Ok(frame.sent())
}

const fn reason_of(error: &LinkError) -> GivenUp {
    match error {
        LinkError::Ledger { .. } => GivenUp::Ledger,
        LinkError::WrongProtocol { .. } | LinkError::Home { .. } => GivenUp::Protocol,
        LinkError::Codec { .. } => GivenUp::Malformed,
        LinkError::Deadline { .. } => GivenUp::TooSlow,
        _ => GivenUp::Dropped,
    }
}
