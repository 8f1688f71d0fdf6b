//! Who is at the other end of a loopback connection.
//!
//! Any account of a host can reach its loopback addresses. What changes something is taken from root and from the agent's own
//! user only; the kernel's table of TCP sockets says whose the other end is (`proc(5)`, `/proc/net/tcp`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The two ends of a connection, as this one sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
}

/// Why whoever sends a command may not.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stranger {
    /// The kernel knows whose it is.
    #[error(
        "commands are taken from root and from the agent's own user (uid {own}) only, and this comes from uid {uid}: \
         run it with sudo, or as that user"
    )]
    Other { uid: u32, own: u32 },
    /// Nothing says whose it is.
    #[error(
        "commands are taken from root and from the agent's own user only, and whose connection this is can't be told \
         ({why}): send it from the network namespace of the agent, and leave the connection open until the answer"
    )]
    Unknown { why: String },
}

/// Whether the other end of a connection within this host is root's or this process's user's. Blocking: reads the kernel's table.
pub(super) fn check(ends: Ends) -> Result<(), Stranger> {
    let uid = owner(ends).map_err(|why| Stranger::Unknown { why })?;
    let own = rustix::process::geteuid().as_raw();
    if uid == 0 || uid == own { Ok(()) } else { Err(Stranger::Other { uid, own }) }
}

/// The uid that owns the other end.
fn owner(ends: Ends) -> Result<u32, String> {
    let mut why = "the kernel's table has no such connection".to_owned();
    // A socket of version 6 may be at the end of a connection of version 4.
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        match std::fs::read_to_string(table) {
            Ok(text) => {
                if let Some(uid) = text.lines().find_map(|row| owner_by(row, ends)) {
                    return Ok(uid);
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && table.ends_with('6') => {}
            Err(e) => why = format!("{table}: {e}"),
        }
    }
    Err(why)
}

/// What a row of the table says of the socket at the other end: of one that its process has closed it no longer says whose it
/// was, but 0.
fn owner_by(row: &str, ends: Ends) -> Option<u32> {
    let mut fields = row.split_ascii_whitespace();
    let (local, remote) = (address(fields.nth(1)?)?, address(fields.next()?)?);
    let is_it = same(local, ends.peer) && same(remote, ends.local);
    let (uid, inode) = (fields.nth(4)?.parse().ok()?, fields.nth(1)?);
    (is_it && inode != "0").then_some(uid)
}

fn same(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && one.ip().to_canonical() == other.ip().to_canonical()
}

/// `0100007F:25CA`: 32-bit words of the address as this machine's memory has them, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Option<Vec<[u8; 4]>> = (0..ip.len() / 8)
        .map(|at| u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes))
        .collect();
    let ip = match *words?.as_slice() {
        [v4] => IpAddr::V4(Ipv4Addr::from(v4)),
        [a, b, c, d] => {
            let mut octets = [0; 16];
            octets.iter_mut().zip([a, b, c, d].concat()).for_each(|(to, from)| *to = from);
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn ends(stream: &TcpStream) -> Ends {
        Ends { local: stream.local_addr().unwrap(), peer: stream.peer_addr().unwrap() }
    }

    #[test]
    fn the_kernel_says_whose_the_other_end_is_over_both_versions() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(at).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (served, _) = listener.accept().unwrap();
            assert_eq!(owner(ends(&served)), Ok(rustix::process::geteuid().as_raw()), "{at}");
            assert!(check(ends(&served)).is_ok());
            // Closed, its socket is nobody's, and the table says 0.
            drop(client);
            assert!(matches!(check(ends(&served)), Err(Stranger::Unknown { .. })), "{at}");
        }
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_row_is_of_a_connection_when_both_ends_are_and_it_has_an_inode() {
        let row = "   3: 0100007F:C001 0100007F:25CA 01 00000000:00000000 00:00000000 00000000  1000        0 39517 1 0 20 4 0 10 -1";
        let of =
            |local: &str, peer: &str| Ends { local: local.parse().unwrap(), peer: peer.parse().unwrap() };
        let these = of("127.0.0.1:9674", "127.0.0.1:49153");
        assert_eq!(owner_by(row, these), Some(1000));
        assert_eq!(owner_by(row, of("[::ffff:127.0.0.1]:9674", "[::ffff:127.0.0.1]:49153")), Some(1000));
        assert_eq!(owner_by(row, of("127.0.0.1:9674", "127.0.0.1:49154")), None);
        assert_eq!(owner_by(row, of("127.0.0.1:9675", "127.0.0.1:49153")), None);
        assert_eq!(owner_by(&row.replace("39517", "0"), these), None);
        let v6 = "0: 0000000000000000FFFF00000100007F:C001 0000000000000000FFFF00000100007F:25CA 01 0:0 0:0 0 7 0 9 1";
        assert_eq!(owner_by(v6, these), Some(7));
        for noise in ["", "sl local_address", "0: 0100007F:C001", "0: zz:1 0100007F:25CA 01 0:0 0:0 0 1 0 9"]
        {
            assert_eq!(owner_by(noise, these), None, "{noise}");
        }
    }

    #[test]
    fn a_stranger_is_told_what_to_do() {
        let error = Stranger::Other { uid: 1000, own: 998 }.to_string();
        assert!(error.contains("uid 998") && error.contains("uid 1000") && error.contains("sudo"), "{error}");
    }
}
