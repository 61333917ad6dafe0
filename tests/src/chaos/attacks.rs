//! What a hostile task does to the memory and to the socket that its worker shares with the pool.
//!
//! It knows how both are laid out. If that changes, [`Shared::find`] fails by the size, and the offsets are
//! to be changed as well.

use std::fs;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, sendmsg};
use serde::{Deserialize, Serialize};

const SIZE: usize = 1_191_936;
const RESULTS_BELL: usize = 128;
const NOTE: usize = 256;
const SLOTS: usize = 1_344;
const SLOT: usize = 64;
const TASKS: usize = 9_536;
const RESULTS: usize = 533_952;
const RING_WORDS: usize = 1 << 16;

/// Kinds of frames from the worker.
pub(super) const READY: u32 = 1;
pub(super) const NOT_READY: u32 = 2;
pub(super) const VALUE: u32 = 3;
pub(super) const ERROR: u32 = 4;
pub(super) const ITEM_VALUE: u32 = 5;
pub(super) const ITEM_ERROR: u32 = 6;
pub(super) const END: u32 = 7;
pub(super) const LARGE: u32 = 1 << 8;

/// Of a large result: its memory is new to the pool, and the value itself is in it.
const NEW: u64 = 1 << 8;
const VALUE_TOO: u64 = 1 << 10;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Attack {
    /// Random words everywhere.
    Scribble,
    /// The same, by a thread that goes on after the task.
    Linger,
    /// Values that mean something, or nearly, in places that mean something.
    Aim,
    /// Everything is zero, again and again; and the size of the memory would change, if it could.
    Wipe,
    /// The pool is woken without end.
    Ring,
    /// A frame of this kind, for the task with the number that is the worker's next and this, whose payload
    /// is so long.
    Forge(u32, u64, u32),
    /// Frames without end, of this kind.
    Flood(u32),
    /// A result that is announced as so long, and comes as this.
    Send(u64, Sent),
    /// A result that is said to lie anywhere.
    Place,
    /// Bytes, and descriptors, as many as the socket takes; then a result, so that they are looked at.
    Stuff,
    /// The socket is closed for sending, while the worker lives.
    HangUp,
    /// The word of the slot says this of the task, or something at random, which never ends.
    Slot(Option<u64>),
    /// The task has always begun just now, and never ends.
    Now,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Sent {
    Nothing,
    Unsealed,
    Short,
    Pipe,
    Wrong,
}

/// Where the memory is that this worker shares with its pool.
#[derive(Clone, Copy)]
struct Shared {
    start: usize,
}

impl Shared {
    fn find() -> Self {
        let maps = fs::read_to_string("/proc/self/maps").expect("it can be read");
        for line in maps.lines().filter(|line| line.contains("/memfd:")) {
            let (start, rest) = line.split_once('-').expect("a range");
            let (end, _) = rest.split_once(' ').expect("a range");
            let [start, end] =
                [start, end].map(|text| usize::from_str_radix(text, 16).expect("hex"));
            if end - start == SIZE {
                return Self { start };
            }
        }
        panic!("the shared memory has another size: see the offsets of this file");
    }

    fn word(self, offset: usize) -> &'static std::sync::atomic::AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset < SIZE);
        // SAFETY: the memory is mapped while the process lives, its size is sealed, and everybody uses it
        // by atomics.
        unsafe { std::sync::atomic::AtomicU64::from_ptr((self.start + offset) as *mut u64) }
    }

    fn load(self, offset: usize) -> u64 {
        self.word(offset).load(std::sync::atomic::Ordering::Acquire)
    }

    fn store(self, offset: usize, value: u64) {
        self.word(offset)
            .store(value, std::sync::atomic::Ordering::Release);
    }

    /// Wakes the pool if it sleeps.
    fn ring(self) {
        self.store(RESULTS_BELL, 0);
        let bell = (self.start + RESULTS_BELL) as *const u32;
        // SAFETY: the word is mapped, see above.
        unsafe { libc::syscall(libc::SYS_futex, bell, libc::FUTEX_WAKE, i32::MAX) };
    }

    /// Puts a frame into the ring of results.
    fn write(self, kind: u32, length: u32, payload: &[u64]) {
        let tail = self.load(RESULTS);
        let header = (u64::from(kind) << 32) | u64::from(length);
        for (position, word) in (tail..).zip([header].iter().chain(payload)) {
            let index = usize::try_from(position).expect("64 bits") % RING_WORDS;
            self.store(RESULTS + 128 + 8 * index, *word);
        }
        self.store(RESULTS, tail + 1 + u64::from(length.div_ceil(8)));
        self.ring();
    }

    /// Says that a result lies in this worker's memory: flags with the slot, length, ticket, slots that are
    /// still good, and where the value begins.
    fn announce(self, place: [u64; 5]) {
        let payload = [&[self.number(), 0][..], &place].concat();
        self.write(VALUE | LARGE, 56, &payload);
    }

    /// Waits until the pool has read everything, so that the worker's own words do not take its place. It
    /// may have ended this worker instead, soon.
    fn until_heard(self) {
        let begin = Instant::now();
        let is_read = || self.load(RESULTS + 64) == self.load(RESULTS);
        while !is_read() && begin.elapsed() < Duration::from_secs(1) {
            std::thread::yield_now();
        }
    }

    /// The number of the task that runs here: its slot says so.
    fn number(self) -> u64 {
        (0..128)
            .map(|slot| self.load(SLOTS + SLOT * slot))
            .filter(|word| word & 7 == 2)
            .map(|word| word >> 3)
            .max()
            .expect("a task runs")
    }
}

