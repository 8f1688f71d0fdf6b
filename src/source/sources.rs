//! All sources of the agent: bound together, served together, stopped together.

use std::sync::Arc;

use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::budget::Budget;
use super::error::{BindError, EndError};
use super::http;
use super::listen::{self, Accept, Door, within_grace};
use super::pump::{End, Pump};
use super::stdin;
use super::tally::Tally;
use super::unix::{self, SocketFile, UnixDoor};
use crate::config::Pattern;
use crate::config::model::{Ack, ConnectionLimits, HttpLimits, Source, SourceKind, Spool};
use crate::guard::{Entered, Gate};
use crate::ids::StreamName;
use crate::intake::Intake;
use crate::metrics::Metrics;
use crate::status;

/// Open files that no source may take: segments, state, connections to Kafka and of the admin server.
const OWN_FILES: usize = 256;

/// Bytes from senders in memory at once, over all sources; one request or line may pass it.
const BUDGET: usize = 6 * 1024 * 1024;

/// The same for standard input: a batch on its way, one that is filled, and what is read next. It has its own, since nobody can close it: a
/// line that stands still there would keep what it takes from all others for good.
const STDIN_BUDGET: usize = 1280 * 1024;

/// How standard input ended; `None` while it has not.
type StdinEnd = Option<Result<(), EndError>>;

/// The running sources.
#[derive(Debug)]
pub struct Sources {
    tallies: Vec<Arc<Tally>>,
    tracker: TaskTracker,
    stdin: Option<watch::Receiver<StdinEnd>>,
    listening: bool,
}

impl Sources {
    /// Binds every source, then serves them until `stop` is cancelled. `spool` gives the limits that are
    /// checked at the door: `max_event_size` and `max_streams`. Call it within a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`] of the first source that can't begin; nothing has been served then.
    pub fn start<I: Intake>(
        sources: &[Source],
        spool: &Spool,
        intake: &Arc<I>,
        metrics: &Arc<Metrics>,
        stop: &CancellationToken,
    ) -> Result<Sources, BindError> {
        one_stdin(sources)?;
        let gates = sources.iter().map(gate).collect::<Result<Vec<_>, _>>()?;
        let bound = sources.iter().map(Bound::new).collect::<Result<Vec<_>, _>>()?;
        let (ended, stdin_end) = watch::channel(None);
        let mut all = Start {
            spool,
            intake,
            metrics,
            stop,
            budget: Budget::new(BUDGET),
            tracker: TaskTracker::new(),
            tallies: Vec::new(),
            ended: Some(ended),
            most_connections: usize::MAX,
        };
        let mut listening = false;
        let mut stdin = None;
        let doors = sources.iter().filter(|s| !matches!(s.kind, SourceKind::Stdin { .. })).count();
        all.most_connections = share_of_files(getrlimit(Resource::Nofile).current, doors);
        for ((source, bound), gate) in sources.iter().zip(bound).zip(gates) {
            match bound {
                Bound::Stdin => stdin = Some(stdin_end.clone()),
                _ => listening = true,
            }
            all.one(source, bound, gate)?;
        }
        all.tracker.close();
        Ok(Sources { tallies: all.tallies, tracker: all.tracker, stdin, listening })
    }

    /// A row for `/status` each, in the order of the configuration.
    #[must_use]
    pub fn status(&self) -> Vec<status::Source> {
        self.tallies.iter().map(|tally| tally.row()).collect()
    }

    /// Events that were refused since the start.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.row().rejected).sum()
    }

    /// Resolves when no further event can come: standard input, being the only source, has ended and all of
    /// it is accepted. Never resolves while something listens.
    ///
    /// # Errors
    /// [`EndError`] when standard input ended otherwise than by its end.
    pub async fn finished(&self) -> Result<(), EndError> {
        let Some(mut stdin) = self.stdin.clone().filter(|_| !self.listening) else {
            return std::future::pending().await;
        };
        match stdin.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or(Ok(())),
            // The task was cut off after the stop's grace.
            Err(_) => Err(EndError::Read("cut off by the stop".to_owned())),
        }
    }

    /// After the stop: resolves when every connection is closed, at most 5 s later.
    pub async fn stopped(&self) {
        self.tracker.wait().await;
    }
}

