//! How many items may be on their way, and how many of them make a chunk.
//!
//! The window is counted in items that were pulled and whose results were not given. It begins at
//! two items a worker, so that each has its next one waiting, and then holds about [`AHEAD`] of
//! measured work for each worker. It grows only with the results that were given, so a map of which
//! little is taken pulls little.
//!
//! A chunk has at most half of a worker's share of the window, so it begins at one item and grows
//! geometrically, and no chunk has many more items than were seen before. It stops growing when it takes [`LONG`], which hides
//! handing it over and the wake-ups that this may cost, on threads and in worker processes. Where
//! the end of the input is in sight, chunks shrink with what is left (guided self-scheduling:
//! Polychronopoulos and Kuck, 1987), though not below [`SHORT`], so that all workers end together.
//!
//! What an item takes is not only its running time: what the caller spends on pulling it, handing it
//! over and taking its result counts as well, so that items which are large and not slow make small
//! chunks and small windows too.

use std::time::Duration;

use super::cost::{Handling, Running};

/// How much work a window holds for each worker, in nanoseconds.
const AHEAD: f64 = 10e6;

/// How long a chunk takes, in nanoseconds. A sleeping worker is woken in some 35 000; with the next
/// chunk waiting, that is seldom paid, and then a tenth of this.
const LONG: f64 = 500e3;

/// What a chunk at the end takes at least, in nanoseconds: to balance less costs more than it
/// gains.
const SHORT: f64 = 50e3;

/// The most items that a chunk has unless it is fixed. Whatever handing over costs, it is little
/// for each of so many; and if items become long all of a sudden, this many wait for each other.
const MOST_IN_CHUNK: usize = 1 << 12;

/// The most items that a window holds for each worker unless it is fixed.
const MOST_AHEAD: usize = 8 * MOST_IN_CHUNK;

/// How many results are given before the window begins to grow. Who takes only a few of an endless
/// input wants no more of it to be pulled.
const FEW: usize = 10;

/// By how many items the window grows with each result that is given after those. A chunk is as
/// long as what was given before it where there are two workers, and a third of it where there are
/// six.
const GROWTH: usize = 4;

/// How many workers are planned for.
fn counted(workers: usize) -> usize {
    workers.clamp(1, 1 << 16)
}

/// Plans the window and the chunks of one map.
#[derive(Clone, Debug)]
pub(super) struct Planner {
    workers: usize,
    fixed_window: Option<usize>,
    fixed_chunk: Option<usize>,
    running: Running,
    /// Pulling an item and handing it over.
    feeding: Handling,
    /// Taking a result over.
    taking: Handling,
}

impl Planner {
    pub(super) fn new(
        workers: usize,
        fixed_window: Option<usize>,
        fixed_chunk: Option<usize>,
    ) -> Self {
        Self {
            workers: counted(workers),
            fixed_window,
            fixed_chunk,
            running: Running::default(),
            feeding: Handling::default(),
            taking: Handling::default(),
        }
    }

    /// The executor has so many workers now.
    pub(super) fn set_workers(&mut self, workers: usize) {
        self.workers = counted(workers);
    }

    /// Something is planned by measured times.
    pub(super) fn is_automatic(&self) -> bool {
        self.fixed_window.is_none() || self.fixed_chunk.is_none()
    }

    /// The caller took `time` to pull `items` and to hand them over as a chunk.
    pub(super) fn fed(&mut self, items: usize, time: Duration) {
        self.feeding.add(items, time);
    }

    /// The items of a chunk ran for `time`.
    pub(super) fn ran(&mut self, items: usize, time: Duration) {
        self.running.add(items, time);
    }

    /// The caller took `time` to take over the results of a chunk.
    pub(super) fn taken(&mut self, items: usize, time: Duration) {
        self.taking.add(items, time);
    }

    /// How many items may be on their way after `given` results were given.
    pub(super) fn window(&self, given: usize) -> usize {
        if let Some(items) = self.fixed_window {
            return items;
        }
        let least = self
            .two_for_each()
            .saturating_mul(self.fixed_chunk.unwrap_or(1));
        let ahead = self.items_in(AHEAD).map_or(0, |items| {
            items.min(MOST_AHEAD).saturating_mul(self.workers)
        });
        least.max(ahead.min(self.grown(least, given)))
    }

