//! Nothing is left behind by pools that are gone.

use std::collections::BTreeSet;
use std::fs;

use concurrent_futures::{Executor, ProcessPoolExecutor, Shutdown};

use crate::harness::{eventually, tests};

fn shared_memory_files() -> BTreeSet<std::ffi::OsString> {
    let files = fs::read_dir("/dev/shm").into_iter().flatten();
    files.map(|file| file.unwrap().file_name()).collect()
}

/// Parts of memory that belong to no file with a name.
fn memory_maps() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("/memfd:")).count()
}

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

tests! {
    fn a_thousand_pools_leave_no_process_file_or_memory() {
        let run = |count: u64| {
            for n in 0..count {
                let pool = ProcessPoolExecutor::new(1);
                assert_eq!(pool.submit(u64::wrapping_add, (n, 1)).result().unwrap(), n + 1);
                match n % 3 {
                    0 => pool.blocking_shutdown(Shutdown::new()).unwrap(),
                    1 => pool.kill_workers(),
                    _ => drop(pool),
                }
            }
        };
        let files_in_memory = shared_memory_files();
        run(50);
        eventually("the maps of the first pools are gone", || memory_maps() == 0);
        let (files, memory) = (open_files(), resident());
        run(950);
        eventually("all maps are gone", || memory_maps() == 0);
        eventually("all files are closed", || open_files() <= files);
        assert_eq!(shared_memory_files(), files_in_memory);
        let grown = resident().saturating_sub(memory);
        assert!(grown < 16 << 20, "{grown} bytes more after 950 pools");
    }

    fn replaced_workers_leave_no_file_or_memory() {
        let pool = ProcessPoolExecutor::new(2);
        let crash = || -> u32 { std::process::abort() };
        let run = |count| {
            for _ in 0..count {
                assert!(pool.submit(crash, ()).result().unwrap_err().is_worker_lost());
            }
        };
        run(20);
        pool.submit(|| (), ()).result().unwrap();
        let (files, maps) = (open_files(), memory_maps());
        run(100);
        pool.submit(|| (), ()).result().unwrap();
        // One worker more may live now than before.
        eventually("files are closed", || open_files() <= files + 4);
        eventually("maps are gone", || memory_maps() <= maps + 2);
    }

    fn workers_that_leave_when_idle_take_everything_with_them() {
        let idle = std::time::Duration::from_millis(20);
        let pool = ProcessPoolExecutor::builder().max_workers(3).idle_timeout(idle).build().unwrap();
        for _ in 0..3 {
            let futures: Vec<_> = (0..30_u64).map(|n| pool.submit(u64::wrapping_add, (n, 1))).collect();
            assert!(futures.into_iter().all(|future| future.result().is_ok()));
            eventually("no worker is left", || pool.stats().workers() == 0);
            eventually("no map is left", || memory_maps() == 0);
        }
    }
}
