//! Helper programs: starting them, and building those that differ from this program in how they are built.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;

/// A helper program, with its first argument; its input is empty, and what it says can be read.
pub(crate) fn program(path: impl AsRef<Path>, mode: &str) -> Command {
    let mut command = Command::new(path.as_ref());
    command
        .arg(mode)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub(super) const START: &str = env!("CARGO_BIN_EXE_process-start");
pub(super) const PARENT: &str = env!("CARGO_BIN_EXE_process-parent");
pub(crate) const HARDSHIP: &str = env!("CARGO_BIN_EXE_process-hardship");

/// What a program says that ends well.
pub(crate) fn said(command: &mut Command) -> String {
    let output = command.output().expect("it can be started");
    said_with(&output, |status| status.success())
}

/// What a program said, if it ended as it should.
pub(super) fn said_with(output: &Output, is_right: impl FnOnce(ExitStatus) -> bool) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(is_right(output.status), "{}: {text}{errors}", output.status);
    text
}

/// Runs the program in which a pool has it hard in this way.
pub(crate) fn hardship(mode: &str) {
    said(&mut program(HARDSHIP, mode));
}

/// A control group with 64 MiB of memory, removed at the end.
struct LittleMemory(PathBuf);

impl LittleMemory {
    /// `None` where there is none to be had, for want of rights or of a controller.
    fn new() -> Option<Self> {
        let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let name = format!("cf-{}", std::process::id());
        let candidates = groups.lines().filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let (root, limit) = match controllers {
                "" => ("/sys/fs/cgroup", "memory.max"),
                "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
                _ => return None,
            };
            let group = Path::new(root).join(path.trim_start_matches('/'));
            Some((Self(group.join(&name)), limit))
        });
        for (group, limit) in candidates {
            if std::fs::create_dir(&group.0).is_ok()
                && std::fs::write(group.0.join(limit), "67108864").is_ok()
            {
                return Some(group);
            }
        }
        None
    }
}

impl Drop for LittleMemory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// The same where the kernel grants 64 MiB to all of its processes together, and kills one of them for
/// more.
pub(crate) fn in_little_memory(mode: &str) {
    let Some(group) = LittleMemory::new() else {
        println!("no control group can be made here");
        return;
    };
    let script = r#"echo $$ > "$1/cgroup.procs" && exec "$2" "$3""#;
    let mut command = program("/bin/sh", "-c");
    command.args([script, "sh"]).arg(&group.0);
    said(command.args([HARDSHIP, mode]));
}

/// A program without life before `main`, in which a panic aborts. The features and the profile of this
/// program are others, so that it has a build of its own.
pub(super) fn without_constructor() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let target = build(&[
            "--bin=without-constructor",
            "--no-default-features",
            "--config=profile.dev.panic='abort'",
        ]);
        target.join("without-constructor")
    })
}

/// The dynamic library, which cargo puts beside this program.
pub(super) fn plugin() -> PathBuf {
    let program = std::env::current_exe().expect("it is a file");
    let library = program.with_file_name("libplugin.so");
    assert!(library.exists(), "{} was not built", library.display());
    library
}

/// Builds from the same lock file, in a folder of its own; gives where the programs are.
fn build(arguments: &[&str]) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("variants");
    let output = Command::new(env!("CARGO"))
        .args(["build", "--offline", "--package=conformance"])
        .args(arguments)
        .arg("--target-dir")
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .output()
        .expect("cargo can be started");
    said_with(&output, |status| status.success());
    target.join("debug")
}
