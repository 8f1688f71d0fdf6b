//! Free ports that stay ours while what listens on them is down.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::net::TcpSocket;

/// Below the range from which the kernel draws ports for outgoing connections, so that no client takes one
/// while a broker or agent restarts.
const FIRST: u32 = 10_300;
const COUNT: u32 = 22_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port on 127.0.0.1 on which nothing listens now, never handed out twice by this process; processes begin
/// at different places.
pub fn free_port() -> u16 {
    let start = std::process::id().wrapping_mul(7919) % COUNT;
    for _ in 0..COUNT {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(port).expect("ports end at 65535");
        if is_free(port) {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}

/// Binds without listening: a process that another thread starts meanwhile holds this socket, too, until it runs its
/// program, and a listening one would keep the port from us.
fn is_free(port: u16) -> bool {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("a new socket");
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok()
}