/// The descriptor of the socket to the pool.
fn channel() -> RawFd {
    let files = fs::read_dir("/proc/self/fd").expect("it can be read");
    let is_socket = |file: &fs::DirEntry| {
        fs::read_link(file.path())
            .is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
    };
    let socket = files.filter_map(Result::ok).find(is_socket);
    let name = socket.expect("a worker has a socket").file_name();
    name.to_str()
        .and_then(|name| name.parse().ok())
        .expect("a number")
}

fn until(time: Duration, mut act: impl FnMut()) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        for _ in 0..100 {
            act();
        }
    }
}

fn scribble(random: &mut Rng) {
    let shared = Shared::find();
    until(Duration::from_millis(50), || {
        let value = if random.bool() {
            random.u64(..)
        } else {
            random.u64(..300)
        };
        shared.store(8 * random.usize(..SIZE / 8), value);
    });
}

fn aim(random: &mut Rng) {
    let shared = Shared::find();
    until(Duration::from_millis(50), || {
        let place = match random.u8(..10) {
            0 => 64 * random.usize(..4),
            1 => NOTE,
            2 => SLOTS + SLOT * random.usize(..128) + 8 * random.usize(..4),
            3 => SLOTS + 8 * random.usize(..4),
            4 => TASKS,
            5 => TASKS + 64,
            6 => RESULTS,
            7 => RESULTS + 64,
            _ => RESULTS + 128 + 8 * random.usize(..100),
        };
        let value = match random.u8(..6) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << random.u32(..64),
            3 => shared.load(place).wrapping_add(random.u64(..3)),
            4 => (random.u64(..8) << 32) | random.u64(..64),
            _ => (random.u64(..8) << 3) | random.u64(..8),
        };
        shared.store(place, value);
        shared.ring();
    });
}

fn wipe() {
    let shared = Shared::find();
    let files = fs::read_dir("/proc/self/fd").expect("it can be read");
    for file in files.filter_map(Result::ok) {
        let is_memory = fs::read_link(file.path())
            .is_ok_and(|target| target.to_string_lossy().starts_with("/memfd:"));
        if is_memory && let Ok(file) = fs::OpenOptions::new().write(true).open(file.path()) {
            for size in [0, 1, 4096, 1 << 30] {
                assert!(file.set_len(size).is_err(), "its size could be changed");
            }
        }
    }
    until(Duration::from_millis(50), || {
        // SAFETY: the range is mapped, and of atomics.
        unsafe { libc::madvise(shared.start as *mut libc::c_void, SIZE, libc::MADV_REMOVE) };
    });
}

fn send(bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    // SAFETY: the socket is open while the process lives.
    let socket = unsafe { BorrowedFd::borrow_raw(channel()) };
    let mut space = vec![std::mem::MaybeUninit::uninit(); 2_048];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)?;
    Ok(())
}

/// A message of the channel, with the number that files are sent with.
fn message(number: u64, descriptor: BorrowedFd<'_>) {
    let mut bytes = [8_u32.to_le_bytes(), 1_u32.to_le_bytes()].concat();
    bytes.extend(number.to_le_bytes());
    // There is no room after an attack that has filled it.
    let _ = send(&bytes, &[descriptor]);
}

