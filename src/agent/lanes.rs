//! What stands behind the door: the lane, and the deliveries that empty it.

use std::sync::Arc;

use crate::deliver::Delivery;
use crate::event::EventBatch;
use crate::ids::StreamName;
use crate::intake::{AcceptError, Appended, Patience};
use crate::shape;
use crate::spool::Lane;

/// The lane `main` with its deliveries.
#[derive(Debug, Clone)]
pub(super) struct Lanes {
    pub(super) main: Lane,
    pub(super) deliveries: Arc<Vec<Delivery>>,
}

impl shape::Lanes for Lanes {
    async fn append(
        &self,
        stream: StreamName,
        batch: EventBatch,
        patience: Patience,
    ) -> Result<Appended, AcceptError> {
        self.main.append(stream, batch, patience).await
    }

    async fn delivered(&self, appended: &Appended) {
        for delivery in self.deliveries.iter() {
            delivery.settled(appended.last).await;
        }
    }
}
