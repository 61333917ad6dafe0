//! Functions as they are submitted: with their arguments spread, by value, and of no size.

use crate::error::BoxError;
use serde::{Serialize, de::DeserializeOwned};

/// A value that can travel to wherever a task runs, and back.
///
/// Implemented for every type that has `Serialize`, `DeserializeOwned`, `Send` and `'static`. In this process
/// such values are moved and never encoded.
///
/// ```
/// use concurrent_futures::{Executor, ProcessPoolExecutor};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Picture {
///     width: u32,
///     height: u32,
/// }
///
/// fn halved(picture: Picture) -> Picture {
///     Picture { width: picture.width / 2, height: picture.height / 2 }
/// }
///
/// let pool = ProcessPoolExecutor::new(1);
/// let picture = pool.submit(halved, Picture { width: 800, height: 600 }).result()?;
/// assert_eq!((picture.width, picture.height), (400, 300));
/// # Ok::<(), concurrent_futures::TaskError>(())
/// ```
///
/// The compiler refuses other types when the program is built:
///
/// ```compile_fail,E0277
/// use concurrent_futures::{Executor, InlineExecutor};
///
/// struct Session;
/// let future = InlineExecutor::new().submit(|_: Session| 1, Session);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel between executors",
    label = "needs `serde::Serialize`, `serde::de::DeserializeOwned`, `Send` and `'static`",
    note = "derive `Serialize` and `Deserialize` for a type of yours, or stay on threads with `ThreadPoolExecutor::spawn`",
    note = "give what a reference refers to: `String` for `&str`, `items.iter().cloned()` for `items.iter()`"
)]
pub trait Portable: Serialize + DeserializeOwned + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Send + 'static> Portable for T {}

/// A function that can be submitted with the arguments `Args`: a plain function, a method path, or
/// a closure that captures nothing.
///
/// No arguments are `()`, one argument is the argument itself, and several arguments are a tuple, which is
/// spread over the parameters. The marker is the type of the function pointer that the function would be. It
/// distinguishes a function of two parameters from one whose only parameter is a pair.
///
/// ```
/// use concurrent_futures::{Executor, InlineExecutor};
///
/// fn area((width, height): (u32, u32)) -> u32 {
///     width * height
/// }
///
/// let executor = InlineExecutor::new();
/// assert_eq!(executor.submit(|| 7, ()).result()?, 7);
/// assert_eq!(executor.submit(u32::count_ones, 7).result()?, 3);
/// assert_eq!(executor.submit(u64::pow, (2, 10)).result()?, 1024);
/// assert_eq!(executor.submit(area, (2, 3)).result()?, 6);
/// # Ok::<(), concurrent_futures::TaskError>(())
/// ```
///
/// A closure that captures a value that is not `Copy` is not such a function:
///
/// ```compile_fail,E0277
/// use concurrent_futures::{Executor, InlineExecutor};
///
/// let text = String::from("captured");
/// let future = InlineExecutor::new().submit(move |n: usize| text.len() + n, 1);
/// ```
///
/// This trait is implemented for functions of up to eight parameters, and is not meant to be implemented
/// elsewhere.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be submitted with arguments of the type `{Args}`",
    label = "no function, method or non-capturing closure with these parameters",
    note = "give several arguments as a tuple, one as itself, and none as `()`",
    note = "parameters and result are owned values: wrap a function of `&str` as `|text: String| f(&text)`",
    note = "a closure that captures can be run on threads with `ThreadPoolExecutor::spawn`"
)]
pub trait TaskFn<Args, Marker>: Copy + Send + Sync + 'static {
    /// What the function returns.
    type Output;

    /// Calls the function.
    ///
    /// ```
    /// use concurrent_futures::TaskFn;
    ///
    /// assert_eq!(u64::pow.call((2, 10)), 1024);
    /// ```
    fn call(self, args: Args) -> Self::Output;
}

impl<F, T> TaskFn<(), fn() -> T> for F
where
    F: Fn() -> T + Copy + Send + Sync + 'static,
{
    type Output = T;

    fn call(self, (): ()) -> T {
        self()
    }
}

impl<F, A, T> TaskFn<A, fn(A) -> T> for F
where
    F: Fn(A) -> T + Copy + Send + Sync + 'static,
{
    type Output = T;

    fn call(self, argument: A) -> T {
        self(argument)
    }
}

macro_rules! spread {
    ($($parameter:ident)+) => {
        impl<F, $($parameter,)+ T> TaskFn<($($parameter,)+), fn($($parameter),+) -> T> for F
        where
            F: Fn($($parameter),+) -> T + Copy + Send + Sync + 'static,
        {
            type Output = T;

            #[expect(non_snake_case, reason = "each argument is named as its type")]
            fn call(self, ($($parameter,)+): ($($parameter,)+)) -> T {
                self($($parameter),+)
            }
        }
    };
}

spread!(A B);
spread!(A B C);
spread!(A B C D);
spread!(A B C D E);
spread!(A B C D E G);
spread!(A B C D E G H);
spread!(A B C D E G H I);

/// A `Result`: the return type of a function that is submitted with
/// [`try_submit`](super::Executor::try_submit).
///
/// Any error that converts into a [`BoxError`] will do, including text:
///
/// ```
/// use concurrent_futures::{Executor, InlineExecutor};
///
/// fn half(number: u32) -> Result<u32, String> {
///     if number % 2 == 0 { Ok(number / 2) } else { Err(format!("{number} is odd")) }
/// }
///
/// let executor = InlineExecutor::new();
/// assert_eq!(executor.try_submit(half, 4).result()?, 2);
/// assert!(executor.try_submit(half, 3).result().unwrap_err().is_failed());
/// # Ok::<(), concurrent_futures::TaskError>(())
/// ```
///
/// The compiler refuses a function that cannot fail when the program is built:
///
/// ```compile_fail,E0277
/// use concurrent_futures::{Executor, InlineExecutor};
///
/// let future = InlineExecutor::new().try_submit(u64::pow, (2, 10));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no `Result` that `try_submit` or `try_map` can take",
    label = "the function has to return a `Result<T, E>`",
    note = "`E` has to convert into `Box<dyn Error + Send + Sync>`; a function that cannot fail is submitted with `submit` or `map`"
)]
pub trait Fallible {
    /// The value in case of success.
    type Value;

    /// Returns the value, or the error as a boxed one.
    ///
    /// ```
    /// use concurrent_futures::Fallible;
    ///
    /// let result: Result<u32, &str> = Err("no luck");
    /// assert_eq!(result.into_result().unwrap_err().to_string(), "no luck");
    /// ```
    ///
    /// # Errors
    /// The function's own error.
    fn into_result(self) -> Result<Self::Value, BoxError>;
}

impl<T, E: Into<BoxError>> Fallible for Result<T, E> {
    type Value = T;

    fn into_result(self) -> Result<T, BoxError> {
        self.map_err(Into::into)
    }
}

/// Refuses, when the program is built, a function that has a size: one that captures.
pub(crate) const fn assert_captures_nothing<F>() {
    const {
        assert!(
            size_of::<F>() == 0,
            "a submitted function must capture nothing, because another process makes it anew: \
             pass what it needs as arguments, take a function pointer with `submit_fn`, \
             or stay on threads with `ThreadPoolExecutor::spawn`"
        );
    }
}
