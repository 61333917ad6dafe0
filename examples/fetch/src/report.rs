//! What the demo writes: results to stdout, errors and progress to stderr, so that neither garbles the other.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU32, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

/// The output of one run.
#[derive(Debug)]
pub(crate) struct Report {
    bar: ProgressBar,
    count: u32,
    done: AtomicU32,
    quiet: bool,
}

impl Report {
    /// A report of `count` numbers; the progress bar shows only on a terminal and unless `quiet`.
    pub(crate) fn new(count: u32, quiet: bool) -> Self {
        let target = if quiet {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {elapsed}")
            .expect("the template is well formed");
        let bar = ProgressBar::with_draw_target(Some(u64::from(count)), target).with_style(style);
        Self {
            bar,
            count,
            done: AtomicU32::new(0),
            quiet,
        }
    }

    /// The progress bar, for the results to move.
    pub(crate) fn bar(&self) -> ProgressBar {
        self.bar.clone()
    }

    /// Writes the line of a number that was fetched.
    pub(crate) fn fetched(&self, number: u32, args: &Value) -> io::Result<()> {
        self.result(&format!("{number} ---> {args}"))
    }

    /// Writes the line of a number that failed, and why it did.
    pub(crate) fn failed(&self, number: u32, error: &dyn Error) -> io::Result<()> {
        self.error(&format!("number {number}: {}", chain(error)));
        self.result("something goes wrong....")
    }

    /// Writes an error.
    pub(crate) fn error(&self, text: &str) {
        self.bar
            .suspend(|| write_to_stderr(&format!("error: {text}")));
    }

    /// Writes something that is good to know.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            self.bar.suspend(|| write_to_stderr(text));
        }
    }

    /// Takes the progress bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Says how far the run came. Takes no lock of the bar: its holder may be stuck in a write to a full pipe.
    pub(crate) fn interrupted(&self) {
        let clear = if !self.quiet && io::stderr().is_terminal() {
            "\r\x1b[2K"
        } else {
            ""
        };
        write_to_stderr(&format!(
            "{clear}error: interrupted with {} of {} numbers done",
            self.done.load(Ordering::Relaxed),
            self.count
        ));
    }

    fn result(&self, line: &str) -> io::Result<()> {
        // Counted first, so that whoever has seen the line interrupts a run that counts it.
        self.done.fetch_add(1, Ordering::Relaxed);
        self.bar.suspend(|| writeln!(io::stdout(), "{line}"))
    }
}

/// The text of `error` and of everything that caused it.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// A closed stderr is no reason to stop.
fn write_to_stderr(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
