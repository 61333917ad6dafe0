//! What a task finds of the thread that has submitted it.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;

use concurrent_futures::{
    Direction, ErrorKind, Executor, InlineExecutor, ProcessPoolExecutor, Ran, TaskContext,
    TaskError, TaskOptions, ThreadPoolExecutor, task,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::runtime::{Builder, Handle};

use crate::harness::{Door, PathGate, Pool, Processes, Threads, on_every_pool, pass, tests};

thread_local! {
    static REQUEST: Cell<Option<u32>> = const { Cell::new(None) };
    static LOCALE: RefCell<Option<String>> = const { RefCell::new(None) };
    static TROUBLE: Cell<Option<Trouble>> = const { Cell::new(None) };
    /// What has happened on this thread.
    static DIARY: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn write(entry: impl Into<String>) {
    DIARY.with_borrow_mut(|diary| diary.push(entry.into()));
}

fn request() -> Option<u32> {
    REQUEST.get()
}

fn locale() -> Option<String> {
    LOCALE.with_borrow(Clone::clone)
}

/// The number of a request.
struct RequestId;

struct LeaveRequest(Option<u32>);

impl TaskContext for RequestId {
    type Value = u32;
    type Guard = LeaveRequest;

    fn capture() -> Option<u32> {
        request()
    }

    fn enter(value: u32) -> LeaveRequest {
        write(format!("enter {value} in {:?}", locale()));
        LeaveRequest(REQUEST.replace(Some(value)))
    }
}

impl Drop for LeaveRequest {
    fn drop(&mut self) {
        write(format!("leave request in {:?}", locale()));
        REQUEST.set(self.0);
    }
}

struct Locale;

struct LeaveLocale;

impl TaskContext for Locale {
    type Value = String;
    type Guard = LeaveLocale;

    fn capture() -> Option<String> {
        locale()
    }

    fn enter(value: String) -> LeaveLocale {
        write(format!("enter {value} in {:?}", request()));
        LOCALE.set(Some(value));
        LeaveLocale
    }
}

impl Drop for LeaveLocale {
    fn drop(&mut self) {
        write(format!("leave locale in {:?}", request()));
        LOCALE.set(None);
    }
}

/// Where a context goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Trouble {
    Capture,
    Enter,
    Leave,
    /// Ends the process.
    Exit,
}

struct Troubled;

struct LeaveTrouble(Trouble);

impl TaskContext for Troubled {
    type Value = Trouble;
    type Guard = LeaveTrouble;

    fn capture() -> Option<Trouble> {
        let trouble = TROUBLE.get();
        assert!(trouble != Some(Trouble::Capture), "no way in");
        trouble
    }

    fn enter(trouble: Trouble) -> LeaveTrouble {
        assert!(trouble != Trouble::Enter, "no way in");
        if trouble == Trouble::Exit {
            std::process::exit(5);
        }
        LeaveTrouble(trouble)
    }
}

impl Drop for LeaveTrouble {
    fn drop(&mut self) {
        write("leave trouble");
        assert!(self.0 != Trouble::Leave, "no way out");
    }
}

/// Sets what is captured by this thread, until it is dropped.
struct Here<T: 'static>(PhantomData<T>);

impl Here<()> {
    fn is(request: impl Into<Option<u32>>, locale: Option<&str>, trouble: Option<Trouble>) -> Self {
        REQUEST.set(request.into());
        LOCALE.set(locale.map(str::to_owned));
        TROUBLE.set(trouble);
        Self(PhantomData)
    }
}

impl<T> Drop for Here<T> {
    fn drop(&mut self) {
        REQUEST.set(None);
        LOCALE.set(None);
        TROUBLE.set(None);
    }
}

/// A pool that carries all of them.
trait Carrying: Pool {
    fn carrying(workers: usize) -> Self::Executor;
}

impl Carrying for Threads {
    fn carrying(workers: usize) -> ThreadPoolExecutor {
        ThreadPoolExecutor::builder()
            .max_workers(workers)
            .initializer(|| assert_eq!((request(), locale()), (None, None)))
            .context::<RequestId>()
            .context::<Locale>()
            .context::<Troubled>()
            .build()
            .unwrap()
    }
}

impl Carrying for Processes {
    fn carrying(workers: usize) -> ProcessPoolExecutor {
        ProcessPoolExecutor::builder()
            .max_workers(workers)
            .initializer(|| assert_eq!((request(), locale()), (None, None)), ())
            .context::<RequestId>()
            .context::<Locale>()
            .context::<Troubled>()
            .build()
            .unwrap()
    }
}

fn diary() -> Vec<String> {
    DIARY.take()
}

/// Says at a gate that it has run.
#[expect(
    clippy::needless_pass_by_value,
    reason = "arguments of tasks are values"
)]
fn arrive(door: Door) {
    door.arrive();
}

