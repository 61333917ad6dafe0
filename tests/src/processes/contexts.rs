//! Contexts of chunks that are handed over in parts.

use std::cell::Cell;

use concurrent_futures::{Executor, ProcessPoolExecutor, Ran, TaskContext, TaskError};

use crate::harness::{Door, PathGate, tests};

thread_local! {
    static DOOR: Cell<Option<Door>> = const { Cell::new(None) };
}

/// Panics when it is left for the first time.
struct FirstTime;

struct Leave(Door);

impl TaskContext for FirstTime {
    type Value = Door;
    type Guard = Leave;

    fn capture() -> Option<Door> {
        DOOR.take()
    }

    fn enter(door: Door) -> Leave {
        Leave(door)
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.arrive();
        assert!(self.0.arrivals().len() > 1, "no way out");
    }
}

/// What a chunk of three items gives, of which `handed` are handed over at a time.
fn of_three<F>(handed: usize, body: F) -> Vec<Result<u32, TaskError>>
where
    F: Fn(u32) -> u32 + Copy + Send + Sync + 'static,
{
    let builder = ProcessPoolExecutor::builder().max_workers(1);
    let builder = builder.max_tasks_per_worker(handed).context::<FirstTime>();
    let pool = builder.build().unwrap();
    let gate = PathGate::new();
    DOOR.set(Some(gate.door()));
    let mapping = pool.mapping().window(3).chunk_size(3);
    mapping.map(body, 0..3).into_iter().collect()
}

tests! {
    fn a_context_that_cannot_be_left_costs_the_items_that_were_handed_over_with_it() {
        for handed in 1..=3 {
            for (n, result) in (0..).zip(of_three(handed, |n| n)) {
                if n < handed {
                    let error = result.unwrap_err();
                    assert!(error.to_string().contains("left: no way out"), "{error}");
                    assert_eq!((error.index(), error.ran()), (Some(n), Ran::Yes));
                } else {
                    assert_eq!(result.map_err(|error| error.to_string()), Ok(n as u32));
                }
            }
        }
    }

    fn an_item_keeps_its_own_error_if_its_context_cannot_be_left_either() {
        let refuse = |n: u32| if n == 1 { panic!("in the body") } else { n };
        let texts = of_three(3, refuse).into_iter().map(|result| result.unwrap_err().to_string());
        let is_own: Vec<_> = texts.map(|text| text.contains("in the body")).collect();
        assert_eq!(is_own, [false, true, false]);
    }
}
