//! The configuration: what the agent is told to do, checked and complete.
//!
//! [`model`] holds the resolved configuration the rest of the program works with: every default filled
//! in, every name valid, every reference resolved. How it is found, merged, read from TOML and explained
//! to a person when it is wrong is the business of the other files of this room.

mod blank;
mod check;
mod defaults;
mod effective;
mod find;
mod lanes;
mod link;
mod load;
pub mod model;
mod nearest;
mod read;
mod reading;
mod report;
mod routes;
mod scalar;
mod section;
mod starter;
mod template;
mod text;
mod tree;
mod words;

pub use effective::Effective;
pub use find::{DEFAULT_FILE, VARIABLE, is_there_one, missing};
pub use lanes::{LaneTable, may_overlap};
pub use load::{Loaded, admin_alone, fingerprint, load, load_text};
pub use nearest::nearest;
pub use reading::Environment;
pub use report::{Report, Row, Severity};
pub use routes::{Pattern, PatternError, RouteTable};
pub use scalar::{is_broker_host, parse_address, parse_host_port};
pub use starter::starter;
pub use template::TemplateError;
