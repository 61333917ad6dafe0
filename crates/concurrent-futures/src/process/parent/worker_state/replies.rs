//! What a worker says, against what it was given: nothing is taken in that cannot be.

use super::{Applied, Completion, Life, Reply, Worker};
use crate::error::TaskError;
use crate::process::frame::reply;
use crate::process::parent::task::RemoteTask;
use crate::process::ring::Violation;

impl Worker {
    /// Takes in what the worker says.
    ///
    /// # Errors
    /// If it says what it cannot say.
    pub(in crate::process) fn apply(&mut self, reply: Reply) -> Result<Applied, Violation> {
        self.is_full = false;
        self.is_stopped = false;
        match reply.kind {
            reply::READY if self.life == Life::Starting => {
                self.life = Life::Ready;
                self.has_read_what_it_was_told(reply.has_kept);
                return Ok(Applied::Ready);
            }
            // It was told to end before it was ready.
            reply::READY if matches!(self.life, Life::Leaving | Life::Ending) => {
                return Ok(Applied::Item);
            }
            reply::READY => return Err(Violation("it was ready before")),
            reply::NOT_READY | reply::NO_LIMITS if self.life != Life::Starting => {
                return Err(Violation("its initializer has run before"));
            }
            reply::NOT_READY | reply::NO_LIMITS => {
                let what = match reply.kind {
                    reply::NOT_READY => "the initializer",
                    _ => "setting the limits of a worker process",
                };
                let unknown = || TaskError::failed("the worker gave no error");
                let error = reply.error.unwrap_or_else(unknown);
                return Ok(Applied::NotReady(error.into_cause(what)));
            }
            reply::NOT_FINALIZED
                if !matches!(self.life, Life::Leaving | Life::Ending) || self.has_finalized =>
            {
                return Err(Violation("its finalizer was not to run"));
            }
            reply::NOT_FINALIZED => {
                self.has_finalized = true;
                let unknown = || TaskError::failed("the finalizer failed");
                return Ok(Applied::NotFinalized(reply.error.unwrap_or_else(unknown)));
            }
            _ => {}
        }
        let Some((number, _)) = self.current() else {
            return Err(Violation("a result came for no task"));
        };
        if reply.items > 0 {
            let task = self.handed_mut(number).map(|handed| &mut handed.task);
            let Some(RemoteTask {
                chunk: Some(chunk),
                terms,
                ..
            }) = task
            else {
                return Err(Violation("an item's result came where there is no chunk"));
            };
            if chunk.handed < reply.items {
                return Err(Violation("more results came than there are items"));
            }
            chunk.handed -= reply.items;
            chunk.extend(reply.items, &reply.value.bytes);
            if let Some(terms) = terms {
                terms.loss = None;
            }
            self.finished += reply.items as u64;
            return Ok(Applied::Item);
        }
        self.is_stuck = false;
        let is_outgrown = reply.kind != reply::VALUE && self.outgrown().is_some();
        if reply.number != number {
            return Err(Violation("a result came out of order"));
        }
        let Some(handed) = self.handed_mut(number) else {
            return Err(Violation("a result came for no task"));
        };
        if reply.has_kept {
            handed.abandon_arguments();
        }
        // It stays here until all is checked: what is lost with its worker is looked after.
        let completion = match (reply.kind, &mut handed.task.chunk) {
            (reply::VALUE, None) => Completion::Value(reply.value),
            (reply::ERROR, None) => {
                let unknown = || TaskError::failed("the worker gave no error");
                Completion::Error(reply.error.unwrap_or_else(unknown))
            }
            (reply::END | reply::ERROR, Some(chunk)) => {
                if let Some(error) = &reply.error {
                    chunk.spoil(error)?;
                }
                chunk.nanos = chunk.nanos.saturating_add(reply.nanos);
                // If items are left it was asked to stop; or it has too much memory, and another one goes on.
                let was_asked_to_stop = chunk.handed > 0 && !is_outgrown;
                if was_asked_to_stop {
                    for _ in 0..chunk.left() {
                        chunk.push_error(&TaskError::cancelled());
                    }
                }
                if chunk.left() > 0 {
                    handed.task.skip_done()?;
                }
                Completion::Chunk
            }
            _ => {
                return Err(Violation(
                    "a result came of a kind that its task does not give",
                ));
            }
        };
        let Some(handed) = self.remove(number) else {
            return Err(Violation("a result came for no task"));
        };
        match &handed.task.chunk {
            Some(chunk) if chunk.left() > 0 => return Ok(Applied::Partly(handed.task)),
            Some(_) => {}
            None => self.finished += 1,
        }
        Ok(Applied::Finished(handed, completion, reply.nanos))
    }
}
