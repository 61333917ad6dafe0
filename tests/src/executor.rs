//! What every executor does with a submission.

use std::error::Error;
use std::num::ParseIntError;
use std::sync::Arc;

use concurrent_futures::{
    AnyExecutor, Clock, ErrorKind, Executor, InlineExecutor, Outcome, Ran, Rejection, Shutdown,
    TaskOptions, ThreadPoolExecutor,
};
use serde::{Deserialize, Serialize};

use crate::harness::{Pool, Subject, busy, on_every_executor, on_every_pool, tests};

on_every_executor!(
    a_submitted_call_gives_its_value,
    several_arguments_arrive_in_their_places,
    a_function_whose_only_parameter_is_a_pair_gets_a_pair,
    a_function_pointer_can_be_submitted,
    a_closure_without_captures_needs_no_annotation,
    values_of_the_users_types_travel,
    an_error_carries_its_message_and_its_sources,
    a_typed_error_is_a_value_for_submit,
    an_error_of_text_or_of_anyhow_like_boxes_is_taken,
    an_error_names_the_task,
    submitting_after_shutdown_is_refused,
    many_unit_tasks_are_exact,
    an_executor_can_be_chosen_at_run_time,
);

fn a_submitted_call_gives_its_value<S: Subject>() {
    let executor = S::with_workers(2);
    assert_eq!(executor.submit(u64::pow, (2, 8)).result().unwrap(), 256);
}

fn describe(number: u32, text: String, flag: bool, letter: char) -> String {
    format!("{number} {text} {flag} {letter}")
}

fn several_arguments_arrive_in_their_places<S: Subject>() {
    let executor = S::with_workers(2);
    let args = (7, "seven".to_owned(), true, 'x');
    let future = executor.submit(describe, args);
    assert_eq!(future.result().unwrap(), "7 seven true x");
}

fn area((width, height): (u32, u32)) -> u32 {
    width * height
}

fn a_function_whose_only_parameter_is_a_pair_gets_a_pair<S: Subject>() {
    let executor = S::with_workers(2);
    assert_eq!(executor.submit(area, (3, 4)).result().unwrap(), 12);
}

fn a_function_pointer_can_be_submitted<S: Subject>() {
    let executor = S::with_workers(2);
    let table: [fn(u32) -> u32; 2] = [u32::count_ones, u32::leading_zeros];
    assert_eq!(executor.submit_fn(table[0], 7).result().unwrap(), 3);
    assert_eq!(executor.submit_fn(table[1], 1).result().unwrap(), 31);
}

fn a_closure_without_captures_needs_no_annotation<S: Subject>() {
    let executor = S::with_workers(2);
    assert_eq!(executor.submit(|n| n + 1, 6_u8).result().unwrap(), 7);
    assert_eq!(executor.submit(|| 'x', ()).result().unwrap(), 'x');
    assert_eq!(executor.submit(|a, b| a + b, (1, 2)).result().unwrap(), 3);
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    lines: Vec<(String, Option<f64>)>,
}

fn values_of_the_users_types_travel<S: Subject>() {
    let executor = S::with_workers(2);
    let order = || Order {
        id: 7,
        lines: vec![("tea".to_owned(), Some(1.5)), ("air".to_owned(), None)],
    };
    let future = executor.submit(
        |mut order: Order| {
            order.lines.reverse();
            order
        },
        order(),
    );
    let mut expected = order();
    expected.lines.reverse();
    assert_eq!(future.result().unwrap(), expected);
}

fn parse(text: String) -> Result<i32, ParseIntError> {
    text.parse()
}

#[derive(Debug)]
struct Outer(ParseIntError);

impl std::fmt::Display for Outer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the configuration is wrong")
    }
}

impl Error for Outer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

fn an_error_carries_its_message_and_its_sources<S: Subject>() {
    let executor = S::with_workers(2);
    let future = executor.try_submit(|text: String| parse(text).map_err(Outer), "x".to_owned());
    let error = future.result().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert_eq!(error.ran(), Ran::Yes);
    assert_eq!(error.message().unwrap(), "the configuration is wrong");
    let cause = error.source().expect("the function's error");
    assert_eq!(cause.to_string(), "the configuration is wrong");
    let root = cause.source().expect("its own cause");
    assert_eq!(root.to_string(), "invalid digit found in string");
    assert_eq!(error.to_string(), "the task failed");
    assert_eq!(
        format!("{error:#}"),
        "the task failed: the configuration is wrong: invalid digit found in string"
    );
    assert_eq!(
        executor.try_submit(parse, "7".to_owned()).result().unwrap(),
        7
    );
}

fn a_typed_error_is_a_value_for_submit<S: Subject>() {
    let executor = S::with_workers(2);
    let divide = |a: u32, b: u32| {
        a.checked_div(b)
            .ok_or_else(|| "division by zero".to_owned())
    };
    let result: Result<u32, String> = executor.submit(divide, (1, 0)).result().unwrap();
    assert_eq!(result.unwrap_err(), "division by zero");
}

