//! Listening: bind first, then take connections, never more than the limit. Who comes when all places are taken waits for one, the
//! first with a descriptor, the others in the kernel's backlog, and the connections that have been silent for longest give theirs,
//! where closing them costs nothing.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::tally::Tally;
use crate::logs::Limit;

/// Connections that the kernel holds while the limit is reached (and no more than `net.core.somaxconn`).
pub(super) const BACKLOG: u32 = 1024;
/// How long connections may take to end after the stop was asked for.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// Between two lines that say that all places are taken.
const SAID: Duration = Duration::from_mins(1);
/// Pause after a failed accept that the connection is not to blame for (no descriptor, no memory).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Something that connections come from.
pub(super) trait Accept: Send + 'static {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Waits for the next one.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Io>> + Send;
}

impl Accept for TcpListener {
    type Io = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = TcpListener::accept(self).await?;
        // An answer is one write; without this it could wait for the peer's delayed acknowledgement.
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Binds a TCP listener. Port 0 takes a free port.
pub(super) fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Connections of an earlier process in TIME_WAIT must not keep a restarted agent from its port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// What the connections of one listener share.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) tally: Arc<Tally>,
    pub(super) max_connections: usize,
    /// Tells one connection that its place is wanted: the one that has waited for this for longest.
    pub(super) give_way: Arc<Notify>,
    pub(super) tracker: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl Door {
    /// Takes connections until the stop, each in a task of its own; those in hand get [`GRACE`] to end.
    pub(super) async fn serve<L, F, Fut>(self, listener: L, connection: F)
    where
        L: Accept,
        F: Fn(L::Io) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let places = Arc::new(Semaphore::new(self.max_connections.clamp(1, Semaphore::MAX_PERMITS)));
        let crowded = Limit::new(SAID);
        while let Some(accepted) = self.unless_stopped(listener.accept()).await {
            match accepted {
                Ok(io) => {
                    let place = self.place(&places, &crowded);
                    let Some(Some(place)) = self.unless_stopped(place).await else { return };
                    let (work, counted) = (connection(io), self.tally.connected());
                    let stop = self.stop.clone();
                    self.tracker.spawn(async move {
                        let _held = (place, counted);
                        within_grace(&stop, work).await;
                    });
                }
                Err(error) => self.accept_failed(&error).await,
            }
        }
    }

    /// Waits for a place; while there is none, somebody is asked for his.
    async fn place(&self, places: &Arc<Semaphore>, crowded: &Limit<String>) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(places).try_acquire_owned() {
            return Some(place);
        }
        if let Some(suppressed) = crowded.pass(self.tally.name()) {
            tracing::warn!(
                source = self.tally.name(),
                max_connections = self.max_connections,
                suppressed,
                "all places for connections are taken: others wait until one closes"
            );
        }
        self.give_way.notify_one();
        let place = Arc::clone(places).acquire_owned().await.ok();
        // Another place than the one that was asked for, perhaps: then nobody needs to give way any more.
        pin!(self.give_way.notified()).as_mut().enable();
        place
    }

    async fn accept_failed(&self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, InvalidInput};
        if matches!(error.kind(), ConnectionAborted | ConnectionReset | InvalidInput) {
            tracing::debug!(source = self.tally.name(), %error, "a connection ended before it was taken");
            return;
        }
        tracing::warn!(source = self.tally.name(), %error, "can't take connections for now; trying on");
        // Nothing tells when a descriptor is free again.
        self.unless_stopped(tokio::time::sleep(ACCEPT_PAUSE)).await;
    }

    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            done = work => Some(done),
        }
    }
}

/// Runs `work` to its end, or until [`GRACE`] after the stop; `None` means it was cut off.
pub(super) async fn within_grace<T>(stop: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = async { stop.cancelled().await; tokio::time::sleep(GRACE).await } => None,
    }
}
