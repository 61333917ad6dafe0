//! What sorts of tasks there are: those that run here, and those whose result comes from elsewhere.

use std::marker::PhantomData;

use crate::error::{Direction, TaskError};
use crate::panic;
use crate::task::payload::Encoded;

/// What sorts of tasks differ in.
pub(super) trait Kind: 'static {
    type Job: Send + 'static;
    type Stored: Send + 'static;
    type Output: 'static;

    fn run(job: Self::Job) -> Result<Self::Output, TaskError>;
    fn store(result: Result<Self::Output, TaskError>) -> Self::Stored;
    fn open(stored: Self::Stored) -> Result<Self::Output, TaskError>;
    fn error(stored: &mut Self::Stored) -> Option<&TaskError>;

    /// # Safety
    /// The decoder was made for `Output`.
    unsafe fn store_encoded(value: Encoded, decoder: AnyDecoder) -> Self::Stored;
}

/// Makes a value of its encoding.
pub(in crate::task) type Decoder<T> = fn(&Encoded) -> Result<T, TaskError>;

/// A decoder that has forgotten what it decodes, for who does not know the type of a task.
#[derive(Clone, Copy)]
pub(in crate::task) struct AnyDecoder(fn());

impl AnyDecoder {
    pub(in crate::task) fn of<T>(decoder: Decoder<T>) -> Self {
        // SAFETY: function pointers have one size, and this one is not called before it is turned
        // back by `for_type`.
        Self(unsafe { std::mem::transmute::<Decoder<T>, fn()>(decoder) })
    }

    /// # Safety
    /// It was made for the same `T`.
    unsafe fn for_type<T>(self) -> Decoder<T> {
        // SAFETY: as the caller vouches.
        unsafe { std::mem::transmute::<fn(), Decoder<T>>(self.0) }
    }
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
    unsafe fn store_encoded(_value: Encoded, _decoder: AnyDecoder) -> Self::Stored {
        unreachable!("a task that runs here gives no bytes")
    }
}

/// A task whose result comes from elsewhere.
pub(super) struct Outside<T>(PhantomData<fn() -> T>);

/// A result that may still be bytes: they are decoded by who takes the result, so that a slow or
/// hostile `Deserialize` stops nobody else.
pub(in crate::task) enum Stored<T> {
    Ready(Result<T, TaskError>),
    Encoded {
        value: Encoded,
        decode: Decoder<T>,
    },
    /// Given to a promise.
    Bytes {
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
            Stored::Encoded { value, decode } => decoded(|| decode(&value)),
            Stored::Bytes { bytes, decode } => decoded(|| decode(&bytes)),
        }
    }
    fn error(stored: &mut Stored<T>) -> Option<&TaskError> {
        if let Stored::Encoded { .. } | Stored::Bytes { .. } = stored {
            // The placeholder is never seen: nothing between these lines can unwind.
            let encoded = std::mem::replace(stored, Stored::Ready(Err(TaskError::cancelled())));
            *stored = Stored::Ready(Self::open(encoded));
        }
        match stored {
            Stored::Ready(result) => result.as_ref().err(),
            Stored::Encoded { .. } | Stored::Bytes { .. } => None,
        }
    }
    unsafe fn store_encoded(value: Encoded, decoder: AnyDecoder) -> Stored<T> {
        Stored::Encoded {
            value,
            // SAFETY: as the caller vouches.
            decode: unsafe { decoder.for_type() },
        }
    }
}

/// What a decoder gives; a panic of it is an error.
fn decoded<T>(decode: impl FnOnce() -> Result<T, TaskError>) -> Result<T, TaskError> {
    panic::guard(decode).unwrap_or_else(|panic| {
        let error = TaskError::panicked(panic);
        Err(TaskError::codec(std::any::type_name::<T>(), error).going(Direction::DecodeResult))
    })
}
