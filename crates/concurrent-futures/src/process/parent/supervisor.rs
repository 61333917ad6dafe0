//! The thread that starts worker processes, ends them, and notices their end.
//!
//! It lives as long as the pool has workers, because the signal by which a worker dies with its parent
//! is bound to the thread that started it. It sleeps until a worker's pidfd or channel has something,
//! the pool has an order, or a time has come; and there is a time only while something is to happen.

mod stopped;

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};

use self::stopped::{Looks, Resting, Stop};
use super::oom_kills::OomKills;
use super::output::{self, Pipes};
use super::shared::Shared;
use super::state::{Actions, FailedStart};
use super::worker_state::{Gone, Life, Link};
use super::{collector, cpu_share};
use crate::error::{Clock, TaskError, WorkerExit};
use crate::panic;
use crate::process::sys::{Channel, Child, Exit, Launch, Program, Segment, Signal};
use crate::process::worker::Hello;
use crate::process::{clock, ring};

/// How long a worker may live on that has closed its channel. Those that end do so at the same time.
const HANG_UP_GRACE: u64 = 20_000_000;

/// A look that is so late says that this process was stopped.
const STANDSTILL: u64 = 1_000_000_000;

/// Old kernels cannot sleep for weeks in one go.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// Wakes the supervisor.
#[derive(Default)]
pub(in crate::process) struct Notifier(OnceLock<OwnedFd>);

impl Notifier {
    pub(super) fn open(&self) -> io::Result<&OwnedFd> {
        if self.0.get().is_none() {
            let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
            let descriptor = eventfd(0, flags)?;
            // Refused, if another thread came first, which is as good.
            let _ = self.0.set(descriptor);
        }
        Ok(self.0.get().ok_or(io::ErrorKind::NotFound)?)
    }

    /// Nothing before the supervisor is started: it begins with a look.
    pub(in crate::process) fn notify(&self) {
        if let Some(descriptor) = self.0.get() {
            // Full is notified.
            let _ = rustix::io::write(descriptor, &1_u64.to_ne_bytes());
        }
    }

    pub(super) fn clear(&self) {
        if let Some(descriptor) = self.0.get() {
            let mut count = [0; 8];
            let _ = rustix::io::read(descriptor, &mut count);
        }
    }
}

/// Starts the supervisor of a pool.
///
/// # Errors
/// When the system refuses a thread or a descriptor.
pub(in crate::process) fn start(pool: &Arc<Shared>) -> io::Result<()> {
    let descriptor = pool.notifier.open()?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let data = EventData::new_u64(NOTIFIED);
    epoll::add(&epoll, descriptor, data, EventFlags::IN)?;
    let supervisor = Supervisor {
        pool: Arc::clone(pool),
        epoll,
        held: HashMap::new(),
        launches: 0,
        oom_kills: None,
        idle_look: u64::MAX,
        stop_looks: Looks::new(),
    };
    thread::Builder::new()
        .name(format!("{}-workers", pool.options.name))
        .spawn(move || supervisor.work())?;
    Ok(())
}

const NOTIFIED: u64 = u64::MAX;
/// Events of a worker: twice its launch for the end of the process, and one more for its channel.
const CHANNEL: u64 = 1;

struct Supervisor {
    pool: Arc<Shared>,
    epoll: OwnedFd,
    held: HashMap<u64, Held>,
    launches: u64,
    /// Since there was no worker.
    oom_kills: Option<OomKills>,
    /// When to look for workers that were idle for too long.
    idle_look: u64,
    /// When to look for workers that are stopped.
    stop_looks: Looks,
}

