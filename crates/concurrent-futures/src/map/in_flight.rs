//! Tasks that are on their way, in the order in which their results are wanted.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::as_completed::AsCompleted;
use crate::error::TaskError;
use crate::task::{TaskFuture, Wait};

/// Tasks with keys: given in the order in which they were put in, or as they finish.
pub(crate) enum InFlight<K, T> {
    Ordered(VecDeque<(K, TaskFuture<T>)>),
    Unordered(AsCompleted<(K, TaskFuture<T>)>),
}

impl<K: Copy, T> InFlight<K, T> {
    pub(crate) fn new(ordered: bool) -> Self {
        if ordered {
            Self::Ordered(VecDeque::new())
        } else {
            Self::Unordered(AsCompleted::new())
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Ordered(queue) => queue.len(),
            Self::Unordered(set) => set.len(),
        }
    }

    pub(crate) fn push(&mut self, key: K, future: TaskFuture<T>) {
        match self {
            Self::Ordered(queue) => queue.push_back((key, future)),
            Self::Unordered(set) => set.push((key, future)),
        }
    }

    /// The next task that is done; `None` if nothing is on its way.
    pub(crate) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<(K, Result<T, TaskError>)>> {
        match self {
            Self::Ordered(queue) => {
                let Some((key, future)) = queue.front_mut() else {
                    return Poll::Ready(None);
                };
                let key = *key;
                Pin::new(future).poll(context).map(|result| {
                    queue.pop_front();
                    Some((key, result))
                })
            }
            Self::Unordered(set) => set.poll_finished(context).map(|next| {
                next.map(|(key, mut future)| {
                    let result = future.try_result().expect("the task is done");
                    (key, result)
                })
            }),
        }
    }

    /// What a pending [`poll_next`](Self::poll_next) waits for.
    pub(crate) fn waits_for(&self) -> Wait {
        match self {
            Self::Ordered(queue) => Wait::all(queue.front().map(|(_, future)| future.cell())),
            Self::Unordered(set) => set.waits_for(),
        }
    }

    /// Takes out all tasks, those that were put in last at the end.
    pub(crate) fn take_all(&mut self) -> Vec<(K, TaskFuture<T>)> {
        match std::mem::replace(self, Self::new(true)) {
            Self::Ordered(queue) => Vec::from(queue),
            Self::Unordered(set) => set.into_remaining(),
        }
    }
}
