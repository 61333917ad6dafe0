//! A dynamic library that tries to make a pool of processes: its code is not in the program that would
//! have to be started.

use concurrent_futures::{BuildErrorKind, ProcessPoolExecutor};

/// Prints why there is no pool; 0 if that is because of the program.
#[unsafe(no_mangle)]
pub extern "C" fn try_pool() -> i32 {
    match ProcessPoolExecutor::builder().max_workers(1).build() {
        Ok(_) => 1,
        Err(error) => {
            println!("{error}");
            i32::from(error.kind() != BuildErrorKind::WrongProgram) * 2
        }
    }
}