/// A worker process that has not been waited for. Times are of the monotonic clock, in nanoseconds.
struct Held {
    child: Child,
    link: Arc<Link>,
    /// It has to be ready by then.
    ready_by: Option<u64>,
    /// Its time to become ready was set anew.
    stood_still: bool,
    /// It has to be gone by then, or is killed.
    gone_by: Option<u64>,
    /// It has closed its channel, and is killed if it is still there by then.
    hung_up_by: Option<u64>,
    /// A signal has stopped it.
    stop: Option<Stop>,
    /// It has not moved, although it should.
    resting: Option<Resting>,
    /// The pool has sent it SIGKILL.
    was_killed: bool,
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Supervisor {
    fn work(mut self) {
        let _guard = self.pool.guard(true);
        let pool = Arc::clone(&self.pool);
        let journal = pool.journal.as_ref();
        let teller = journal.map(|journal| output::start(&pool, journal));
        let teller = match teller.transpose() {
            Ok(teller) => teller,
            Err(error) => {
                self.pool.no_supervisor(error);
                return;
            }
        };
        let collector = thread::Builder::new()
            .name(format!("{}-results", pool.options.name))
            .spawn(move || collector::run(&pool));
        let collector = match collector {
            Ok(collector) => collector,
            Err(error) => {
                self.pool.no_supervisor(error);
                return;
            }
        };
        loop {
            while self.step() {}
            if self.is_over() {
                break;
            }
            self.sleep();
        }
        self.pool.control.ring();
        // A panic there is a defect, and was reported by the hook.
        let _ = collector.join();
        if let Some(teller) = teller {
            teller.join();
        }
        self.finish();
    }

    fn is_over(&self) -> bool {
        self.held.is_empty() && self.pool.lock().is_over()
    }

    /// Whoever waits for the end is told; unless somebody has submitted to a pool that is open.
    fn finish(self) {
        let mut state = self.pool.lock();
        state.has_supervisor = false;
        let closers = std::mem::take(&mut state.closers);
        let overdue = state.overdue;
        let deadlines = std::mem::take(&mut state.deadlines);
        drop(state);
        drop(deadlines);
        // So that nothing is left of the pool when they are told, even where somebody keeps it.
        self.pool.shelf.clear();
        drop(self.epoll);
        for (closer, has_deadline) in closers {
            // Refused, if it was cancelled.
            let _ = match overdue.filter(|_| has_deadline) {
                None => closer.fulfil(()).is_ok(),
                Some(limit) => closer.fail(TaskError::overdue(Clock::Wait, limit)).is_ok(),
            };
        }
    }

    /// Does what is to be done now. True if that took time, so that there may be more.
    fn step(&mut self) -> bool {
        let now = clock::now();
        self.look_for_stopped(now);
        let options = &self.pool.options;
        let mut actions = Actions::default();
        let mut state = self.pool.lock();
        // What was queued may be run by others, or cancelled, meanwhile.
        state.asked_starts = state.asked_starts.min(state.wanted_starts());
        let starts = if now >= state.no_start_before {
            state.asked_starts
        } else {
            0
        };
        let to_end = std::mem::take(&mut state.to_end);
        for worker in &state.workers {
            let Some(held) = self.held.get_mut(&worker.link.launch) else {
                continue;
            };
            match worker.life {
                Life::Starting => {}
                Life::Leaving => {
                    held.ready_by = None;
                    if held.gone_by.is_none() {
                        held.gone_by = Some(now.saturating_add(nanos(options.kill_grace)));
                    }
                }
                Life::Ready | Life::Ending => held.ready_by = None,
            }
        }
        let mut late = Vec::new();
        for held in self.held.values_mut() {
            let Some(end) = held.ready_by.filter(|end| *end <= now) else {
                continue;
            };
            if now - end > STANDSTILL && !held.stood_still {
                // This process, and maybe its workers, stood still meanwhile.
                held.stood_still = true;
                held.ready_by = Some(now.saturating_add(nanos(options.start_timeout)));
                continue;
            }
            held.ready_by = None;
            late.push(held.link.launch);
        }
        for launch in late {
            let mut why = format!(
                "a worker process was not ready within {:?} of its start",
                options.start_timeout
            );
            if options.initializer.is_some() {
                why.push_str(": its initializer had not returned");
            }
            state.start_timed_out(launch, why, &mut actions);
            state.dispatch(options, now, &mut actions);
        }
        let idle_limit = nanos(options.idle_timeout);
        if state.is_idle_watched && self.idle_look == u64::MAX {
            self.idle_look = now.saturating_add(idle_limit);
        }
        let was_idle_long = self.idle_look <= now;
        if was_idle_long {
            self.idle_look = state.let_idle_go(idle_limit, now, &mut actions);
        }
        if state.is_work_watched && self.stop_looks.next == u64::MAX {
            self.stop_looks.go_on(now);
        }
        drop(state);
        let is_notified = std::mem::take(&mut actions.notify);
        self.pool.act(actions);
        if was_idle_long {
            self.pool.shelf.clear();
        }

        let grace = nanos(options.kill_grace);
        for (launch, signal) in to_end {
            if let Some(held) = self.held.get_mut(&launch) {
                held.end(signal, now, grace);
            }
        }
        for held in self.held.values_mut() {
            if held.gone_by.is_some_and(|end| end <= now) {
                held.gone_by = None;
                held.signal(Signal::KILL);
            }
            if held.hung_up_by.is_some_and(|end| end <= now) {
                held.hung_up_by = None;
                if held.child.is_alive() {
                    held.link.has_hung_up.store(true, Ordering::Relaxed);
                    held.signal(Signal::KILL);
                }
            }
        }
        if starts > 0 {
            self.start_worker();
        }
        is_notified || starts > 0
    }

    /// The earliest time at which something is to be done.
    fn next_time(&self) -> u64 {
        let state = self.pool.lock();
        let start = if state.asked_starts > 0 {
            state.no_start_before
        } else {
            u64::MAX
        };
        drop(state);
        self.held
            .values()
            .flat_map(|held| [held.ready_by, held.gone_by, held.hung_up_by])
            .flatten()
            .chain([start, self.idle_look, self.stop_looks.next])
            .min()
            .unwrap_or(u64::MAX)
    }

    fn sleep(&mut self) {
        let next = self.next_time();
        let timeout = (next != u64::MAX).then(|| {
            let left = next.saturating_sub(clock::now());
            // Rounded up: an early wake-up would find nothing to do.
            Duration::from_millis(left.div_ceil(1_000_000)).min(LONGEST_SLEEP)
        });
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut events = Vec::with_capacity(16);
        // Interrupted by a signal: a look does no harm.
        let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref());
        for event in events {
            match event.data.u64() {
                NOTIFIED => self.pool.notifier.clear(),
                data if data & CHANNEL != 0 => self.hung_up(data / 2),
                data => self.ended(data / 2),
            }
        }
    }

