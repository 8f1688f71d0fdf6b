//! The ports: one a broker, kept across cuts and deaths.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::OwnedSemaphorePermit;

use super::cluster::{Cluster, Node};
use super::connection;
use super::gate::{Link, until};
use super::options::TargetError;

/// A port that stays ours while nothing listens on it: a bound socket that never listens lets no other
/// process have the port, refuses connections, and (`SO_REUSEADDR`) does not keep us from listening on it.
#[derive(Debug)]
pub struct Reservation {
    _socket: TcpSocket,
    address: SocketAddr,
}

fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

impl Reservation {
    /// Reserves `port` of 127.0.0.1, or any free one for 0. Call it within a tokio runtime.
    ///
    /// # Errors
    /// [`TargetError::Listen`] when the port is taken.
    pub fn take(port: u16) -> Result<Self, TargetError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let take = || bound(address).and_then(|s| Ok((s.local_addr()?, s)));
        let (address, socket) = take().map_err(|source| TargetError::Listen { address, source })?;
        Ok(Self { _socket: socket, address })
    }

    /// The reserved address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Listens on the node's port.
pub(super) fn listen(node: &Node) -> Result<(), TargetError> {
    let listener = bound(node.address).and_then(|socket| socket.listen(1024));
    let listener = listener.map_err(|source| TargetError::Listen { address: node.address, source })?;
    node.listener.send_replace(Some(Arc::new(listener)));
    Ok(())
}

/// Accepts on whatever listener the node has, for as long as it is polled.
pub(super) async fn accept_always(cluster: Arc<Cluster>, at: usize) {
    let Some(node) = cluster.nodes.get(at) else { return };
    let mut listeners = node.listener.subscribe();
    loop {
        let listener = match listeners.wait_for(Option::is_some).await {
            Ok(listener) => listener.clone(),
            Err(_) => return,
        };
        let Some(listener) = listener else { continue };
        cluster.count(|c| c.listening += 1);
        tokio::select! {
            biased;
            _ = listeners.changed() => {}
            () = accept(&cluster, node, &listener) => {}
        }
        drop(listener);
        cluster.count(|c| c.listening -= 1);
    }
}

async fn accept(cluster: &Arc<Cluster>, node: &Node, listener: &TcpListener) {
    loop {
        until(&cluster.gate, |gate| !gate.stalled).await;
        let Ok(slot) = Arc::clone(&node.slots).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => match stream.set_nodelay(true) {
                Ok(()) => welcome(cluster, node.id, stream, slot),
                Err(error) => tracing::debug!(%error, "target: a connection died as it was accepted"),
            },
            Err(error) => tracing::debug!(%error, "target: a connection was not accepted"),
        }
    }
}

/// See [`Target::dial`](super::Target::dial).
#[cfg(test)]
pub(super) fn dial(
    cluster: &Arc<Cluster>,
    address: &crate::config::model::HostPort,
) -> io::Result<tokio::io::DuplexStream> {
    let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
    let node = cluster.nodes.iter().find(|node| node.advertised == *address).ok_or_else(refused)?;
    if cluster.gate.borrow().link != Link::Up {
        return Err(refused());
    }
    let slot = Arc::clone(&node.slots).try_acquire_owned().map_err(|_| refused())?;
    let (near, far) = tokio::io::duplex(1 << 20);
    welcome(cluster, node.id, far, slot);
    Ok(near)
}

fn welcome<S>(cluster: &Arc<Cluster>, node: i32, stream: S, slot: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
{
    let gate = *cluster.gate.borrow();
    // INVARIANT: a connection that a cut or a death overtook while it was being accepted is not served; the
    // link can't have come up again in between, since that waits for the acceptor that runs this.
    if gate.link != Link::Up {
        return;
    }
    cluster.count(|c| {
        c.connections += 1;
        c.accepted += 1;
    });
    let cluster = Arc::clone(cluster);
    tokio::spawn(async move {
        connection::serve(&cluster, node, stream, gate.generation).await;
        cluster.count(|c| c.connections -= 1);
        drop(slot);
    });
}
