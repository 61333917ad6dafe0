//! The side of a door on which tasks wait, in whatever process they are.

use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};

/// Knocks at a door, and waits until it is opened or is gone.
pub(crate) fn pass(door: String) {
    pass_with(&door, &[]);
}

/// As [`pass`], naming processes that the test shall know of besides this one.
pub(crate) fn pass_with(door: &str, others: &[u32]) {
    let _ = knock(door, others).read(&mut [0]);
}

/// Knocks, and gives the other end of what the test holds.
pub(crate) fn knock(door: &str, others: &[u32]) -> UnixStream {
    let address = SocketAddr::from_abstract_name(door).expect("a name");
    let mut stream = UnixStream::connect_addr(&address).expect("there is such a door");
    let mut pids = vec![std::process::id()];
    pids.extend(others);
    let words: Vec<String> = pids.iter().map(u32::to_string).collect();
    writeln!(stream, "{}", words.join(" ")).expect("somebody is there");
    stream
}
