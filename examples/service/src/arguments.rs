//! The command line; what passes here needs no further check.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;
use std::time::Duration;

use argon2::Params;
use bytesize::ByteSize;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, ValueEnum};
use tracing_subscriber::filter::Targets;

/// The shortest time that can be given.
const SHORTEST: Duration = Duration::from_millis(1);

/// The longest time that can be given: a day.
const LONGEST: Duration = Duration::from_secs(86_400);

/// The largest size that can be given.
const LARGEST: ByteSize = ByteSize::gib(64);

/// The largest body that can be allowed.
const LARGEST_BODY: ByteSize = ByteSize::gib(1);

/// Less is too little for a worker process to begin with.
const LEAST_WORKER_MEMORY: ByteSize = ByteSize::mib(32);

/// Hash passwords on threads, and make thumbnails in worker processes, over HTTP.
///
/// Times are given like 500ms or 10s, sizes like 512KiB or 8MiB.
#[derive(Clone, Debug, Parser)]
// The last one of several counts, so that a script can have defaults of its own.
#[command(version, args_override_self = true)]
pub(crate) struct Arguments {
    /// Where to listen; port 0 takes a free one, which the log names
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// How many connections may be open; more wait to be accepted
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) max_connections: u32,
    /// How long a connection may take until the head of its next request is there, or to read more of its answer
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub(crate) idle_timeout: Duration,
    /// How long a request may take to send its body
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    pub(crate) body_timeout: Duration,
    /// What the bodies that are being received may take together
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    pub(crate) body_memory: ByteSize,
    /// How long a task may wait for a worker
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    pub(crate) queue_timeout: Duration,
    /// By how much workers are nicer than the threads that answer
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(i32).range(0..=19))]
    pub(crate) nice: i32,
    /// How long running and queued work may go on after SIGTERM or SIGINT
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = time)]
    pub(crate) shutdown_deadline: Duration,
    /// How the log is written to stdout
    #[arg(long, value_enum, default_value_t = LogFormat::Json)]
    pub(crate) log_format: LogFormat,
    /// What is logged: a level, or levels by target, like info,service=debug
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub(crate) log: Targets,
    #[command(flatten)]
    pub(crate) hash: HashArguments,
    #[command(flatten)]
    pub(crate) thumbnail: ThumbnailArguments,
}

/// What concerns `/hash`.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of /hash")]
pub(crate) struct HashArguments {
    /// How many threads hash [default: one for each CPU]
    #[arg(id = "hash_workers", long = "hash-workers", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// How many passwords may wait for a thread
    #[arg(
        id = "hash_queue",
        long = "hash-queue",
        value_name = "N",
        default_value_t = 64
    )]
    pub(crate) queue: u16,
    /// The memory that a hash takes
    #[arg(id = "hash_memory", long = "hash-memory", value_name = "SIZE", default_value = "19MiB", value_parser = size)]
    memory: ByteSize,
    /// How often a hash passes over its memory
    #[arg(
        id = "hash_passes",
        long = "hash-passes",
        value_name = "N",
        default_value_t = 2
    )]
    passes: u32,
}

/// What concerns `/thumbnail`.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of /thumbnail")]
pub(crate) struct ThumbnailArguments {
    /// How many processes make thumbnails [default: one for each CPU]
    #[arg(id = "thumbnail_workers", long = "thumbnail-workers", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// How many pictures may wait for a process
    #[arg(
        id = "thumbnail_queue",
        long = "thumbnail-queue",
        value_name = "N",
        default_value_t = 16
    )]
    pub(crate) queue: u16,
    /// How long making one may take
    #[arg(id = "thumbnail_timeout", long = "thumbnail-timeout", value_name = "TIME", default_value = "10s", value_parser = time)]
    pub(crate) timeout: Duration,
    /// The memory that a process may have
    #[arg(id = "thumbnail_memory", long = "thumbnail-memory", value_name = "SIZE", default_value = "512MiB", value_parser = size)]
    pub(crate) memory: ByteSize,
    /// The largest file that is taken
    #[arg(long, value_name = "SIZE", default_value = "8MiB", value_parser = size)]
    pub(crate) picture_size: ByteSize,
    /// The largest width and height of a picture that is taken, in pixels
    #[arg(long, value_name = "N", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) picture_side: u32,
}

/// What the log looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// An object a line
    Json,
    /// For people
    Text,
}

impl Arguments {
    /// The arguments of this process; ends it with a text that says why they cannot be.
    pub(crate) fn of_this_process() -> Self {
        let arguments = Self::parse();
        if let Err(text) = arguments.check() {
            Self::command()
                .error(ErrorKind::ValueValidation, text)
                .exit();
        }
        arguments
    }

