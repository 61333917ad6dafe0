//! Pictures that harm the workers that decode them, and workers that die for other reasons.

use crate::pictures;
use crate::running::Running;

#[tokio::test]
async fn a_picture_that_takes_more_memory_than_a_worker_has_is_too_large() {
    let service = Running::start(&["--thumbnail-memory", "64MiB"]).await;
    // 46 MB, which the decoder may take, and 17 MB for the thumbnail.
    let picture = pictures::black(6_800);
    let answer = service
        .thumbnail_within((4_096, 4_096), &picture, "large")
        .await;
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (422, "the picture is too large")
    );
    service
        .logged("a picture took more memory than a worker may have", "large")
        .await;
    service.assert_healthy().await;
}

#[tokio::test]
async fn a_picture_that_inflates_costs_one_request() {
    let service = Running::start(&["--thumbnail-memory", "64MiB"]).await;
    // What nobody needs of it is not inflated, so the first may even be read.
    for picture in [pictures::inflating_pixels(), pictures::inflating_profile()] {
        let answer = service.thumbnail(&picture, "").await;
        assert!([200, 422].contains(&answer.status), "{answer:?}");
        assert!(
            ["", "the picture is too large"].contains(&answer.error().as_str()),
            "{answer:?}"
        );
    }
    service.assert_healthy().await;
}

#[tokio::test]
async fn a_picture_that_takes_too_long_is_given_up() {
    let few = ["--thumbnail-workers", "1", "--thumbnail-timeout", "30ms"];
    let service = Running::start(&few).await;
    let worker = service.workers();
    let answer = service.thumbnail(&pictures::black(16_000), "slow").await;
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (504, "this took longer than it may take")
    );
    assert_eq!(service.times_logged("shrunk", "slow"), 0);
    assert_ne!(service.workers(), worker, "the worker that did it is gone");
    service.assert_healthy().await;
}

#[tokio::test]
async fn a_picture_whose_worker_is_lost_is_tried_once_more() {
    let service = Running::start(&["--thumbnail-workers", "1"]).await;
    let slow = pictures::black(12_000);
    let (answer, ()) = tokio::join!(service.thumbnail(&slow, "once"), async {
        service.logged("decoding", "once").await;
        service.kill_a_worker();
    });
    assert_eq!(answer.status, 200, "{}", answer.error());
    assert_eq!(service.times_logged("decoding", "once"), 2);

    let (answer, ()) = tokio::join!(service.thumbnail(&slow, "twice"), async {
        service.logged("decoding", "twice").await;
        service.kill_a_worker();
        service.logged_times(2, "decoding", "twice").await;
        service.kill_a_worker();
    });
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (503, "the worker was lost: try again")
    );
    service.assert_healthy().await;
}

#[tokio::test]
async fn workers_are_nicer_than_the_threads_that_answer() {
    let service = Running::start(&["--nice", "7", "--hash-passes", "200"]).await;
    let (answer, ()) = tokio::join!(service.hash("running"), async {
        service.logged("hashing", "running").await;
        let priorities = service.priorities();
        let of = |name: &str| {
            let named = priorities
                .iter()
                .filter(|(thread, _)| thread.starts_with(name));
            named.map(|(_, nice)| *nice).collect::<Vec<_>>()
        };
        assert_eq!(of("hash"), [7]);
        assert!(
            !of("tokio").is_empty() && of("tokio").iter().all(|nice| *nice == 0),
            "{priorities:?}"
        );
        assert!(
            !of("worker").is_empty() && of("worker").iter().all(|nice| *nice == 7),
            "{priorities:?}"
        );
    });
    assert_eq!(answer.status, 200);
}