fn assert_names_the_context(error: &TaskError, what: &str) {
    assert_eq!(error.kind(), ErrorKind::Panicked);
    let text = error.to_string();
    assert!(text.contains("conformance::context::Troubled"), "{text}");
    assert!(text.contains(what), "{text}");
}

on_every_pool! {
    a_task_finds_what_was_there_when_it_was_submitted,
    contexts_are_entered_in_order_and_left_in_reverse,
    contexts_are_left_when_the_body_panics,
    a_panic_of_a_context_is_the_error_of_its_task_and_of_nothing_else,
    the_error_of_the_body_comes_before_that_of_leaving,
    the_items_of_a_map_find_what_was_there_when_they_were_pulled,
    a_panic_of_a_context_is_the_error_of_all_items_of_its_chunk,
}

fn a_task_finds_what_was_there_when_it_was_submitted<S: Carrying>() {
    let pool = S::carrying(1);
    let gate = PathGate::new();
    let before = pool.submit(pass, gate.door());
    gate.wait_for(1);
    let both = || (request(), locale());
    let futures: Vec<_> = [(Some(1), Some("de")), (None, None), (Some(2), None)]
        .into_iter()
        .map(|(number, locale)| {
            let _here = Here::is(number, locale, None);
            pool.submit(both, ())
        })
        .collect();
    gate.open();
    before.result().unwrap();
    let found: Vec<_> = futures
        .into_iter()
        .map(|future| future.result().unwrap())
        .collect();
    let expected = [
        (Some(1), Some("de".to_owned())),
        (None, None),
        (Some(2), None),
    ];
    assert_eq!(found, expected);
}

fn contexts_are_entered_in_order_and_left_in_reverse<S: Carrying>() {
    let pool = S::carrying(1);
    let here = Here::is(7, Some("fr"), None);
    pool.submit(|| write("body"), ()).result().unwrap();
    drop(here);
    assert_eq!(
        pool.submit(diary, ()).result().unwrap(),
        [
            "enter 7 in None",
            "enter fr in Some(7)",
            "body",
            "leave locale in Some(7)",
            "leave request in None",
        ]
    );
}

fn contexts_are_left_when_the_body_panics<S: Carrying>() {
    let pool = S::carrying(1);
    let here = Here::is(7, None, None);
    let error = pool
        .submit(|| -> u8 { panic!("in the body") }, ())
        .result()
        .unwrap_err();
    assert_eq!(error.message().unwrap(), "in the body");
    assert!(error.location().unwrap().contains("context.rs"));
    drop(here);
    assert_eq!(pool.submit(request, ()).result().unwrap(), None);
    assert_eq!(
        pool.submit(diary, ()).result().unwrap(),
        ["enter 7 in None", "leave request in None"]
    );
}

fn a_panic_of_a_context_is_the_error_of_its_task_and_of_nothing_else<S: Carrying>() {
    let pool = S::carrying(1);
    let gate = PathGate::new();
    let cases = [
        (Trouble::Capture, "captured: no way in", 0),
        (Trouble::Enter, "entered: no way in", 0),
        (Trouble::Leave, "left: no way out", 1),
    ];
    for (trouble, text, runs) in cases {
        let here = Here::is(3, None, Some(trouble));
        let before = gate.arrived();
        let error = pool.submit(arrive, gate.door()).result().unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        assert_names_the_context(&error, text);
        assert_eq!(gate.arrived() - before, runs, "{trouble:?}");
        drop(here);
        assert_eq!(pool.submit(request, ()).result().unwrap(), None);
    }
    let stats = S::stats(&pool);
    assert_eq!((stats.submitted(), stats.workers()), (6, 1));
    eventually_all_finished::<S>(&pool);
}

fn eventually_all_finished<S: Pool>(pool: &S::Executor) {
    crate::harness::eventually("all tasks are counted", || {
        let stats = S::stats(pool);
        stats.finished() == stats.submitted()
    });
}

fn the_error_of_the_body_comes_before_that_of_leaving<S: Carrying>() {
    let pool = S::carrying(1);
    let _here = Here::is(None, None, Some(Trouble::Leave));
    let error = pool
        .submit(|| -> u8 { panic!("in the body") }, ())
        .result()
        .unwrap_err();
    assert_eq!(error.message().unwrap(), "in the body");
    let fails = || -> Result<u8, String> { Err("its own".to_owned()) };
    let error = pool.try_submit(fails, ()).result().unwrap_err();
    assert_eq!(
        (error.kind(), error.message().unwrap().as_ref()),
        (ErrorKind::Failed, "its own")
    );
}

