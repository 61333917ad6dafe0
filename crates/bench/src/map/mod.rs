//! The suite `map`: a function on many items, in chunks that our map chooses, beside other ways and
//! beside fixed sizes.
//!
//! How good the choice is says the row `automatic/best-chunk`: our time in a round by that of the
//! fixed size which is the best in the other rounds. The best of the same round would be the one
//! that noise has favoured.

mod best;
mod items;
mod pools;
mod python;
mod trivial;

pub(crate) use best::automatic_to_best;

use crate::measure::{Case, Subject};
use items::{Even, Payload, Skewed};
use pools::Processes;
use pools::{Threads, sweep};

const fn nanoseconds(name: &'static str, subjects: fn() -> Vec<Subject>) -> Case {
    Case {
        name,
        unit: "ns",
        subjects,
    }
}

pub(crate) const CASES: &[Case] = &[
    nanoseconds("trivial", trivial::on_processes),
    nanoseconds("trivial-threads", trivial::on_threads),
    nanoseconds("even-20us", sweep::<Processes, Even>),
    nanoseconds("even-20us-threads", sweep::<Threads, Even>),
    nanoseconds("skewed", sweep::<Processes, Skewed>),
    nanoseconds("skewed-threads", sweep::<Threads, Skewed>),
    nanoseconds("payload-1KiB", sweep::<Processes, Payload>),
    nanoseconds("payload-1KiB-threads", sweep::<Threads, Payload>),
];
