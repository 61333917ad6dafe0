//! Has a pool of processes and is ended, by somebody else or by itself, in a situation that its first
//! argument names. Tasks knock at the door that the second names, so that the test knows who they are.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use concurrent_futures::{Executor, ProcessPoolExecutor};

#[path = "../src/process_life/visit.rs"]
mod visit;

use visit::{pass, pass_with};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, situation, door] = &arguments[..] else {
        panic!("say what to do, and where the door is: {arguments:?}");
    };
    let door = || door.clone();
    let pool = ProcessPoolExecutor::builder()
        .max_workers(2)
        .build()
        .unwrap();
    match situation.as_str() {
        "idle" => {
            let visits = [(); 2].map(|()| pool.submit(pass, door()));
            for visit in visits {
                visit.result().unwrap();
            }
            pass(door());
        }
        "busy" => wait_for_ever(pool.submit(pass, door())),
        "spinning" => wait_for_ever(pool.submit(spin, door())),
        "without-descriptors" => wait_for_ever(pool.submit(close_all, door())),
        "with-children" => wait_for_ever(pool.submit(have_children, door())),
        "nested" => wait_for_ever(pool.submit(nest, (door(), 2_u32))),
        "starting" => {
            let visits = [(); 2].map(|()| pool.submit(|| (), ()));
            let mut output = std::io::stdout();
            output
                .write_all(b"starting")
                .and_then(|()| output.flush())
                .unwrap();
            drop(visits);
            park();
        }
        "exit" | "return" => {
            pool.submit(spin, door()).detach();
            pool.submit(pass, door()).detach();
            (0..100_u32).for_each(|_| pool.submit(pass, door()).detach());
            // The test has seen both tasks, and lets this one go on.
            pass(door());
            if situation == "exit" {
                std::process::exit(3);
            }
        }
        // While the test has stopped this process, the worker writes its result and is killed.
        "result-and-death" => {
            pool.submit(|| (), ()).result().unwrap();
            pool.submit(pass, door()).result().unwrap();
        }
        "first-result-and-death" => pool.submit(pass, door()).result().unwrap(),
        "prints" => {
            pool.submit(|| print!("no line end"), ()).result().unwrap();
            pool.blocking_shutdown(Default::default()).unwrap();
        }
        "interrupted" => interrupted(&pool, &door()),
        other => panic!("unknown situation: {other}"),
    }
}

fn wait_for_ever(future: concurrent_futures::TaskFuture<()>) {
    let _ = future.result();
    park();
}

fn park() -> ! {
    loop {
        std::thread::park();
    }
}

/// No signal that can be blocked reaches the thread of the task.
fn spin(door: String) {
    // SAFETY: the set is filled before it is used, and belongs to this thread alone.
    unsafe {
        let mut all = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
    }
    std::thread::spawn(move || pass(door));
    loop {
        std::hint::spin_loop();
    }
}

/// Nothing that the kernel tells by a descriptor is heard any more.
fn close_all(door: String) {
    // The main thread watches, and sleeps meanwhile.
    let is_asleep = |stat: String| {
        stat.rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('S'))
    };
    while !is_asleep(std::fs::read_to_string("/proc/self/stat").unwrap()) {}
    for number in 0..=1024 {
        // SAFETY: it is done to a process that is meant to be broken.
        unsafe { libc::close(number) };
    }
    pass(door);
}

/// Three generations below the task.
fn have_children(door: String) {
    let script = "sh -c 'sh -c \"sleep 1000 & echo \\$!; wait\" & echo $!; wait' & echo $!; wait";
    let mut child = Command::new("/bin/sh")
        .args(["-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut family = vec![child.id()];
    family.extend(
        lines
            .take(3)
            .map(|line| line.unwrap().parse::<u32>().unwrap()),
    );
    pass_with(&door, &family);
    let _ = child.wait();
}

/// Each level is the only worker of the one above it.
fn nest(door: String, levels: u32) {
    if levels == 0 {
        pass(door);
        return;
    }
    let pool = ProcessPoolExecutor::new(1);
    let inner = pool.submit(nest, (door.clone(), levels - 1));
    pass(door);
    let _ = inner.result();
    park();
}

/// What Ctrl-C means is this process's to decide: it notes it and lets the task finish.
fn interrupted(pool: &ProcessPoolExecutor, door: &str) {
    static IS_INTERRUPTED: AtomicBool = AtomicBool::new(false);
    extern "C" fn note(_signal: libc::c_int) {
        IS_INTERRUPTED.store(true, Ordering::Relaxed);
    }
    // SAFETY: the handler only writes to an atomic.
    unsafe {
        let mut action = std::mem::zeroed::<libc::sigaction>();
        action.sa_sigaction = note as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(libc::SIGINT, &raw const action, std::ptr::null_mut());
    }
    let visit = pool.submit(pass, door.to_owned());
    let result = visit.result();
    let pid = pool.submit(std::process::id, ()).result();
    println!("{}", IS_INTERRUPTED.load(Ordering::Relaxed));
    println!("{}", result.is_ok() && pid.is_ok());
}
