//! What stands on disk beside the log: positions, totals, the delivery ledger.

pub mod ledger;