fn the_items_of_a_map_find_what_was_there_when_they_were_pulled<S: Carrying>() {
    let pool = S::carrying(2);
    let here = Here::is(1, None, None);
    let numbered = |n: u32| (n, request());
    let mut map = pool.mapping().window(4).chunk_size(2).map(numbered, 0..8);
    REQUEST.set(Some(2));
    let found: Vec<_> = std::iter::from_fn(|| map.blocking_next())
        .map(Result::unwrap)
        .collect();
    drop(here);
    let expected: Vec<_> = (0..8)
        .map(|n| (n, Some(if n < 4 { 1 } else { 2 })))
        .collect();
    assert_eq!(found, expected);
}

fn a_panic_of_a_context_is_the_error_of_all_items_of_its_chunk<S: Carrying>() {
    let pool = S::carrying(1);
    for trouble in [Trouble::Capture, Trouble::Enter, Trouble::Leave] {
        let here = Here::is(None, None, Some(trouble));
        let mapping = pool.mapping().window(6).chunk_size(3);
        let results: Vec<_> = mapping.map(|n: u32| n, 0..6).into_iter().collect();
        drop(here);
        assert_eq!(results.len(), 6);
        for (n, result) in results.into_iter().enumerate() {
            let error = result.unwrap_err();
            assert_eq!(error.index(), Some(n));
            assert_names_the_context(&error, "no way");
        }
        assert_eq!(pool.submit(|| 5, ()).result().unwrap(), 5);
    }
}

/// Cannot be written, or cannot be read.
#[derive(Clone, Copy)]
enum Stubborn {
    Unwritable,
    Unreadable,
}

thread_local! {
    static STUBBORN: Cell<Option<Stubborn>> = const { Cell::new(None) };
}

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unwritable => Err(serde::ser::Error::custom("not to be written")),
            Self::Unreadable => serializer.serialize_unit(),
        }
    }
}

impl<'de> Deserialize<'de> for Stubborn {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("not to be read"))
    }
}

struct Mule;

impl TaskContext for Mule {
    type Value = Stubborn;
    type Guard = ();

    fn capture() -> Option<Stubborn> {
        STUBBORN.get()
    }

    fn enter(_: Stubborn) {}
}

fn name() -> Option<String> {
    task::current()?.name().map(str::to_owned)
}

