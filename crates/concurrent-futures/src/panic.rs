//! The only place that catches a panic: what it said and where it happened, as plain data.
//!
//! The message comes with the payload; the place is known only to the panic hook. So a hook that
//! notes the place and then calls the hook that was there before is installed once. If somebody
//! replaces it later, panics are still caught, without their place.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// Where the last panic of this thread happened.
    static LAST_PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
    /// How many panics of this thread the hook has seen.
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// A panic that was caught.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Panic {
    pub(crate) message: String,
    /// `file:line:column`, unless somebody has replaced the panic hook.
    pub(crate) location: Option<String>,
}

/// Runs `f`; a panic becomes an error.
///
/// Nothing that `f` has touched is used afterwards by this crate unless it was made for that, which
/// is why unwind safety is asserted here for all callers.
#[inline]
pub(crate) fn guard<R>(f: impl FnOnce() -> R) -> Result<R, Panic> {
    note_places();
    let seen = panics();
    // What is thrown again by `resume_unwind` passes by the hook: then the last place is another's.
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| report(payload, panics() != seen))
}

/// Runs `log`, which calls the subscriber: foreign code, whose panic goes no further.
pub(crate) fn contain(log: impl FnOnce()) {
    // There is nobody left to tell.
    let _ = guard(log);
}

fn panics() -> u64 {
    PANICS.try_with(Cell::get).unwrap_or(0)
}

/// Drops `value`; a panic in its `Drop` is logged and goes no further.
#[inline]
pub(crate) fn guarded_drop<T>(value: T) {
    if !std::mem::needs_drop::<T>() {
        return;
    }
    if let Err(panic) = guard(|| drop(value)) {
        contain(|| tracing::error!(panic.message, panic.location, "a drop panicked"));
    }
}

#[cold]
fn report(payload: Box<dyn Any + Send>, is_place_known: bool) -> Panic {
    let location = LAST_PLACE
        .try_with(|place| place.borrow_mut().take())
        .ok()
        .flatten()
        .filter(|_| is_place_known);
    let message = if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else if let Some(number) = payload.downcast_ref::<i32>() {
        format!("{number}i32")
    } else {
        format!(
            "a panic payload that is no text ({:?})",
            (*payload).type_id()
        )
    };
    // The payload is foreign code too: its drop may panic, and so may the drop of what that throws.
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(payload)))
        .or_else(|second| catch_unwind(AssertUnwindSafe(|| drop(second))));
    if let Err(third) = dropped {
        std::mem::forget(third);
    }
    Panic { message, location }
}

#[inline]
fn note_places() {
    static INSTALLED: Once = Once::new();
    if !INSTALLED.is_completed() && !std::thread::panicking() {
        INSTALLED.call_once(|| {
            let previous = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                let place = info.location().map(ToString::to_string);
                let _ = PANICS.try_with(|panics| panics.set(panics.get() + 1));
                // Both may fail while a thread is torn down; then the place is not known.
                let _ = LAST_PLACE.try_with(|last| {
                    if let Ok(mut last) = last.try_borrow_mut() {
                        *last = place;
                    }
                });
                previous(info);
            }));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_reported_with_message_and_place() {
        let panic = guard(|| panic!("number {}", 7)).expect_err("it panicked");
        assert_eq!(panic.message, "number 7");
        assert!(
            panic
                .location
                .expect("the hook is ours")
                .contains("panic.rs:")
        );
    }

    #[test]
    fn a_place_is_that_of_the_panic_itself() {
        let caught = guard(|| {
            let _ = catch_unwind(|| panic!("first"));
            std::panic::resume_unwind(Box::new("second"))
        });
        // The hook has seen the first one only, within the same guard.
        assert_eq!(caught.expect_err("it panicked").message, "second");
        let _ = guard(|| panic!("first"));
        let again = guard(|| std::panic::resume_unwind(Box::new("second")));
        assert_eq!(again.expect_err("it panicked").location, None);
    }

    #[test]
    fn a_payload_that_is_no_text_is_described() {
        let panic = guard(|| std::panic::panic_any(3_i32)).expect_err("it panicked");
        assert_eq!(panic.message, "3i32");
        let panic = guard(|| std::panic::panic_any(())).expect_err("it panicked");
        assert!(panic.message.contains("no text"), "{}", panic.message);
    }

    #[test]
    fn a_payload_whose_drop_panics_is_survived() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                std::panic::panic_any(Bomb2);
            }
        }
        struct Bomb2;
        impl Drop for Bomb2 {
            fn drop(&mut self) {
                panic!("never reached: it is forgotten");
            }
        }
        assert!(guard(|| std::panic::panic_any(Bomb)).is_err());
    }
}
