//! The configuration: what the agent is told to do, checked and complete.
//!
//! [`model`] holds the resolved configuration the rest of the program works with: every default filled
//! in, every name valid, every reference resolved. How it is found, merged, read from TOML and explained
//! to a person when it is wrong is the business of the other files of this room.

mod defaults;
pub mod model;
mod nearest;
mod routes;
mod template;

pub use nearest::nearest;
pub use routes::{Pattern, PatternError, RouteTable};
pub use template::TemplateError;
