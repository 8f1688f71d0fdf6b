//! What can go wrong with a source as a whole.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a source can't begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address is taken, not ours, or not allowed.
    #[error("source {source_name}: can't listen on {address}: {cause}; {}", remedy(cause))]
    Address {
        /// Name of the source.
        source_name: String,
        /// What was configured.
        address: SocketAddr,
        /// What the operating system said.
        #[source]
        cause: io::Error,
    },
    /// A certificate, key or token can't be used.
    #[error("source {source_name}: {cause}")]
    Guard {
        /// Name of the source.
        source_name: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The socket file can't be made.
    #[error("source {source_name}: can't make socket {}: {cause}; {}", path.display(), remedy(cause))]
    Path {
        /// Name of the source.
        source_name: String,
        /// What was configured.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        cause: io::Error,
    },
    /// Something that is not a socket stands where the socket should be.
    #[error(
        "source {source_name}: {} exists and is not a socket; move it away or choose another path",
        path.display()
    )]
    NotASocket {
        /// Name of the source.
        source_name: String,
        /// What was configured.
        path: PathBuf,
    },
    /// A user of `allow_users` that this host does not have.
    #[error(
        "source {source_name}: allow_users names {user:?}, which /etc/passwd does not have; correct it, or write the user's number \
         (`id -u NAME`) if it comes from elsewhere"
    )]
    UnknownUser {
        /// Name of the source.
        source_name: String,
        /// The name.
        user: String,
    },
    /// A user of `allow_users` whose number the kernel gives for all that a user namespace does not have.
    #[error(
        "source {source_name}: allow_users names {user:?}, whose number also stands for every user of other containers and namespaces; \
         give the program that connects a user of its own, and name that"
    )]
    Anybody {
        /// Name of the source.
        source_name: String,
        /// As it was named.
        user: String,
    },
    /// Another process listens on the socket.
    #[error(
        "source {source_name}: another process listens on {}; stop it or choose another path",
        path.display()
    )]
    SocketInUse {
        /// Name of the source.
        source_name: String,
        /// What was configured.
        path: PathBuf,
    },
    /// There is only one standard input.
    #[error("source {source_name}: standard input is read by source {other} already; keep one of them")]
    StdinTwice {
        /// Name of the second source.
        source_name: String,
        /// Name of the first.
        other: String,
    },
    /// The thread that reads standard input can't be started.
    #[error("source {source_name}: can't start the thread that reads standard input: {cause}")]
    Thread {
        /// Name of the source.
        source_name: String,
        /// What the operating system said.
        #[source]
        cause: io::Error,
    },
}

fn remedy(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::AddrInUse => "stop the process that uses it or choose another port",
        io::ErrorKind::AddrNotAvailable => "no interface of this host has that address",
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE, and a socket file needs a directory that can be written"
        }
        io::ErrorKind::NotFound => "its directory does not exist",
        io::ErrorKind::InvalidInput => "a socket path has at most 107 bytes",
        _ => "see the cause",
    }
}

/// Why standard input came to an end that is not its end.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EndError {
    /// Reading failed.
    #[error("standard input can't be read: {0}")]
    Read(String),
    /// The intake took no more, so `0` events that were read are not kept.
    #[error("standard input: {0} events that were read could not be accepted before the agent stopped")]
    NotAccepted(u64),
}
