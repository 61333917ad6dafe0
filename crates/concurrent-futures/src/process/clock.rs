//! The monotonic clock as a number, which means the same in all processes of a machine.

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub(super) fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, nanos) = (
        time.tv_sec.unsigned_abs(),
        u64::try_from(time.tv_nsec).unwrap_or(0),
    );
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos)
}
