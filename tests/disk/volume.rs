//! A small file system of our own on a loop device, with its image in memory, and what can be done to it.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::needs::find;

/// How a file system is made.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    program: &'static str,
    arguments: &'static [&'static str],
    mib: u64,
    limit: Limit,
}

/// ext4 with a journal, nothing reserved for root.
pub const EXT4: Format =
    Format { program: "mkfs.ext4", arguments: &["-q", "-m", "0"], mib: 256, limit: Limit::Size };
/// XFS as small as it can be.
pub const XFS: Format =
    Format { program: "mkfs.xfs", arguments: &["-q", "-f"], mib: 320, limit: Limit::Size };
/// ext4 with room for 64 files.
pub const FEW_FILES: Format =
    Format { program: "mkfs.ext4", arguments: &["-q", "-m", "0", "-N", "64"], mib: 64, limit: Limit::Size };
/// btrfs, which writes nothing over in place.
pub const BTRFS: Format =
    Format { program: "mkfs.btrfs", arguments: &["-q", "--mixed"], mib: 256, limit: Limit::Size };
/// The same with a quota, which holds for root, too: it is full when that is used up.
pub const QUOTA: Format = Format { limit: Limit::Quota, ..BTRFS };
/// ext4 whose own records are at the front of the image, so that the rest can be promised and not be there.
const THIN: Format = Format {
    program: "mkfs.ext4",
    arguments: &[
        "-q",
        "-m",
        "0",
        "-b",
        "4096",
        "-N",
        "256",
        "-J",
        "size=4",
        "-E",
        "packed_meta_blocks=1,lazy_itable_init=0,lazy_journal_init=0,nodiscard",
    ],
    mib: 256,
    limit: Limit::Thin,
};

/// What stands between a file system and more bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    /// Its size.
    Size,
    /// The memory behind its device, which has less than it says.
    Thin,
    /// A quota of all that is in it.
    Quota,
}

/// A mounted file system. Dropping it unmounts it; if this process dies, the watchdog does.
pub struct Volume {
    store: PathBuf,
    point: PathBuf,
    limit: Limit,
}

