//! What the kernel does for us, and what it refuses.

use super::*;

#[test]
fn a_fifo_and_a_link_are_not_opened_and_do_not_hang() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
    assert_eq!(RealFs.open_read(&fifo).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&fifo, &link).unwrap();
    assert!(RealFs.open_read(&link).is_err());
    let kinds: Vec<_> = RealFs.list(dir.path()).unwrap().into_iter().map(|e| e.kind).collect();
    assert_eq!(kinds, [EntryKind::Other, EntryKind::Other]);
}

#[test]
fn a_second_lock_is_refused_until_the_first_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("LOCK");
    let first = RealFs.lock(&path).unwrap();
    assert_eq!(RealFs.lock(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(first);
    assert!(RealFs.lock(&path).is_ok());
}

#[test]
fn allocated_bytes_read_as_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let file = RealFs.create(&dir.path().join("f")).unwrap();
    file.write_at(b"abc", 0).unwrap();
    file.allocate(10_000).unwrap();
    let mut buf = vec![1; 20_000];
    assert_eq!(file.read_full_at(&mut buf, 0).unwrap(), 10_000);
    assert_eq!(&buf[..4], b"abc\0");
    assert!(buf[3..10_000].iter().all(|b| *b == 0));
}

#[test]
fn where_no_blocks_can_be_reserved_a_file_gets_its_length_and_keeps_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let file = RealFs.create(&dir.path().join("f")).unwrap();
    file.write_at(b"abc", 0).unwrap();
    for (wanted, expected) in [(2, 3), (3, 3), (100, 100), (50, 100)] {
        file.lengthen(wanted).unwrap();
        assert_eq!(file.size().unwrap(), expected);
    }
    // A file system without reservation: that is no error.
    RealFs.open(Path::new("/proc/self/comm")).unwrap().allocate(10).unwrap();
}

#[test]
fn what_the_kernel_refuses_is_an_error() {
    // Nothing of a pipe or of /proc can be synced or forgotten, so a call that is not made shows.
    let (pipe, _end) = std::io::pipe().unwrap();
    let pipe = RealFile(fs::File::from(std::os::fd::OwnedFd::from(pipe)));
    assert_eq!(pipe.sync_data().unwrap_err().raw_os_error(), Some(Errno::INVAL.raw_os_error()));
    assert_eq!(pipe.forget_cached().unwrap_err().raw_os_error(), Some(Errno::SPIPE.raw_os_error()));
    assert_eq!(
        RealFs.sync_dir(Path::new("/proc/self")).unwrap_err().raw_os_error(),
        Some(Errno::INVAL.raw_os_error())
    );
    let directory = RealFile(fs::File::open("/").unwrap());
    assert_eq!(directory.read_at(&mut [0], 0).unwrap_err().kind(), io::ErrorKind::IsADirectory);
}

#[test]
fn a_link_to_a_file_is_not_followed_and_no_child_inherits_what_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let (path, link) = (dir.path().join("file"), dir.path().join("link"));
    let file = RealFs.create(&path).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for refused in [RealFs.open_read(&link), RealFs.open(&link)] {
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(Errno::LOOP.raw_os_error()));
    }
    assert_eq!(RealFs.lock(&link).unwrap_err().raw_os_error(), Some(Errno::LOOP.raw_os_error()));
    let lock = RealFs.lock(&dir.path().join("lock")).unwrap();
    for open in [&file.0, &RealFs.open_read(&path).unwrap().0, &lock._file] {
        assert!(rustix::io::fcntl_getfd(open).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    }
}

