//! Scopes: closures that borrow from the caller, for executors that take what lives for ever.
//!
//! [`Lender::lend`] makes a closure that lives for `'scope` one that seems to live for `'static`. What
//! keeps that sound is one promise: [`Scope::enter`] returns, also by unwinding, only when every closure
//! that was lent is over, called or not, and dropped. Everything else in this file is safe code that
//! keeps the promise, and what is built on it (`thread/scope.rs`) cannot break it.
//!
//! # How a borrow could outlive its scope, and what prevents it
//!
//! *The wait is skipped.* It is no destructor of a value that users have, which they could forget, but
//! of a local of `enter`, which is made before the user's function is called. If the wait itself should
//! panic, the process is aborted.
//!
//! *A closure is still somewhere when the count says zero.* The count of a [`Lent`] closure goes down
//! at one place, in its `Drop`, and there after the closure: a call has consumed it by then, and
//! otherwise it is dropped first, in place. So it does not matter who holds the task's cell, the
//! future, or a handle, for how long, nor whether the task was cancelled, refused, timed out or
//! abandoned: that only decides who drops the `Lent`. If somebody leaks one, the scope does not end.
//! Results die inside of their closure, or lie in a [`Place`].
//!
//! *A result outlives the scope.* The right to take it is branded with `'scope`, so nobody can use it
//! afterwards. It may be leaked, and then the place still has a value; nobody would ever touch it
//! again, so this is no question of soundness. But values are to be dropped, so the scope has a list of
//! its places and vacates those that are left. The list is empty when the scope ends, and with it the
//! pointers whose lifetime was erased. A `Drop` that runs then may still use the scope, which is why
//! the end looks again after each.
//!
//! *Something is lent after the end.* To lend takes a [`Lender`], branded with `'scope`, and whoever has
//! one runs inside the user's function, in a closure that is counted, or in a drop that the end waits
//! for. So the count is not zero, or the end has not looked for the last time.
//!
//! *`'scope` is not the time of the scope.* The function given to `enter` works for any `'scope`, so it
//! can neither choose it nor give anything away that names it. `Scope`, `Lender` and what is made of
//! them are invariant in it: a shorter one would let closures be lent that borrow what dies inside of
//! the function, a longer one would let them out. `'env` outlives `'scope`; this is what lets a closure
//! that lives for `'scope` borrow what the caller of `enter` owns, and it is invariant so that it stays
//! what the caller said.
//!
//! *The end is reached while the giver is still in our memory.* Counts and lists are in a shared
//! allocation, of which each `Lent` keeps a reference until it is through. It does not touch the `Scope`,
//! and since the closure is in a box of its own, no borrow is among the arguments of a call that is
//! still on its way then.
//!
//! *Threads.* Only what is `Send` is lent, since it runs and is dropped elsewhere. Places are `Send` and
//! `Sync`. The count is under a lock, so what was done before it went down is seen by who finds it zero.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::reference::CellRef;
use crate::error::TaskError;
use crate::panic::guarded_drop;
use crate::sync::{Condvar, Mutex, lock};
use crate::task::future::TaskFuture;
use crate::task::outcome::Outcome;
use crate::task::waiting::{Wait, block_in};

/// Among fewer detached tasks nobody looks for those that are over.
const FEW: usize = 64;

/// A period in which tasks may borrow, passed to the function of a
/// [`scope`](crate::ThreadPoolExecutor::scope).
///
/// `'scope` is that period; what tasks borrow outlives it. `'env` is the lifetime of what was there before.
/// `E` is the executor that runs the tasks.
pub struct Scope<'scope, 'env: 'scope, E> {
    executor: E,
    lender: Lender<'scope>,
    env: PhantomData<&'env mut &'env ()>,
}

impl<'env, E: 'static> Scope<'_, 'env, E> {
    /// Calls `f`, and returns when all that was lent in the scope has been given back.
    pub(crate) fn enter<R>(
        executor: E,
        f: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env, E>) -> R,
    ) -> R {
        let scope = Scope {
            executor,
            lender: Lender {
                loans: Arc::default(),
                scope: PhantomData,
            },
            env: PhantomData,
        };
        let _end = End(Arc::clone(&scope.lender.loans));
        f(&scope)
    }
}

impl<'scope, E> Scope<'scope, '_, E> {
    pub(crate) fn executor(&self) -> &E {
        &self.executor
    }

    pub(crate) fn lender(&self) -> &Lender<'scope> {
        &self.lender
    }
}

