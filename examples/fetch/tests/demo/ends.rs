//! The ends before the end: Ctrl-C, and a reader that goes away.

use std::io::BufRead;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use crate::support::{Demo, EXECUTORS, args, line, serve};

fn everywhere() -> impl Iterator<Item = (&'static str, &'static str)> {
    EXECUTORS
        .into_iter()
        .flat_map(|executor| ["as-completed", "map"].map(|mode| (executor, mode)))
}

#[test]
fn ctrl_c_ends_at_once_and_tells_how_many_were_done() {
    for (executor, mode) in everywhere() {
        let (hangs, hanging) = channel();
        let base_url = serve(move |number| {
            if number >= 3 {
                hangs.send(()).unwrap();
                std::thread::park();
                unreachable!("nobody wakes this thread");
            }
            args(number)
        });
        let mut demo = Demo::start(&[
            "--executor",
            executor,
            "--mode",
            mode,
            "--workers",
            "1",
            "--timeout",
            "3600",
            "--base-url",
            &base_url,
        ]);
        demo.wait_for_lines(3);
        hanging.recv().unwrap();
        demo.interrupt();
        let ended = demo.finish();
        assert_eq!(ended.stdout, (0..3).map(line).collect::<Vec<_>>());
        assert_eq!(ended.code, Some(130), "{}", ended.stderr);
        assert_eq!(
            ended.stderr,
            "error: interrupted with 3 of 100 numbers done"
        );
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_demo_quietly() {
    for (executor, mode) in everywhere() {
        let (release, released) = channel::<()>();
        let released = Mutex::new(released);
        let base_url = serve(move |number| {
            if number > 0 {
                // An error once the sender is dropped, which is the release.
                let _ = released.lock().unwrap().recv();
            }
            args(number)
        });
        let (demo, mut stdout) = Demo::start_unread(&[
            "--executor",
            executor,
            "--mode",
            mode,
            "--base-url",
            &base_url,
        ]);
        let mut first = String::new();
        stdout.read_line(&mut first).unwrap();
        assert_eq!(first.trim_end(), line(0));
        drop(stdout);
        drop(release);
        let ended = demo.finish();
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    }
}
