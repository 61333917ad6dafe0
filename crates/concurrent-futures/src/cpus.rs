//! How many CPUs this process may use: its affinity, and the CPU quota of its control groups.
//!
//! std rounds a fractional quota down, so that half a CPU is lost of one and a half; here it is
//! rounded up.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The default number of threads of a pool, as in Python: a few more than CPUs, for tasks that wait
/// for something, and not too many on large machines.
pub(crate) fn default_threads() -> usize {
    (usable() + 4).min(32)
}

/// The share that this process was told, or 0. Relaxed: it guards nothing but itself.
static SHARE: AtomicUsize = AtomicUsize::new(0);

/// Tells this process its share of the CPUs, at least 1.
pub(crate) fn set_share(cpus: usize) {
    SHARE.store(cpus.max(1), Ordering::Relaxed);
}

/// The share that this process was told, if it is a worker of others.
pub(crate) fn share() -> Option<usize> {
    Some(SHARE.load(Ordering::Relaxed)).filter(|share| *share > 0)
}

/// How many CPUs this process may use, at least 1; in a worker process, what it was told.
pub(crate) fn usable() -> usize {
    share().unwrap_or_else(measured)
}

fn measured() -> usize {
    let allowed = fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| allowed(&status))
        .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
        .unwrap_or(1);
    let quota = fs::read_to_string("/proc/self/cgroup")
        .ok()
        .and_then(|groups| quota(&groups, Path::new("/sys/fs/cgroup")));
    allowed.min(quota.unwrap_or(usize::MAX)).max(1)
}

/// The number of CPUs in the affinity mask, from `/proc/self/status`.
fn allowed(status: &str) -> Option<usize> {
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    list.trim()
        .split(',')
        .map(|range| match range.split_once('-') {
            Some((first, last)) => {
                let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
                Some((last + 1).saturating_sub(first))
            }
            None => range.parse::<usize>().ok().map(|_| 1),
        })
        .sum()
}

/// The smallest CPU quota of the groups in `/proc/self/cgroup` and of their parents, rounded up.
fn quota(groups: &str, root: &Path) -> Option<usize> {
    groups
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            if controllers.is_empty() {
                smallest(root, path, |group| {
                    let line = fs::read_to_string(group.join("cpu.max")).ok()?;
                    let (quota, period) = line.trim().split_once(' ')?;
                    whole_cpus(quota, period)
                })
            } else if controllers.split(',').any(|name| name == "cpu") {
                smallest(&root.join("cpu"), path, |group| {
                    let read = |name: &str| fs::read_to_string(group.join(name)).ok();
                    let quota = read("cpu.cfs_quota_us")?;
                    whole_cpus(quota.trim(), read("cpu.cfs_period_us")?.trim())
                })
            } else {
                None
            }
        })
        .min()
}

/// The smallest quota of a group and its parents. In a container the group's path may be that of the
/// host, and not exist; then the root is the container's own group.
fn smallest(root: &Path, path: &str, quota: impl Fn(&PathBuf) -> Option<usize>) -> Option<usize> {
    let group = root.join(path.trim_start_matches('/'));
    group
        .ancestors()
        .take_while(|group| group.starts_with(root))
        .filter_map(|group| quota(&group.to_path_buf()))
        .min()
}

/// `None` where there is no quota ("max", or a negative number).
fn whole_cpus(quota: &str, period: &str) -> Option<usize> {
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    if period == 0 {
        return None;
    }
    usize::try_from(quota.div_ceil(period))
        .ok()
        .map(|cpus| cpus.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_affinity_mask_is_counted() {
        let status = |list: &str| format!("Name:\tx\nCpus_allowed_list:\t{list}\nMems:\t0\n");
        assert_eq!(allowed(&status("0-63")), Some(64));
        assert_eq!(allowed(&status("3")), Some(1));
        assert_eq!(allowed(&status("0-1,4,6-7")), Some(5));
        assert_eq!(allowed("Name:\tx\n"), None);
    }

    /// A tree of files as the kernel shows it, removed at the end.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root =
                std::env::temp_dir().join(format!("cf-cgroup-{name}-{}", std::process::id()));
            for (path, content) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().expect("a folder")).expect("made");
                fs::write(path, content).expect("written");
            }
            Self(root)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn one_and_a_half_cpus_are_two_also_when_a_parent_sets_the_quota() {
        let tree = Tree::new(
            "v2",
            &[
                ("a/cpu.max", "150000 100000\n"),
                ("a/b/cpu.max", "max 100000\n"),
            ],
        );
        assert_eq!(quota("0::/a/b\n", &tree.0), Some(2));
        assert_eq!(quota("0::/\n", &tree.0), None);
    }

    #[test]
    fn the_older_groups_are_read_too() {
        let tree = Tree::new(
            "v1",
            &[
                ("cpu/a/cpu.cfs_quota_us", "50000\n"),
                ("cpu/a/cpu.cfs_period_us", "100000\n"),
                ("cpu/cpu.cfs_quota_us", "-1\n"),
                ("cpu/cpu.cfs_period_us", "100000\n"),
            ],
        );
        let groups = "4:memory:/a\n3:cpu,cpuacct:/a\n";
        assert_eq!(quota(groups, &tree.0), Some(1));
    }
}
