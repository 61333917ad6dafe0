//! The example of `ProcessPoolExecutor` in Python's documentation: which of these numbers are primes?
//!
//! ```console
//! cargo run --release --example primes
//! ```
//!
//! The lines that it prints are those of Python. There are as many worker processes as CPUs, and each of
//! them is this program, started again.

use concurrent_futures::{Executor, ProcessPoolExecutor};

const PRIMES: [u64; 6] = [
    112272535095293,
    112582705942171,
    112272535095293,
    115280095190773,
    115797848077099,
    1099726899285419,
];

fn is_prime(n: u64) -> bool {
    if n < 2 {
        return false;
    }
    if n == 2 {
        return true;
    }
    if n % 2 == 0 {
        return false;
    }
    (3..=n.isqrt()).step_by(2).all(|divisor| n % divisor != 0)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let executor = ProcessPoolExecutor::builder().build()?;
    for (number, prime) in PRIMES.into_iter().zip(executor.map(is_prime, PRIMES)) {
        let answer = if prime? { "True" } else { "False" };
        println!("{number} is prime: {answer}");
    }
    Ok(())
}
