//! How senders put events into a lane: the gate, room in the queue, and the writer's answer.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::super::gate::Gate;
use super::super::queue::{Answer, Request};
use super::{Lane, QUEUE_BYTES};
use crate::config::model::WhenFull;
use crate::disk::Fs;
use crate::event::EventBatch;
use crate::ids::StreamName;
use crate::intake::{AcceptError, Appended, Patience, Refused};
use crate::sabotage::{self, Bug};

/// What a request costs in the queue besides its bytes.
const REQUEST_COST: usize = 256;

impl<F: Fs> Lane<F> {
    /// Appends all events of `batch`, or none; resolves when they are durable (`sync = "always"`).
    ///
    /// Dropping the future before the writer has begun with the batch withdraws it.
    ///
    /// # Errors
    /// [`AcceptError::Refused`] when nothing of it was appended, [`AcceptError::Unknown`] when that can't be said.
    pub async fn append(
        &self,
        stream: StreamName,
        batch: EventBatch,
        patience: Patience,
    ) -> Result<Appended, AcceptError> {
        let shared = &self.handle.shared;
        let lane = shared.name.clone();
        if batch.is_empty() {
            let last = shared.durable();
            return Ok(Appended { lane, first: last.next(), last });
        }
        let deadline = match patience {
            Patience::For(time) => tokio::time::Instant::now().checked_add(time),
            Patience::Forever => None,
        };
        let (mut stream, mut batch) = (stream, batch);
        loop {
            match self.wait_for_open(deadline).await {
                Err(_) if sabotage::commits(Bug::AcceptedUnwritten) => {
                    let last = shared.durable();
                    return Ok(Appended { lane, first: last.next(), last });
                }
                open => open?,
            }
            let permit = self.budget(batch.as_bytes().len(), deadline).await?;
            let (answer, answered) = oneshot::channel();
            let request = Request { stream, batch, answer, at: Instant::now(), permit };
            if shared.queue.push(request).is_err() {
                return Err(Refused::ShuttingDown.into());
            }
            match answered.await {
                Ok(Answer::Appended { first, last }) => return Ok(Appended { lane, first, last }),
                Ok(Answer::Unknown(why)) => return Err(AcceptError::Unknown(why)),
                Ok(Answer::NotBegun(s, b)) => (stream, batch) = (s, b),
                Err(_) => return Err(AcceptError::Unknown("the lane's writer has ended".to_owned())),
            }
        }
    }

    /// Waits at the gate while the lane is full, as `when_full` and the caller's patience say.
    async fn wait_for_open(&self, deadline: Option<tokio::time::Instant>) -> Result<(), Refused> {
        let shared = &self.handle.shared;
        if let Some(why) = shared.hung() {
            return Err(Refused::Failing(why));
        }
        if matches!(*shared.gate.borrow(), Gate::Open) {
            return Ok(());
        }
        let mut gate = shared.gate.subscribe();
        let waits = shared.settings.when_full != WhenFull::Reject;
        let decided = gate.wait_for(|g| !(waits && matches!(g, Gate::Full(_))));
        let decided = match deadline {
            None => decided.await,
            Some(deadline) => match tokio::time::timeout_at(deadline, decided).await {
                Ok(decided) => decided,
                Err(_) => return shared.gate.borrow().refusal().map_or(Ok(()), Err),
            },
        };
        match decided {
            Ok(gate) => gate.refusal().map_or(Ok(()), Err),
            Err(_) => Err(Refused::ShuttingDown),
        }
    }

    /// Takes room in the queue. Waiting for it is waiting for the disk, not for space: it has the same deadline.
    async fn budget(
        &self,
        bytes: usize,
        deadline: Option<tokio::time::Instant>,
    ) -> Result<OwnedSemaphorePermit, Refused> {
        let cost = u32::try_from(bytes.saturating_add(REQUEST_COST)).unwrap_or(u32::MAX).min(QUEUE_BYTES);
        let budget = Arc::clone(&self.handle.shared.budget);
        if let Ok(permit) = Arc::clone(&budget).try_acquire_many_owned(cost) {
            return Ok(permit);
        }
        let permit = budget.acquire_many_owned(cost);
        let permit = match deadline {
            None => permit.await,
            Some(deadline) => match tokio::time::timeout_at(deadline, permit).await {
                Ok(permit) => permit,
                Err(_) => {
                    return Err(Refused::Failing(
                        "the disk is too slow for what waits to be written".to_owned(),
                    ));
                }
            },
        };
        permit.map_err(|_| Refused::ShuttingDown)
    }
}