    /// How many items make the next chunk, after `given` results were given and with at most
    /// `left` items to come.
    pub(super) fn chunk(&self, given: usize, left: Option<usize>) -> usize {
        let window = self.window(given);
        if let Some(items) = self.fixed_chunk {
            return items.min(window);
        }
        let two_for_each = self.two_for_each();
        let share = window.min(self.grown(two_for_each, given)) / two_for_each;
        // Nothing is known of the items before the first of them is done.
        let long = self.items_in(LONG).unwrap_or(1);
        let short = self.items_in(SHORT).unwrap_or(1);
        let balanced = left.map_or(usize::MAX, |left| (left / two_for_each).max(short));
        share.min(long).min(balanced).clamp(1, MOST_IN_CHUNK)
    }

    /// How many results have to be given until the window has room for `missing` items more, at
    /// least.
    pub(super) fn results_for(missing: usize) -> usize {
        missing.div_ceil(GROWTH + 1)
    }

    fn two_for_each(&self) -> usize {
        2 * self.workers
    }

    /// What `least` may have become.
    fn grown(&self, least: usize, given: usize) -> usize {
        least.saturating_add(given.saturating_sub(FEW).saturating_mul(GROWTH))
    }

    /// How many items take `nanoseconds`.
    fn items_in(&self, nanoseconds: f64) -> Option<usize> {
        let item = self.running.of_item()? + self.feeding.of_item() + self.taking.of_item();
        // Rounded towards zero, and to the largest number where it is larger.
        Some((nanoseconds / item.max(1.0)) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(number: u64) -> Duration {
        Duration::from_micros(number)
    }

    /// A planner for which each item runs for `nanos`, and costs the caller nothing.
    fn measured(workers: usize, nanos: u64) -> Planner {
        let mut planner = Planner::new(workers, None, None);
        planner.ran(1, Duration::from_nanos(nanos));
        planner
    }

    const MANY: usize = 10_000_000;

    #[test]
    fn nothing_measured_makes_chunks_of_one_item_and_two_of_them_for_each_worker() {
        let planner = Planner::new(4, None, None);
        for given in [0, 10, MANY] {
            assert_eq!(planner.window(given), 8);
            assert_eq!(planner.chunk(given, None), 1);
            assert_eq!(planner.chunk(given, Some(MANY)), 1);
        }
    }

    #[test]
    fn whoever_takes_ten_of_an_endless_input_has_it_pulled_ten_further_than_the_first_window() {
        for workers in [1, 2, 16] {
            let planner = measured(workers, 1);
            for given in 0..=10 {
                assert_eq!(planner.window(given), 2 * workers);
                assert_eq!(planner.chunk(given, None), 1);
            }
        }
    }

    #[test]
    fn the_window_grows_only_with_the_results_that_are_given() {
        let planner = measured(2, 100);
        for given in 0..10_000 {
            let missing = planner.window(given + 1) - planner.window(given);
            assert!(missing <= GROWTH);
        }
        assert!(planner.window(10_000) > 10_000);
    }

    #[test]
    fn nobody_looks_for_room_too_late() {
        let planner = measured(2, 100);
        for given in FEW..1_000 {
            for missing in [1, 4, 5, 6, 100] {
                let later = Planner::results_for(missing) - 1;
                let room = planner.window(given + later) - planner.window(given) + later;
                assert!(room < missing);
            }
        }
    }

    #[test]
    fn chunks_grow_geometrically() {
        let planner = measured(2, 10);
        let mut given = 0;
        let mut chunks = 0;
        while planner.chunk(given, None) < MOST_IN_CHUNK {
            given += planner.chunk(given, None);
            chunks += 1;
        }
        // One after another they reach the thousands in some dozens of steps.
        assert!((12..100).contains(&chunks), "{chunks}");
    }

    #[test]
    fn a_chunk_never_exceeds_half_of_a_workers_share_of_the_window() {
        for workers in [1, 2, 3, 64] {
            for nanos in [1, 1_000, 1_000_000, 1_000_000_000] {
                let planner = measured(workers, nanos);
                for given in [0, 1, 17, 100, 5_000, MANY] {
                    let chunk = planner.chunk(given, None);
                    assert!(chunk == 1 || chunk * 2 * workers <= planner.window(given));
                }
            }
        }
    }

    #[test]
    fn a_chunk_takes_about_half_a_millisecond() {
        assert_eq!(measured(2, 20_000).chunk(MANY, None), 25);
        assert_eq!(measured(2, 1_000).chunk(MANY, None), 500);
        // Of the shortest items the number is bounded, and of the longest there is one.
        assert_eq!(measured(2, 1).chunk(MANY, None), MOST_IN_CHUNK);
        assert_eq!(measured(2, 1_000_000_000).chunk(MANY, None), 1);
    }

    #[test]
    fn the_window_holds_ten_milliseconds_of_work_for_each_worker() {
        assert_eq!(measured(2, 20_000).window(MANY), 2 * 500);
        assert_eq!(measured(8, 1_000_000).window(MANY), 80);
        // But two items each at least, and not without end.
        assert_eq!(measured(4, 1_000_000_000).window(MANY), 8);
        assert_eq!(measured(2, 1).window(MANY), 2 * MOST_AHEAD);
    }

    #[test]
    fn towards_the_end_chunks_shrink_with_what_is_left() {
        let planner = measured(2, 20_000);
        let chunk = |left| planner.chunk(MANY, Some(left));
        assert_eq!(chunk(MANY), 25);
        assert_eq!((chunk(100), chunk(40), chunk(20)), (25, 10, 5));
        // Nothing is gained by chunks of less than 50 microseconds.
        assert_eq!((chunk(8), chunk(1), chunk(0)), (2, 2, 2));
        assert_eq!(measured(2, 100).chunk(MANY, Some(3)), 500);
    }

    #[test]
    fn items_that_cost_the_caller_more_than_the_worker_make_small_chunks() {
        let mut planner = measured(2, 50);
        assert_eq!(planner.chunk(MANY, None), MOST_IN_CHUNK);
        planner.fed(10, micros(30));
        planner.taken(10, micros(20) - Duration::from_nanos(500));
        assert_eq!(planner.chunk(MANY, None), 100);
        assert_eq!(planner.window(MANY), 4_000);
    }

    #[test]
    fn items_that_become_long_make_chunks_of_one_at_once() {
        let mut planner = measured(2, 100);
        for _ in 0..100 {
            planner.ran(4_096, micros(400));
        }
        assert_eq!(planner.chunk(MANY, None), MOST_IN_CHUNK);
        planner.ran(4_096, Duration::from_secs(40));
        assert_eq!(planner.chunk(MANY, None), 1);
    }

    #[test]
    fn a_long_item_among_short_ones_counts_for_its_share() {
        let mut planner = Planner::new(2, None, None);
        for number in 0..10_000 {
            // 1 % take 500 microseconds, the others 5: 10 on average.
            let time = if number % 100 == 0 { 500 } else { 5 };
            planner.ran(1, micros(time));
        }
        planner.ran(100, micros(995));
        let chunk = planner.chunk(MANY, None);
        assert!((40..100).contains(&chunk), "{chunk}");
    }

    #[test]
    fn a_fixed_window_bounds_the_chunk() {
        let mut planner = Planner::new(2, Some(40), None);
        assert_eq!((planner.window(0), planner.chunk(0, None)), (40, 1));
        planner.ran(1, Duration::from_nanos(1));
        assert_eq!((planner.window(MANY), planner.chunk(MANY, None)), (40, 10));
        let mut planner = Planner::new(4, Some(3), None);
        planner.ran(1, Duration::from_nanos(1));
        assert_eq!((planner.window(MANY), planner.chunk(MANY, None)), (3, 1));
    }

    #[test]
    fn a_fixed_chunk_stays_and_has_room_in_the_window() {
        let mut planner = Planner::new(2, None, Some(100));
        assert_eq!((planner.window(0), planner.chunk(0, None)), (400, 100));
        planner.ran(100, Duration::from_secs(100));
        assert_eq!(
            (planner.window(MANY), planner.chunk(MANY, Some(3))),
            (400, 100)
        );
    }

    #[test]
    fn what_is_fixed_in_both_stays_and_the_window_bounds_the_chunk() {
        let mut planner = Planner::new(4, Some(3), Some(50));
        assert!(!planner.is_automatic());
        planner.ran(1, Duration::from_nanos(1));
        assert_eq!((planner.window(MANY), planner.chunk(MANY, None)), (3, 3));
    }

    #[test]
    fn extreme_numbers_do_not_overflow() {
        let mut planner = Planner::new(usize::MAX, None, Some(usize::MAX));
        planner.ran(0, Duration::MAX);
        planner.fed(usize::MAX, Duration::ZERO);
        planner.taken(0, Duration::MAX);
        assert_eq!(planner.window(usize::MAX), usize::MAX);
        assert_eq!(planner.chunk(usize::MAX, Some(usize::MAX)), usize::MAX);
        let mut planner = Planner::new(1, None, None);
        planner.ran(1, Duration::ZERO);
        assert!(planner.window(usize::MAX) <= MOST_AHEAD);
    }
}
