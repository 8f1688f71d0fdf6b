//! `spoolway demo`: the main job end to end with nothing installed, broken on purpose, and proven.
//!
//! What it promises:
//! - The agent that is shown is the agent: a child process of this very program, started as `spoolway run`
//!   with a configuration file, fed over HTTP.
//! - The proof trusts nothing of the agent (`proof`): a process of its own (`ledger`) keeps what senders were
//!   told is accepted, and the topic is read back event by event.
//! - The proof can fail: the same faults are run with an agent that is wrong on purpose (`sabotage`), and if
//!   that one is not caught, the demo fails.
//! - Nothing stays behind unsaid: one folder under the system's temporary one, removed at the end; on a real
//!   cluster, one topic of its own, deleted at the end, or named where that can't be done; also when it fails or is
//!   interrupted (`show`). Killed, it takes its processes along (`parent`), and leaves folder and topic.
//!
//! How: `script` has the faults in their order, `site` breaks what events go to: the embedded
//! [`Target`](crate::target::Target), or a real cluster behind a `proxy`.
//!
//! On failure: a [`DemoError`] says what could not be done, with the end of the agent's log where that
//! helps. Losses are no error but a finding: [`Report::is_good`].

mod agent;
mod cluster;
mod error;
mod event;
mod http;
mod ledger;
mod link;
mod parent;
mod proof;
mod proxy;
mod report;
mod sabotage;
mod script;
mod senders;
mod show;
mod site;
mod story;
mod workspace;

pub use error::DemoError;
pub use ledger::keep_ledger;
pub use parent::end_with_the_demo;
pub use proof::Sums;
pub use report::Report;
pub use sabotage::run_sabotaged;
pub use script::Run;
pub use show::show;
pub use story::Moment;
