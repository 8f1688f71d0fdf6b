//! A link that can be cut: stands between the agent and a real cluster, as a proxy for HTTP's CONNECT, so that the agent connects
//! to each broker under its own name, which is what certificates are for.
//!
//! Bounded: one chunk a direction and connection is in memory; a side that does not read holds the other up.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Smallest piece that is taken for a part of a Produce request: no part of a handshake is so large.
const LARGE: usize = 8 << 10;
/// A request for a broker is shorter.
const MAX_HEAD: usize = 8 << 10;

#[derive(Debug, Clone, Copy, Default)]
struct Link {
    cut: bool,
    /// Answers are kept back on connections that carry large requests (what else a client asks goes through,
    /// or it could not begin to send).
    holding: bool,
    /// The next large piece to a broker is forwarded by half, then the link is cut.
    tearing: bool,
    /// Pieces of answers kept back so far.
    held: u64,
    /// Connections of an earlier generation are closed.
    generation: u64,
}

/// The link to all brokers. Dropping it closes everything.
#[derive(Debug)]
pub(super) struct Proxy {
    link: Arc<watch::Sender<Link>>,
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(super) async fn start() -> io::Result<Self> {
        let (link, mut tasks) = (Arc::new(watch::Sender::default()), JoinSet::new());
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let address = listener.local_addr()?;
        tasks.spawn(accept(listener, Arc::clone(&link)));
        Ok(Self { link, address, _tasks: tasks })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn cut(&self) {
        self.link.send_modify(Link::cut);
    }

    pub(super) fn restore(&self) {
        self.link.send_modify(|link| link.cut = false);
    }

    pub(super) fn hold_answers(&self) {
        self.link.send_modify(|link| link.holding = true);
    }

    pub(super) fn release_answers(&self) {
        self.link.send_modify(|link| link.holding = false);
    }

    /// How many pieces of answers were held so far, to watch.
    pub(super) async fn holds_more_than(&self, held: u64) {
        let _ = self.link.subscribe().wait_for(|link| link.held > held).await;
    }

    pub(super) fn held(&self) -> u64 {
        self.link.borrow().held
    }

    /// Cuts the link in the middle of the next large piece to a broker; returns when that is done.
    pub(super) async fn tear(&self) {
        self.link.send_modify(|link| link.tearing = true);
        let _ = self.link.subscribe().wait_for(|link| link.cut).await;
    }
}

impl Link {
    fn cut(&mut self) {
        self.cut = true;
        self.tearing = false;
        self.generation += 1;
    }
}

/// While the link is cut, a connection is closed as soon as it is accepted.
async fn accept(listener: TcpListener, link: Arc<watch::Sender<Link>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) if !link.borrow().cut => {
                    connections.spawn(relay(client, Arc::clone(&link)));
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "demo proxy: a connection was not accepted"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn relay(mut client: TcpStream, link: Arc<watch::Sender<Link>>) {
    let generation = link.borrow().generation;
    let mut now = link.subscribe();
    let both = async {
        let server = broker_for(&mut client).await?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let loaded = AtomicBool::new(false);
        tokio::select! {
            ended = requests(from_client, to_server, &link, &loaded) => ended,
            ended = answers(from_server, to_client, &link, &loaded) => ended,
        }
    };
    tokio::select! {
        biased;
        _ = now.wait_for(|link| link.generation != generation) => {}
        ended = both => if let Err(error) = ended {
            tracing::debug!(%error, "demo proxy: connection ended");
        }
    }
}

/// Reads which broker the client wants, connects to it, and says that it may begin.
async fn broker_for(client: &mut TcpStream) -> io::Result<TcpStream> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > MAX_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let mut words = head.split(' ');
    let (Some("CONNECT"), Some(broker)) = (words.next(), words.next()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let connected = TcpStream::connect(broker).await;
    let answer = if connected.is_ok() { "200 OK" } else { "502 Bad Gateway" };
    client.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes()).await?;
    connected
}

async fn requests(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    link: &watch::Sender<Link>,
    loaded: &AtomicBool,
) -> io::Result<()> {
    let mut chunk = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut chunk).await?;
        let piece = chunk.get(..read).unwrap_or_default();
        if piece.is_empty() {
            return Ok(());
        }
        let now = *link.borrow();
        let large = piece.len() >= LARGE;
        if large && now.tearing {
            to.write_all(piece.get(..piece.len() / 2).unwrap_or_default()).await?;
            link.send_modify(Link::cut);
            return Ok(());
        }
        if large && now.holding {
            loaded.store(true, Ordering::Relaxed);
        }
        to.write_all(piece).await?;
    }
}

async fn answers(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    link: &watch::Sender<Link>,
    loaded: &AtomicBool,
) -> io::Result<()> {
    let mut chunk = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        if link.borrow().holding && loaded.load(Ordering::Relaxed) {
            link.send_modify(|link| link.held += 1);
            let _ = link.subscribe().wait_for(|link| !link.holding).await;
        }
        to.write_all(chunk.get(..read).unwrap_or_default()).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A proxy, and behind it a server that answers every byte with itself.
    async fn echo() -> (Proxy, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        (Proxy::start().await.unwrap(), server)
    }

    /// Through the proxy to the server.
    async fn through(proxy: &Proxy, server: SocketAddr) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(proxy.address()).await?;
        stream.write_all(format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n\r\n").as_bytes()).await?;
        let mut answer = [0; 19];
        stream.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"HTTP/1.1 200 OK\r\n\r\n");
        Ok(stream)
    }

    const MUCH: [u8; 2 * LARGE] = [7; 2 * LARGE];

    async fn exchange(stream: &mut TcpStream, sent: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_all(sent).await?;
        let mut back = vec![0; sent.len()];
        stream.read_exact(&mut back).await?;
        Ok(back)
    }

    #[tokio::test]
    async fn a_cut_closes_what_is_open_and_ends_with_the_restore() {
        let (proxy, server) = echo().await;
        let mut stream = through(&proxy, server).await.unwrap();
        assert_eq!(exchange(&mut stream, b"hello").await.unwrap(), b"hello");
        proxy.cut();
        assert!(exchange(&mut stream, b"hello").await.is_err());
        assert!(through(&proxy, server).await.is_err());
        proxy.restore();
        let mut again = through(&proxy, server).await.unwrap();
        assert_eq!(exchange(&mut again, b"hello").await.unwrap(), b"hello");
    }

    #[tokio::test]
    async fn held_answers_come_when_they_are_released() {
        let (proxy, server) = echo().await;
        proxy.hold_answers();
        let mut stream = through(&proxy, server).await.unwrap();
        assert_eq!(exchange(&mut stream, b"small").await.unwrap(), b"small");
        stream.write_all(&MUCH).await.unwrap();
        proxy.holds_more_than(0).await;
        proxy.release_answers();
        let mut back = [0; MUCH.len()];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, MUCH);
    }

    #[tokio::test]
    async fn a_torn_request_cuts_the_link() {
        let (proxy, server) = echo().await;
        let mut stream = through(&proxy, server).await.unwrap();
        assert!(exchange(&mut stream, b"hello").await.is_ok());
        let (torn, ()) = tokio::join!(exchange(&mut stream, &MUCH), proxy.tear());
        assert!(torn.is_err());
    }

    #[tokio::test]
    async fn a_broker_that_is_not_there_is_told_so() {
        let (proxy, _) = echo().await;
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(format!("CONNECT {nobody} HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    }
}
