//! What the builders of pools share: what an initializer may return, and why a pool cannot be made.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use crate::error::BoxError;

/// What an initializer may return: nothing, or a `Result` whose error breaks the pool. See
/// [`ThreadPoolBuilder::initializer`](crate::ThreadPoolBuilder::initializer).
pub trait InitializerResult {
    /// Returns the error, if there is one.
    ///
    /// ```
    /// use concurrent_futures::InitializerResult;
    ///
    /// assert!(().into_result().is_ok());
    /// let result: Result<(), &str> = Err("there is no licence");
    /// assert_eq!(result.into_result().unwrap_err().to_string(), "there is no licence");
    /// ```
    ///
    /// # Errors
    /// The initializer's own.
    fn into_result(self) -> Result<(), BoxError>;
}

impl InitializerResult for () {
    fn into_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<E: Into<BoxError>> InitializerResult for Result<(), E> {
    fn into_result(self) -> Result<(), BoxError> {
        self.map_err(Into::into)
    }
}

/// Why a pool could not be made from its options.
///
/// ```
/// use concurrent_futures::{BuildErrorKind, ThreadPoolExecutor};
///
/// let error = ThreadPoolExecutor::builder().max_workers(0).build().unwrap_err();
/// assert_eq!(error.kind(), BuildErrorKind::InvalidOption);
/// assert_eq!(error.to_string(), "max_workers is 0: give at least 1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError {
    kind: BuildErrorKind,
    text: Cow<'static, str>,
}

/// The sort of reason that a [`BuildError`] gives; the example is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BuildErrorKind {
    /// An option, or a combination of options, is invalid.
    InvalidOption,
    /// Worker processes cannot be started from this program: its code is not in its executable, or the
    /// program has not done what is needed.
    WrongProgram,
    /// The system has no such pools.
    Unsupported,
    /// This process is a worker of a worker, and so on, as deep as pools may be nested.
    TooDeep,
}

impl BuildError {
    fn new(kind: BuildErrorKind, text: impl Into<Cow<'static, str>>) -> Self {
        let text = text.into();
        Self { kind, text }
    }

    pub(crate) fn invalid(text: &'static str) -> Self {
        Self::new(BuildErrorKind::InvalidOption, text)
    }

    #[cfg_attr(
        concurrent_futures_loom,
        expect(dead_code, reason = "no processes in models")
    )]
    pub(crate) fn wrong_program(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(BuildErrorKind::WrongProgram, text)
    }

    #[cfg_attr(
        concurrent_futures_loom,
        expect(dead_code, reason = "no processes in models")
    )]
    pub(crate) fn unencodable(what: &str, error: &crate::error::TaskError) -> Self {
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        let text = format!("the {what} cannot be sent: {error}: {cause}");
        Self::new(BuildErrorKind::InvalidOption, text)
    }

    #[cfg_attr(
        all(target_os = "linux", not(concurrent_futures_loom)),
        expect(dead_code, reason = "for systems without worker processes")
    )]
    pub(crate) fn unsupported(text: &'static str) -> Self {
        Self::new(BuildErrorKind::Unsupported, text)
    }

    #[cfg_attr(
        concurrent_futures_loom,
        expect(dead_code, reason = "no processes in models")
    )]
    pub(crate) fn too_deep(depth: u32) -> Self {
        let text = format!(
            "this process is a worker of a worker, {depth} deep: a function that makes a pool each time it \
             is called, and submits itself, would start processes without end"
        );
        Self::new(BuildErrorKind::TooDeep, text)
    }

    /// The sort of reason: see the example of [`BuildError`].
    #[must_use]
    pub fn kind(&self) -> BuildErrorKind {
        self.kind
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for BuildError {}