    /// What no single argument can tell.
    fn check(&self) -> Result<(), String> {
        let picture = self.thumbnail.picture_size;
        if picture > LARGEST_BODY || picture > self.body_memory {
            return Err(format!(
                "--picture-size {picture} is more than --body-memory {}, or than {LARGEST_BODY}: no picture of that \
                 size could be received",
                self.body_memory
            ));
        }
        if self.thumbnail.memory < LEAST_WORKER_MEMORY {
            return Err(format!(
                "--thumbnail-memory {} is too little for a process to begin with: give at least {LEAST_WORKER_MEMORY}",
                self.thumbnail.memory
            ));
        }
        self.hash.params().map(drop).map_err(|error| {
            let HashArguments { memory, passes, .. } = &self.hash;
            format!(
                "--hash-memory {memory} with --hash-passes {passes} is nothing that argon2 can do: {error}"
            )
        })
    }
}

impl HashArguments {
    /// How many threads hash.
    pub(crate) fn workers(&self) -> usize {
        self.workers.map_or_else(cpus, usize::from)
    }

    /// What a hash costs.
    pub(crate) fn params(&self) -> argon2::Result<Params> {
        let kibibytes = u32::try_from(self.memory.as_u64() / 1024).unwrap_or(u32::MAX);
        Params::new(kibibytes, self.passes, Params::DEFAULT_P_COST, None)
    }
}

impl ThumbnailArguments {
    /// How many processes make thumbnails.
    pub(crate) fn workers(&self) -> usize {
        self.workers.map_or_else(cpus, usize::from)
    }
}

/// The CPUs that this process may use, its control group's quota respected.
fn cpus() -> usize {
    available_parallelism().map_or(1, NonZeroUsize::get)
}

fn time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if (SHORTEST..=LONGEST).contains(&time) => Ok(time),
        Ok(_) => Err("give a time from 1ms to a day".to_owned()),
        Err(error) => Err(format!("{error}: give a time like 500ms or 10s")),
    }
}

fn size(text: &str) -> Result<ByteSize, String> {
    match text.parse() {
        Ok(size) if size == ByteSize::b(0) || size > LARGEST => {
            Err(format!("give a size up to {LARGEST}"))
        }
        Ok(size) => Ok(size),
        Err(error) => Err(format!("{error}: give a size like 512KiB or 8MiB")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Arguments, String> {
        let program = ["service"].iter();
        Arguments::try_parse_from(program.chain(arguments)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_pass_every_check() {
        Arguments::command().debug_assert();
        let arguments = parse(&[]).unwrap();
        assert_eq!(arguments.check(), Ok(()));
        assert!(arguments.listen.ip().is_loopback());
        assert!(arguments.hash.workers() > 0 && arguments.thumbnail.workers() > 0);
    }

    #[test]
    fn times_and_sizes_have_units() {
        let arguments = parse(&["--body-timeout", "1500ms", "--picture-size", "512KiB"]).unwrap();
        assert_eq!(arguments.body_timeout, Duration::from_millis(1500));
        assert_eq!(arguments.thumbnail.picture_size.as_u64(), 512 << 10);
    }

    #[test]
    fn a_value_that_cannot_be_is_refused_with_what_could_be() {
        for (flag, value, said) in [
            ("--listen", "somewhere", "invalid socket address"),
            ("--body-timeout", "soon", "give a time like 500ms or 10s"),
            ("--body-timeout", "0s", "give a time from 1ms to a day"),
            (
                "--shutdown-deadline",
                "2days",
                "give a time from 1ms to a day",
            ),
            ("--picture-size", "large", "give a size like 512KiB or 8MiB"),
            ("--picture-size", "0", "give a size up to 64.0 GiB"),
            ("--hash-workers", "0", "0 is not in 1..=1024"),
            ("--nice", "-1", "unexpected argument"),
            ("--log", "service=loud", "error parsing level filter"),
            ("--log-format", "xml", "possible values: json, text"),
        ] {
            let error = parse(&[flag, value]).unwrap_err();
            assert!(error.contains(said), "{flag} {value}: {error}");
        }
    }

    #[test]
    fn values_that_do_not_fit_each_other_are_refused() {
        for (arguments, said) in [
            (
                ["--picture-size", "65MiB"],
                "--picture-size 65.0 MiB is more than --body-memory 64.0 MiB",
            ),
            (["--thumbnail-memory", "8MiB"], "give at least 32.0 MiB"),
            (["--hash-memory", "1KiB"], "nothing that argon2 can do"),
            (["--hash-passes", "0"], "nothing that argon2 can do"),
        ] {
            let error = parse(&arguments).unwrap().check().unwrap_err();
            assert!(error.contains(said), "{arguments:?}: {error}");
        }
    }
}
