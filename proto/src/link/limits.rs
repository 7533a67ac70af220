//! What bounds a link (BND-1). Sizes of frames belong to their messages and stand in [`crate::codec`].

use std::time::Duration;

/// How many may come: so many at once, and then one in this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// After a long pause.
    pub at_once: u32,
    /// From one to the next in the long run.
    pub every: Duration,
}

/// Bounds of one node's link. `Default` fits a handful of regions at most 230 ms apart.
#[derive(Clone, Debug)]
pub struct LinkLimits {
    /// Time for a whole handshake. Three of the longest round trips and a loaded machine fit in; raising it lets strangers
    /// hold a handshake longer.
    pub handshake: Duration,
    /// Handshakes at a time; further ones are refused, and from half of it on the caller's address must prove itself.
    pub handshakes: usize,
    /// Accepted connections at a time, one per protocol for each node that talks to this one.
    pub connections: usize,
    /// Connections of one region at a time, so that a region gone bad takes no other's place.
    pub connections_of_region: usize,
    /// Streams a peer may have open on one connection: questions in flight, and Raft requests beside a snapshot.
    pub streams: u32,
    /// Silence after which a connection is given up: three keep-alives lost one after another, and the way back. Raising it
    /// leaves whoever asks a dead peer waiting that long; lowering it takes a pause of the machine for a death.
    pub idle: Duration,
    /// Interval of keep-alives; must be shorter than `idle`, so that only a dead path is silent.
    pub keep_alive: Duration,
    /// Longest pause before the next piece of a frame that has begun or is due.
    pub frame: Duration,
    /// Unread bytes of one stream: the largest metadata frame, and 100 Mbit/s over 230 ms (2.9 MB).
    pub stream_window: u32,
    /// Unread bytes of one connection: four full streams.
    pub window: u32,
    /// Messages that wait for the node on one connection.
    pub waiting: usize,
    /// Questions of one other region, before further ones are turned away unread: each becomes an entry of the ledger, and its
    /// answer another.
    pub questions: Rate,
    /// The same for a day, so that no region can fill the disk: at most 100,000 in any day, which are some 300 MB of ledger, 10 GB
    /// at the worst.
    pub questions_of_day: Rate,
    /// Ledger heads of one other region: every node sends one in ten seconds at most.
    pub heads: Rate,
    /// First pause after a dial that failed; doubles with each further one.
    pub backoff_first: Duration,
    /// Longest pause between dials. Short, for a region that is back must be seen within seconds.
    pub backoff_longest: Duration,
    /// How long the first attempt after a loss is worth waiting for: a handshake, if the peer is there. Later attempts are not
    /// waited for.
    pub reconnect: Duration,
    /// How long a peer is dialled that is out of reach and that nobody asks for any more.
    pub forget: Duration,
    /// How long connections of a replaced certificate live on, so that what is in flight can end.
    pub rotation_grace: Duration,
    /// Time for peers to hear that the link closes.
    pub close: Duration,
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self::for_round_trip(Duration::from_millis(230))
    }
}

impl LinkLimits {
    /// Bounds for peers whose round trips take at most so long. A dead peer is known as dead within 3 s and four round
    /// trips, 4 s at 230 ms.
    pub const fn for_round_trip(longest: Duration) -> Self {
        let four = longest.saturating_mul(4);
        Self {
            handshake: Duration::from_secs(5).saturating_add(four),
            handshakes: 64,
            connections: 1_024,
            connections_of_region: 256,
            streams: 256,
            idle: Duration::from_secs(3).saturating_add(four),
            keep_alive: Duration::from_secs(1),
            frame: Duration::from_secs(10),
            stream_window: 4 << 20,
            window: 16 << 20,
            waiting: 64,
            questions: Rate { at_once: 2_000, every: Duration::from_millis(10) },
            questions_of_day: Rate { at_once: 50_000, every: Duration::from_millis(1_728) },
            heads: Rate { at_once: 256, every: Duration::from_millis(200) },
            backoff_first: Duration::from_millis(100),
            backoff_longest: Duration::from_secs(2),
            reconnect: Duration::from_secs(1).saturating_add(four),
            forget: Duration::from_secs(600),
            rotation_grace: Duration::from_secs(60),
            close: Duration::from_secs(2),
        }
    }
}
