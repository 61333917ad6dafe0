//! What travels beside the arguments of a task: its name, and the contexts of its submitter.
//!
//! They are [items](super::items), so that the block is whole words: the name's bytes, and for each
//! context the name of the record that enters it, and then the encoded value.

use std::any::type_name;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;

use super::call::{decode, decode_error, encode, encode_error};
use super::frame::split_u64;
use super::items;
use super::record::{self, Answer, Arguments, Callable, Name, name_of};
use super::ring::Violation;
use crate::error::{Direction, Ran, TaskError};
use crate::executor::{Entered, TaskContext, capture, enter};
use crate::panic::guarded_drop;

const NAME: u32 = 0;
const CONTEXT: u32 = 1;

/// The bytes of a name that travel.
const MOST_NAME: usize = 1_024;

/// The bytes that all contexts of a task may have together, encoded.
const MOST_CONTEXTS: usize = 4_096;

/// Appends a context as it is now.
pub(super) type Capture = fn(&mut Vec<u8>) -> Result<(), TaskError>;

pub(super) fn capture_into<C: TaskContext>(out: &mut Vec<u8>) -> Result<(), TaskError> {
    let Some(value) = capture::<C>()? else {
        return Ok(());
    };
    let mut encoded = Ok(());
    items::push_with(out, |out| {
        out.extend_from_slice(&name_of::<ContextCall<C>>().0.to_le_bytes());
        encoded = encode(&value, out, Direction::EncodeArguments);
        CONTEXT
    });
    guarded_drop(value);
    encoded.map_err(|error| about::<C>(error, Direction::EncodeArguments))?;
    if out.len() > MOST_CONTEXTS {
        let (size, limit) = (out.len() as u64, MOST_CONTEXTS as u64);
        let context = type_name::<C>();
        let why =
            format!("with the context `{context}`: what travels with each task has to be short");
        return Err(TaskError::too_large(size, limit, Ran::No).caused_by(why));
    }
    Ok(())
}

fn about<C: TaskContext>(error: TaskError, way: Direction) -> TaskError {
    let (value, context) = (type_name::<C::Value>(), type_name::<C>());
    TaskError::codec(format!("{value} of the context {context}"), error).going(way)
}

/// What travels with a task of this name that is submitted now, on this thread.
pub(super) fn pack(name: Option<&str>, contexts: &[Capture]) -> Result<Box<[u8]>, TaskError> {
    if name.is_none() && contexts.is_empty() {
        return Ok(Box::default());
    }
    let mut out = Vec::new();
    for capture in contexts {
        capture(&mut out)?;
    }
    if let Some(name) = name {
        let most = name.len().min(MOST_NAME);
        let is_end = |end: &usize| name.is_char_boundary(*end);
        let end = (0..=most).rev().find(is_end).unwrap_or(0);
        items::push(&mut out, NAME, &name.as_bytes()[..end]);
    }
    Ok(out.into())
}

thread_local! {
    /// The contexts of the task that runs, the outermost first.
    static ENTERED: RefCell<Vec<Entered>> = const { RefCell::new(Vec::new()) };
}

/// Decodes a context and enters it on the thread that runs the task.
struct ContextCall<C>(PhantomData<fn() -> C>);

impl<C: TaskContext> Callable for ContextCall<C> {
    fn call(value: Arguments<'_>, answer: Answer<'_>) -> bool {
        let way = Direction::DecodeArguments;
        let entered = decode::<C::Value>(value.bytes, way)
            .map_err(|error| about::<C>(error, way))
            .and_then(enter::<C>);
        match entered {
            Ok(entered) => {
                ENTERED.with_borrow_mut(|all| all.push(entered));
                true
            }
            Err(error) => {
                encode_error(&error, answer.bytes);
                false
            }
        }
    }
}

/// The name of the task.
pub(super) fn name_in(mut carried: &[u8]) -> Result<Option<Arc<str>>, Violation> {
    while let Some((item, rest)) = items::split_first(carried)? {
        if item.kind == NAME {
            return Ok(std::str::from_utf8(item.bytes).ok().map(Into::into));
        }
        carried = rest;
    }
    Ok(None)
}

/// Enters the contexts, which are to be left afterwards, whatever this gives.
///
/// # Errors
/// That of the first context which cannot be entered.
pub(super) fn enter_all(mut carried: &[u8]) -> Result<(), TaskError> {
    let broken =
        |error| TaskError::codec("the contexts of a task", error).going(Direction::DecodeArguments);
    while let Some((item, rest)) = items::split_first(carried).map_err(broken)? {
        carried = rest;
        if item.kind != CONTEXT {
            continue;
        }
        let (name, value) = split_u64(item.bytes).map_err(broken)?;
        let enter = record::find(Name(name))
            .ok_or_else(|| broken(Violation("a context is of no record of this program")))?;
        let mut error = Vec::new();
        if !enter(Arguments::whole(value), Answer::whole(&mut error)) {
            return Err(decode_error(&error));
        }
    }
    Ok(())
}

/// Leaves all contexts that were entered, the innermost first.
///
/// # Errors
/// The first that there is.
pub(super) fn leave_all() -> Result<(), TaskError> {
    let mut result = Ok(());
    // Not under the borrow: a guard's drop is foreign code.
    while let Some(entered) = ENTERED.with_borrow_mut(Vec::pop) {
        result = result.and(entered.leave());
    }
    result
}
