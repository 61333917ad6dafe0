//! What a worker tells of its events and spans, as records in a ring of their own: the lane.
//!
//! Always: no address is in a record. A callsite is announced once by each worker, with all that is
//! known of it, and named by its number afterwards. What makes a record is bounded in the worker, and
//! again where it is read, since a worker may write what it likes.

use serde::{Deserialize, Serialize};
use tracing::Level;
use tracing::level_filters::LevelFilter;

/// The most callsites that a worker announces; records of others are dropped.
pub(super) const MOST_CALLSITES: usize = 4_096;
/// The most fields of a callsite that travel.
pub(super) const MOST_FIELDS: usize = 64;
/// The most bytes of each text that describes a callsite.
pub(super) const MOST_NAME: usize = 512;
/// The most bytes that all texts among the values of one record have.
pub(super) const MOST_TEXT: usize = 16 << 10;
/// The most causes of an error that travel.
pub(super) const MOST_CAUSES: usize = 16;

/// One frame of the lane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Record {
    /// The next callsite; they are numbered in the order in which they are announced.
    Callsite(Description),
    Event(Occurrence),
    Opened {
        span: u64,
        what: Occurrence,
    },
    /// Values that a span was given after it was opened.
    Recorded {
        span: u64,
        values: Values,
    },
    Closed {
        span: u64,
    },
}

/// An event that has happened, or a span that was opened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Occurrence {
    pub(super) callsite: u32,
    /// The number of the task that the worker runs, if it runs one.
    pub(super) task: Option<u64>,
    pub(super) parent: Parent,
    pub(super) values: Values,
}

/// What an event or a span is inside of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Parent {
    /// Nothing: its author has said so.
    Root,
    /// No span of the worker, so the one that the task was submitted in.
    Task,
    /// A span of the worker. Those are numbered in the order in which they are opened.
    Span(u64),
}

/// Values by the index of their field.
pub(super) type Values = Vec<(u32, Value)>;

/// The value of a field, as its visitor is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Value {
    I64(i64),
    U64(u64),
    I128(i128),
    U128(u128),
    F64(f64),
    Bool(bool),
    Text(String),
    /// What its `Debug` or `Display` gave.
    Shown(String),
    /// An error and its causes.
    Error(Vec<String>),
}

/// All that is known of a callsite.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Description {
    pub(super) is_span: bool,
    /// 1 for errors to 5 for traces.
    pub(super) level: u32,
    pub(super) name: String,
    pub(super) target: String,
    pub(super) module_path: Option<String>,
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
    pub(super) fields: Vec<String>,
}

const LEVELS: [Level; 5] = [
    Level::ERROR,
    Level::WARN,
    Level::INFO,
    Level::DEBUG,
    Level::TRACE,
];

/// A level filter as a word of shared memory: 0 for none, up to 5.
pub(super) fn word_of(filter: LevelFilter) -> u32 {
    let Some(level) = filter.into_level() else {
        return 0;
    };
    let known = LEVELS.iter().zip(1..).find(|(known, _)| **known == level);
    known.map_or(0, |(_, word)| word)
}

/// The filter of a word.
pub(super) fn filter_of(word: u32) -> LevelFilter {
    level_of(word).map_or(LevelFilter::OFF, LevelFilter::from_level)
}

/// The level of a word, if it is one.
pub(super) fn level_of(word: u32) -> Option<Level> {
    LEVELS
        .get(usize::try_from(word).ok()?.checked_sub(1)?)
        .copied()
}

/// At most the first `most` bytes of `text`, in whole characters.
pub(super) fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

impl Description {
    /// It says what callsites of this program could have, and no more than a worker may tell.
    pub(super) fn is_valid(&self) -> bool {
        let texts = [&self.name, &self.target].into_iter();
        let texts = texts.chain(&self.module_path).chain(&self.file);
        level_of(self.level).is_some()
            && self.fields.len() <= MOST_FIELDS
            && texts
                .chain(&self.fields)
                .all(|text| text.len() <= MOST_NAME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_come_back_as_they_were_written() {
        for filter in [
            LevelFilter::OFF,
            LevelFilter::ERROR,
            LevelFilter::WARN,
            LevelFilter::INFO,
            LevelFilter::DEBUG,
            LevelFilter::TRACE,
        ] {
            assert_eq!(filter_of(word_of(filter)), filter);
        }
        assert!(word_of(LevelFilter::INFO) < word_of(LevelFilter::DEBUG));
        assert_eq!(
            (level_of(0), level_of(6), level_of(u32::MAX)),
            (None, None, None)
        );
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("blå", 3), "bl");
        assert_eq!(cut("blå", 4), "blå");
        assert_eq!(cut("blå", 100), "blå");
    }
}
