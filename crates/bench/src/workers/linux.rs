//! What Linux says about processes: their memory, and how often their threads went to sleep.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Kills a process, which is there.
pub(crate) fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("the id of a process is positive"), Signal::KILL)
        .expect("the process is there");
}

/// The CPUs that the calling thread may use.
pub(crate) fn usable_cpus() -> Vec<usize> {
    let set = sched_getaffinity(None).expect("a thread may ask about itself");
    (0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect()
}

/// Keeps the calling thread, and the threads that it starts, on one CPU.
pub(super) fn stay_on(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).expect("the CPU is there");
}

/// Runs `body` on one CPU.
pub(crate) fn on_cpu<T>(cpu: usize, body: impl FnOnce() -> T) -> T {
    let set = sched_getaffinity(None).expect("a thread may ask about itself");
    stay_on(cpu);
    let value = body();
    sched_setaffinity(None, &set).expect("these CPUs were usable before");
    value
}

/// The value in a line `name: value …` of a file below `/proc`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The bytes of memory that a process has for itself alone.
pub(crate) fn private_resident_bytes(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .expect("the process is there and is ours");
    let kibibytes = |name| field(&text, name).expect("the kernel counts it");
    (kibibytes("Private_Clean") + kibibytes("Private_Dirty")) * 1024
}

/// The bytes of memory that can be had without swapping, by the machine and by the control group
/// that a container sees.
pub(super) fn available_bytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("there is a /proc");
    let of_machine = field(&text, "MemAvailable").expect("the kernel counts it") * 1024;
    // There is no number where there is no limit.
    let of_group = |name| {
        let text = fs::read_to_string(format!("/sys/fs/cgroup/memory.{name}"));
        text.ok()?.trim_end().parse::<u64>().ok()
    };
    match (of_group("max"), of_group("current")) {
        (Some(limit), Some(used)) => of_machine.min(limit.saturating_sub(used)),
        _ => of_machine,
    }
}

/// How often each thread of some processes has gone to sleep so far, which is how often it has been
/// or will be woken.
pub(crate) struct Threads(BTreeMap<u32, Thread>);

struct Thread {
    name: String,
    sleeps: u64,
}

impl Threads {
    /// Of all threads of this process but the calling one, and of all threads of `others`.
    pub(crate) fn now(others: &[u32]) -> Self {
        let this = fs::read_link("/proc/thread-self").expect("there is a /proc");
        let this = this
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        let mut threads = BTreeMap::new();
        for process in others.iter().copied().chain([std::process::id()]) {
            add_threads(process, &mut threads).expect("the processes are there and are ours");
        }
        threads.remove(&this.expect("a thread has a number"));
        Self(threads)
    }

    /// How often the threads have gone to sleep since `earlier`, each with its name.
    pub(crate) fn sleeps_since(&self, earlier: &Self) -> Vec<(&str, u64)> {
        let before = |id| earlier.0.get(id).map_or(0, |thread| thread.sleeps);
        self.0
            .iter()
            .map(|(id, thread)| (thread.name.as_str(), thread.sleeps - before(id)))
            .collect()
    }
}

fn add_threads(process: u32, threads: &mut BTreeMap<u32, Thread>) -> io::Result<()> {
    for entry in fs::read_dir(format!("/proc/{process}/task"))? {
        let folder = entry?.path();
        let status = match fs::read_to_string(folder.join("status")) {
            Ok(status) => status,
            // It has ended in between.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let id = folder
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        let sleeps = field(&status, "voluntary_ctxt_switches");
        let name = status.lines().find_map(|line| line.strip_prefix("Name:"));
        let thread = Thread {
            name: name.unwrap_or_default().trim().to_owned(),
            sleeps: sleeps.expect("the kernel counts it"),
        };
        threads.insert(id.expect("a thread has a number"), thread);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};
    use std::thread;
    use std::time::Duration;

    use super::{Threads, field};

    #[test]
    fn each_sleep_of_another_thread_is_counted() {
        const SLEEPS: u64 = 7;
        let gate = Arc::new(Barrier::new(2));
        let sleeper = thread::Builder::new().name("sleeper".to_owned());
        let sleeper = sleeper.spawn({
            let gate = Arc::clone(&gate);
            move || {
                gate.wait();
                for _ in 0..SLEEPS {
                    thread::sleep(Duration::from_millis(1));
                }
                gate.wait();
                gate.wait();
            }
        });
        let sleeper = sleeper.expect("there are threads");
        let before = Threads::now(&[]);
        gate.wait();
        gate.wait();
        let after = Threads::now(&[]);
        gate.wait();
        sleeper.join().expect("it only sleeps");
        let sleeps = after.sleeps_since(&before);
        let of_sleeper: u64 = sleeps
            .iter()
            .filter(|(name, _)| *name == "sleeper")
            .map(|(_, sleeps)| sleeps)
            .sum();
        // It may have waited at the gate, and for locks.
        assert!((SLEEPS..SLEEPS + 5).contains(&of_sleeper), "{sleeps:?}");
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "nonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t12\nsize: 3 kB\n";
        assert_eq!(field(text, "voluntary_ctxt_switches"), Some(12));
        assert_eq!(field(text, "size"), Some(3));
        assert_eq!(field(text, "siz"), None);
    }
}
