//! Who may submit: the places of an executor with limits, and those who wait for one.
//!
//! Always: nobody waits while there is room. A place that becomes free goes to the first who waits, in
//! the same step, so that neither a plain submit nor [`try_enter`](Admission::try_enter) overtakes
//! anybody. Those who wait are told without the lock.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::error::{Rejection, TaskError};
use crate::id::OwnerId;
use crate::sync::{Mutex, lock};
use crate::task::{Promise, TaskFuture};

/// Those who gave up waiting are looked for when more wait than this, and twice as many as last time:
/// so the look costs each of them a constant share.
const MOST_UNSWEPT: usize = 64;

/// How many tasks an executor takes: its limits, and the queue of callers that wait for a place. This is an
/// interface for back ends.
///
/// Clones are handles of the same admission. An executor [admits](Self::admit) each task, keeps the [`Place`]
/// with it, and drops the place when the task is over but its result not seen yet. It [closes](Self::close)
/// the admission once it takes no more tasks.
///
/// ```
/// use concurrent_futures::{Admission, Rejection};
///
/// // Two workers, and nothing may be queued.
/// let admission = Admission::new(2, Some(0), None);
/// let first = admission.admit(None, 0)?;
/// let second = admission.admit(None, 0)?;
/// let error = admission.admit(None, 0).unwrap_err();
/// assert_eq!(error.rejection(), Some(Rejection::QueueFull));
///
/// let third = admission.enter();
/// drop(first);
/// assert!(third.result().is_ok());
/// # Ok::<(), concurrent_futures::TaskError>(())
/// ```
#[derive(Clone)]
pub struct Admission(Arc<Inner>);

struct Inner {
    /// The pool whose workers may wait here for each other.
    pool: OnceLock<OwnerId>,
    /// Tasks on their way into the queue.
    coming: AtomicUsize,
    /// Of a pool whose copies, made by forks, do nothing.
    origin: OnceLock<Origin>,
    /// `None`: everybody may enter.
    limits: Option<Limits>,
    /// Why nobody enters any more; set under the lock.
    closed: OnceLock<TaskError>,
    /// How often somebody got no place who would not wait for it.
    refused: AtomicU64,
    state: Mutex<State>,
}

/// What counts the forks up to this process, and how many there were. In a copy the lock is not touched:
/// it may be held by a thread that is not there.
struct Origin {
    generation: fn() -> u32,
    made_in: u32,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    /// How many tasks there may be beyond one for each worker; `None` for any number.
    queued: Option<usize>,
    bytes: u64,
}

#[derive(Default)]
struct State {
    /// How many may be given at the same time.
    places: usize,
    /// Places that were given and not given back, and the bytes of the arguments that they hold.
    taken: usize,
    bytes: u64,
    /// Those of them for which no task was submitted yet.
    reserved: usize,
    waiting: VecDeque<Promise<Place>>,
    /// How many may wait until those who gave up are looked for.
    sweep_at: usize,
}

/// The places of an executor at one moment.
#[cfg(feature = "metrics")]
pub(crate) struct Places {
    pub(crate) all: usize,
    pub(crate) taken: usize,
    /// How often somebody got none who would not wait for it.
    pub(crate) refused: u64,
}

/// A task on its way into the queue.
pub(crate) struct Coming<'a>(&'a AtomicUsize);

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        // Release: the task is in the queue for who finds that none is on its way.
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl Default for Admission {
    /// No limits.
    fn default() -> Self {
        Self::new(0, None, None)
    }
}

