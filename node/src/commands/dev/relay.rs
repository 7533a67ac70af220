//! The emulated network of `--wan`: one relay for each direction of dialling, which holds every datagram back for half a
//! round trip. It looks into none, keeps their order, and drops what its bounded queue cannot hold, as a network would.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::tasks::{Kind, Tasks};

/// Datagrams that may be under way in one direction: 60 MB/s at 115 ms with 1,400 bytes each.
const UNDER_WAY: usize = 5_000;
/// Largest datagram over UDP.
const MAX_DATAGRAM: usize = 65_535;

/// A relay to one node; ends with this value.
pub(super) struct Relay {
    /// Where it listens.
    pub(super) addr: SocketAddr,
    _ends: DropGuard,
}

/// A datagram and when it arrives.
struct Held {
    due: Instant,
    bytes: Vec<u8>,
}

impl Relay {
    /// Starts a relay to `target` that holds datagrams back for `delay` each way.
    pub(super) async fn start(target: SocketAddr, delay: Duration) -> anyhow::Result<Self> {
        let bind =
            || async { UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port for the emulated network") };
        let (near, far) = (Arc::new(bind().await?), Arc::new(bind().await?));
        far.connect(target).await.context("the emulated network cannot reach the node")?;
        let addr = near.local_addr()?;
        let token = CancellationToken::new();
        let tasks = Tasks::default();
        let caller: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
        let (out, out_held) = mpsc::channel(UNDER_WAY);
        let (back, back_held) = mpsc::channel(UNDER_WAY);
        let run = |name: &'static str, work: futures::future::BoxFuture<'static, ()>| {
            let token = token.clone();
            tasks.spawn(Kind::Listener, async move {
                let _ = token.run_until_cancelled(work).await;
                tracing::trace!(name, "a direction of the emulated network ended");
            });
        };
        run("take", Box::pin(take(Arc::clone(&near), Some(Arc::clone(&caller)), out, delay)));
        run("give", Box::pin(give(Arc::clone(&far), None, out_held)));
        run("take back", Box::pin(take(far, None, back, delay)));
        run("give back", Box::pin(give(near, Some(caller), back_held)));
        Ok(Self { addr, _ends: token.drop_guard() })
    }
}

/// Takes datagrams in; notes who sent the last one where that is asked for.
async fn take(
    from: Arc<UdpSocket>,
    caller: Option<Arc<Mutex<Option<SocketAddr>>>>,
    queue: mpsc::Sender<Held>,
    delay: Duration,
) {
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        // An error here is an ICMP answer to an earlier datagram, of a node that is not there now.
        let Ok((length, sender)) = from.recv_from(&mut buffer).await else { continue };
        if let Some(caller) = &caller {
            *caller.lock() = Some(sender);
        }
        let bytes = buffer.get(..length).unwrap_or_default().to_vec();
        // A full queue drops: QUIC sends again.
        let _ = queue.try_send(Held { due: Instant::now() + delay, bytes });
    }
}

/// Lets datagrams go when they are due.
async fn give(to: Arc<UdpSocket>, caller: Option<Arc<Mutex<Option<SocketAddr>>>>, mut queue: mpsc::Receiver<Held>) {
    while let Some(Held { due, bytes }) = queue.recv().await {
        sleep_until(due).await;
        let sent = match &caller {
            None => to.send(&bytes).await,
            Some(caller) => {
                let Some(addr) = *caller.lock() else { continue };
                to.send_to(&bytes, addr).await
            }
        };
        // A node that is not there loses its datagrams.
        drop(sent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn datagrams_arrive_in_order_and_no_sooner_than_the_delay() {
        let target = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let delay = Duration::from_millis(40);
        let relay = Relay::start(target.local_addr().expect("bound"), delay).await.expect("started");
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let began = Instant::now();
        for number in 0..20_u8 {
            client.send_to(&[number], relay.addr).await.expect("sent");
        }
        let mut buffer = [0; 8];
        let mut back = None;
        for number in 0..20_u8 {
            let (length, sender) = target.recv_from(&mut buffer).await.expect("received");
            assert_eq!(&buffer[..length], [number]);
            back = Some(sender);
        }
        assert!(began.elapsed() >= delay);
        target.send_to(b"back", back.expect("a sender")).await.expect("sent");
        let (length, sender) = client.recv_from(&mut buffer).await.expect("received");
        assert_eq!((&buffer[..length], sender), (&b"back"[..], relay.addr));
        assert!(began.elapsed() >= 2 * delay);
    }
}