fn an_error_of_text_or_of_anyhow_like_boxes_is_taken<S: Subject>() {
    let executor = S::with_workers(2);
    let text = executor.try_submit(|| Err::<(), _>("no luck"), ());
    assert_eq!(text.result().unwrap_err().message().unwrap(), "no luck");
    let boxed = executor.try_submit(
        || Err::<(), Box<dyn Error + Send + Sync>>("boxed".into()),
        (),
    );
    assert_eq!(boxed.result().unwrap_err().message().unwrap(), "boxed");
}

fn an_error_names_the_task<S: Subject>() {
    let executor = S::with_workers(2);
    let named = executor.with(TaskOptions::new().name("parse the answer"));
    let error = named
        .try_submit(parse, "x".to_owned())
        .result()
        .unwrap_err();
    assert_eq!(error.task_name(), Some("parse the answer"));
    assert_eq!(error.to_string(), "the task `parse the answer` failed");
}

fn submitting_after_shutdown_is_refused<S: Subject>() {
    let executor = S::with_workers(2);
    executor.blocking_shutdown(Shutdown::new()).unwrap();
    let error = executor.submit(u64::pow, (2, 8)).result().unwrap_err();
    assert_eq!(error.rejection(), Some(Rejection::ShutDown));
    assert_eq!(error.ran(), Ran::No);
    assert_eq!(
        error.to_string(),
        "the task was not taken: the executor is shut down"
    );
}

fn many_unit_tasks_are_exact<S: Subject>() {
    let executor = S::with_workers(2);
    let futures: Vec<_> = (0..S::MANY).map(|_| executor.submit(|| (), ())).collect();
    for future in futures {
        future.result().unwrap();
    }
}

fn an_executor_can_be_chosen_at_run_time<S: Subject>()
where
    AnyExecutor: From<S::Executor>,
{
    let executor = AnyExecutor::from(S::with_workers(2));
    assert_eq!(executor.submit(u64::pow, (2, 8)).result().unwrap(), 256);
    assert_eq!(executor.submit_fn(u32::count_ones, 7).result().unwrap(), 3);
    let sum: u64 = executor
        .map(|n: u64| n, 0..10)
        .into_iter()
        .map(Result::unwrap)
        .sum();
    assert_eq!(sum, 45);
    executor.blocking_shutdown(Shutdown::new()).unwrap();
    assert!(
        executor
            .submit(|| 1, ())
            .result()
            .unwrap_err()
            .is_rejected()
    );
}

on_every_pool!(a_time_in_the_queue_and_a_running_time_are_two_clocks,);

fn a_time_in_the_queue_and_a_running_time_are_two_clocks<S: Pool>() {
    let (pool, gate) = busy::<S>();
    let millis = std::time::Duration::from_millis;
    let impatient = pool
        .with(TaskOptions::new().queue_timeout(millis(20)))
        .submit(|| 1, ());
    let unhurried = pool
        .with(TaskOptions::new().run_timeout(millis(20)))
        .submit(|| 2, ());
    let error = impatient.result().unwrap_err();
    assert_eq!((error.clock(), error.ran()), (Some(Clock::Queue), Ran::No));
    assert_eq!(error.to_string(), "the task did not start within 20ms");
    // It has waited longer than it may run, which is not held against it.
    gate.open();
    assert_eq!(unhurried.result().unwrap(), 2);
}

tests! {
    fn each_future_of_a_broken_pool_has_an_error_of_its_own_with_the_same_text() {
        let pool = ThreadPoolExecutor::builder()
            .max_workers(2)
            .initializer(|| Err::<(), _>("no database"))
            .build()
            .unwrap();
        let errors: Vec<_> = (0..10)
            .map(|_| pool.submit(|| 1, ()).result().unwrap_err())
            .collect();
        for error in &errors {
            assert_eq!(error.to_string(), errors[0].to_string());
            assert_eq!(error.source().unwrap().to_string(), "no database");
        }
    }

    fn the_functions_own_error_comes_back_on_threads() {
        let pool = ThreadPoolExecutor::new(1);
        let error = pool.try_submit(parse, "x".to_owned()).result().unwrap_err();
        assert!(error.downcast_ref::<ParseIntError>().is_some());
        assert!(error.downcast_ref::<std::io::Error>().is_none());
    }

    fn an_inline_task_is_done_when_submit_returns_and_ran_here() {
        let executor = InlineExecutor::new();
        let here = std::thread::current().id();
        let future = executor.submit(|| format!("{:?}", std::thread::current().id()), ());
        assert_eq!(future.outcome(), Some(Outcome::Succeeded));
        assert_eq!(future.result().unwrap(), format!("{here:?}"));
    }

    fn arguments_and_closures_are_dropped_as_soon_as_the_call_has_run() {
        let pool = ThreadPoolExecutor::new(1);
        let argument = Arc::new(());
        let weak = Arc::downgrade(&argument);
        let (sender, receiver) = std::sync::mpsc::channel();
        pool.spawn(move || drop(argument)).on_done(move |_, _| {
            sender.send(weak.upgrade().is_none()).unwrap();
        });
        assert!(receiver.recv().unwrap(), "the closure outlived its call");
    }

    fn a_result_that_nobody_takes_is_dropped_when_the_task_ends() {
        let pool = ThreadPoolExecutor::new(1);
        let value = Arc::new(());
        let weak = Arc::downgrade(&value);
        pool.spawn(move || value).detach();
        crate::harness::eventually("the result is dropped", || weak.upgrade().is_none());
    }
}
