//! Where the store of the crash test lives: a plain folder, or an ext4 of its own whose power can be cut.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

/// Enough for the longest run; the image is sparse.
const IMAGE_BYTES: u64 = 8 << 30;

/// ext4's EXT4_IOC_SHUTDOWN with NOLOGFLUSH (linux: fs/ext4/ext4.h), which xfstests uses: from here on
/// nothing more reaches the device, not even the log. Called by python, as this crate has no unsafe code.
const CUT: &str = "import fcntl, os, struct, sys
folder = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(folder, 0x8004587D, struct.pack('I', 2))";

/// A folder, removed when this is dropped, and what is mounted on it.
pub(super) struct Volume {
    path: PathBuf,
    device: Option<LoopDevice>,
}

struct LoopDevice {
    path: PathBuf,
    /// The device detaches itself when nobody has it open: held here, not by the mount alone, so
    /// that it outlives a power cut and ends with this process.
    _open: File,
}

pub(super) fn is_root() -> bool {
    run("id", &["-u"]).is_ok_and(|id| id == "0")
}

impl Volume {
    pub(super) fn folder() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("cresset-crash-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(|e| format!("cannot make {}: {e}", path.display()))?;
        Ok(Self { path, device: None })
    }

    pub(super) fn loop_device() -> Result<Self, String> {
        let mut volume = Self::folder()?;
        volume.device = Some(LoopDevice::make(&volume.path.with_extension("image"))?);
        volume.power_on()?;
        Ok(volume)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn cut_power(&self) -> Result<(), String> {
        run("python3", &["-c", CUT, text(&self.path)?]).map(drop)
    }

    /// Mounts the device, after unmounting what the power cut left.
    pub(super) fn power_on(&mut self) -> Result<(), String> {
        self.unmount()?;
        let device = self.device.as_ref().ok_or("a plain folder has no power")?;
        run("mount", &[text(&device.path)?, text(&self.path)?]).map(drop)
    }

    /// A killed process may hold its files a moment longer.
    fn unmount(&self) -> Result<(), String> {
        let mut last = Ok(());
        for _ in 0..50 {
            if run("mountpoint", &["-q", text(&self.path)?]).is_err() {
                return Ok(());
            }
            last = run("umount", &[text(&self.path)?]).map(drop);
            if last.is_err() {
                thread::sleep(Duration::from_millis(100));
            }
        }
        last
    }
}

impl LoopDevice {
    /// Makes an ext4 in an image that has no name any more, on a device that frees itself.
    fn make(image: &Path) -> Result<Self, String> {
        let file = File::create(image).map_err(|e| format!("cannot make {}: {e}", image.display()))?;
        file.set_len(IMAGE_BYTES).map_err(|e| format!("{}: {e}", image.display()))?;
        let attached = run("losetup", &["--show", "--find", text(image)?]);
        let _ = fs::remove_file(image);
        let path = PathBuf::from(attached?);
        let open = File::open(&path).map_err(|e| format!("{}: {e}", path.display()));
        // With the device open elsewhere this only marks it to be freed by the last who closes it.
        run("losetup", &["--detach", text(&path)?])?;
        let device = Self { _open: open?, path };
        run("mkfs.ext4", &["-q", text(&device.path)?])?;
        Ok(device)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.device.is_none() || self.unmount().is_ok() {
            let _ = fs::remove_dir_all(&self.path);
        } else {
            eprintln!("{} is still mounted", self.path.display());
        }
    }
}

fn text(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| format!("{} is not text", path.display()))
}

fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let output =
        Command::new(program).args(args).output().map_err(|e| format!("cannot run {program}: {e}"))?;
    if !output.status.success() {
        return Err(format!("{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
