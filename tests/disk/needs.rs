//! What a test needs of the machine, and why it can't have it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// One thing a machine may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Root, to act as others.
    Root,
    /// Root in earnest: mounts and loop devices are allowed.
    Mounts,
    /// `mkfs.ext4` (Debian: e2fsprogs).
    Ext4,
    /// `mkfs.xfs` (Debian: xfsprogs).
    Xfs,
    /// `mkfs.btrfs` and `btrfs` (Debian: btrfs-progs).
    Btrfs,
    /// A kernel that knows btrfs.
    BtrfsInKernel,
    /// Python 3 (Debian: python3).
    Python,
    /// Tracing another process's system calls, on a machine whose calls `tracer.py` knows.
    Tracing,
}

impl Need {
    /// Whether it can be got for any machine, so that a test that is required has it.
    pub fn can_be_had(self) -> bool {
        self != Need::BtrfsInKernel
    }

    /// Why it is not there.
    pub fn missing(self) -> Option<String> {
        match self {
            Need::Root => {
                (!rustix::process::geteuid().is_root()).then(|| "only root can act as others".to_owned())
            }
            Need::Mounts => mounts(),
            Need::Ext4 => program("mkfs.ext4", "e2fsprogs"),
            Need::Xfs => program("mkfs.xfs", "xfsprogs"),
            Need::Btrfs => program("mkfs.btrfs", "btrfs-progs"),
            Need::BtrfsInKernel => known_file_system("btrfs"),
            Need::Python => program("python3", "python3"),
            Need::Tracing => tracing(),
        }
    }
}

/// Where the tools of an administrator are, whatever the path of this process says.
const PLACES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// The program of that name, the system's own before others.
pub fn find(name: &str) -> Option<PathBuf> {
    PLACES.iter().map(|place| Path::new(place).join(name)).find(|path| path.is_file())
}

fn program(name: &str, package: &str) -> Option<String> {
    find(name).is_none().then(|| format!("there is no {name} (Debian: {package})"))
}

/// Whether the kernel has it, as a module that it can load or built in.
fn known_file_system(name: &str) -> Option<String> {
    let _ = Command::new("modprobe").arg(name).output();
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let found = known.lines().any(|line| line.split_whitespace().last() == Some(name));
    (!found).then(|| format!("this kernel has no {name}"))
}

fn mounts() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("only root can mount file systems".to_owned());
    }
    if !Path::new("/dev/loop-control").exists() {
        return Some("there is no /dev/loop-control: no loop devices here".to_owned());
    }
    // A container's root may not mount; a mount namespace of its own leaves nothing behind.
    let tried = Command::new("unshare").args(["--mount", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("mounting fails: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(e) => Some(format!("unshare can't be run: {e}")),
    }
}

fn tracing() -> Option<String> {
    if !cfg!(target_arch = "x86_64") {
        return Some("tracer.py knows the system calls of x86_64 only".to_owned());
    }
    let probe = std::env::temp_dir().join(format!("spoolway-tracer-{}", std::process::id()));
    let tried = crate::trace::tracer(&probe, "0", "kill", "changes").arg("true").output();
    let _ = std::fs::remove_file(&probe);
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("tracing fails: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(e) => Some(format!("tracer.py can't be run: {e}")),
    }
}
