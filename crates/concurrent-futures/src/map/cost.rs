//! What an item costs, learnt from the times of chunks.
//!
//! Chunks differ in size, and a time is one of a chunk. All times are in nanoseconds.

use std::time::Duration;

/// What remains of older measurements with each new one. About eight of them count.
const KEPT: f64 = 0.875;

/// How long an item runs, on average.
///
/// Long items among short ones are part of the work, so nothing is left out: what is averaged is
/// time over items, and a chunk counts for as many items as it has.
#[derive(Clone, Debug, Default)]
pub(super) struct Running {
    time: f64,
    items: f64,
}

impl Running {
    /// A chunk of `items` ran for `time`.
    pub(super) fn add(&mut self, items: usize, time: Duration) {
        self.time = self.time * KEPT + nanoseconds(time);
        self.items = self.items * KEPT + items as f64;
    }

    /// How long an item runs; `None` before the first.
    pub(super) fn of_item(&self) -> Option<f64> {
        (self.items > 0.0).then(|| self.time / self.items)
    }
}

/// What handling an item costs beside the workers.
///
/// Falls fast and rises slowly: it is measured on a thread that others interrupt, which is no
/// property of the items, and the first chunks are small, so that each of their items bears much of
/// what a chunk costs as a whole.
#[derive(Clone, Debug, Default)]
pub(super) struct Handling {
    of_item: Option<f64>,
}

impl Handling {
    /// Handling a chunk of `items` took `time`.
    pub(super) fn add(&mut self, items: usize, time: Duration) {
        let new = nanoseconds(time) / items.max(1) as f64;
        self.of_item = Some(match self.of_item {
            None => new,
            Some(old) if new < old => f64::midpoint(old, new),
            // One measurement adds an eighth at most, however long the interruption was.
            Some(old) => old + (new - old).min(old) * (1.0 - KEPT),
        });
    }

    /// What an item costs; 0 before the first.
    pub(super) fn of_item(&self) -> f64 {
        self.of_item.unwrap_or(0.0)
    }
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(number: u64) -> Duration {
        Duration::from_nanos(number)
    }

    #[test]
    fn nothing_is_known_of_items_before_the_first() {
        assert_eq!(Running::default().of_item(), None);
        assert!(Handling::default().of_item().abs() < f64::EPSILON);
    }

    #[test]
    fn a_chunk_counts_for_as_many_items_as_it_has() {
        let mut running = Running::default();
        running.add(1, nanos(1_000_000));
        running.add(999, nanos(999_000));
        let item = running.of_item().expect("it was measured");
        // One in about a thousand took a thousand times as long.
        assert!((1_500.0..2_100.0).contains(&item), "{item}");
    }

    #[test]
    fn running_times_follow_the_items_both_ways() {
        let mut running = Running::default();
        for (nanoseconds, times) in [(100, 50), (100_000, 50), (100, 100)] {
            for _ in 0..times {
                running.add(10, nanos(10 * nanoseconds));
            }
            let item = running.of_item().expect("it was measured");
            let wanted = nanoseconds as f64;
            assert!((item / wanted - 1.0).abs() < 0.2, "{item} {wanted}");
        }
    }

    #[test]
    fn handling_falls_fast() {
        let mut handling = Handling::default();
        handling.add(1, nanos(50_000));
        for _ in 0..10 {
            handling.add(100, nanos(5_000));
        }
        assert!(handling.of_item() < 100.0, "{}", handling.of_item());
    }

    #[test]
    fn an_interruption_raises_handling_by_an_eighth() {
        let mut handling = Handling::default();
        handling.add(1, nanos(80));
        handling.add(1, nanos(1_000_000_000));
        assert!((handling.of_item() - 90.0).abs() < 1e-6);
    }

    #[test]
    fn handling_that_stays_dear_is_noticed() {
        let mut handling = Handling::default();
        handling.add(10, nanos(1_000));
        for _ in 0..60 {
            handling.add(10, nanos(100_000));
        }
        assert!(handling.of_item() > 9_000.0, "{}", handling.of_item());
    }
}
