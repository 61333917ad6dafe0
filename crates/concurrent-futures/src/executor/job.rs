//! A function with its arguments: what an executor is handed. The seam for other back ends.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use super::function::{Fallible, Portable, TaskFn};
use crate::error::TaskError;
use crate::panic;
use crate::task;

/// A function and its arguments, for an executor to run wherever it runs tasks.
///
/// The function is a type of size zero, so code that knows the type can recreate the function. The arguments
/// and the output are values that can be encoded. Users do not meet this trait: it is the interface for back
/// ends, which implement [`Executor::execute`](super::Executor::execute). A small one, without time limits:
///
/// ```
/// use concurrent_futures::{
///     Admission, Chunk, Executor, Job, Place, Portable, Promise, Rejection, Shutdown, TaskError,
///     TaskFuture, TaskOptions,
/// };
/// use std::thread;
/// use std::time::Instant;
///
/// const LIMIT: usize = 8;
///
/// /// Runs each task on a thread of its own, and refuses more than a few at a time.
/// #[derive(Clone)]
/// struct OwnThreads {
///     admission: Admission,
/// }
///
/// impl OwnThreads {
///     fn start<T: Send + 'static>(
///         &self,
///         reserved: Option<Place>,
///         body: impl FnOnce() -> Result<T, TaskError> + Send + 'static,
///     ) -> TaskFuture<T> {
///         let (promise, future) = Promise::new();
///         let admitted = match self.admission.closed() {
///             Some(why) => Err(why.clone()),
///             None => self.admission.admit(reserved, 0),
///         };
///         match admitted {
///             Ok(place) => {
///                 // A panic drops the promise, which is an error of its future.
///                 thread::spawn(move || {
///                     if promise.start() {
///                         let result = body();
///                         drop(place);
///                         match result {
///                             Ok(value) => drop(promise.fulfil(value)),
///                             Err(error) => drop(promise.fail(error)),
///                         }
///                     }
///                 });
///             }
///             Err(error) => drop(promise.fail(error)),
///         }
///         future
///     }
/// }
///
/// impl Executor for OwnThreads {
///     fn max_workers(&self) -> usize {
///         LIMIT
///     }
///
///     fn admission(&self) -> &Admission {
///         &self.admission
///     }
///
///     fn execute<J: Job>(
///         &self,
///         job: J,
///         place: Option<Place>,
///         _options: &TaskOptions,
///     ) -> TaskFuture<J::Output> {
///         let (function, args) = job.into_parts();
///         self.start(place, move || J::call(function, args))
///     }
///
///     fn execute_fn<A: Portable, T: Portable>(
///         &self,
///         function: fn(A) -> T,
///         argument: A,
///         place: Option<Place>,
///         _options: &TaskOptions,
///     ) -> TaskFuture<T> {
///         self.start(place, move || Ok(function(argument)))
///     }
///
///     fn execute_chunk<J: Job>(
///         &self,
///         function: J::Function,
///         items: Vec<J::Args>,
///         place: Option<Place>,
///         _options: &TaskOptions,
///     ) -> TaskFuture<Chunk<J::Output>> {
///         self.start(place, move || {
///             let start = Instant::now();
///             let results = items.into_iter().map(|item| J::call(function, item)).collect();
///             Ok(Chunk { results, time: start.elapsed() })
///         })
///     }
///
///     /// Waits for nothing.
///     fn shutdown(&self, _how: Shutdown) -> TaskFuture<()> {
///         self.admission.close(&TaskError::rejected(Rejection::ShutDown));
///         let (promise, future) = Promise::new();
///         drop(promise.fulfil(()));
///         future
///     }
/// }
///
/// let executor = OwnThreads { admission: Admission::new(LIMIT, Some(0), None) };
/// assert_eq!(executor.submit(u64::pow, (2, 10)).result()?, 1024);
/// let squares: Result<Vec<u64>, _> = executor.map(|n: u64| n * n, 1..=4).into_iter().collect();
/// assert_eq!(squares?, [1, 4, 9, 16]);
/// # Ok::<(), TaskError>(())
/// ```
pub trait Job: Send + 'static {
    /// The function: a type of size zero.
    type Function: Copy + Send + Sync + 'static;
    /// The arguments of the function.
    type Args: Portable;
    /// The value that the task gives.
    type Output: Portable;

    /// Splits the job into the function and its arguments: see the example of [`Job`].
    fn into_parts(self) -> (Self::Function, Self::Args);

    /// Calls the function: see the example of [`Job`]. It may panic.
    ///
    /// # Errors
    /// The function's own error, as a [failed](TaskError::is_failed) one.
    fn call(function: Self::Function, args: Self::Args) -> Result<Self::Output, TaskError>;
}

