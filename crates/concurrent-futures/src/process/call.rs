//! What the records call: decode the arguments, run the function, encode what it gives.
//!
//! Always: nothing here unwinds; whatever goes wrong becomes an encoded error.

use std::any::type_name;
use std::marker::PhantomData;

use super::items;
use super::record::{
    Answer, Arguments, Callable, Name, conjure, find_pointer, name_of, name_of_pointer,
};
use crate::codec::{self, Outside, Sink};
use crate::error::{BoxError, Direction, TaskError, WireError};
use crate::executor::{Chunk, InitializerResult, Job, Portable, TaskFn, assert_captures_nothing};
use crate::panic;
use crate::task::Encoded;

/// Appends the encoding of `value`; a panic of its `Serialize` is an error too.
pub(super) fn encode<T: Portable>(
    value: &T,
    out: &mut Vec<u8>,
    direction: Direction,
) -> Result<(), TaskError> {
    encode_with(value, out, None, direction)
}

/// The same, with a place for long runs of bytes.
pub(super) fn encode_with<T: Portable>(
    value: &T,
    out: &mut Vec<u8>,
    sink: Option<&mut dyn Sink>,
    direction: Direction,
) -> Result<(), TaskError> {
    let start = out.len();
    let result = match panic::guard(|| codec::encode_with(value, out, sink)) {
        Ok(result) => result,
        Err(panic) => Err(TaskError::codec(
            type_name::<T>(),
            TaskError::panicked(panic),
        )),
    };
    result.map_err(|error| {
        out.truncate(start);
        error.going(direction)
    })
}

pub(super) fn decode<T: Portable>(bytes: &[u8], direction: Direction) -> Result<T, TaskError> {
    decode_with(bytes, None, direction)
}

fn decode_with<T: Portable>(
    bytes: &[u8],
    outside: Option<&dyn Outside>,
    direction: Direction,
) -> Result<T, TaskError> {
    match panic::guard(|| codec::decode_with(bytes, outside)) {
        Ok(result) => result,
        Err(panic) => Err(TaskError::codec(
            type_name::<T>(),
            TaskError::panicked(panic),
        )),
    }
    .map_err(|error| error.going(direction))
}

/// Decodes a result, for who takes it.
pub(super) fn decode_result<T: Portable>(value: &Encoded) -> Result<T, TaskError> {
    let decoded = value.decode();
    decoded.map_err(|error| error.going(Direction::DecodeResult))
}

/// Decodes the results of a chunk: how long it ran, and then its items.
pub(super) fn decode_chunk<T: Portable>(chunk: &Encoded) -> Result<Chunk<T>, TaskError> {
    let broken = |error| TaskError::codec(type_name::<T>(), error).going(Direction::DecodeResult);
    let (nanos, mut rest) = super::frame::split_u64(&chunk.bytes).map_err(broken)?;
    let mut results = Vec::new();
    while let Some((item, after)) = items::split_first(rest).map_err(broken)? {
        results.push(match item.kind {
            items::VALUE => decode(item.bytes, Direction::DecodeResult),
            _ => Err(decode_error(item.bytes)),
        });
        rest = after;
    }
    Ok(Chunk {
        results,
        time: std::time::Duration::from_nanos(nanos),
    })
}

/// Appends the encoding of an error.
pub(super) fn encode_error(error: &TaskError, out: &mut Vec<u8>) {
    let encoded = codec::encode(&WireError::from(error), out);
    debug_assert!(encoded.is_ok(), "strings and numbers can be encoded");
}

/// The error that was encoded.
pub(super) fn decode_error(bytes: &[u8]) -> TaskError {
    match codec::decode::<WireError>(bytes) {
        Ok(error) => error.into(),
        Err(error) => TaskError::codec("TaskError", error).going(Direction::DecodeResult),
    }
}

