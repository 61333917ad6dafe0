//! The limits that a worker puts on itself before it runs anything of the user's, so that they hold for all that its
//! tasks do and start.

use std::fs;
use std::io::{self, Read};

use rustix::process::{
    Resource, Rlimit, getpid, getpriority_process, getrlimit, setpriority_process, setrlimit,
};
use serde::{Deserialize, Serialize};

use super::signals;

/// Limits of a worker process. Sizes are in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::process) struct Limits {
    /// Of memory that is the process's own and can be written.
    pub(in crate::process) memory: Option<u64>,
    pub(in crate::process) file_size: Option<u64>,
    pub(in crate::process) descriptors: Option<u64>,
    /// By how much the process is nicer to others.
    pub(in crate::process) nice: i32,
}

impl Limits {
    /// Puts the limits on this process. The priority belongs to threads: it is that of the calling thread, of those
    /// that this one starts, and of the main thread, which is the one that `ps` shows.
    ///
    /// # Errors
    /// What the system refuses, with the limit's name and value.
    pub(in crate::process) fn impose(self) -> io::Result<()> {
        if self.nice != 0 {
            be_nice(self.nice)?;
        }
        if let Some(most) = self.file_size {
            // By default the kernel ends the process; so the write fails. A handler and not SIG_IGN, which programs
            // that tasks start would inherit.
            signals::survive(libc::SIGXFSZ);
            set(Resource::Fsize, "file_size_limit", most)?;
        }
        if let Some(most) = self.descriptors {
            set(Resource::Nofile, "descriptor_limit", most)?;
        }
        // The last, since it holds for the lines above as well.
        if let Some(most) = self.memory {
            if let Some(used) = writable_memory().filter(|used| *used >= most) {
                return Err(io::Error::other(format!(
                    "memory_limit({most}): a worker of this program has {used} bytes before its first task"
                )));
            }
            set(Resource::Data, "memory_limit", most)?;
        }
        Ok(())
    }
}

fn set(resource: Resource, name: &str, most: u64) -> io::Result<()> {
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(resource, limit).map_err(|error| {
        let system = match getrlimit(resource).maximum {
            Some(hard) => format!(" (the system's hard limit is {hard})"),
            None => String::new(),
        };
        let error = io::Error::from(error);
        io::Error::new(error.kind(), format!("{name}({most}): {error}{system}"))
    })
}

fn be_nice(increment: i32) -> io::Result<()> {
    let result = getpriority_process(None).and_then(|priority| {
        let priority = priority.saturating_add(increment).clamp(-20, 19);
        setpriority_process(None, priority)?;
        setpriority_process(Some(getpid()), priority)
    });
    result.map_err(|error| {
        let error = io::Error::from(error);
        io::Error::new(error.kind(), format!("nice({increment}): {error}"))
    })
}

/// How much memory counts for the limit, in bytes, as far as the system tells.
fn writable_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmData:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes << 10)
}

/// How much anonymous memory of this process is resident, in bytes, as far as the system tells: what it has
/// allocated and used, without files and shared memory.
pub(in crate::process) fn anonymous_memory() -> Option<u64> {
    let mut text = [0; 256];
    let length = fs::File::open("/proc/self/statm")
        .ok()?
        .read(&mut text)
        .ok()?;
    let text = std::str::from_utf8(&text[..length]).ok()?;
    // In pages: all, resident, and of these those of files and shared memory.
    let mut fields = text.split(' ').skip(1).map(str::parse::<u64>);
    let (resident, shared) = (fields.next()?.ok()?, fields.next()?.ok()?);
    Some(resident.saturating_sub(shared) * rustix::param::page_size() as u64)
}
