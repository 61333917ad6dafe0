//! The chunks that an executor is handed, seen by one that notes them.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::executor::{
    Admission, Chunk, Executor, InlineExecutor, Job, Place, Portable, Shutdown, TaskOptions,
};
use crate::task::TaskFuture;

/// Runs everything where it is submitted, and notes how many items each chunk has.
#[derive(Clone, Default)]
struct Noting {
    executor: InlineExecutor,
    chunks: Arc<Mutex<Vec<usize>>>,
}

impl Noting {
    fn chunks(&self) -> Vec<usize> {
        self.chunks.lock().expect("nobody panics with it").clone()
    }

    fn pulled(&self) -> usize {
        self.chunks().iter().sum()
    }
}

impl Executor for Noting {
    fn max_workers(&self) -> usize {
        2
    }

    fn admission(&self) -> &Admission {
        self.executor.admission()
    }

    fn execute<J: Job>(
        &self,
        job: J,
        place: Option<Place>,
        options: &TaskOptions,
    ) -> TaskFuture<J::Output> {
        self.executor.execute(job, place, options)
    }

    fn execute_fn<A: Portable, T: Portable>(
        &self,
        function: fn(A) -> T,
        argument: A,
        place: Option<Place>,
        options: &TaskOptions,
    ) -> TaskFuture<T> {
        self.executor.execute_fn(function, argument, place, options)
    }

    fn execute_chunk<J: Job>(
        &self,
        function: J::Function,
        items: Vec<J::Args>,
        place: Option<Place>,
        options: &TaskOptions,
    ) -> TaskFuture<Chunk<J::Output>> {
        let mut chunks = self.chunks.lock().expect("nobody panics with it");
        chunks.push(items.len());
        drop(chunks);
        self.executor
            .execute_chunk::<J>(function, items, place, options)
    }

    fn shutdown(&self, how: Shutdown) -> TaskFuture<()> {
        self.executor.shutdown(how)
    }
}

#[test]
fn short_items_travel_in_chunks_that_grow_from_one_item() {
    let executor = Noting::default();
    let results = executor.map(|n: u64| n, 0..100_000);
    let values = results
        .into_iter()
        .map(|result| result.expect("it returns"));
    assert!(values.eq(0..100_000));
    let chunks = executor.chunks();
    assert_eq!(chunks[..4], [1; 4]);
    assert!(chunks.iter().any(|&items| items > 100), "{chunks:?}");
    assert_eq!(executor.pulled(), 100_000);
    // None was larger than all that was pulled before it.
    let mut pulled = 0;
    for items in chunks {
        assert!(items <= pulled.max(1));
        pulled += items;
    }
}

#[test]
fn long_items_travel_alone() {
    let executor = Noting::default();
    let sleep = |n: u64| {
        thread::sleep(Duration::from_millis(1));
        n
    };
    assert_eq!(executor.map(sleep, 0..100).into_iter().count(), 100);
    assert_eq!(executor.chunks(), [1; 100]);
}

#[test]
fn an_input_that_is_slow_to_give_items_is_pulled_one_at_a_time() {
    let executor = Noting::default();
    let slow = (0..100_u64).inspect(|_| thread::sleep(Duration::from_millis(1)));
    assert_eq!(executor.map(|n: u64| n, slow).into_iter().count(), 100);
    assert_eq!(executor.chunks(), [1; 100]);
}

#[test]
fn ten_of_an_endless_input_pull_ten_more_than_the_first_window() {
    let executor = Noting::default();
    let results = executor.map(|n: u64| n, 0..);
    assert_eq!(executor.pulled(), 4);
    assert_eq!(results.into_iter().take(10).count(), 10);
    assert!(executor.pulled() <= 4 + 10);
}

#[test]
fn what_is_pulled_ahead_stays_within_a_fixed_window() {
    let executor = Noting::default();
    let mut results = executor.mapping().window(100).map(|n: u64| n, 0..10_000);
    for given in 0..10_000 {
        assert!(executor.pulled() - given <= 100);
        assert!(results.blocking_next().is_some());
    }
    let chunks = executor.chunks();
    assert_eq!(chunks.iter().max(), Some(&25), "a quarter of the window");
}
