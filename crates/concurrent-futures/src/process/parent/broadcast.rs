//! Running a function once in each worker that there is.

use std::sync::Arc;

use super::admission;
use super::shared::Shared;
use super::state::Actions;
use super::task::{Arguments, RemoteTask, Terms};
use crate::error::TaskError;
use crate::executor::TaskOptions;
use crate::process::record::Name;
use crate::process::{carried, clock};
use crate::task::{Encoded, TaskFuture};

impl Shared {
    /// Runs the call `name` with encoded arguments in each worker.
    pub(in crate::process) fn broadcast<T: Send + 'static>(
        self: &Arc<Self>,
        name: Name,
        arguments: Result<Arguments, TaskError>,
        decode: fn(&Encoded) -> Result<T, TaskError>,
    ) -> Vec<TaskFuture<T>> {
        let refused = |why| vec![TaskFuture::ready(Err(why))];
        if self.is_copy() {
            return refused(admission::copy());
        }
        let carried = carried::pack(None, &self.options.contexts);
        let (arguments, carried) = match arguments.and_then(|arguments| Ok((arguments, carried?))) {
            Ok(all) => all,
            Err(error) => return refused(error),
        };
        // Made ahead, since that may run foreign code: spans belong to the subscriber.
        let count = self.lock().launches(usize::MAX).len();
        let mut made: Vec<_> = (0..count)
            .map(|_| {
                let extras = TaskOptions::new().extras();
                let (promise, future) = TaskFuture::remote(decode, self.id, clock::now(), extras);
                let task = RemoteTask {
                    promise,
                    call: name,
                    arguments: arguments.clone(),
                    chunk: None,
                    returns: 0,
                    was_told: false,
                    is_due: false,
                    terms: None,
                };
                (task, future)
            })
            .collect();
        let mut actions = Actions::default();
        let mut state = self.lock();
        if let Some(why) = state.refusal() {
            drop(state);
            return refused(why);
        }
        let launches = state.launches(count);
        // A worker may have gone meanwhile.
        let unused = made.split_off(launches.len());
        let futures: Vec<_> = launches
            .into_iter()
            .zip(made)
            .map(|(launch, (mut task, future))| {
                task.terms = Some(Terms::pinned(launch, carried.clone()));
                state.enqueue_pinned(task);
                future
            })
            .collect();
        state.dispatch(&self.options, clock::now(), &mut actions);
        self.release(state, actions);
        drop(unused);
        if !self.options.observers.is_empty() {
            for future in &futures {
                self.observe(|observer| observer.queued(future.cell().info()));
            }
        }
        futures
    }
}