fn gate(source: &Source) -> Result<Arc<Gate>, BindError> {
    let wrong = |cause| BindError::Guard { source_name: source.name.clone(), cause };
    Gate::new(&source.guard).map(Arc::new).map_err(wrong)
}

fn one_stdin(sources: &[Source]) -> Result<(), BindError> {
    let mut names = sources.iter().filter(|s| matches!(s.kind, SourceKind::Stdin { .. })).map(|s| &s.name);
    match (names.next(), names.next()) {
        (Some(first), Some(second)) => {
            Err(BindError::StdinTwice { source_name: second.clone(), other: first.clone() })
        }
        _ => Ok(()),
    }
}

/// A source that is bound and not yet served.
enum Bound {
    Tcp(TcpListener),
    Unix(UnixDoor, SocketFile),
    Stdin,
}

impl Bound {
    fn new(source: &Source) -> Result<Self, BindError> {
        match &source.kind {
            SourceKind::Tcp { listen, .. } | SourceKind::Http { listen, .. } => {
                listen::bind_tcp(*listen).map(Bound::Tcp).map_err(|cause| BindError::Address {
                    source_name: source.name.clone(),
                    address: *listen,
                    cause,
                })
            }
            SourceKind::Unix { path, allow_users, .. } => {
                let (listener, file) = unix::bind(&source.name, path, allow_users)?;
                Ok(Bound::Unix(listener, file))
            }
            SourceKind::Stdin { .. } => Ok(Bound::Stdin),
        }
    }

    fn address(&self, kind: &SourceKind) -> Option<String> {
        match (self, kind) {
            (Bound::Tcp(listener), _) => listener.local_addr().ok().map(|address| address.to_string()),
            (_, SourceKind::Unix { path, .. }) => Some(path.display().to_string()),
            _ => None,
        }
    }
}

fn kind_name(kind: &SourceKind) -> &'static str {
    match kind {
        SourceKind::Stdin { .. } => "stdin",
        SourceKind::Tcp { .. } => "tcp",
        SourceKind::Unix { .. } => "unix",
        SourceKind::Http { .. } => "http",
    }
}

/// What all sources are started with.
struct Start<'a, I> {
    spool: &'a Spool,
    intake: &'a Arc<I>,
    metrics: &'a Arc<Metrics>,
    stop: &'a CancellationToken,
    budget: Budget,
    tracker: TaskTracker,
    tallies: Vec<Arc<Tally>>,
    ended: Option<watch::Sender<StdinEnd>>,
    /// Whatever is configured.
    most_connections: usize,
}