    fn ended(&mut self, launch: u64) {
        let Some(mut held) = self.held.remove(&launch) else {
            return;
        };
        let _ = epoll::delete(&self.epoll, held.child.as_fd());
        let _ = epoll::delete(&self.epoll, held.link.channel.as_fd());
        let exit = match held.child.reap() {
            Exit::Code(code) => WorkerExit::Code(code),
            Exit::Signal(signal) => WorkerExit::Signal(signal),
            Exit::Unknown => WorkerExit::Unknown,
        };
        let is_killed = exit == WorkerExit::Signal(Signal::KILL.as_raw());
        let oom_kill = match &mut self.oom_kills {
            // Those that the pool has killed are none of these.
            _ if held.was_killed => Some(false),
            Some(kills) if is_killed => kills.take(),
            _ => None,
        };
        self.pool.exits().push(Gone {
            launch,
            exit,
            oom_kill,
        });
        self.pool.control.ring();
    }

    /// The channel is closed at the other end: mostly because the process ends, whose pidfd says so at
    /// the same time.
    fn hung_up(&mut self, launch: u64) {
        let Some(held) = self.held.get_mut(&launch) else {
            return;
        };
        let _ = epoll::delete(&self.epoll, held.link.channel.as_fd());
        if held.child.is_alive() {
            held.hung_up_by = Some(clock::now() + HANG_UP_GRACE);
        }
    }

