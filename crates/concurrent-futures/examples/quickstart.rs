//! Functions on a pool of threads, beside tokio: one task, many items, futures as they finish, an error.
//!
//! ```console
//! cargo run --example quickstart
//! ```
//!
//! With `ProcessPoolExecutor` in place of `ThreadPoolExecutor` the same functions run in worker processes.

use concurrent_futures::{Executor, TaskError, ThreadPoolExecutor, as_completed};

fn is_prime(n: u64) -> bool {
    n > 1 && (2..).take_while(|d| d * d <= n).all(|d| n % d != 0)
}

fn parse(text: String) -> Result<u64, std::num::ParseIntError> {
    text.parse()
}

#[tokio::main]
async fn main() -> Result<(), TaskError> {
    let pool = ThreadPoolExecutor::new(4);

    // A function and its arguments; the future can be awaited, blocked on, cancelled.
    let future = pool.submit(is_prime, 112_272_535_095_293);
    println!("112272535095293 is prime: {}", future.await?);

    // Many items: a stream of results in input order, a bounded number on their way.
    let mut primes = pool.map(is_prime, 1..100);
    let mut count = 0;
    while let Some(result) = primes.next().await {
        count += usize::from(result?);
    }
    println!("there are {count} primes below 100");

    // Futures as they finish, each with a key of yours.
    let mut done = as_completed([7, 8, 9].map(|n| (n, pool.submit(is_prime, n))));
    while let Some((n, future)) = done.next().await {
        println!("{n} is prime: {}", future.await?);
    }

    // What fails or panics is an error of its own future, and of no other.
    let error = pool.try_submit(parse, "ten".to_owned()).await.unwrap_err();
    println!("{error}: {}", error.message().unwrap_or_default());
    Ok(())
}
