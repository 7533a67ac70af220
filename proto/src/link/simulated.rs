//! A link over datagrams that somebody else carries, for simulations: all of the link but the machine's socket.
//!
//! Endpoint, transport and TLS are those of [`Link::bind`], and time is Tokio's, which a test may turn by hand. Only with the
//! feature `simulation`, which dev-dependencies alone may name; no ordinary build contains this file. What becomes of a
//! datagram on its way is decided by whoever carries it.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use super::crossing::CrossingLedger;
use super::endpoint::{Link, LinkConfig};
use super::errors::LinkError;
use super::socket::{Ground, runtime};

/// One end of a network of datagrams. As with UDP a datagram arrives whole, late, twice or never, and nobody is told.
pub trait Datagrams: fmt::Debug + Send + Sync + 'static {
    /// Where this end is.
    fn addr(&self) -> SocketAddr;
    /// Sends a datagram; never waits.
    fn send(&self, to: SocketAddr, datagram: &[u8]);
    /// The next datagram that arrives here, and where it comes from. One task waits at a time.
    fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<(SocketAddr, Vec<u8>)>;
}

impl Link {
    /// As [`Link::bind`], over one end of a network in place of a socket; `listen` is not looked at. What the QUIC library
    /// draws by chance begins at `seed`; keys, connection ids and the jitter of dials stay random.
    ///
    /// # Errors
    /// As [`Link::bind`].
    pub fn over(
        datagrams: Arc<dyn Datagrams>,
        seed: [u8; 32],
        config: LinkConfig,
        ledger: Arc<dyn CrossingLedger>,
    ) -> Result<Self, LinkError> {
        let ground = |_| Ok(Ground { socket: Arc::new(Socket(datagrams)), runtime: runtime()?, seed: Some(seed) });
        Self::on(ground, config, ledger)
    }
}

#[derive(Debug)]
struct Socket(Arc<dyn Datagrams>);

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.0.send(transmit.destination, transmit.contents);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buffer), Some(meta)) = (buffers.first_mut(), metas.first_mut()) else { return Poll::Ready(Ok(0)) };
        let (addr, datagram) = ready!(self.0.poll_receive(cx));
        let len = datagram.len().min(buffer.len());
        for (place, byte) in buffer.iter_mut().zip(&datagram) {
            *place = *byte;
        }
        *meta = RecvMeta { addr, len, stride: len, ecn: None, dst_ip: None };
        Poll::Ready(Ok(1))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.0.addr())
    }

    // As the machine's socket says on Linux: packets of growing sizes are tried out.
    fn may_fragment(&self) -> bool {
        false
    }
}

/// Whoever sends into such a network never waits.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