fn memory(length: u64, seals: SealFlags) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create("sent", flags).expect("memory");
    rustix::fs::ftruncate(&file, length).expect("memory");
    rustix::fs::fcntl_add_seals(&file, seals).expect("memory");
    file
}

fn send_large(length: u64, sent: Sent) {
    let all = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    let short = length.min(1 << 20);
    let file = match sent {
        Sent::Nothing => None,
        Sent::Unsealed => Some(memory(short, SealFlags::empty())),
        Sent::Short => Some(memory(short / 2, all)),
        Sent::Wrong => Some(memory(short, all)),
        Sent::Pipe => {
            let (_, writer) = io::pipe().expect("a pipe");
            Some(writer.into())
        }
    };
    if let Some(file) = file {
        let number = u64::from(matches!(sent, Sent::Wrong)) * 5;
        message(number, rustix::fd::AsFd::as_fd(&file));
    }
    let shared = Shared::find();
    shared.announce([NEW | VALUE_TOO, length, 1, 1, 0]);
}

fn stuff(random: &mut Rng) {
    let file = memory(1, SealFlags::empty());
    // SAFETY: the file is open until the end.
    let file = unsafe { BorrowedFd::borrow_raw(file.as_raw_fd()) };
    let bytes: Vec<u8> = (0..random.usize(1..100)).map(|_| random.u8(..)).collect();
    let many = vec![file; 200];
    // The system allows so many on their way, and then only bytes.
    while send(&bytes, &many).is_ok() {}
    while send(&bytes, &[]).is_ok() {}
    let shared = Shared::find();
    shared.announce([NEW | VALUE_TOO, 1 << 20, 1, 1, 0]);
}

/// Sleeps longer than any test takes.
fn stay() {
    std::thread::sleep(Duration::from_secs(1_000));
}

/// A task. Its worker is not to be trusted any more.
pub(super) fn attack(attack: Attack, seed: u64) -> u64 {
    let mut random = Rng::with_seed(seed);
    match attack {
        Attack::Scribble => scribble(&mut random),
        Attack::Linger => drop(std::thread::spawn(move || scribble(&mut random))),
        Attack::Aim => aim(&mut random),
        Attack::Wipe => wipe(),
        Attack::Ring => {
            let shared = Shared::find();
            until(Duration::from_millis(200), || shared.ring());
        }
        Attack::Forge(kind, ahead, length) => {
            let shared = Shared::find();
            let number = shared.number().wrapping_add(ahead);
            shared.write(kind, length, &[number, 0, random.u64(..), random.u64(..)]);
            shared.until_heard();
        }
        Attack::Flood(kind) => {
            let shared = Shared::find();
            let number = shared.number();
            until(Duration::from_millis(50), || {
                shared.write(kind, 16, &[number, 0]);
            });
        }
        Attack::Send(length, sent) => {
            send_large(length, sent);
            Shared::find().until_heard();
        }
        Attack::Place => {
            let shared = Shared::find();
            let any = |random: &mut Rng| match random.u8(..4) {
                0 => random.u64(..100),
                1 => random.u64(..2_000),
                2 => 1 << random.u32(..64),
                _ => random.u64(..),
            };
            shared.announce(std::array::from_fn(|_| any(&mut random)));
            shared.until_heard();
        }
        Attack::Stuff => {
            stuff(&mut random);
            Shared::find().until_heard();
        }
        Attack::HangUp => {
            // SAFETY: nobody else closes it.
            let socket = unsafe { OwnedFd::from_raw_fd(channel()) };
            rustix::net::shutdown(&socket, Shutdown::Both).expect("a socket");
            stay();
        }
        Attack::Slot(value) => {
            let shared = Shared::find();
            let number = shared.number();
            let place = usize::try_from(number % 128).expect("small");
            let word = value.map_or(random.u64(..), |phase| (number << 3) | phase);
            shared.store(SLOTS + SLOT * place, word);
            stay();
        }
        Attack::Now => {
            let shared = Shared::find();
            let slot = SLOTS + SLOT * usize::try_from(shared.number() % 128).expect("small");
            loop {
                let mut now = libc::timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                };
                // SAFETY: the place is of the right type.
                unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
                let nanos = now.tv_sec * 1_000_000_000 + now.tv_nsec;
                shared.store(slot + 8, nanos.cast_unsigned());
            }
        }
    }
    seed
}
