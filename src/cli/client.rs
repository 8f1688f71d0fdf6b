//! A question to an agent's admin server: blocking, with a time limit on the whole, and a bound on the answer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{ConfigFiles, Failure};
use crate::config::model::{Admin, HostPort};
use crate::config::{self, Environment, parse_address};

const CONNECT: Duration = Duration::from_secs(3);
const WHOLE: Duration = Duration::from_secs(10);
/// An agent that takes over another configuration, or other routes, is not there for a moment: whoever has it do something then waits so
/// long for it.
const AWAY: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// A `/status` with a thousand destinations has about a megabyte.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens there, or the way there is cut.
    #[error(
        "no agent answers at {address}: {source}; is `spoolway run` running, and is this its admin.listen? \
         --admin names another address"
    )]
    Connect {
        /// Who was asked.
        address: HostPort,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke off or took too long.
    #[error("the agent at {address} did not answer {path} in full within {limit:?}: {source}")]
    Broken {
        /// Who was asked.
        address: HostPort,
        /// What was asked.
        path: String,
        /// How long it was given.
        limit: Duration,
        /// What the system said.
        source: io::Error,
    },
    /// It answered with an error.
    #[error("the agent at {address} answered {path} with {code}: {body}")]
    Refused {
        /// Who was asked.
        address: HostPort,
        /// What was asked.
        path: String,
        /// HTTP status.
        code: u16,
        /// The beginning of what it said.
        body: String,
    },
    /// It is no spoolway.
    #[error("what answers at {address} is not a spoolway agent ({what}): --admin names another address")]
    Foreign {
        /// Who was asked.
        address: HostPort,
        /// What is odd about it.
        what: String,
    },
}

/// Which agent is meant.
#[derive(Debug, Clone, Default, Args)]
pub struct Whom {
    /// Where the configuration is; its admin.listen says whom to ask.
    #[command(flatten)]
    pub config: ConfigFiles,
    /// Ask the agent at this address instead of reading a configuration.
    #[arg(long, value_name = "HOST:PORT", env = "SPOOLWAY_ADMIN", value_parser = address)]
    pub admin: Option<HostPort>,
}

impl Whom {
    /// The address to ask: `--admin`, else the configuration's; without any configuration the default one.
    ///
    /// # Errors
    /// [`Failure`] when the configuration is wrong, or says that the agent can't be asked.
    pub(super) fn address(&self) -> Result<HostPort, Failure> {
        if let Some(address) = self.without_reading()? {
            return Ok(address);
        }
        asked_at(&self.config.load()?.config.admin).ok_or_else(is_off)
    }

    /// The same for those who only look, and what to say besides: an agent that has rejected a wrong configuration goes on by
    /// the one before, and whoever asks how it is must find it. So `[admin]` counts, whatever is wrong with the rest. A file that
    /// was named and is not there says of no agent where it is: by the default address another one may answer.
    ///
    /// # Errors
    /// [`Failure`] when the configuration says that the agent can't be asked, or a file of it that was named can't be opened.
    pub(super) fn address_to_look(&self) -> Result<(HostPort, Option<&'static str>), Failure> {
        if let Some(address) = self.without_reading()? {
            return Ok((address, None));
        }
        named_are_there(&self.config.files)?;
        let lookup = |name: &str| std::env::var(name).ok();
        let (files, environment) = (&self.config.files, Environment::Lookup(&lookup));
        let (admin, wrong) = match config::load(files, &environment) {
            Ok(loaded) => (loaded.config.admin, None),
            Err(_) => (config::admin_alone(files, &environment), Some(WRONG)),
        };
        asked_at(&admin).map(|address| (address, wrong)).ok_or_else(is_off)
    }