#[test]
fn a_file_is_no_directory_to_be_synced_or_locked() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    RealFs.create(&file).unwrap();
    RealFs.sync_dir(dir.path()).unwrap();
    assert_eq!(RealFs.sync_dir(&file).unwrap_err().kind(), io::ErrorKind::NotADirectory);
    assert_eq!(RealFs.lock_dir(&file).unwrap_err().kind(), io::ErrorKind::NotADirectory);
    let first = RealFs.lock_dir(dir.path()).unwrap();
    assert!(first.is_some());
    assert_eq!(RealFs.lock_dir(dir.path()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn what_is_made_is_its_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    RealFs.create_dir(&dir.path().join("a/b")).unwrap();
    RealFs.create(&dir.path().join("a/b/file")).unwrap();
    RealFs.lock(&dir.path().join("a/b/lock")).unwrap();
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().mode() & 0o777;
    assert_eq!(["a", "a/b", "a/b/file", "a/b/lock"].map(mode), [0o700, 0o700, 0o600, 0o600]);
}

#[test]
fn a_copy_is_another_file_and_a_renamed_file_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let [path, copy, renamed] = ["file", "copy", "renamed"].map(|name| dir.path().join(name));
    RealFs.create(&path).unwrap().write_at(b"abc", 0).unwrap();
    fs::copy(&path, &copy).unwrap();
    let identity = RealFs.identity(&path).unwrap();
    assert_ne!(RealFs.identity(&copy).unwrap(), identity);
    RealFs.rename(&path, &renamed).unwrap();
    assert_eq!(RealFs.identity(&renamed).unwrap(), identity);
    assert_eq!(RealFs.identity(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_file_that_is_cut_ends_there() {
    let dir = tempfile::tempdir().unwrap();
    let file = RealFs.create(&dir.path().join("f")).unwrap();
    file.write_at(b"abcdef", 0).unwrap();
    file.truncate(2).unwrap();
    let mut buf = [0; 10];
    assert_eq!((file.size().unwrap(), file.read_full_at(&mut buf, 0).unwrap()), (2, 2));
}

#[test]
fn a_bare_name_is_in_the_working_directory() {
    assert_eq!(parent(Path::new("name")), Path::new("."));
    assert_eq!(parent(Path::new("/data/name")), Path::new("/data"));
    assert_eq!(parent(Path::new("/")), Path::new("."));
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    RealFs.create(&file).unwrap();
    assert_eq!(RealFs.create_dir(&file).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert!(RealFs.create_dir(&file.join("below")).is_err());
}

/// It comes to be between the look and the call: here because it is the one above, which is made first.
#[test]
fn a_directory_that_is_there_by_the_time_it_is_made_is_well() {
    let dir = tempfile::tempdir().unwrap();
    RealFs.create_dir(&dir.path().join("made/..")).unwrap();
    assert!(dir.path().join("made").is_dir());
}

#[test]
fn a_directory_that_another_process_makes_at_the_same_time_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let together = std::sync::Barrier::new(2);
    let make_all = || {
        for n in 0..300 {
            let path = dir.path().join(n.to_string());
            together.wait();
            RealFs.create_dir(&path).unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(make_all);
        make_all();
    });
}

#[test]
fn a_directory_whose_name_can_not_be_made_durable_is_an_error() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const MADE_BY_A_CHILD: &str = "SPOOLWAY_TEST_WITHOUT_DESCRIPTORS";
    if let Some(path) = std::env::var_os(MADE_BY_A_CHILD) {
        // Making a directory takes no descriptor, and syncing the one above takes one.
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..limit }).unwrap();
        let made = RealFs.create_dir(Path::new(&path));
        setrlimit(Resource::Nofile, limit).unwrap();
        assert_eq!(made.unwrap_err().raw_os_error(), Some(Errno::MFILE.raw_os_error()));
        assert!(Path::new(&path).is_dir());
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("made");
    let name = "disk::real::tests::a_directory_whose_name_can_not_be_made_durable_is_an_error";
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", name, "--test-threads", "1"]).env(MADE_BY_A_CHILD, &made);
    let output = child.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(made.is_dir(), "the child has run this test");
}

#[test]
fn a_file_that_was_written_since_is_of_another_version_and_one_that_was_not_is_of_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, b"12345").unwrap();
    let before = RealFs.version(&path).unwrap();
    assert_eq!((before.len, RealFs.version(&path).unwrap() == before), (5, true));
    assert!(before.changed > 0);
    std::fs::write(&path, b"1234567").unwrap();
    assert_ne!(RealFs.version(&path).unwrap(), before);
    RealFs.version(&dir.path().join("gone")).unwrap_err();
}

#[test]
fn a_file_system_in_memory_writes_in_place_and_one_that_nobody_knows_is_not_said_to() {
    let [memory, other] = ["/dev/shm", "/proc"].map(Path::new);
    assert!(memory.is_dir() && other.is_dir());
    assert!(RealFs.writes_in_place(memory) && !RealFs.writes_in_place(other));
}
