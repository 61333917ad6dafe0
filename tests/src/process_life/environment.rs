//! What a task finds in its worker: an ordinary Rust process.

use std::io::Write;
use std::path::PathBuf;

use concurrent_futures::{Executor, ProcessPoolExecutor};

use super::system::Process;
use crate::harness::tests;

fn variable(name: String) -> Option<String> {
    std::env::var(name).ok()
}

fn file(path: String) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn link(path: String) -> PathBuf {
    std::fs::read_link(path).unwrap()
}

/// The value of a line of a file as in `/proc/self/status`.
fn field(status: &str, name: &str) -> String {
    let line = status
        .lines()
        .find(|line| line.starts_with(name))
        .expect("there is such a line");
    line.split_once(':').unwrap().1.trim().to_owned()
}

/// Whether the bit of a signal is set in a line of `/proc/self/status`.
fn has_signal(status: &str, name: &str, signal: i32) -> bool {
    u64::from_str_radix(&field(status, name), 16).unwrap() >> (signal - 1) & 1 == 1
}

tests! {
    fn variables_are_set_and_removed_and_inherited() {
        let pool = ProcessPoolExecutor::builder()
            .max_workers(1)
            .env("CF_COLOUR", "red")
            .env("CF_COLOUR", "blue")
            .env("CF_EMPTY", "")
            .env_remove("PATH")
            .build()
            .unwrap();
        let seen = |name: &str| pool.submit(variable, name.to_owned()).result().unwrap();
        assert_eq!(seen("CF_COLOUR").as_deref(), Some("blue"));
        assert_eq!(seen("CF_EMPTY").as_deref(), Some(""));
        assert_eq!(seen("PATH"), None);
        assert_eq!(seen("CONCURRENT_FUTURES_WORKER"), None);
        // Cargo sets it for tests; or anything else that this process has.
        let (name, value) = std::env::vars().find(|(name, _)| name != "PATH").unwrap();
        assert_eq!(seen(&name), Some(value));
    }

    fn workers_begin_in_the_directory_that_was_given() {
        let here = ProcessPoolExecutor::new(1);
        let cwd = || std::env::current_dir().unwrap();
        assert_eq!(here.submit(cwd, ()).result().unwrap(), cwd());
        let folder = tempfile::tempdir().unwrap();
        let expected = folder.path().canonicalize().unwrap();
        let there = ProcessPoolExecutor::builder().max_workers(1).current_dir(folder.path());
        let there = there.build().unwrap();
        assert_eq!(there.submit(cwd, ()).result().unwrap(), expected);
    }

    fn a_worker_bears_the_pools_name_and_so_does_the_thread_of_tasks() {
        let pool = ProcessPoolExecutor::builder().max_workers(1).name("resize-images-of-cats");
        let pool = pool.build().unwrap();
        let pid = pool.submit(std::process::id, ()).result().unwrap();
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        assert_eq!(comm, "resize-images-o\n");
        let thread = || std::thread::current().name().map(str::to_owned);
        let name = pool.submit(thread, ()).result().unwrap();
        assert_eq!(name.as_deref(), Some("resize-images-of-cats"));
    }

    fn standard_input_is_at_its_end_and_the_channel_is_out_of_the_way() {
        let pool = ProcessPoolExecutor::new(1);
        let target = pool.submit(link, "/proc/self/fd/0".to_owned()).result().unwrap();
        assert_eq!(target, PathBuf::from("/dev/null"));
        let read = || std::io::read_to_string(std::io::stdin()).unwrap();
        assert_eq!(pool.submit(read, ()).result().unwrap(), "");
        let lowest_free = || {
            let file = std::fs::File::open("/dev/null").unwrap();
            std::os::fd::AsRawFd::as_raw_fd(&file)
        };
        let here = lowest_free();
        let there = pool.submit(lowest_free, ()).result().unwrap();
        assert!(there <= here, "a task's first file is {there}, and {here} in the parent");
    }

    fn a_program_that_a_task_starts_has_three_descriptors_and_empty_masks() {
        let pool = ProcessPoolExecutor::new(1);
        let look = || {
            let script = "ls -l /proc/self/fd; cat /proc/self/status";
            let output = std::process::Command::new("/bin/sh").args(["-c", script]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let seen = pool.submit(look, ()).result().unwrap();
        assert!(!seen.contains("socket:") && !seen.contains("memfd:"), "{seen}");
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGPIPE, libc::SIGCHLD] {
            // As std leaves it, only SIGPIPE could be otherwise, and std puts that back.
            assert!(!has_signal(&seen, "SigIgn", signal), "{signal}: {seen}");
            assert!(!has_signal(&seen, "SigBlk", signal), "{signal}: {seen}");
        }
    }

    fn a_write_to_a_closed_pipe_is_an_error_and_not_a_death() {
        let pool = ProcessPoolExecutor::new(1);
        let write = || {
            let (reader, mut writer) = std::io::pipe().unwrap();
            drop(reader);
            writer.write_all(b"x").unwrap_err().to_string()
        };
        let broken = std::io::Error::from_raw_os_error(libc::EPIPE).to_string();
        assert_eq!(pool.submit(write, ()).result().unwrap(), broken);
    }

    fn each_worker_has_a_group_of_its_own_and_an_empty_signal_mask() {
        let pool = ProcessPoolExecutor::new(1);
        let status = pool.submit(file, "/proc/thread-self/status".to_owned()).result().unwrap();
        let stat = pool.submit(file, "/proc/self/stat".to_owned()).result().unwrap();
        let group = stat.rsplit(") ").next().unwrap().split(' ').nth(2).unwrap();
        assert_eq!(group, field(&status, "Tgid"));
        assert_eq!(u64::from_str_radix(&field(&status, "SigBlk"), 16), Ok(0));
        assert!(has_signal(&status, "SigIgn", libc::SIGPIPE));
        assert!(!has_signal(&status, "SigIgn", libc::SIGINT), "children would inherit it");
        assert!(has_signal(&status, "SigCgt", libc::SIGINT));
    }

    fn what_the_parent_has_blocked_is_not_blocked_in_its_workers() {
        let build = || {
            // SAFETY: the set is filled before it is used, and belongs to this thread, which ends.
            unsafe {
                let mut all = std::mem::zeroed::<libc::sigset_t>();
                libc::sigfillset(&raw mut all);
                libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
            }
            let pool = ProcessPoolExecutor::builder()
                .max_workers(1)
                // A worker that does not get TERM would be waited for so long.
                .kill_grace(std::time::Duration::from_secs(1_000))
                .build()
                .unwrap();
            let pid = pool.submit(std::process::id, ()).result().unwrap();
            (pool, pid)
        };
        let (pool, pid) = std::thread::spawn(build).join().unwrap();
        let worker = Process::of(pid);
        let status = pool.submit(file, "/proc/thread-self/status".to_owned()).result().unwrap();
        assert_eq!(u64::from_str_radix(&field(&status, "SigBlk"), 16), Ok(0));
        let slow = pool.submit(std::thread::sleep, std::time::Duration::from_secs(1_000));
        crate::harness::eventually("the task runs", || slow.is_running());
        slow.abort();
        assert!(slow.result().unwrap_err().is_aborted());
        assert!(!worker.is_alive());
    }

    fn an_interrupt_does_nothing_to_a_worker() {
        let pool = ProcessPoolExecutor::new(1);
        let door = super::door::Door::new();
        let visit = pool.submit(super::visit::pass, door.name());
        let visitor = door.visitor();
        for _ in 0..10 {
            visitor.process().signal(rustix::process::Signal::INT);
        }
        visitor.let_in();
        visit.result().unwrap();
    }
}