impl<I: Intake> Start<'_, I> {
    fn one(&mut self, source: &Source, bound: Bound, gate: Arc<Gate>) -> Result<(), BindError> {
        let kind = kind_name(&source.kind);
        let address = bound.address(&source.kind);
        tracing::info!(source = source.name, kind, address = address.as_deref(), "source ready");
        let tally = Tally::new(&source.name, kind, address, self.spool.max_streams, Arc::clone(self.metrics));
        self.tallies.push(Arc::clone(&tally));
        match (bound, &source.kind) {
            (Bound::Tcp(listener), SourceKind::Http { limits, http, streams, .. }) => {
                self.http((listener, gate), tally, source.ack, limits, (http, streams));
            }
            (Bound::Tcp(listener), SourceKind::Tcp { stream, limits, .. }) => {
                self.lines((listener, gate), None, tally, stream, limits);
            }
            (Bound::Unix(listener, file), SourceKind::Unix { stream, limits, .. }) => {
                self.lines((listener, gate), Some(file), tally, stream, limits);
            }
            (Bound::Stdin, SourceKind::Stdin { stream }) => self.stdin(tally, stream)?,
            // `Bound::new` made the one from the other.
            _ => {}
        }
        Ok(())
    }

    fn pump(&self, tally: Arc<Tally>, stream: &StreamName, limits: Option<&ConnectionLimits>) -> Pump<I> {
        Pump {
            intake: Arc::clone(self.intake),
            tally,
            stream: stream.clone(),
            budget: self.budget.clone(),
            max_event_size: self.spool.max_event_size,
            idle: limits.map(|limits| limits.idle_timeout),
            stop: self.stop.clone(),
        }
    }

    fn door(&self, tally: Arc<Tally>, limits: &ConnectionLimits) -> Door {
        let give_way = Arc::default();
        let (tracker, stop) = (self.tracker.clone(), self.stop.clone());
        let max_connections = limits.max_connections.min(self.most_connections);
        if max_connections < limits.max_connections {
            tracing::warn!(
                source = tally.name(),
                max_connections,
                wanted = limits.max_connections,
                "the limit of open files (ulimit -n, LimitNOFILE) leaves room for fewer connections"
            );
        }
        Door { tally, max_connections, give_way, tracker, stop }
    }

    fn lines(
        &self,
        (listener, gate): (impl Accept, Arc<Gate>),
        file: Option<SocketFile>,
        tally: Arc<Tally>,
        stream: &StreamName,
        limits: &ConnectionLimits,
    ) {
        let door = self.door(Arc::clone(&tally), limits);
        let pump = Arc::new(self.pump(tally, stream, Some(limits)));
        let serve = door.serve(listener, move |io| {
            let (pump, gate) = (Arc::clone(&pump), Arc::clone(&gate));
            async move {
                let Some(io) = enter(&gate, &pump.tally, io).await else { return };
                let end = pump.run(io, &pump.stop).await;
                tracing::debug!(source = pump.tally.name(), ?end, "connection closed");
            }
        });
        self.tracker.spawn(async move {
            serve.await;
            drop(file);
        });
    }

    fn http(
        &self,
        (listener, gate): (TcpListener, Arc<Gate>),
        tally: Arc<Tally>,
        ack: Ack,
        limits: &ConnectionLimits,
        (http, streams): (&HttpLimits, &[Pattern]),
    ) {
        let door = self.door(Arc::clone(&tally), limits);
        let service = Arc::new(http::Service {
            intake: Arc::clone(self.intake),
            gate,
            tally,
            budget: self.budget.clone(),
            decoders: http::decoders(),
            ack,
            limits: http.clone(),
            streams: streams.to_vec(),
            idle_timeout: limits.idle_timeout,
            give_way: Arc::clone(&door.give_way),
            max_event_size: self.spool.max_event_size,
            stop: self.stop.clone(),
        });
        let serve = door.serve(listener, move |io| {
            let service = Arc::clone(&service);
            async move {
                if let Some(io) = enter(&service.gate, &service.tally, io).await {
                    http::drive(io, Arc::clone(&service)).await;
                }
            }
        });
        self.tracker.spawn(serve);
    }

    fn stdin_pump(&self, tally: Arc<Tally>, stream: &StreamName) -> Pump<I> {
        Pump { budget: Budget::new(STDIN_BUDGET), ..self.pump(tally, stream, None) }
    }

    fn stdin(&mut self, tally: Arc<Tally>, stream: &StreamName) -> Result<(), BindError> {
        let feed = stdin::start(std::io::stdin(), self.stop)
            .map_err(|cause| BindError::Thread { source_name: tally.name().to_owned(), cause })?;
        let (pump, ended) = (self.stdin_pump(tally, stream), self.ended.take());
        self.tracker.spawn(async move {
            // The feed ends by itself after a stop, when what was read before has been given.
            let end = within_grace(&pump.stop, pump.run(feed, &CancellationToken::new())).await;
            if let (Some(ended), Some(end)) = (ended, end) {
                ended.send_replace(Some(stdin_end(end, pump.stop.is_cancelled())));
            }
        });
        Ok(())
    }
}

/// Lets a connection through the gate, or says and counts why not.
async fn enter<S: AsyncRead + AsyncWrite + Unpin>(gate: &Gate, tally: &Tally, io: S) -> Option<Entered<S>> {
    match gate.enter(io).await {
        Ok(entered) => Some(entered),
        Err(error) => {
            tally.rejected("handshake", 1);
            gate.say(tally.name(), &error);
            None
        }
    }
}

/// Connections that each of so many sources may have, so that they leave enough files for everything else.
fn share_of_files(limit: Option<u64>, sources: usize) -> usize {
    let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { return usize::MAX };
    (limit.saturating_sub(OWN_FILES) / sources.max(1)).max(1)
}

fn stdin_end(end: End, stopped: bool) -> Result<(), EndError> {
    match end {
        End::Eof | End::Idle | End::Stopped => Ok(()),
        End::Failed(_) if stopped => Ok(()),
        End::Failed(error) => Err(EndError::Read(error.to_string())),
        End::NotAccepted(count) => Err(EndError::NotAccepted(count)),
    }
}

#[cfg(test)]
mod tests;
