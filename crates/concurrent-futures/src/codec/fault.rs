//! Why a value could not be carried, on its way through serde.
//!
//! Always one word wide, so that the results of all the small steps stay in registers.

use std::borrow::Cow;
use std::fmt;

use serde::{de, ser};

use super::format::MAX_DEPTH;

/// The text of what went wrong.
pub(super) struct Fault(Box<Cow<'static, str>>);

impl Fault {
    #[cold]
    pub(super) fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(text.into()))
    }

    #[cold]
    pub(super) fn too_deep() -> Self {
        Self::new(format!("it is nested more than {MAX_DEPTH} levels deep"))
    }

    #[cold]
    pub(super) fn ends_early() -> Self {
        Self::new("the bytes end before the value does")
    }

    #[cold]
    pub(super) fn no_tag(byte: u8) -> Self {
        Self::new(format!("no value begins with the byte {byte}"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fault").field(&self.0).finish()
    }
}

impl std::error::Error for Fault {}

impl ser::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }
}