    /// The address that is known without any configuration. Files that the command line names have to be there all the same:
    /// `$SPOOLWAY_ADMIN` may be another agent's.
    fn without_reading(&self) -> Result<Option<HostPort>, Failure> {
        if !self.config.files.is_empty() {
            named_are_there(&self.config.files)?;
        }
        let default = || {
            let (host, port) = DEFAULT_ADMIN;
            HostPort { host: host.to_owned(), port }
        };
        Ok(self.admin.clone().or_else(|| (!config::is_there_one(&self.config.files)).then(default)))
    }
}

fn named_are_there(files: &[std::path::PathBuf]) -> Result<(), Failure> {
    let told = |missing| {
        Failure::usage(format!("{missing}; which agent is meant is not known: --admin HOST:PORT names one"))
    };
    config::missing(files).map_or(Ok(()), |missing| Err(told(missing)))
}

/// What is said besides the answer of an agent that was found by half a configuration.
const WRONG: &str =
    "the configuration can't be used, and was read for [admin] alone: `spoolway check` says what is wrong";

fn is_off() -> Failure {
    Failure::usage(
        "admin.listen is \"off\" in the configuration, so the agent can't be asked: give it an address",
    )
}

/// Where an agent of this configuration is asked, if it can be.
pub(super) fn asked_at(admin: &Admin) -> Option<HostPort> {
    let listen = admin.listen?;
    // An agent that listens everywhere is asked over loopback.
    let host = match listen.ip() {
        ip if !ip.is_unspecified() => ip.to_string(),
        std::net::IpAddr::V4(_) => "127.0.0.1".to_owned(),
        std::net::IpAddr::V6(_) => "::1".to_owned(),
    };
    Some(HostPort { host, port: listen.port() })
}

/// Where an agent listens whose configuration says nothing of it.
const DEFAULT_ADMIN: (&str, u16) = ("127.0.0.1", 9674);

pub(super) fn address(text: &str) -> Result<HostPort, String> {
    let bare = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    parse_address(bare, DEFAULT_ADMIN.1)
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Failure::running(error)
    }
}

impl Failure {
    /// What the agent says is wrong with a command is wrong usage, in its own words.
    pub(super) fn of_command(error: ClientError) -> Self {
        match error {
            ClientError::Refused { code: 400, ref body, .. } => {
                let said: Option<Said> = serde_json::from_str(body).ok();
                said.map_or_else(|| Self::usage(&error), |said| Self::usage(said.message))
            }
            error => error.into(),
        }
    }
}

/// What the agent says of a command that is wrong.
#[derive(Debug, Deserialize)]
struct Said {
    message: String,
}

/// Asks one agent.
#[derive(Debug)]
pub struct Client {
    address: HostPort,
    whole: Duration,
}

impl Client {
    /// For the agent at `address`.
    #[must_use]
    pub fn new(address: HostPort) -> Self {
        Self { address, whole: WHOLE }
    }

    /// The same, with another limit on the whole of each question.
    #[must_use]
    pub fn within(address: HostPort, whole: Duration) -> Self {
        Self { address, whole }
    }

    /// The body of the answer; 503 counts as one where its reasons come with it: `/readyz` and `/healthz`.
    ///
    /// # Errors
    /// [`ClientError`] when there is none, or it is an error.
    pub(super) fn get(&self, path: &str) -> Result<String, ClientError> {
        self.ask("GET", path, "")
    }

    /// Has the agent do something; the body of its answer.
    ///
    /// # Errors
    /// [`ClientError`] when there is none, or it is an error.
    pub(super) fn post(&self, path: &str, body: &str) -> Result<String, ClientError> {
        self.ask("POST", path, body)
    }