/// Runs a program that must succeed.
fn run<I: IntoIterator<Item: AsRef<OsStr>>>(program: &str, arguments: I) -> String {
    let path = find(program).unwrap_or_else(|| PathBuf::from(program));
    let mut command = Command::new(path);
    command.args(arguments);
    let output = command.output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Volume {
    /// Makes one and mounts it at `point`, which is made, too.
    pub fn new(format: Format, point: &Path) -> Self {
        Self::make(format, point, format.mib + 16)
    }

    /// One that promises 256 MiB and has 40: writes beyond are accepted by the file system, and the device
    /// then fails them.
    pub fn thin(point: &Path) -> Self {
        let volume = Self::make(THIN, point, 40);
        // What is backed beyond the file system's own records is not for the spool.
        File::create(point.join("backed")).and_then(|f| f.write_all_at(&vec![1; 2 << 20], 0)).expect("room");
        volume.settle();
        volume
    }

    fn make(format: Format, point: &Path, room_mib: u64) -> Self {
        let store = point.with_extension("store");
        fs::create_dir_all(&store).expect("a writable scratch directory");
        fs::create_dir_all(point).expect("a writable scratch directory");
        let size = format!("size={room_mib}m,mode=0700");
        run(
            "mount",
            ["-t", "tmpfs", "-o", &size, "spoolway-test"]
                .map(OsStr::new)
                .into_iter()
                .chain([store.as_os_str()]),
        );
        let Format { limit, .. } = format;
        let volume = Self { store, point: point.to_owned(), limit };
        let image = File::create(volume.image()).expect("an image");
        image.set_len(format.mib << 20).expect("a sparse file");
        run(format.program, format.arguments.iter().map(OsStr::new).chain([volume.image().as_os_str()]));
        if limit == Limit::Thin {
            // The journal and the tables, so that only the bytes of files can fail.
            rustix::fs::fallocate(&image, rustix::fs::FallocateFlags::empty(), 0, 5 << 20).expect("room");
        }
        volume.mount();
        if limit == Limit::Quota {
            run("btrfs", [OsStr::new("quota"), OsStr::new("enable"), volume.point.as_os_str()]);
        }
        volume
    }

    fn image(&self) -> PathBuf {
        self.store.join("image")
    }

    /// Where it is mounted.
    pub fn point(&self) -> &Path {
        &self.point
    }

    fn mount(&self) {
        let device = run("losetup", [OsStr::new("-f"), OsStr::new("--show"), self.image().as_os_str()]);
        if self.limit == Limit::Thin {
            // One page a request: the loop driver calls a request done of which it could write a part, which
            // would be a device that lies from the start.
            let queue = Path::new("/sys/block").join(device.trim_start_matches("/dev/")).join("queue");
            fs::write(queue.join("max_sectors_kb"), "4").expect("a writable /sys");
            fs::write(queue.join("nomerges"), "2").expect("a writable /sys");
        }
        let mounted = Command::new("mount").args([OsStr::new(&device), self.point.as_os_str()]).output();
        // Now it goes away with the mount.
        run("losetup", ["-d", &device]);
        let mounted = mounted.expect("mount can be run");
        assert!(mounted.status.success(), "{}", String::from_utf8_lossy(&mounted.stderr));
    }

    fn unmount(&self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let output = Command::new("umount").arg(&self.point).output().map_err(|e| e.to_string())?;
            if output.status.success() {
                return self.wait_let_go();
            }
            if Instant::now() > deadline {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned());
            }
            // Somebody else's look at the mount (a scanner, a shell) can only be waited for.
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// A mount namespace that was copied meanwhile (a container that starts) has the file system, too, and its device writes
    /// into the image under whoever mounts it next: that would be no power cut but a broken disk.
    fn wait_let_go(&self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(180);
        while let Some(device) = self.device() {
            if Instant::now() > deadline {
                return Err(format!("{device} is still in use: another mount namespace has it"));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The loop device that the image is on.
    fn device(&self) -> Option<String> {
        let image = self.image();
        let mut devices = fs::read_dir("/sys/block").expect("a /sys").flatten();
        let is_ours = |backed: &str| Path::new(backed.trim_end()) == image;
        let found = devices
            .find(|d| fs::read_to_string(d.path().join("loop/backing_file")).is_ok_and(|b| is_ours(&b)))?;
        Some(found.file_name().to_string_lossy().into_owned())
    }

    /// Unmounts and mounts: what was only in memory and never reached the device is gone from sight.
    pub fn remount(&self) {
        self.unmount().unwrap_or_else(|why| panic!("{}: {why}", self.point.display()));
        self.mount();
    }

    /// A power cut: the file system stops where it is, without writing what it holds back, and comes again as
    /// after a reboot. Nobody may be writing: a sync in flight would say "done". Whether something that was
    /// written just before and not synced is gone, as after a real one.
    pub fn cut_power(&self) -> bool {
        let witness = self.point.join("witness");
        let _ = fs::remove_file(&witness);
        fs::write(&witness, "written and never synced").expect("a file system that works");
        let script =
            "import fcntl,os,sys;fcntl.ioctl(os.open(sys.argv[1],os.O_RDONLY),0x8004587d,b'\\2\\0\\0\\0')";
        run(
            "python3",
            ["-I", "-S", "-c", script].map(OsStr::new).into_iter().chain([self.point.as_os_str()]),
        );
        self.remount();
        fs::read(&witness).unwrap_or_default().is_empty()
    }

    /// Writes out everything.
    pub fn settle(&self) {
        run("sync", [OsStr::new("-f"), self.point.as_os_str()]);
    }

    /// Fills the file system, or what backs a thin one, or the quota, to the last byte, and leaves `spare` bytes.
    pub fn fill(&self, spare: u64) {
        if self.limit == Limit::Quota {
            // What an agent has reserved and gives back when it can't write there is used up, too.
            let given_back = if spare == 0 { 2 << 20 } else { 0 };
            return self.allow(&(self.counted() + spare - given_back).to_string());
        }
        let place = if self.limit == Limit::Thin { &self.store } else { &self.point };
        // What a file system says of its free bytes may be wrong by some megabytes (btrfs): this much is there.
        let spared = place.join("filler-spared");
        if spare > 0 {
            write_synced(&spared, spare);
        }
        while fill_up(&place.join("filler")) > 0 {}
        if spare > 0 {
            fs::remove_file(spared).expect("it is there");
            self.settle();
        }
    }

    /// Sets the quota: bytes, or "none".
    fn allow(&self, bytes: &str) {
        let words = ["qgroup", "limit", bytes, "0/5"].map(OsStr::new);
        run("btrfs", words.into_iter().chain([self.point.as_os_str()]));
    }

    /// The bytes that count against the quota.
    fn counted(&self) -> u64 {
        self.settle();
        let words = ["qgroup", "show", "--raw", "--sync"].map(OsStr::new);
        let said = run("btrfs", words.into_iter().chain([self.point.as_os_str()]));
        let line = said.lines().find_map(|line| line.trim_start().strip_prefix("0/5"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| panic!("btrfs says nothing of its quota: {said}"))
    }

    /// Takes back what [`Volume::fill`] did.
    pub fn empty(&self) {
        if self.limit == Limit::Quota {
            return self.allow("none");
        }
        let place = if self.limit == Limit::Thin { &self.store } else { &self.point };
        let _ = fs::remove_file(place.join("filler"));
    }

    /// Makes empty files until there can be no more; returns how many.
    pub fn fill_with_files(&self) -> usize {
        (0..).take_while(|n: &usize| File::create(self.point.join(format!("filler-{n}"))).is_ok()).count()
    }

    /// Takes back what [`Volume::fill_with_files`] did.
    pub fn remove_files(&self, count: usize) {
        for n in 0..count {
            let _ = fs::remove_file(self.point.join(format!("filler-{n}")));
        }
    }

    /// Has every call that writes wait, until what is returned is dropped.
    pub fn freeze(&self) -> Frozen<'_> {
        run("fsfreeze", [OsStr::new("--freeze"), self.point.as_os_str()]);
        Frozen(self)
    }

    /// `mount -o remount,OPTIONS`; whether the kernel did it.
    pub fn remount_as(&self, options: &str) -> bool {
        let options = format!("remount,{options}");
        let status = Command::new("mount").args(["-o", &options]).arg(&self.point).output();
        status.is_ok_and(|o| o.status.success())
    }
}

/// A file system that answers nobody who writes.
pub struct Frozen<'a>(&'a Volume);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        run("fsfreeze", [OsStr::new("--unfreeze"), self.0.point.as_os_str()]);
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if let Err(why) = self.unmount() {
            let _ = Command::new("umount").arg("-l").arg(&self.point).status();
            println!("{} had to be unmounted by force: {why}", self.point.display());
        }
        let _ = Command::new("umount").arg("-l").arg(&self.store).status();
    }
}

fn write_synced(path: &Path, len: u64) {
    let mut file = File::create(path).expect("room");
    (0..len >> 20).for_each(|_| file.write_all(&vec![b'x'; 1 << 20]).expect("room"));
    file.sync_all().expect("room");
}

/// Writes until there is no room; returns how much. Delayed writes have then taken their room, and may have needed less than
/// was kept back for them.
fn fill_up(path: &Path) -> u64 {
    let mut file = OpenOptions::new().append(true).create(true).open(path).expect("a file");
    let len = || fs::metadata(path).expect("it is there").len();
    let before = len();
    for chunk in [4 << 20, 64 << 10, 4 << 10, 1] {
        while file.write_all(&vec![b'x'; chunk]).is_ok() {}
    }
    let _ = file.sync_all();
    len() - before
}