/// Appends what a call gives.
fn give<A: Portable, T: Portable>(
    arguments: Arguments<'_>,
    answer: Answer<'_>,
    call: impl FnOnce(A) -> Result<T, TaskError>,
) -> bool {
    let Arguments { bytes, outside } = arguments;
    let decoded = decode_with(bytes, outside, Direction::DecodeArguments);
    let value = decoded.and_then(|arguments| match panic::guard(|| call(arguments)) {
        Ok(result) => result,
        Err(panic) => Err(TaskError::panicked(panic)),
    });
    let result = value.and_then(|value| {
        let encoded = encode_with(&value, answer.bytes, answer.sink, Direction::EncodeResult);
        panic::guarded_drop(value);
        encoded
    });
    match result {
        Ok(()) => true,
        Err(error) => {
            encode_error(&error, answer.bytes);
            panic::guarded_drop(error);
            false
        }
    }
}

/// A job whose function is made anew.
pub(super) struct JobCall<J>(PhantomData<fn() -> J>);

impl<J: Job> Callable for JobCall<J> {
    fn call(arguments: Arguments<'_>, answer: Answer<'_>) -> bool {
        give(arguments, answer, |arguments: J::Args| {
            J::call(conjure::<J::Function>(), arguments)
        })
    }

    fn function() -> &'static str {
        type_name::<J::Function>()
    }
}

/// A call through a function pointer, whose name comes before the argument.
pub(super) struct PointerCall<A, T>(PhantomData<fn(A) -> T>);

impl<A: Portable, T: Portable> PointerCall<A, T> {
    /// Appends the name of the pointer, to be followed by the argument.
    pub(super) fn push_pointer(function: fn(A) -> T, out: &mut Vec<u8>) {
        out.extend_from_slice(&name_of_pointer(function).0.to_le_bytes());
    }
}

impl<A: Portable, T: Portable> Callable for PointerCall<A, T> {
    fn call(arguments: Arguments<'_>, answer: Answer<'_>) -> bool {
        let function = super::frame::split_u64(arguments.bytes)
            .ok()
            .and_then(|(name, rest)| Some((find_pointer::<A, T>(Name(name))?, rest)));
        let Some((function, bytes)) = function else {
            let error = TaskError::codec(
                type_name::<fn(A) -> T>(),
                "the name of the function is of no function of this program",
            );
            encode_error(&error.going(Direction::DecodeArguments), answer.bytes);
            return false;
        };
        let arguments = Arguments { bytes, ..arguments };
        give(arguments, answer, |argument: A| Ok(function(argument)))
    }

    fn function() -> &'static str {
        type_name::<fn(A) -> T>()
    }
}

/// The initializer of a worker.
pub(super) struct InitializerCall<J>(PhantomData<fn() -> J>);

/// What an initializer may return is not what a task may: nothing, or a `Result` of nothing.
pub(super) trait Initialize: 'static {
    type Args: Portable;

    fn run(arguments: Self::Args) -> Result<(), BoxError>;
}

impl<J: Initialize> Callable for InitializerCall<J> {
    fn call(arguments: Arguments<'_>, answer: Answer<'_>) -> bool {
        give(arguments, answer, |arguments: J::Args| {
            J::run(arguments).map_err(TaskError::failed)
        })
    }
}

/// An initializer, or a finalizer, whose function is made anew in the worker.
struct Initializer<F, A, Marker> {
    function: PhantomData<fn() -> F>,
    argument: PhantomData<fn(A)>,
    marker: PhantomData<fn() -> Marker>,
}

impl<F, A, Marker> Initialize for Initializer<F, A, Marker>
where
    F: TaskFn<A, Marker, Output: InitializerResult>,
    A: Portable,
    Marker: 'static,
{
    type Args = A;

    fn run(argument: A) -> Result<(), BoxError> {
        conjure::<F>().call(argument).into_result()
    }
}

/// The call of an initializer or a finalizer, with its encoded argument.
pub(super) fn encoded_call<F, A, Marker>(
    function: F,
    argument: A,
) -> Result<(Name, Vec<u8>), TaskError>
where
    F: TaskFn<A, Marker, Output: InitializerResult>,
    A: Portable,
    Marker: 'static,
{
    assert_captures_nothing::<F>();
    let _made_anew = function;
    let mut bytes = Vec::new();
    encode(&argument, &mut bytes, Direction::EncodeArguments)?;
    Ok((
        name_of::<InitializerCall<Initializer<F, A, Marker>>>(),
        bytes,
    ))
}