/// A call of a function whose result is the task's value.
pub(crate) struct Call<F, Args, Marker> {
    function: F,
    args: Args,
    marker: PhantomData<fn() -> Marker>,
}

impl<F, Args, Marker> Call<F, Args, Marker> {
    pub(super) fn new(function: F, args: Args) -> Self {
        Self {
            function,
            args,
            marker: PhantomData,
        }
    }
}

impl<F, Args, Marker> Job for Call<F, Args, Marker>
where
    F: TaskFn<Args, Marker, Output: Portable>,
    Args: Portable,
    Marker: 'static,
{
    type Function = F;
    type Args = Args;
    type Output = F::Output;

    fn into_parts(self) -> (F, Args) {
        (self.function, self.args)
    }

    fn call(function: F, args: Args) -> Result<F::Output, TaskError> {
        Ok(function.call(args))
    }
}

/// A call of a function that returns a `Result`.
pub(crate) struct TryCall<F, Args, Marker>(pub(super) Call<F, Args, Marker>);

impl<F, Args, Marker> Job for TryCall<F, Args, Marker>
where
    F: TaskFn<Args, Marker, Output: Fallible<Value: Portable>>,
    Args: Portable,
    Marker: 'static,
{
    type Function = F;
    type Args = Args;
    type Output = <F::Output as Fallible>::Value;

    fn into_parts(self) -> (F, Args) {
        (self.0.function, self.0.args)
    }

    fn call(function: F, args: Args) -> Result<Self::Output, TaskError> {
        function.call(args).into_result().map_err(TaskError::failed)
    }
}

/// The results of a chunk of items: see the example of [`Job`].
#[derive(Debug)]
pub struct Chunk<T> {
    /// A result for each item, in their order.
    pub results: Vec<Result<T, TaskError>>,
    /// How long all of them ran.
    pub time: Duration,
}

/// Runs the items of a chunk one after another in this process. A panic costs one item; once the
/// current task is asked to stop, the items that have not begun are cancelled.
pub(crate) fn run_chunk<J: Job>(function: J::Function, items: Vec<J::Args>) -> Chunk<J::Output> {
    let start = Instant::now();
    let task = task::current();
    let is_stopped = || {
        task.as_ref()
            .is_some_and(task::CurrentTask::is_stop_requested)
    };
    let mut results = Vec::with_capacity(items.len());
    let mut items = items.into_iter();
    // One guard serves all items up to the next that panics: short ones would feel one for each.
    while let Err(panic) = panic::guard(|| {
        for item in items.by_ref() {
            // Whatever panics here, the drop of an item included, does so before the item has its
            // result.
            let result = if is_stopped() {
                drop(item);
                Err(TaskError::cancelled())
            } else {
                J::call(function, item)
            };
            results.push(result);
        }
    }) {
        results.push(Err(TaskError::panicked(panic)));
    }
    Chunk {
        results,
        time: start.elapsed(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::*;

    fn run<F, A, T, Marker>(function: F, items: Vec<A>) -> Vec<Result<T, TaskError>>
    where
        F: TaskFn<A, Marker, Output = T>,
        A: Portable,
        T: Portable,
        Marker: 'static,
    {
        run_chunk::<Call<F, A, Marker>>(function, items).results
    }

    #[test]
    fn each_panic_costs_one_item_wherever_it_is_in_the_chunk() {
        let refuse = |n: u32| {
            if n.is_multiple_of(3) {
                panic!("{n}")
            } else {
                n
            }
        };
        for (n, result) in run(refuse, (0..10).collect()).into_iter().enumerate() {
            match result {
                Ok(value) => assert_eq!(value as usize, n),
                Err(error) => assert_eq!(error.message().unwrap(), n.to_string()),
            }
        }
        assert_eq!(run(refuse, vec![3, 3, 3]).len(), 3);
    }

    thread_local! {
        static DROPPED: Cell<u32> = const { Cell::new(0) };
    }

    struct PanicsWhenDropped(u32);

    impl Serialize for PanicsWhenDropped {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.serialize(serializer)
        }
    }

    impl<'de> Deserialize<'de> for PanicsWhenDropped {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            u32::deserialize(deserializer).map(Self)
        }
    }

    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            DROPPED.set(DROPPED.get() + 1);
            panic!("dropped {}", self.0);
        }
    }

    #[test]
    fn an_item_whose_drop_panics_has_one_result() {
        let results = run(
            |item: PanicsWhenDropped| item.0,
            (0..4).map(PanicsWhenDropped).collect(),
        );
        assert_eq!(results.len(), 4);
        assert_eq!(DROPPED.get(), 4);
        for (n, result) in results.into_iter().enumerate() {
            let error = result.expect_err("the drop panicked");
            assert_eq!(error.message().unwrap(), format!("dropped {n}"));
        }
    }
}
