//! How many items may be on their way, and how many make a chunk.
//!
//! The window is measured in items that were pulled and whose results were not taken. It begins at
//! two items a worker, so that each has its next one waiting, and then holds about
//! [`WORK_AHEAD`] of measured work for each worker, so that short items do not wait for the
//! consumer's wake-ups. It grows only by as many items as were consumed.

use std::time::Duration;

/// How much work a window holds for each worker, once the items' times are known.
const WORK_AHEAD: Duration = Duration::from_millis(10);

/// The most items that a window holds unless it is fixed.
const MOST: usize = 1 << 16;

#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    workers: usize,
    fixed_window: Option<usize>,
    fixed_chunk: Option<usize>,
    consumed: usize,
    /// A moving average of an item's running time.
    nanos_per_item: Option<u64>,
}

impl Window {
    pub(super) fn new(
        workers: usize,
        fixed_window: Option<usize>,
        fixed_chunk: Option<usize>,
    ) -> Self {
        Self {
            workers: workers.clamp(1, MOST),
            fixed_window,
            fixed_chunk,
            consumed: 0,
            nanos_per_item: None,
        }
    }

    /// A chunk of `items` ran for `time`.
    pub(super) fn measured(&mut self, items: usize, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX) / items.max(1) as u64;
        self.nanos_per_item = Some(match self.nanos_per_item {
            None => nanos,
            Some(average) => average - average / 8 + nanos / 8,
        });
    }

    /// A result was taken.
    pub(super) fn consumed(&mut self) {
        self.consumed = self.consumed.saturating_add(1);
    }

    /// How many items may be on their way.
    pub(super) fn items(&self) -> usize {
        if let Some(items) = self.fixed_window {
            return items;
        }
        let least = (2 * self.workers).saturating_mul(self.fixed_chunk.unwrap_or(1));
        let work_ahead = match self.nanos_per_item {
            None => 0,
            Some(nanos) => {
                let items = WORK_AHEAD.as_nanos() / u128::from(nanos.max(1));
                usize::try_from(items)
                    .unwrap_or(MOST)
                    .saturating_mul(self.workers)
            }
        };
        let grown = least.saturating_add(self.consumed);
        least.max(work_ahead.min(grown).min(MOST))
    }

    /// How many items make the next chunk.
    pub(super) fn chunk(&self) -> usize {
        self.fixed_chunk.unwrap_or(1).min(self.items())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_begins_at_two_items_a_worker_and_grows_with_what_is_consumed() {
        let mut window = Window::new(4, None, None);
        assert_eq!(window.items(), 8);
        window.measured(1, Duration::from_micros(1));
        assert_eq!(window.items(), 8);
        for _ in 0..100 {
            window.consumed();
        }
        assert_eq!(window.items(), 108);
    }

    #[test]
    fn long_items_keep_the_window_small() {
        let mut window = Window::new(4, None, None);
        window.measured(1, Duration::from_secs(1));
        for _ in 0..100 {
            window.consumed();
        }
        assert_eq!(window.items(), 8);
    }

    #[test]
    fn a_fixed_window_stays_and_bounds_the_chunk() {
        let mut window = Window::new(4, Some(3), Some(50));
        window.measured(1, Duration::from_nanos(1));
        window.consumed();
        assert_eq!((window.items(), window.chunk()), (3, 3));
    }

    #[test]
    fn extreme_numbers_do_not_overflow() {
        let mut window = Window::new(usize::MAX, None, None);
        window.measured(0, Duration::MAX);
        assert!(window.items() >= 2 * MOST);
    }
}