impl Admission {
    /// Admits as many tasks as there are workers, plus `queue_limit`. It admits a further task only while the
    /// encoded arguments of all tasks are less than `queue_bytes`. See the example of [`Admission`].
    #[must_use]
    pub fn new(max_workers: usize, queue_limit: Option<usize>, queue_bytes: Option<u64>) -> Self {
        let is_limited = queue_limit.is_some() || queue_bytes.is_some();
        let limits = is_limited.then(|| Limits {
            queued: queue_limit,
            bytes: queue_bytes.unwrap_or(u64::MAX),
        });
        let places = limits.map_or(usize::MAX, |limits| limits.places(max_workers));
        Self(Arc::new(Inner {
            pool: OnceLock::new(),
            coming: AtomicUsize::new(0),
            origin: OnceLock::new(),
            limits,
            closed: OnceLock::new(),
            refused: AtomicU64::new(0),
            state: Mutex::new(State {
                places,
                ..State::default()
            }),
        }))
    }

    /// Its places are those of a pool, for which its own workers may wait.
    pub(crate) fn of_pool(self, pool: OwnerId) -> Self {
        self.0.pool.get_or_init(|| pool);
        self
    }

    /// In a process of another generation, everybody is admitted and nothing is counted.
    pub(crate) fn of_generation(self, generation: fn() -> u32) -> Self {
        self.0.origin.get_or_init(|| Origin {
            generation,
            made_in: generation(),
        });
        self
    }

    pub(crate) fn is_limited(&self) -> bool {
        self.0.limits.is_some()
    }