impl<E: fmt::Debug> fmt::Debug for Scope<'_, '_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("executor", &self.executor)
            .finish_non_exhaustive()
    }
}

/// The end of a scope, which no way out of [`Scope::enter`] leads around.
struct End(Arc<Loans>);

impl Drop for End {
    fn drop(&mut self) {
        let unsettled = Abort;
        self.0.settle();
        std::mem::forget(unsettled);
    }
}

/// Dropped, it ends the process: for what must not be left half done.
struct Abort;

impl Drop for Abort {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// The right to have things borrow for `'scope`.
pub(crate) struct Lender<'scope> {
    loans: Arc<Loans>,
    /// Invariant.
    scope: PhantomData<&'scope mut &'scope ()>,
}

impl Clone for Lender<'_> {
    fn clone(&self) -> Self {
        Self {
            loans: Arc::clone(&self.loans),
            scope: PhantomData,
        }
    }
}

impl<'scope> Lender<'scope> {
    /// The closure as one that lives for ever. The scope waits until it was called or dropped.
    pub(crate) fn lend<A: 'static>(&self, closure: impl FnOnce(A) + Send + 'scope) -> Lent<A> {
        let closure: Box<dyn FnOnce(A) + Send + 'scope> = Box::new(closure);
        // SAFETY: only the lifetime is another. The closure is gone before its count goes down, in the
        // `Drop` of `Lent`, and `'scope` lasts until `settle` has found all counts down: it is the
        // `'scope` that `Scope::enter` has made, the only maker of lenders. The argument is at the top.
        let closure = unsafe {
            std::mem::transmute::<
                Box<dyn FnOnce(A) + Send + 'scope>,
                Box<dyn FnOnce(A) + Send + 'static>,
            >(closure)
        };
        lock(&self.loans.book).lent += 1;
        Lent {
            closure: Some(closure),
            loans: Arc::clone(&self.loans),
        }
    }

    /// Sees to it that `place` is vacated before the scope ends, whatever becomes of the answer.
    pub(crate) fn keep<P: Place + 'scope>(&self, place: Arc<P>) -> Kept<'scope, P> {
        let listed: Arc<dyn Place + 'scope> = Arc::<P>::clone(&place);
        // SAFETY: only the lifetime is another. The list gives the pointer up when `Kept` is dropped,
        // inside the scope, or at the end of the scope, which comes only once the list is empty.
        let listed = unsafe {
            std::mem::transmute::<Arc<dyn Place + 'scope>, Arc<dyn Place + 'static>>(listed)
        };
        let mut book = lock(&self.loans.book);
        let number = book.next_number;
        book.next_number += 1;
        let listed = Listed {
            place: listed,
            task: None,
        };
        book.places.insert(number, listed);
        drop(book);
        Kept {
            place,
            number,
            lender: self.clone(),
        }
    }

    /// Leaves a task to the scope, whose end waits for it.
    pub(crate) fn detach(&self, task: TaskFuture<()>) {
        if task.is_done() {
            return drop_finished(task);
        }
        let mut book = lock(&self.loans.book);
        book.detached.push(task);
        let finished = book.sweep();
        drop(book);
        // The end of the scope, if it waits already, waits for this task first.
        self.loans.changed.notify_one();
        finished.into_iter().for_each(drop_finished);
    }
}

/// A closure that borrows and does not look like it, and that a scope waits for.
pub(crate) struct Lent<A> {
    closure: Option<Box<dyn FnOnce(A) + Send>>,
    loans: Arc<Loans>,
}

impl<A> Lent<A> {
    pub(crate) fn call(mut self, argument: A) {
        if let Some(closure) = self.closure.take() {
            closure(argument);
        }
    }
}

impl<A> Drop for Lent<A> {
    fn drop(&mut self) {
        // Nothing may come between, nor after: with the count goes the right to borrow.
        guarded_drop(self.closure.take());
        self.loans.give_back();
    }
}

/// Where something lies that borrows.
pub(crate) trait Place: Send + Sync {
    /// Drops what is there. Does not panic.
    fn vacate(&self);
}

/// A place on a scope's list. It is vacated when this is dropped.
pub(crate) struct Kept<'scope, P: Place> {
    place: Arc<P>,
    number: u64,
    lender: Lender<'scope>,
}

impl<'scope, P: Place> Kept<'scope, P> {
    pub(crate) fn place(&self) -> &P {
        &self.place
    }

    pub(crate) fn lender(&self) -> &Lender<'scope> {
        &self.lender
    }
}

