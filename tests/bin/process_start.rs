//! Starts a pool of processes in the way that its first argument names, and says what came of it. A
//! second run of `main` would be seen by its first line.

use std::ffi::{CString, c_int};
use std::path::Path;
use std::sync::LazyLock;

// Named before the library, so that its constructors are linked after the library's own, which must not
// keep them from running. (In the test program the order is the other one.)
use registry::{Plugin, names, submit};

use concurrent_futures::{Executor, ProcessPoolExecutor};

#[path = "../src/process_life/visit.rs"]
mod visit;

submit!(Plugin("of this program"));

static POOL: LazyLock<ProcessPoolExecutor> = LazyLock::new(|| ProcessPoolExecutor::new(2));

fn main() {
    println!("main");
    let arguments: Vec<String> = std::env::args().collect();
    let arguments: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match *arguments {
        ["blocking"] => {
            let pool = ProcessPoolExecutor::new(1);
            println!("{}", pool.submit(u64::pow, (2, 10)).result().unwrap());
        }
        ["multi-thread"] => multi_thread(),
        ["current-thread"] => current_thread(),
        ["static"] => static_pool(),
        ["constructors"] => {
            let pool = ProcessPoolExecutor::new(1);
            println!("{:?}", pool.submit(names, ()).result().unwrap());
        }
        ["mark"] => println!("{:?}", std::env::var_os("CONCURRENT_FUTURES_WORKER")),
        ["build"] => match ProcessPoolExecutor::builder().build() {
            Ok(_) => println!("built"),
            Err(error) => println!("{:?}: {error}", error.kind()),
        },
        ["library", path] => std::process::exit(load(Path::new(path))),
        ["replaced", door] => replaced(door),
        ["visit", door] => {
            let pool = ProcessPoolExecutor::new(1);
            pool.submit(visit::pass, door.to_owned()).result().unwrap();
        }
        ["task-starts-program"] => {
            let pool = ProcessPoolExecutor::new(1);
            print!("{}", pool.submit(start_again, ()).result().unwrap());
        }
        _ => panic!("unknown way to start: {arguments:?}"),
    }
}

#[tokio::main]
async fn multi_thread() {
    let pool = ProcessPoolExecutor::new(1);
    println!("{}", pool.submit(u64::pow, (2, 10)).await.unwrap());
    let inside = move || pool.submit(u64::pow, (2, 11)).result().unwrap();
    let value = tokio::task::spawn_blocking(inside).await.unwrap();
    println!("{value}");
}

#[tokio::main(flavor = "current_thread")]
async fn current_thread() {
    let pool = ProcessPoolExecutor::new(1);
    println!("{}", pool.submit(u64::pow, (2, 10)).await.unwrap());
    let made_inside = tokio::task::spawn_blocking(|| ProcessPoolExecutor::new(1));
    let pool = made_inside.await.unwrap();
    println!("{}", pool.submit(u64::pow, (2, 11)).await.unwrap());
}

/// Runtimes come and go, and the pool stays.
fn static_pool() {
    for round in 0..3_u64 {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let value = runtime.block_on(async { POOL.submit(u64::pow, (round, 2)).await });
        println!("{}", value.unwrap());
    }
    println!("{}", POOL.submit(u64::pow, (3, 2)).result().unwrap());
}

/// This program, started by a task, is an ordinary program that may have workers of its own.
fn start_again() -> String {
    let mut text = String::new();
    for mode in ["mark", "blocking"] {
        let program = std::env::current_exe().unwrap();
        let output = std::process::Command::new(program)
            .arg(mode)
            .output()
            .unwrap();
        text.push_str(&String::from_utf8(output.stdout).unwrap());
    }
    text
}

/// The file that this program was started from is replaced while it waits at the door.
fn replaced(door: &str) {
    let pool = ProcessPoolExecutor::new(1);
    let before = pool.submit(std::process::id, ()).result().unwrap();
    visit::pass(door.to_owned());
    let lost = pool
        .submit(|| -> u32 { std::process::abort() }, ())
        .result();
    assert!(lost.unwrap_err().is_worker_lost());
    let after = pool.submit(std::process::id, ()).result().unwrap();
    println!("{}", before != after);
}

fn load(path: &Path) -> i32 {
    let path = CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
    // SAFETY: the library is one of ours, whose constructors may run at any time, and the function has
    // this type.
    unsafe {
        let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
        assert!(!library.is_null(), "the library cannot be loaded");
        let function = libc::dlsym(library, c"try_pool".as_ptr());
        assert!(!function.is_null(), "the library has no such function");
        std::mem::transmute::<*mut libc::c_void, extern "C" fn() -> c_int>(function)()
    }
}