    /// Somebody got no place who would not wait for it.
    pub(crate) fn count_refused(&self) {
        if self.0.closed.get().is_none() {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Its places, if the number of tasks is limited.
    #[cfg(feature = "metrics")]
    pub(crate) fn places(&self) -> Option<Places> {
        self.0.limits?.queued?;
        if self.0.is_copy() {
            return None;
        }
        let state = lock(&self.0.state);
        Some(Places {
            all: state.places,
            taken: state.taken,
            refused: self.0.refused.load(Ordering::Relaxed),
        })
    }

    /// A task is being submitted, until the answer is dropped: its place may be taken, and the task not
    /// be in the queue yet.
    pub(crate) fn coming(&self) -> Coming<'_> {
        // Relaxed: it comes before the place is taken, under the lock, for who finds it taken there.
        self.0.coming.fetch_add(1, Ordering::Relaxed);
        Coming(&self.0.coming)
    }

    /// Whether there are places that were given for tasks which are not queued yet.
    pub(crate) fn has_reserved(&self) -> bool {
        let has_reserved = lock(&self.0.state).reserved > 0;
        has_reserved || self.0.coming.load(Ordering::Acquire) > 0
    }

    /// Whether somebody waits for a place.
    pub(crate) fn has_waiting(&self) -> bool {
        !lock(&self.0.state).waiting.is_empty()
    }

    /// Returns the place of a task that is submitted now, with this many bytes of encoded arguments: the
    /// place that was reserved for it, or a free one. See the example of [`Admission`].
    ///
    /// Once closed, every task is admitted; the executor then rejects it.
    ///
    /// # Errors
    /// [`QueueFull`](Rejection::QueueFull), if there is no place.
    pub fn admit(&self, reserved: Option<Place>, bytes: u64) -> Result<Place, TaskError> {
        if let Some(mut place) = reserved {
            place.hold(bytes);
            return Ok(place);
        }
        self.admit_new(Hold::Used(bytes))
    }

    fn admit_new(&self, hold: Hold) -> Result<Place, TaskError> {
        let holds = |_: &Limits| self.0.closed.get().is_none() && !self.0.is_copy();
        let Some(limits) = self.0.limits.filter(holds) else {
            return Ok(Place::uncounted());
        };
        let mut state = lock(&self.0.state);
        let place = self.0.take(&mut state, limits, hold);
        place.ok_or_else(|| TaskError::rejected(Rejection::QueueFull))
    }

    /// Returns a place, if there is one now. See the example of [`close`](Self::close).
    ///
    /// # Errors
    /// [`QueueFull`](Rejection::QueueFull), or the reason why the executor takes no more tasks.
    pub fn try_enter(&self) -> Result<Place, TaskError> {
        match self.0.closed.get() {
            Some(why) => Err(why.clone()),
            None => self.admit_new(Hold::Reserved),
        }
    }

    /// Waits for a place. Waiting callers get theirs in the order of these calls. See the example of
    /// [`Admission`].
    ///
    /// # Errors
    /// Those of the future: the reason why the executor takes no more tasks.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the wait, or gives the place back.
    pub fn enter(&self) -> TaskFuture<Place> {
        let Some(limits) = self.0.limits.filter(|_| !self.0.is_copy()) else {
            return TaskFuture::ready(self.try_enter());
        };
        let mut state = lock(&self.0.state);
        if let Some(why) = self.0.closed.get() {
            return TaskFuture::ready(Err(why.clone()));
        }
        if let Some(place) = self.0.take(&mut state, limits, Hold::Reserved) {
            return TaskFuture::ready(Ok(place));
        }
        let pool = self.0.pool.get().copied();
        let (promise, future) = Promise::of_place(pool.unwrap_or(OwnerId::NONE));
        state.waiting.push_back(promise);
        let gone = state.sweep();
        drop(state);
        drop(gone);
        // So that it is refused to who went away, instead of being given and dropped.
        future.cancel_on_drop()
    }

    /// Closes the admission: waiting callers get this error, and so do those who ask for a place from now on.
    /// The first reason stays.
    ///
    /// ```
    /// use concurrent_futures::{Admission, Rejection, TaskError};
    ///
    /// let admission = Admission::new(1, Some(0), None);
    /// let _place = admission.try_enter()?;
    /// let waiting = admission.enter();
    /// admission.close(&TaskError::rejected(Rejection::ShutDown));
    /// assert!(waiting.result().unwrap_err().is_rejected());
    /// assert!(admission.closed().is_some());
    /// # Ok::<(), TaskError>(())
    /// ```
    pub fn close(&self, why: &TaskError) {
        if self.0.is_copy() {
            return;
        }
        let mut state = lock(&self.0.state);
        let why = self.0.closed.get_or_init(|| why.clone());
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for promise in waiting {
            // Refused by who gave up, which is as good.
            let _ = promise.fail(why.clone());
        }
    }

    /// Admits as many tasks as this number of workers allows, from now on. It is read under the lock, so
    /// that of several resizes at the same time the last one counts. Those who have a place keep it.
    pub(crate) fn resize(&self, max_workers: impl FnOnce() -> usize) {
        let Some(limits) = self.0.limits.filter(|_| !self.0.is_copy()) else {
            return;
        };
        let mut state = lock(&self.0.state);
        state.places = limits.places(max_workers());
        let granted = self.0.grant(&mut state);
        drop(state);
        give(granted);
    }

    /// The reason why the admission is closed, if it is. See the example of [`close`](Self::close).
    #[must_use]
    pub fn closed(&self) -> Option<&TaskError> {
        self.0.closed.get()
    }
}

impl Limits {
    fn places(self, max_workers: usize) -> usize {
        self.queued
            .map_or(usize::MAX, |tasks| max_workers.saturating_add(tasks))
    }

    fn has_room(self, state: &State) -> bool {
        state.taken < state.places && state.bytes < self.bytes
    }
}

impl Inner {
    /// This process is a fork of the one in which it was made.
    fn is_copy(&self) -> bool {
        let origin = self.origin.get();
        origin.is_some_and(|origin| (origin.generation)() != origin.made_in)
    }

    /// A place, if there is room. Then nobody waits.
    fn take(self: &Arc<Self>, state: &mut State, limits: Limits, hold: Hold) -> Option<Place> {
        limits.has_room(state).then(|| {
            state.taken += 1;
            state.add(hold);
            Place {
                inner: Some(Arc::clone(self)),
                hold,
            }
        })
    }

