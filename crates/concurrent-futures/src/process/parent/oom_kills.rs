//! Whether the kernel's out-of-memory killer has been at work: it counts what it kills, for each control group.
//!
//! A worker is in the group of its parent, unless somebody has moved it. The count says that something in the group was
//! killed, and not what; so a rise is evidence and no proof.

use std::fs;
use std::path::{Path, PathBuf};

/// The count of this process's control group.
pub(super) struct OomKills {
    /// Where it is read, if the system has it.
    file: Option<PathBuf>,
    /// How many kills are accounted for.
    seen: u64,
}

impl OomKills {
    pub(super) fn new() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::of(&groups, Path::new("/sys/fs/cgroup"))
    }

    fn of(groups: &str, root: &Path) -> Self {
        let file = groups
            .lines()
            .filter_map(|line| file(line, root))
            .find(|file| count(file).is_some());
        let seen = file.as_deref().and_then(count).unwrap_or(0);
        Self { file, seen }
    }

    /// Whether there was a kill that is not accounted for; it is then. `None` if the system does not tell.
    pub(super) fn take(&mut self) -> Option<bool> {
        let count = count(self.file.as_deref()?)?;
        let has_risen = count > self.seen;
        self.seen += u64::from(has_risen);
        Some(has_risen)
    }
}

/// Where the group of this line of `/proc/self/cgroup` has its count. In a container the group's path may be that of
/// the host, and not exist; then the root is the container's own group.
fn file(line: &str, root: &Path) -> Option<PathBuf> {
    let mut fields = line.splitn(3, ':');
    let (_id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let (root, name) = if controllers.is_empty() {
        (root.to_owned(), "memory.events")
    } else if controllers.split(',').any(|name| name == "memory") {
        (root.join("memory"), "memory.oom_control")
    } else {
        return None;
    };
    root.join(path.trim_start_matches('/'))
        .ancestors()
        .take_while(|group| group.starts_with(&root))
        .map(|group| group.join(name))
        .find(|file| file.exists())
}

fn count(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that is gone after the test.
    struct Root(PathBuf);

    impl Root {
        fn new(name: &str) -> Self {
            let own = format!("cf-oom-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(own))
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn each_kill_is_told_once_and_older_ones_are_not() {
        let root = Root::new("v2");
        root.write("a/memory.events", "oom 3\noom_kill 2\noom_group_kill 9\n");
        let mut kills = OomKills::of("0::/a\n", &root.0);
        assert_eq!(kills.take(), Some(false));
        root.write("a/memory.events", "oom 3\noom_kill 4\noom_group_kill 9\n");
        assert_eq!(
            [kills.take(), kills.take(), kills.take()],
            [Some(true), Some(true), Some(false)]
        );
    }

    #[test]
    fn the_older_groups_and_those_of_a_container_are_read_too() {
        let root = Root::new("v1");
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n";
        root.write("memory/memory.oom_control", text);
        let groups = "5:memory:/docker/0123\n3:cpu,cpuacct:/a\n0::/\n";
        let mut kills = OomKills::of(groups, &root.0);
        assert_eq!(kills.take(), Some(false));
        root.write("memory/memory.oom_control", &text.replace('1', "2"));
        assert_eq!(kills.take(), Some(true));
        assert_eq!(OomKills::of("3:cpu:/a\n0::/\n", &root.0).take(), None);
    }
}
