//! What sorts of tasks there are: those that run here, and those whose result comes from elsewhere.

use std::marker::PhantomData;

use crate::error::TaskError;
use crate::panic;

/// What sorts of tasks differ in.
pub(super) trait Kind: 'static {
    type Job: Send + 'static;
    type Stored: Send + 'static;
    type Output: 'static;

    fn run(job: Self::Job) -> Result<Self::Output, TaskError>;
    fn store(result: Result<Self::Output, TaskError>) -> Self::Stored;
    fn open(stored: Self::Stored) -> Result<Self::Output, TaskError>;
    fn error(stored: &mut Self::Stored) -> Option<&TaskError>;
}

/// A task that runs in this process.
pub(super) struct Local<F, T>(PhantomData<fn() -> (F, T)>);

impl<F, T> Kind for Local<F, T>
where
    F: FnOnce() -> Result<T, TaskError> + Send + 'static,
    T: Send + 'static,
{
    type Job = F;
    type Stored = Result<T, TaskError>;
    type Output = T;

    fn run(job: F) -> Result<T, TaskError> {
        job()
    }
    fn store(result: Self::Stored) -> Self::Stored {
        result
    }
    fn open(stored: Self::Stored) -> Self::Stored {
        stored
    }
    fn error(stored: &mut Self::Stored) -> Option<&TaskError> {
        stored.as_ref().err()
    }
}

/// A task whose result comes from elsewhere.
pub(super) struct Outside<T>(PhantomData<fn() -> T>);

/// A result that may still be bytes: they are decoded by who takes the result, so that a slow or
/// hostile `Deserialize` stops nobody else.
pub(in crate::task) enum Stored<T> {
    Ready(Result<T, TaskError>),
    Encoded {
        bytes: Vec<u8>,
        decode: fn(&[u8]) -> Result<T, TaskError>,
    },
}

impl<T: Send + 'static> Kind for Outside<T> {
    type Job = ();
    type Stored = Stored<T>;
    type Output = T;

    fn run((): ()) -> Result<T, TaskError> {
        unreachable!("a promise has no job")
    }
    fn store(result: Result<T, TaskError>) -> Stored<T> {
        Stored::Ready(result)
    }
    fn open(stored: Stored<T>) -> Result<T, TaskError> {
        match stored {
            Stored::Ready(result) => result,
            Stored::Encoded { bytes, decode } => match panic::guard(|| decode(&bytes)) {
                Ok(result) => result,
                Err(panic) => Err(TaskError::codec(
                    std::any::type_name::<T>(),
                    TaskError::panicked(panic),
                )),
            },
        }
    }
    fn error(stored: &mut Stored<T>) -> Option<&TaskError> {
        if let Stored::Encoded { .. } = stored {
            // The placeholder is never seen: nothing between these lines can unwind.
            let encoded = std::mem::replace(stored, Stored::Ready(Err(TaskError::cancelled())));
            *stored = Stored::Ready(Self::open(encoded));
        }
        match stored {
            Stored::Ready(result) => result.as_ref().err(),
            Stored::Encoded { .. } => None,
        }
    }
}