    /// Gives the room that there is to those who wait.
    fn grant(self: &Arc<Self>, state: &mut State) -> Granted {
        let mut granted = Granted::new();
        if let Some(limits) = self.limits {
            while limits.has_room(state) {
                let Some(promise) = state.waiting.pop_front() else {
                    break;
                };
                // From its start on nobody can give up any more; who did before gets nothing.
                let place = promise
                    .start()
                    .then(|| self.take(state, limits, Hold::Reserved))
                    .flatten();
                granted.push((promise, place));
            }
        }
        granted
    }
}

/// Those who have waited, and what they get.
type Granted = Vec<(Promise<Place>, Option<Place>)>;

/// Tells them, without the lock.
fn give(granted: Granted) {
    for (promise, place) in granted {
        if let Some(place) = place {
            // It has started, so nobody refuses.
            let _ = promise.fulfil(place);
        }
    }
}

impl State {
    fn add(&mut self, hold: Hold) {
        match hold {
            Hold::Reserved => self.reserved += 1,
            Hold::Used(bytes) => self.bytes += bytes,
        }
    }

    fn remove(&mut self, hold: Hold) {
        match hold {
            Hold::Reserved => self.reserved -= 1,
            Hold::Used(bytes) => self.bytes -= bytes,
        }
    }

    /// Takes out those who gave up, if they may be the most.
    fn sweep(&mut self) -> VecDeque<Promise<Place>> {
        if self.waiting.len() <= self.sweep_at.max(MOST_UNSWEPT) {
            return VecDeque::new();
        }
        let (waiting, gone) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|promise| !promise.is_cancelled());
        self.waiting = waiting;
        self.sweep_at = 2 * self.waiting.len();
        gone
    }
}

/// The right of one task to be with an executor, which is given back when this is dropped. Made by an
/// [`Admission`], for back ends. For an executor without limits it stands for nothing.
///
/// Users do not meet this type: they have a [`Permit`](super::Permit).
///
/// ```
/// use concurrent_futures::{Admission, Place};
///
/// let place: Place = Admission::new(4, Some(100), None).try_enter()?;
/// assert!(place.is_counted());
/// let place: Place = Admission::default().try_enter()?;
/// assert!(!place.is_counted());
/// # Ok::<(), concurrent_futures::TaskError>(())
/// ```
#[must_use = "dropping it gives the place back"]
pub struct Place {
    /// `None`: it is not counted.
    inner: Option<Arc<Inner>>,
    hold: Hold,
}

/// What a place is held for.
#[derive(Clone, Copy, Debug)]
enum Hold {
    /// A task that is not submitted yet.
    Reserved,
    /// A task whose encoded arguments have so many bytes.
    Used(u64),
}

impl Place {
    /// Of an executor without limits, or of one that is closed and rejects what comes with it.
    pub(crate) fn uncounted() -> Self {
        Self {
            inner: None,
            hold: Hold::Reserved,
        }
    }

    /// Whether the place must be kept until its task is over, because there is a limit: see the example of
    /// [`Place`].
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.inner.is_some()
    }

    /// It is used for a task whose encoded arguments have so many bytes.
    fn hold(&mut self, bytes: u64) {
        if let Some(inner) = self.inner.as_ref().filter(|inner| !inner.is_copy()) {
            let used = Hold::Used(bytes);
            let mut state = lock(&inner.state);
            state.remove(self.hold);
            state.add(used);
            self.hold = used;
        }
    }
}

impl Drop for Place {
    #[inline]
    fn drop(&mut self) {
        if let Some(inner) = self.inner.as_ref().filter(|inner| !inner.is_copy()) {
            let mut state = lock(&inner.state);
            state.taken -= 1;
            state.remove(self.hold);
            let granted = inner.grant(&mut state);
            drop(state);
            give(granted);
        }
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_copy() {
            return f.debug_struct("Admission").finish_non_exhaustive();
        }
        let state = lock(&self.0.state);
        f.debug_struct("Admission")
            .field("limits", &self.0.limits)
            .field("places", &state.places)
            .field("taken", &state.taken)
            .field("bytes", &state.bytes)
            .field("waiting", &state.waiting.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("is_counted", &self.is_counted())
            .field("hold", &self.hold)
            .finish_non_exhaustive()
    }
}
