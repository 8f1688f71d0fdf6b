//! The senders: each sends its own numbered events over HTTP, at a steady pace, and tells the ledger what
//! was acknowledged.
//!
//! A number whose request broke off without an answer is not sent again: it was promised nothing, and a
//! copy of it could only come from the relay. So every double that is found is the relay's.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::event::{self, STREAM};
use super::http::Http;
use super::ledger::{Entry, Ledger};

/// How many senders there are.
pub(super) const SENDERS: u32 = 8;
/// Events in a request.
const PER_REQUEST: u32 = 25;
/// Between two requests of a sender: 20,000 events a second from all of them.
const PACE: Duration = Duration::from_millis(10);
/// Between two attempts to reach an agent that is not there.
const RETRY: Duration = Duration::from_millis(5);

/// How far the senders are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    /// Events acknowledged.
    pub(super) accepted: u64,
    /// Events whose request broke off.
    pub(super) unanswered: u64,
    /// When the newest of the connections that got an acknowledgement was opened, and when it got it.
    pub(super) newest: Option<(Instant, Instant)>,
}

/// The running senders.
#[derive(Debug)]
pub(super) struct Senders {
    tasks: JoinSet<io::Result<()>>,
    stop: watch::Sender<bool>,
    progress: Arc<watch::Sender<Progress>>,
}

impl Senders {
    pub(super) fn start(agent: SocketAddr, ledger: &Arc<Ledger>) -> Self {
        let (stop, progress) = (watch::Sender::new(false), Arc::new(watch::Sender::default()));
        let mut tasks = JoinSet::new();
        for id in 0..SENDERS {
            let (ledger, progress) = (Arc::clone(ledger), Arc::clone(&progress));
            let sender = Sender { id, agent, ledger, progress, next: 0 };
            tasks.spawn(sender.run(stop.subscribe()));
        }
        Self { tasks, stop, progress }
    }

    pub(super) fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// When an agent that began after `since` acknowledged its first events; `None` if it does not in time.
    pub(super) async fn accepts_after(&self, since: Instant, patience: Duration) -> Option<Instant> {
        let mut progress = self.progress.subscribe();
        let found = progress.wait_for(|p| p.newest.is_some_and(|(opened, _)| opened > since));
        tokio::time::timeout(patience, found).await.ok()?.ok()?.newest.map(|(_, at)| at)
    }

    /// Lets every sender end its request, then ends it.
    pub(super) async fn stop(mut self) -> io::Result<Progress> {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(io::Error::other)??;
        }
        Ok(*self.progress.borrow())
    }
}

struct Sender {
    id: u32,
    agent: SocketAddr,
    ledger: Arc<Ledger>,
    progress: Arc<watch::Sender<Progress>>,
    next: u32,
}

impl Sender {
    async fn run(mut self, stop: watch::Receiver<bool>) -> io::Result<()> {
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connection = None;
        while !*stop.borrow() {
            pace.tick().await;
            let Some((mut http, opened)) = connection.take() else {
                connection = Http::open(self.agent).await.ok().map(|http| (http, Instant::now()));
                if connection.is_none() {
                    tokio::time::sleep(RETRY).await;
                }
                continue;
            };
            if self.send(&mut http, opened).await? {
                connection = Some((http, opened));
            }
        }
        Ok(())
    }

    /// Sends one request; whether the connection can go on.
    async fn send(&mut self, http: &mut Http, opened: Instant) -> io::Result<bool> {
        let (first, last) = (self.next, self.next + PER_REQUEST - 1);
        let mut body = String::new();
        (first..=last).for_each(|n| event::write_line(&mut body, self.id, n));
        let path = format!("/v1/events/{STREAM}?key=sender-{}", self.id);
        match http.post(&path, body.as_bytes()).await {
            Ok(answer) if answer.status == 200 => {
                self.next = last + 1;
                self.ledger.note(Entry { sender: self.id, first, last })?;
                self.acknowledged(opened);
                Ok(true)
            }
            // A complete refusal: nothing is kept, the same numbers are sent again.
            Ok(_) => {
                tokio::time::sleep(RETRY).await;
                Ok(true)
            }
            Err(_) => {
                self.next = last + 1;
                self.progress.send_modify(|p| p.unanswered += u64::from(PER_REQUEST));
                Ok(false)
            }
        }
    }

    fn acknowledged(&self, opened: Instant) {
        let now = Instant::now();
        self.progress.send_modify(|p| {
            p.accepted += u64::from(PER_REQUEST);
            if p.newest.is_none_or(|(newest, _)| opened > newest) {
                p.newest = Some((opened, now));
            }
        });
    }
}