    /// As [`Client::post`]; what the agent says is wrong with what was asked is wrong usage, in its own words.
    ///
    /// # Errors
    /// [`Failure`] with the exit code and the message.
    pub(super) fn command(&self, path: &str, body: &str) -> Result<String, Failure> {
        self.post(path, body).map_err(Failure::of_command)
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Result<String, ClientError> {
        let deadline = Instant::now() + self.whole;
        let away = if method == "GET" { Duration::ZERO } else { AWAY.min(self.whole) };
        let mut stream = self.connect_within(away)?;
        let answer =
            exchange(&mut stream, &self.address, (method, path, body), deadline).map_err(|source| {
                let (address, path, limit) = (self.address.clone(), path.to_owned(), self.whole);
                ClientError::Broken { address, path, limit, source }
            })?;
        let (code, body) = parse(&answer).map_err(|what| self.foreign(what))?;
        if code == 200 || (code == 503 && ["/readyz", "/healthz"].iter().any(|p| path.starts_with(p))) {
            return Ok(body.to_owned());
        }
        let body = body.chars().take(2000).collect();
        Err(ClientError::Refused { address: self.address.clone(), path: path.to_owned(), code, body })
    }

    /// Reads an answer's JSON.
    ///
    /// # Errors
    /// [`ClientError::Foreign`] when it is none, or not of this shape.
    pub fn read<T: DeserializeOwned>(&self, body: &str) -> Result<T, ClientError> {
        serde_json::from_str(body).map_err(|e| self.foreign(&format!("its answer can't be read: {e}")))
    }

    fn foreign(&self, what: &str) -> ClientError {
        ClientError::Foreign { address: self.address.clone(), what: what.to_owned() }
    }

    /// Tries for so long while nobody listens there.
    fn connect_within(&self, away: Duration) -> Result<TcpStream, ClientError> {
        let end = Instant::now() + away;
        loop {
            match self.connect() {
                Err(ClientError::Connect { source, .. })
                    if source.kind() == io::ErrorKind::ConnectionRefused && Instant::now() < end =>
                {
                    // Nothing tells when somebody listens again.
                    std::thread::sleep(LOOK_AGAIN);
                }
                done => return done,
            }
        }
    }

    fn connect(&self) -> Result<TcpStream, ClientError> {
        let fail = |source| ClientError::Connect { address: self.address.clone(), source };
        let found = (self.address.host.as_str(), self.address.port).to_socket_addrs().map_err(fail)?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in found {
            match TcpStream::connect_timeout(&address, CONNECT.min(self.whole)) {
                Ok(stream) if is_itself(&stream, address) => {
                    last = io::ErrorKind::ConnectionRefused.into();
                }
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(fail(last))
    }
}

/// A connection to a free local port of the ephemeral range can, once in many, meet itself (a simultaneous
/// open): nobody listens there then.
fn is_itself(stream: &TcpStream, peer: SocketAddr) -> bool {
    stream.local_addr().is_ok_and(|local| local == peer)
}

fn exchange(
    stream: &mut TcpStream,
    address: &HostPort,
    (method, path, body): (&str, &str, &str),
    deadline: Instant,
) -> io::Result<Vec<u8>> {
    stream.set_write_timeout(Some(left(deadline)?))?;
    let length = body.len();
    let content = match method {
        "GET" => String::new(),
        _ => format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"),
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAccept: application/json\r\n{content}Connection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let taken = match stream.read(&mut piece) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
            taken => taken?,
        };
        if taken == 0 {
            return Ok(answer);
        }
        answer.extend_from_slice(piece.get(..taken).unwrap_or_default());
        if answer.len() > MAX_ANSWER {
            return Err(io::Error::other(format!("the answer is longer than {MAX_ANSWER} bytes")));
        }
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Code and body. The agent always says how long its answer is, so one that was cut off is seen.
fn parse(answer: &[u8]) -> Result<(u16, &str), &'static str> {
    let answer = std::str::from_utf8(answer).map_err(|_| "its answer is not UTF-8")?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("it does not speak HTTP")?;
    let mut lines = head.split("\r\n");
    let status =
        lines.next().and_then(|line| line.strip_prefix("HTTP/1.")).ok_or("it does not speak HTTP/1")?;
    let code = status.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("its status line is odd")?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .ok_or("it does not say how long its answer is")?;
    if body.len() == length { Ok((code, body)) } else { Err("its answer was cut short") }
}
