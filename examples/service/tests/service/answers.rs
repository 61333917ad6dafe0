//! What is answered, to whom keeps to the rules and to whom does not.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordVerifier as _};
use image::ImageFormat;
use serde_json::Value;

use crate::clients::{read_head, send_picture};
use crate::pictures;
use crate::running::{Answer, Running};

#[tokio::test]
async fn a_password_becomes_a_hash_that_verifies() {
    let service = Running::start(&[]).await;
    let answer = service.hash("").await;
    assert_eq!(answer.status, 200);
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    let hash = PasswordHash::new(body["hash"].as_str().unwrap()).unwrap();
    let verify = |password: &[u8]| Argon2::default().verify_password(password, &hash);
    assert!(verify(b"hunter42").is_ok());
    assert!(verify(b"hunter43").is_err());
}

#[tokio::test]
async fn a_picture_becomes_smaller_and_keeps_its_format_and_its_shape() {
    let service = Running::start(&[]).await;
    for (picture, format) in [
        (pictures::png(), ImageFormat::Png),
        (pictures::jpeg(), ImageFormat::Jpeg),
    ] {
        for (query, width, height) in [
            ("width=60&height=60", 60, 30),
            ("width=4096&height=30", 60, 30),
            ("width=1&height=1", 1, 1),
            // It is made smaller, never larger.
            ("width=500&height=500", 240, 120),
        ] {
            let url = service.url(&format!("/thumbnail?{query}"));
            let request = service.client().post(url).body(picture.clone());
            let answer = Answer::of(request.send().await.unwrap()).await;
            assert_eq!((answer.status, answer.error()), (200, String::new()));
            assert_eq!(answer.content_type, format.to_mime_type());
            let thumbnail = image::load_from_memory_with_format(&answer.body, format).unwrap();
            assert_eq!(
                (thumbnail.width(), thumbnail.height()),
                (width, height),
                "{query}"
            );
        }
    }
}

#[tokio::test]
async fn a_picture_stands_upright_and_may_be_followed_by_anything() {
    let service = Running::start(&[]).await;
    let answer = service
        .thumbnail_within((64, 100), &pictures::turned_jpeg(), "")
        .await;
    assert_eq!(answer.status, 200, "{}", answer.error());
    let thumbnail = image::load_from_memory(&answer.body).unwrap();
    assert_eq!((thumbnail.width(), thumbnail.height()), (50, 100));

    // Phones put a film there, which may look like a part of the picture.
    let film = b"\xFF\xDA\0\x02film\xFF\xDA";
    let answer = service
        .thumbnail(&[&pictures::jpeg()[..], film].concat(), "")
        .await;
    assert_eq!(answer.status, 200, "{}", answer.error());
}

#[tokio::test]
async fn a_picture_that_cannot_be_read_is_the_fault_of_its_sender() {
    let service = Running::start(&[]).await;
    for (picture, reason) in [
        (Vec::new(), "neither a png nor a jpeg"),
        (b"GIF89a and so on".to_vec(), "neither a png nor a jpeg"),
        (pictures::cut_off(pictures::png()), "cannot be read"),
        (pictures::cut_off(pictures::jpeg()), "cannot be read"),
        (
            pictures::jpeg()[..pictures::jpeg().len() - 1].to_vec(),
            "cannot be read",
        ),
        (pictures::cut_off_jpeg_with_ends(), "cannot be read"),
        (pictures::black(2)[..20].to_vec(), "cannot be read"),
        (pictures::liar(), "too large"),
    ] {
        let answer = service.thumbnail(&picture, "").await;
        assert_eq!(answer.status, 422);
        assert!(
            answer.error().contains(reason),
            "{reason}: {}",
            answer.error()
        );
    }
    service.assert_healthy().await;
}

