//! Errors as they cross from a worker process: the kind, the texts, the place.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::kind::{Direction, Ran, WorkerExit};
use super::{Loss, TaskError, What};
use crate::panic::Panic;

/// The longest text that is carried, in bytes; the rest is cut off.
const MOST_TEXT: usize = 64 * 1024;
/// The longest chain of sources that is carried.
const MOST_SOURCES: usize = 32;

/// An error that can be encoded.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireError {
    what: WireWhat,
    /// The texts of the source and of its sources.
    sources: Vec<String>,
    stderr: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
enum WireWhat {
    Failed,
    Panicked {
        message: String,
        location: Option<String>,
    },
    Cancelled,
    Aborted,
    Overrun(Duration),
    TooLarge {
        size: u64,
        limit: u64,
        ran: bool,
    },
    Codec {
        direction: u8,
        type_name: String,
    },
    WorkerLost {
        pid: u32,
        exit: (u8, i32),
        note: Option<String>,
        attempts: u32,
        lacks_memory: bool,
        function: Option<String>,
    },
    Other(String),
}

/// The text of an error that happened in another process.
#[derive(Debug)]
pub(crate) struct RemoteError {
    text: String,
    source: Option<Box<RemoteError>>,
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for RemoteError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

const DIRECTIONS: [Direction; 4] = [
    Direction::EncodeArguments,
    Direction::DecodeArguments,
    Direction::EncodeResult,
    Direction::DecodeResult,
];

impl From<&TaskError> for WireError {
    fn from(error: &TaskError) -> Self {
        let what = match &error.0.what {
            What::Failed => WireWhat::Failed,
            What::Panicked(panic) => WireWhat::Panicked {
                message: cut(panic.message.clone()),
                location: panic.location.clone(),
            },
            What::Cancelled => WireWhat::Cancelled,
            What::Aborted => WireWhat::Aborted,
            What::TimedOut {
                limit: Some(limit),
                goes_on: false,
                ..
            } => WireWhat::Overrun(*limit),
            What::TooLarge { size, limit } => WireWhat::TooLarge {
                size: *size,
                limit: *limit,
                ran: error.0.ran != Ran::No,
            },
            What::Codec(direction, type_name) => WireWhat::Codec {
                direction: DIRECTIONS
                    .iter()
                    .position(|known| Some(*known) == *direction)
                    .map_or(u8::MAX, |position| {
                        u8::try_from(position).unwrap_or(u8::MAX)
                    }),
                type_name: cut(type_name.clone().into_owned()),
            },
            What::WorkerLost(loss) => WireWhat::WorkerLost {
                pid: loss.pid,
                exit: match loss.exit {
                    WorkerExit::Code(code) => (0, code),
                    WorkerExit::Signal(signal) => (1, signal),
                    WorkerExit::Unknown => (2, 0),
                },
                note: loss.note.clone(),
                attempts: loss.attempts,
                lacks_memory: loss.lacks_memory,
                function: loss.function.clone().map(Cow::into_owned),
            },
            _ => WireWhat::Other(cut(error.to_string())),
        };
        let first: Option<&(dyn Error + 'static)> = Error::source(error);
        let sources = std::iter::successors(first, |error| (*error).source())
            .take(MOST_SOURCES)
            .map(|error| cut(error.to_string()))
            .collect();
        let stderr = error.stderr_tail().map(str::to_owned);
        Self {
            what,
            sources,
            stderr,
        }
    }
}

impl From<WireError> for TaskError {
    fn from(wire: WireError) -> Self {
        let error = match wire.what {
            WireWhat::Failed => Self::new(What::Failed, Ran::Yes),
            WireWhat::Panicked { message, location } => Self::panicked(Panic { message, location }),
            WireWhat::Cancelled => Self::cancelled(),
            WireWhat::Aborted => Self::aborted(),
            WireWhat::Overrun(limit) => Self::overrun(limit),
            WireWhat::TooLarge { size, limit, ran } => {
                Self::too_large(size, limit, if ran { Ran::Yes } else { Ran::No })
            }
            WireWhat::Codec {
                direction,
                type_name,
            } => {
                let error = Self::new(What::Codec(None, type_name.into()), Ran::Maybe);
                match DIRECTIONS.get(usize::from(direction)) {
                    Some(direction) => error.going(*direction),
                    None => error,
                }
            }
            WireWhat::WorkerLost {
                pid,
                exit,
                note,
                attempts,
                lacks_memory,
                function,
            } => {
                let exit = match exit {
                    (0, code) => WorkerExit::Code(code),
                    (1, signal) => WorkerExit::Signal(signal),
                    _ => WorkerExit::Unknown,
                };
                Self::worker_lost(Loss {
                    pid,
                    exit,
                    note,
                    attempts,
                    lacks_memory,
                    function: function.map(Cow::Owned),
                })
            }
            WireWhat::Other(text) => {
                return Self::failed(RemoteError {
                    text,
                    source: chain(wire.sources),
                })
                .with_stderr(wire.stderr);
            }
        };
        let error = error.with_stderr(wire.stderr);
        match chain(wire.sources) {
            Some(source) => error.caused_by(*source),
            None => error,
        }
    }
}

/// The error that these texts tell of, each the cause of the one before it. A chain has an end, since
/// dropping it recurses.
pub(crate) fn chain(texts: Vec<String>) -> Option<Box<RemoteError>> {
    let texts = texts.into_iter().take(MOST_SOURCES);
    texts.rev().fold(None, |source, text| {
        Some(Box::new(RemoteError { text, source }))
    })
}

fn cut(mut text: String) -> String {
    if text.len() > MOST_TEXT {
        let mut end = MOST_TEXT;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(" … (cut off)");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_kind_texts_and_sources() {
        let error = TaskError::failed("outer").caused_by(RemoteError {
            text: "outer".into(),
            source: chain(vec!["inner".into()]),
        });
        let there = TaskError::from(WireError::from(&error));
        assert!(there.is_failed());
        let source = there.source().expect("a source");
        assert_eq!(source.to_string(), "outer");
        assert_eq!(source.source().expect("a source").to_string(), "inner");
    }

    #[test]
    fn a_chain_that_is_longer_than_any_that_is_sent_ends() {
        let sources = vec![String::new(); 1_000_000];
        let error = TaskError::from(WireError {
            what: WireWhat::Failed,
            sources,
            stderr: None,
        });
        let chain = std::iter::successors(error.source(), |error| (*error).source());
        assert_eq!(chain.count(), MOST_SOURCES);
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let error = TaskError::failed("ä".repeat(MOST_TEXT));
        let there = TaskError::from(WireError::from(&error));
        let message = there.message().expect("a message");
        assert!(message.len() < MOST_TEXT + 20 && message.ends_with("(cut off)"));
    }
}