tests! {
    fn a_task_without_a_context_finds_none_of_the_task_that_waits_for_it() {
        let pool = ThreadPoolExecutor::builder().max_workers(1).context::<RequestId>().build().unwrap();
        let inner = pool.clone();
        REQUEST.set(Some(7));
        let outer = pool.spawn(move || {
            let same = inner.spawn(request);
            REQUEST.set(None);
            let none = inner.spawn(request);
            REQUEST.set(Some(7));
            (request(), same.result().unwrap(), none.result().unwrap())
        });
        REQUEST.set(None);
        assert_eq!(outer.result().unwrap(), (Some(7), Some(7), None));
    }

    fn a_value_that_cannot_travel_is_the_error_of_its_task() {
        let builder = ProcessPoolExecutor::builder().max_workers(1);
        let pool = builder.context::<Mule>().build().unwrap();
        let gate = PathGate::new();
        let ways = [
            (Stubborn::Unwritable, Direction::EncodeArguments),
            (Stubborn::Unreadable, Direction::DecodeArguments),
        ];
        for (stubborn, way) in ways {
            STUBBORN.set(Some(stubborn));
            let future = pool.submit(arrive, gate.door());
            let map = pool.mapping().window(2).chunk_size(2).map(arrive, [gate.door(), gate.door()]);
            STUBBORN.set(None);
            let errors = map.into_iter().chain([future.result()]).map(Result::unwrap_err);
            for error in errors {
                assert_eq!((error.direction(), error.ran()), (Some(way), Ran::No));
                assert!(error.to_string().contains("conformance::context::Mule"), "{error}");
            }
            pool.submit(|| (), ()).result().unwrap();
        }
        assert_eq!(gate.arrived(), 0);
    }

    fn contexts_that_are_too_long_together_are_the_error_of_their_task() {
        let pool = Processes::carrying(1);
        let long = "x".repeat(4_000);
        let _here = Here::is(1, Some(&long), None);
        assert_eq!(pool.submit(locale, ()).result().unwrap(), Some(long));
        let _here = Here::is(1, Some(&"x".repeat(4_100)), None);
        let error = pool.submit(locale, ()).result().unwrap_err();
        assert!(error.is_too_large(), "{error}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("conformance::context::Locale"), "{cause}");
        assert_eq!(error.ran(), Ran::No);
    }

    fn a_context_travels_with_arguments_of_any_size() {
        let pool = Processes::carrying(1);
        let length = |bytes: Vec<u8>| (bytes.len(), request());
        // In the frame, at its limit, and in files.
        let sizes = [0, 1, 131_000, 131_072, 131_100, 1 << 20];
        for round in 0..3 {
            for (number, size) in (round..).zip(sizes) {
                let _here = Here::is(number, None, None);
                let found = pool.submit(length, vec![0; size]).result().unwrap();
                assert_eq!(found, (size, Some(number)));
            }
        }
        let _here = Here::is(9, None, None);
        let items = sizes.map(|size| vec![0; size]);
        let mapping = pool.mapping().window(6).chunk_size(6);
        let found: Result<Vec<_>, _> = mapping.map(length, items).into_iter().collect();
        assert_eq!(found.unwrap(), sizes.map(|size| (size, Some(9))));
    }

    fn a_context_that_ends_its_process_costs_its_task_and_each_item_of_a_map_once() {
        let pool = Processes::carrying(1);
        let _here = Here::is(None, None, Some(Trouble::Exit));
        let error = pool.submit(|| (), ()).result().unwrap_err();
        assert!(error.is_worker_lost(), "{error}");
        let mapping = pool.mapping().window(4).chunk_size(4);
        let results: Vec<_> = mapping.map(|n: u32| n, 0..4).into_iter().collect();
        for (n, result) in results.into_iter().enumerate() {
            let error = result.unwrap_err();
            assert!(error.is_worker_lost(), "{error}");
            assert_eq!(error.index(), Some(n));
        }
    }

    fn a_task_that_is_run_again_finds_its_context_again() {
        let pool = Processes::carrying(1);
        let gate = PathGate::new();
        let _here = Here::is(11, None, None);
        let die_once = |door: Door| {
            door.arrive();
            if door.arrivals().len() == 1 {
                std::process::abort();
            }
            request()
        };
        let future = pool.with(TaskOptions::new().retries(1)).submit(die_once, gate.door());
        assert_eq!(future.result().unwrap(), Some(11));
    }

    fn the_name_of_a_task_is_known_in_its_worker() {
        let pool = ProcessPoolExecutor::new(1);
        let named = |name: &str| pool.with(TaskOptions::new().name(name));
        assert_eq!(named("thumbnail").submit(name, ()).result().unwrap().unwrap(), "thumbnail");
        assert_eq!(pool.submit(name, ()).result().unwrap(), None);
        let names: Vec<_> = named("row").map(|_: u8| name(), 0..3).into_iter().collect();
        assert!(names.into_iter().all(|name| name.unwrap().unwrap() == "row"));
        // What is too long is cut where a letter begins.
        let long = "ä".repeat(700) + "x";
        let found = named(&format!("x{long}")).submit(name, ()).result().unwrap().unwrap();
        assert_eq!(found, format!("x{}", "ä".repeat(511)));
    }

    fn a_context_and_the_runtime_of_the_submitter_are_both_there() {
        let pool = Threads::carrying(1);
        let runtimes = [(); 2].map(|()| Builder::new_current_thread().build().unwrap());
        for (number, runtime) in (0..).zip(&runtimes) {
            let _here = Here::is(number, None, None);
            let _entered = runtime.enter();
            let found = pool.spawn(|| (request(), Handle::current().id())).result();
            assert_eq!(found.unwrap(), (Some(number), runtime.handle().id()));
        }
    }

    fn a_context_that_no_task_takes_is_dropped_with_it() {
        let pool = Threads::carrying(1);
        let gate = PathGate::new();
        let running = pool.submit(pass, gate.door());
        gate.wait_for(1);
        let here = Here::is(5, None, None);
        let queued = pool.submit(request, ());
        drop(here);
        assert!(queued.cancel());
        gate.open();
        running.result().unwrap();
        assert_eq!(pool.submit(diary, ()).result().unwrap(), [""; 0]);
    }

    fn a_task_that_runs_where_it_is_submitted_finds_what_is_there() {
        let _here = Here::is(4, None, None);
        assert_eq!(InlineExecutor::new().submit(request, ()).result().unwrap(), Some(4));
    }
}
