//! What the node tells the supervisor that started it, as systemd's `Type=notify` wants it: ready once its doors are open, and
//! stopping. It waits for nothing, and a supervisor that does not listen is no reason to fail.

use std::ffi::OsStr;
use std::io;
use std::os::unix::net::UnixDatagram;

/// What is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    /// The doors are open.
    Ready,
    /// The node is on its way out.
    Stopping,
}

impl State {
    const fn words(self) -> &'static [u8] {
        match self {
            Self::Ready => b"READY=1",
            Self::Stopping => b"STOPPING=1",
        }
    }
}

/// Tells the supervisor, where there is one.
pub(super) fn tell(state: State) {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(error) = send(&socket, state)
    {
        tracing::warn!(%error, ?state, "the supervisor was not told");
    }
}

fn send(socket: &OsStr, state: State) -> io::Result<()> {
    let sender = UnixDatagram::unbound()?;
    // A full queue of the supervisor must not hold the node.
    sender.set_nonblocking(true)?;
    #[cfg(target_os = "linux")]
    if let [b'@', name @ ..] = socket.as_encoded_bytes() {
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        return sender.send_to_addr(state.words(), &address).map(drop);
    }
    sender.send_to(state.words(), socket).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_hears_that_the_node_is_ready_and_that_it_stops() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let supervisor = UnixDatagram::bind(&path).unwrap();
        let mut heard = [0; 64];
        for (state, wanted) in [(State::Ready, &b"READY=1"[..]), (State::Stopping, b"STOPPING=1")] {
            send(path.as_os_str(), state).unwrap();
            let length = supervisor.recv(&mut heard).unwrap();
            assert_eq!(&heard[..length], wanted);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_supervisor_without_a_file_is_told_too() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("domicile-supervisor-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let supervisor = UnixDatagram::bind_addr(&address).unwrap();
        send(OsStr::new(&format!("@{name}")), State::Ready).unwrap();
        let mut heard = [0; 64];
        assert_eq!(supervisor.recv(&mut heard).unwrap(), 7);
    }

    #[test]
    fn a_supervisor_that_is_gone_is_an_error_and_no_wait() {
        let dir = tempfile::tempdir().unwrap();
        assert!(send(dir.path().join("nobody").as_os_str(), State::Ready).is_err());
    }
}
