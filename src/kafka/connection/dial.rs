//! Opens TCP connections, through a proxy where there is one.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::ConnectError;
use crate::config::model::{HostPort, Proxy};
use crate::kafka::access::proxy::connect_through;

/// Bytes that the kernel may hold which the network has not taken. Enough to keep a fast link busy, since
/// what is in flight does not count; little enough that a write's end means that nearly all is on its way.
const UNSENT: u32 = 256 * 1024;
/// Idle connections are probed by the kernel, so that routers between do not forget them.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// A moment, and how long it was until then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    pub(super) at: Instant,
    limit: Duration,
}

impl Deadline {
    pub(crate) fn within(limit: Duration) -> Self {
        Self { at: Instant::now() + limit, limit }
    }

    pub(super) const fn missed(self) -> ConnectError {
        ConnectError::Timeout(self.limit)
    }
}

/// Connects to `target`, trying each address of its name, until `end`.
pub(crate) async fn dial(
    target: &HostPort,
    proxy: Option<&Proxy>,
    end: Deadline,
) -> Result<TcpStream, ConnectError> {
    let Some(proxy) = proxy else { return direct(target, end).await };
    let away =
        |source| ConnectError::ProxyAway { address: proxy.address.to_string(), source: Box::new(source) };
    let mut stream = direct(&proxy.address, end).await.map_err(away)?;
    let through = timeout_at(end.at, connect_through(&mut stream, proxy, target)).await;
    through.map_err(|_| end.missed())?.map_err(ConnectError::Proxy)?;
    Ok(stream)
}

async fn direct(target: &HostPort, end: Deadline) -> Result<TcpStream, ConnectError> {
    let lookup = lookup_host((target.host.as_str(), target.port));
    let addresses =
        timeout_at(end.at, lookup).await.map_err(|_| end.missed())?.map_err(ConnectError::Resolve)?;
    let addresses: Vec<SocketAddr> = addresses.take(16).collect();
    let stream = first_reachable(&addresses, end.at).await?.ok_or_else(|| end.missed())?;
    prepare(&stream).map_err(|source| ConnectError::Handshake(source.to_string()))?;
    Ok(stream)
}

/// Tries the addresses in turn, sharing out the time that is left. `Ok(None)` when it ran out.
async fn first_reachable(addresses: &[SocketAddr], end: Instant) -> Result<Option<TcpStream>, ConnectError> {
    let none = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    let mut outcome = Err(ConnectError::Resolve(none));
    for (tried, &address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - tried).unwrap_or(1);
        let now = Instant::now();
        let until = now + end.saturating_duration_since(now) / left;
        outcome = match timeout_at(until, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(Some(stream)),
            Ok(Err(source)) => Err(ConnectError::Connect { address, source }),
            Err(_) => Ok(None),
        };
    }
    outcome
}

fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
    socket.set_tcp_notsent_lowat(UNSENT)
}
