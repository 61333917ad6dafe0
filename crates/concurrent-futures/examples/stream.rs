//! A stream through a pool: numbers come in, one a line, and results go out as they are ready.
//!
//! ```console
//! seq 1000000000000 1000000000040 | cargo run --example stream
//! ```
//!
//! At most eight lines are on their way. While they are, no other is read: whoever writes faster than the
//! workers work is held back.

use concurrent_futures::ThreadPoolExecutor;
use concurrent_futures::stream::StreamExt as _;
use futures_util::{StreamExt as _, stream};
use std::error::Error;
use std::io::IsTerminal as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};

fn smallest_divisor(line: String) -> Result<String, String> {
    let n: u64 = line
        .trim()
        .parse()
        .map_err(|error| format!("{line:?}: {error}"))?;
    let divisor = (2..).take_while(|d| d * d <= n).find(|d| n % d == 0);
    Ok(match divisor {
        Some(divisor) => format!("{n} is divided by {divisor}"),
        None => format!("{n} is divided by nothing smaller"),
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if std::io::stdin().is_terminal() {
        eprintln!("numbers, one a line; Ctrl-D ends");
    }
    let pool = ThreadPoolExecutor::builder().build()?;
    let lines = BufReader::new(tokio::io::stdin()).lines();
    let input = stream::unfold(lines, async |mut lines| {
        let line = lines.next_line().await.unwrap_or_else(|error| {
            eprintln!("the input ends: {error}");
            None
        })?;
        Some((line, lines))
    });
    let mut results = Box::pin(input)
        .try_map_on(&pool, smallest_divisor)
        .window(8)
        .unordered();
    while let Some(result) = results.next().await {
        match result {
            Ok(text) => println!("{text}"),
            Err(error) => eprintln!("{error}: {}", error.message().unwrap_or_default()),
        }
    }
    Ok(())
}
