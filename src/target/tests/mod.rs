//! The target over its sockets: as rskafka sees it, as a producer of ours would, and under each fault.

mod client;
mod faults;
mod produce;
mod rskafka;