    fn start_worker(&mut self) {
        let result = self.launch().map_err(|error| self.not_started(error));
        let now = clock::now();
        let mut actions = Actions::default();
        let pool = Arc::clone(&self.pool);
        match result {
            Ok(held) => {
                let link = Arc::clone(&held.link);
                self.held.insert(link.launch, held);
                let mut state = pool.lock();
                state.launched(link, &pool.options, now, &mut actions);
                drop(state);
                pool.control.ring();
            }
            Err(error) => {
                panic::contain(|| tracing::warn!(%error, "a worker process cannot be started"));
                let mut state = pool.lock();
                state.asked_starts = state.asked_starts.saturating_sub(1);
                state.start_failed(error.into(), FailedStart::Refused, now, &mut actions);
                state.dispatch(&pool.options, now, &mut actions);
            }
        }
        pool.act(actions);
    }

    fn not_started(&self, error: io::Error) -> io::Error {
        let directory = match &self.pool.options.current_dir {
            Some(path) => format!(" in the directory `{}`", path.display()),
            None => String::new(),
        };
        let text = format!("cannot start a worker process{directory}: {error}");
        io::Error::new(error.kind(), text)
    }

    fn launch(&mut self) -> io::Result<Held> {
        let options = &self.pool.options;
        let program = Program::current().map_err(|error| io::Error::other(error.to_string()))?;
        let memory = Segment::<ring::Memory>::create(&options.name)?;
        let (channel, stdin) = Channel::pair()?;
        let hello = Hello {
            max_payload: options.max_payload,
            has_initializer: options.initializer.is_some(),
            flushes: options.capture_output,
            limits: options.limits,
            max_memory: options.max_memory_per_worker,
            cpus: options.cpus_per_worker,
        };
        let hello = hello.to_bytes().map_err(io::Error::other)?;
        channel.send(&hello, &[memory.descriptor()])?;
        self.launches += 1;
        let journal = self.pool.journal.as_ref();
        let pipes = journal.map(|journal| Pipes::open(journal, self.launches));
        let (pipes, output) = pipes.transpose()?.unzip();
        let child = Launch {
            program,
            name: &options.name,
            environment: &cpu_share::environment(options),
            current_dir: options.current_dir.as_deref(),
            stack_size: None,
            stdin,
            output,
        }
        .launch()?;
        if self.held.is_empty() {
            self.oom_kills = Some(OomKills::new());
        }
        let link = Arc::new(Link {
            launch: self.launches,
            pid: child.pid(),
            memory,
            channel,
            has_hung_up: false.into(),
            pipes: pipes.map(|pipes| pipes.of_worker(child.pid())),
        });
        // Before the worker is told to begin by its first frame.
        link.tell_level();
        let data = 2 * link.launch;
        let watched = epoll::add(
            &self.epoll,
            child.as_fd(),
            EventData::new_u64(data),
            EventFlags::IN,
        )
        .and_then(|()| {
            let flags = EventFlags::RDHUP | EventFlags::HUP;
            let data = EventData::new_u64(data | CHANNEL);
            epoll::add(&self.epoll, link.channel.as_fd(), data, flags)
        });
        let mut held = Held {
            child,
            link,
            ready_by: Some(clock::now().saturating_add(nanos(options.start_timeout))),
            stood_still: false,
            gone_by: None,
            hung_up_by: None,
            stop: None,
            resting: None,
            was_killed: false,
        };
        if let Err(error) = watched {
            held.signal(Signal::KILL);
            held.child.reap();
            return Err(error.into());
        }
        Ok(held)
    }
}

impl Drop for Held {
    /// Mostly it was waited for; where not, the supervisor has panicked, and no zombie shall stay.
    fn drop(&mut self) {
        if thread::panicking() {
            self.signal(Signal::KILL);
            self.child.reap();
        }
    }
}

impl Held {
    fn end(&mut self, signal: Signal, now: u64, grace: u64) {
        self.ready_by = None;
        self.signal(signal);
        let end = now.saturating_add(grace);
        self.gone_by =
            (signal != Signal::KILL).then(|| self.gone_by.map_or(end, |gone_by| gone_by.min(end)));
    }

    fn signal(&mut self, signal: Signal) {
        self.was_killed |= signal == Signal::KILL;
        // It has ended already, and its pidfd says so.
        let _ = self.child.signal_group(signal);
    }
}
