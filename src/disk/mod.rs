//! The file seam: everything the spool and the state files do to the disk goes through `Fs`, so that tests can be the disk.
