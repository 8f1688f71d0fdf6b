//! The file seam: everything the spool and the state files do to a disk goes through [`Fs`] and [`File`].
//!
//! **Promises.** Nothing here hides an error, retries a failed sync, or follows a symbolic link at a file's
//! name. Static dispatch: the trait costs nothing, and a simulated disk that keeps live and durable bytes apart
//! (`sim`, in tests) can stand in for [`RealFs`].
//!
//! **How.** [`RealFs`] is the operating system. [`Slots`] keeps one small value in a preallocated file of
//! checksummed slots, so that it can be saved with no byte free on the disk.
//!
//! **On failure** the caller gets the `io::Error` ([`Slots`]: a [`DiskError`] with operation and path). What it
//! means is decided by the room that called.

mod aside;
mod ballast;
mod error;
#[cfg(test)]
pub(crate) mod faulty;
mod fs;
mod home;
mod insist;
mod real;
#[cfg(any(test, feature = "simulation"))]
pub mod sim;
mod slots;

pub(crate) use aside::is_rot;
pub use aside::{
    clear, clear_way, copy_aside, is_damage, is_in_the_way, is_no_directory, make_dir, make_way, set_aside,
    sync_way,
};
pub use ballast::Ballast;
pub use error::{DiskError, is_for_want_of_room};
pub use fs::{Directory, Entry, EntryKind, File, FileIdentity, Fs, Space, Version};
pub use home::Home;
#[cfg(test)]
pub(crate) use insist::TRIES;
pub use insist::{Patient, insist, insist_unless};
pub use real::{RealFile, RealFs, RealLock};
pub use slots::{Slots, look_at_slots, owner_of_slots, rescued_slots};
