//! Opens connections.

use tokio::time::timeout_at;

use super::dial::{Deadline, dial};
use super::{ConnectError, Connection, Options};
use crate::config::model::HostPort;
use crate::kafka::access::TlsError;

/// Connects to a broker the way its [`Access`](crate::kafka::Access) says: proxy, TCP, TLS, versions, SASL.
///
/// # Errors
/// [`ConnectError`]; after `connect_timeout` for name, TCP, proxy and TLS, `request_timeout` for each answer of the
/// handshake.
pub async fn connect(broker: &HostPort, options: &Options) -> Result<Connection, ConnectError> {
    #[cfg(test)]
    if let Some(stream) = simulated::dial(broker) {
        let source = |source| ConnectError::Connect { address: ([127, 0, 0, 1], broker.port).into(), source };
        return Connection::start(stream.map_err(source)?, options).await;
    }
    let end = Deadline::within(options.connect_timeout);
    let stream = dial(broker, options.access.proxy(), end).await?;
    let Some(tls) = options.access.tls() else { return Connection::start(stream, options).await };
    let wrapped = timeout_at(end.at, tls.wrap(stream, &broker.host)).await;
    let stream = wrapped.map_err(|_| end.missed())?.map_err(ConnectError::Tls)?;
    Connection::start(stream, options).await.map_err(|error| match error {
        // With TLS 1.3 a broker sees our certificate only after the handshake has ended for us.
        ConnectError::Handshake(reason) if reason.contains("received fatal alert") => {
            ConnectError::Tls(TlsError::late_alert(&reason))
        }
        other => other,
    })
}

/// A network within the process, for everything that connects on this thread.
#[cfg(test)]
pub(crate) mod simulated {
    use std::cell::RefCell;
    use std::io;

    use tokio::io::DuplexStream;

    use crate::config::model::HostPort;

    type Dial = Box<dyn Fn(&HostPort) -> io::Result<DuplexStream>>;

    thread_local! {
        static NETWORK: RefCell<Option<Dial>> = const { RefCell::new(None) };
    }

    /// From now on connections are made so.
    pub(crate) fn begin(dial: Dial) {
        NETWORK.set(Some(dial));
    }

    pub(super) fn dial(broker: &HostPort) -> Option<io::Result<DuplexStream>> {
        NETWORK.with_borrow(|network| network.as_ref().map(|dial| dial(broker)))
    }
}
