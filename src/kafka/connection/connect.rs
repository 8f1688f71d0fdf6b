//! Opens connections.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::{Connection, Options};
use crate::config::model::HostPort;
use crate::kafka::window::LinkError;
use crate::kafka::wire::WireError;

/// Bytes that the kernel may hold which the network has not taken. Enough to keep a fast link busy, since
/// what is in flight does not count; little enough that a write's end means that nearly all is on its way.
const UNSENT: u32 = 256 * 1024;
/// Idle connections are probed by the kernel, so that routers between do not forget them.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The name has no address.
    #[error("the host name can't be resolved: {0}")]
    Resolve(std::io::Error),
    /// None of its addresses takes a connection; the last one's error.
    #[error("{address} refuses: {source}")]
    Connect {
        /// The address tried last.
        address: SocketAddr,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Nothing answered in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Something answered, but not ApiVersions.
    #[error("it does not answer like a Kafka broker: {0}")]
    Handshake(String),
    /// A broker that we can't talk to.
    #[error("{0}")]
    Protocol(WireError),
}

impl ConnectError {
    /// As told to people. `who` names the broker and its address.
    #[must_use]
    pub fn link_error(&self, who: &str) -> LinkError {
        let hint = match self {
            Self::Resolve(_) => "check the name, and this host's name servers",
            Self::Connect { .. } => "check that the broker runs and listens at this address",
            Self::Timeout(_) => "check the network and firewalls between here and the broker",
            Self::Handshake(_) => {
                "check that this is a Kafka listener without TLS, and that the broker is not stuck"
            }
            Self::Protocol(_) => "use a broker of Kafka 2.8 or later, or compatible",
        };
        let code = match self {
            Self::Protocol(WireError::Code(code)) => Some(*code),
            _ => None,
        };
        LinkError { code, message: format!("can't connect to {who}: {self}"), hint: hint.to_owned() }
    }
}

/// Connects to a broker, trying each address of its name, and makes the handshake.
///
/// # Errors
/// [`ConnectError`]; after `connect_timeout` for name and TCP, `request_timeout` for the handshake.
pub async fn connect(broker: &HostPort, options: &Options) -> Result<Connection, ConnectError> {
    let end = Instant::now() + options.connect_timeout;
    let late = || ConnectError::Timeout(options.connect_timeout);
    let lookup = lookup_host((broker.host.as_str(), broker.port));
    let addresses = timeout_at(end, lookup).await.map_err(|_| late())?.map_err(ConnectError::Resolve)?;
    let addresses: Vec<SocketAddr> = addresses.take(16).collect();
    let stream = first_reachable(&addresses, end).await?.ok_or_else(late)?;
    prepare(&stream).map_err(|source| ConnectError::Handshake(source.to_string()))?;
    Connection::start(stream, options).await
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
