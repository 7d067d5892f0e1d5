//! Files of the control group that a process is in.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use bstr::ByteSlice;

use crate::Target;

/// Opens the first file that there is: of the version 2 group, else of the version 1 group of a controller.
pub(super) fn open(target: &Target, controller: &str, names: &[&str]) -> io::Result<File> {
    let groups = target.dir().read("cgroup")?;
    let mounts = std::fs::read("/proc/self/mountinfo")?;
    let folders = folders(&groups, &mounts, controller);
    let found = folders.iter().flat_map(|folder| names.iter().map(|name| folder.join(name))).map(File::open);
    let missing = || io::Error::new(io::ErrorKind::NotFound, "its control group does not count this");
    found.into_iter().find(Result::is_ok).unwrap_or_else(|| Err(missing()))
}

/// Where the groups are: `groups` are lines ID:CONTROLLERS:PATH, `mounts` is mountinfo of proc_pid_mountinfo(5).
fn folders(groups: &[u8], mounts: &[u8], controller: &str) -> Vec<PathBuf> {
    let has = |list: &[u8]| list.split_str(",").any(|each| each == controller.as_bytes());
    let mut folders = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn_str(3, ":");
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let unified = controllers.is_empty();
        if !unified && !has(controllers) {
            continue;
        }
        for mount in mounts.lines() {
            let Some((about, kind)) = mount.split_once_str(" - ") else { continue };
            let kind: Vec<&[u8]> = kind.split_str(" ").collect();
            let fits = match kind.first() {
                Some(&b"cgroup2") => unified,
                Some(&b"cgroup") => !unified && kind.get(2).is_some_and(|options| has(options)),
                _ => false,
            };
            let fields: Vec<&[u8]> = about.split_str(" ").collect();
            if let (true, Some(root), Some(point)) = (fits, fields.get(3), fields.get(4)) {
                // The mount may show a part of the hierarchy only.
                let below = path.strip_prefix(*root).unwrap_or(path);
                let mut folder = PathBuf::from(point.to_os_str_lossy().into_owned());
                folder.push(below.trim_start_with(|letter| letter == '/').to_os_str_lossy());
                folders.push(folder);
            }
        }
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions() {
        let mounts = b"30 1 0:26 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n31 1 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n32 1 0:28 /part /mnt/g rw - cgroup2 x rw\n";
        let groups = b"4:memory:/a/b\n1:cpu:/c\n0::/part/x\n";
        let found = folders(groups, mounts, "memory");
        let expected: Vec<PathBuf> =
            ["/sys/fs/cgroup/memory/a/b", "/sys/fs/cgroup/unified/part/x", "/mnt/g/x"].map(PathBuf::from).into();
        assert_eq!(found, expected);
        assert_eq!(folders(b"nonsense\n", mounts, "memory"), Vec::<PathBuf>::new());
    }
}