#[tokio::test]
async fn what_is_not_understood_gets_a_reason() {
    let service = Running::start(&[]).await;
    let client = service.client();
    let size = "/thumbnail?width=1&height=1";
    for (request, status, reason) in [
        (client.get(service.url("/")), 404, "nothing here"),
        (
            client.get(service.url("/hash")),
            405,
            "not with this method",
        ),
        (client.get(service.url(size)), 405, "not with this method"),
        (
            client.post(service.url("/healthz")),
            405,
            "not with this method",
        ),
        (client.post(service.url("/hash")), 400, "has to be JSON"),
        (
            client.post(service.url("/hash")).body(r#"{"password": 7}"#),
            400,
            "has to be JSON",
        ),
        (
            client.post(service.url("/hash")).body(vec![b' '; 5_000]),
            413,
            "up to 4096 bytes",
        ),
        (
            client.post(service.url("/thumbnail")),
            400,
            "width=W&height=H",
        ),
        (
            client.post(service.url("/thumbnail?width=1&height=x")),
            400,
            "width=W&height=H",
        ),
        (
            client.post(service.url("/thumbnail?width=0&height=1")),
            400,
            "from 1 to 4096",
        ),
        (
            client.post(service.url("/thumbnail?width=1&height=5000")),
            400,
            "from 1 to 4096",
        ),
    ] {
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.error().contains(reason), "{answer:?}");
        assert!(!answer.request_id.is_empty(), "{answer:?}");
    }
}

#[tokio::test]
async fn a_request_keeps_its_id_if_that_can_be_logged_as_it_is() {
    let service = Running::start(&[]).await;
    assert_eq!(service.hash("a-sane.id_7").await.request_id, "a-sane.id_7");
    let long = "x".repeat(65);
    for insane in ["", "two words", "a\"quote", long.as_str()] {
        let generated = service.hash(insane).await.request_id;
        assert_eq!(generated.len(), 36, "{insane}: {generated}");
        service.logged("answered", &generated).await;
    }
}

#[tokio::test]
async fn the_id_of_a_request_is_in_what_its_worker_says() {
    let service = Running::start(&[]).await;
    let (png, black) = (pictures::png(), pictures::black(100));
    let (first, second, hash) = tokio::join!(
        service.thumbnail(&png, "first"),
        service.thumbnail(&black, "second"),
        service.hash("third"),
    );
    assert_eq!((first.status, second.status, hash.status), (200, 200, 200));
    for (message, id) in [
        ("decoding", "first"),
        ("shrunk", "first"),
        ("decoding", "second"),
        ("shrunk", "second"),
        ("hashed", "third"),
        ("answered", "first"),
        ("answered", "second"),
        ("answered", "third"),
    ] {
        service.logged(message, id).await;
        assert_eq!(service.times_logged(message, id), 1, "{message} {id}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_however_it_comes() {
    let service = Running::start(&["--picture-size", "64KiB"]).await;
    // More than what lies in the buffers of the system, from a client that reads its answer when all is sent.
    let mut stream = send_picture(&service, &vec![7; 16 << 20], "at once");
    let answer = read_head(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");

    let mut stream = service.connect();
    let piece = [b"8000\r\n".as_slice(), &[7; 0x8000], b"\r\n"].concat();
    stream
        .write_all(b"POST /thumbnail?width=1&height=1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    for _ in 0..3 {
        stream.write_all(&piece).unwrap();
    }
    let mut begin = [0; 12];
    stream.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"HTTP/1.1 413");
}

#[tokio::test]
async fn more_than_the_pools_take_is_refused_at_once() {
    let few = [
        "--hash-workers",
        "1",
        "--hash-queue",
        "0",
        "--hash-passes",
        "150",
    ];
    let service = Running::start(&few).await;
    let (busy, refused) = tokio::join!(service.hash("busy"), async {
        service.logged("hashing", "busy").await;
        let begun = Instant::now();
        let answer = service.hash("refused").await;
        (
            answer,
            begun.elapsed(),
            service.times_logged("hashed", "busy"),
        )
    });
    let (answer, time, over) = refused;
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (503, "too much to do: try again later")
    );
    assert!(time < Duration::from_millis(500), "{time:?}");
    assert_eq!(
        (busy.status, over),
        (200, 0),
        "it was refused while the other one ran"
    );
    service.assert_healthy().await;
}

#[tokio::test]
async fn what_waits_too_long_for_a_worker_is_told_so() {
    let few = ["--thumbnail-workers", "1", "--queue-timeout", "50ms"];
    let service = Running::start(&few).await;
    let slow = pictures::black(12_000);
    let (running, waiting) = tokio::join!(service.thumbnail(&slow, "running"), async {
        service.logged("decoding", "running").await;
        service.thumbnail(&pictures::png(), "waiting").await
    });
    assert_eq!(running.status, 200, "{}", running.error());
    assert_eq!(
        (waiting.status, waiting.error().as_str()),
        (503, "no worker had time: try again later")
    );
    assert_eq!(service.times_logged("decoding", "waiting"), 0);
}
