//! One file a section: which keys it has, what each may be, and what it is without being said.

mod admin;
mod dead_letters;
mod destination;
mod guard;
mod link;
mod relay;
mod route;
mod source;
mod spool;
mod stream;

pub(super) use admin::{ReadAdmin, admin};
pub(super) use dead_letters::dead_letters;
pub(super) use destination::{ReadDestination, destination};
pub(super) use relay::relay;
pub(super) use route::{ReadRoute, route};
pub(super) use source::{ReadSource, check_twice, source};
pub(super) use spool::{lane, spool, told_by_the_disk};
pub(super) use stream::{ReadStream, stream};