impl<P: Place> Kept<'_, P> {
    /// Which task it is whose result will lie there.
    pub(crate) fn is_of(&self, task: &CellRef) {
        if let Some(listed) = lock(&self.lender.loans.book).places.get_mut(&self.number) {
            listed.task = Some(task.clone());
        }
    }
}

impl<P: Place> Drop for Kept<'_, P> {
    fn drop(&mut self) {
        let listed = lock(&self.lender.loans.book).places.remove(&self.number);
        drop(listed);
        self.place.vacate();
    }
}

/// What a scope has given away and wants back.
#[derive(Default)]
struct Loans {
    book: Mutex<Book>,
    /// Nothing is lent any more, or a task was detached.
    changed: Condvar,
}

#[derive(Default)]
struct Book {
    /// Closures that are neither called nor dropped.
    lent: usize,
    /// Where the results lie for which there is still a future, by numbers that are never used again:
    /// a place that the end has vacated may have its `Kept` dropped afterwards.
    places: BTreeMap<u64, Listed>,
    next_number: u64,
    /// Tasks without a future, some of which may be over.
    detached: Vec<TaskFuture<()>>,
    /// So many were left when those that were over were last looked for.
    left: usize,
}

/// A place for which there is a future, or was: it may have been leaked.
struct Listed {
    place: Arc<dyn Place>,
    task: Option<CellRef>,
}

impl Book {
    /// Takes the detached tasks that are over off the list, when it has doubled since the last time.
    fn sweep(&mut self) -> Vec<TaskFuture<()>> {
        if self.detached.len() < 2 * self.left.max(FEW) {
            return Vec::new();
        }
        let all = std::mem::take(&mut self.detached).into_iter();
        let (finished, left): (Vec<_>, Vec<_>) = all.partition(TaskFuture::is_done);
        (self.left, self.detached) = (left.len(), left);
        finished
    }
}

/// What the end of a scope does next.
enum Next {
    WaitFor(TaskFuture<()>),
    /// Something is still lent, to these tasks among others.
    WaitForLoans(Vec<CellRef>),
    Vacate(Listed),
}

impl Loans {
    fn give_back(&self) {
        let mut book = lock(&self.book);
        book.lent -= 1;
        let is_last = book.lent == 0;
        drop(book);
        if is_last {
            self.changed.notify_one();
        }
    }

    /// Returns when nothing is lent any more, and all places are vacated.
    fn settle(&self) {
        while let Some(next) = self.next() {
            match next {
                // Waiting for a queued task of one's own pool may mean to run it. It is the count that
                // decides: a future can resolve while the body goes on, and it may have been leaked.
                Next::WaitFor(task) => {
                    let cell = task.cell().clone();
                    if let Err(error) = task.result() {
                        if !cell.is_unfinished() {
                            note_untaken(&cell, &error);
                        }
                    }
                }
                Next::WaitForLoans(tasks) => {
                    block_in(|| Wait::most(&tasks), || self.wait_for_a_change());
                }
                Next::Vacate(listed) => listed.place.vacate(),
            }
        }
    }

    fn next(&self) -> Option<Next> {
        let mut book = lock(&self.book);
        // The last first, since workers begin with the first.
        if let Some(task) = book.detached.pop() {
            return Some(Next::WaitFor(task));
        }
        if book.lent > 0 {
            let tasks = book
                .places
                .values()
                .filter_map(|listed| listed.task.clone());
            return Some(Next::WaitForLoans(tasks.collect()));
        }
        // Nobody runs any more; what is listed now has a future that was leaked. The last first, since it
        // may hold futures that were there before it.
        let (_, listed) = book.places.pop_last()?;
        Some(Next::Vacate(listed))
    }

    /// Blocks until nothing is lent, or a task was detached; or for no reason.
    fn wait_for_a_change(&self) {
        let book = lock(&self.book);
        if book.lent > 0 && book.detached.is_empty() {
            drop(self.changed.wait(book));
        }
    }
}

fn drop_finished(mut task: TaskFuture<()>) {
    let cell = task.cell().clone();
    if let Some(error) = task.error() {
        note_untaken(&cell, error);
    }
}

/// The task has an error that nobody has taken, and nobody can any more.
fn note_untaken(task: &CellRef, error: &TaskError) {
    if Outcome::of_error(error).is_error() {
        task.in_span(|| {
            let task = task.info();
            tracing::debug!(task.id = task.id().get(), task.name = task.name(), %error, "a task of a scope failed unobserved");
        });
    }
}
