//! The socket between a pool and one worker: small messages, each whole, with descriptors.
//!
//! It is for what is rare; tasks and results go through shared memory. A Unix stream socket has no borders between
//! messages, so each begins with a header that says how long it is and how many descriptors belong to it. A message
//! is small enough for the kernel to queue it as one piece or not at all, which is why sending is all or nothing
//! without a buffer of ours. Receiving trusts nothing that the other side says.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use rustix::cmsg_space;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The most bytes in a message. Linux queues up to 32 KiB on a Unix stream socket as one piece.
pub(in crate::process) const MAX_MESSAGE: usize = 16 << 10;
/// The most descriptors in a message.
pub(in crate::process) const MAX_DESCRIPTORS: usize = 8;

const HEADER: usize = 8;

/// One end of the socket.
#[derive(Debug)]
pub(in crate::process) struct Channel {
    stream: UnixStream,
    inbox: Mutex<Inbox>,
}

/// What has arrived and is not a whole message yet, or has come with the one before.
#[derive(Debug, Default)]
struct Inbox {
    bytes: Vec<u8>,
    /// None for what has come where this process may open no more files.
    descriptors: VecDeque<Option<OwnedFd>>,
}

impl Channel {
    /// Makes the socket: our end, and what becomes descriptor 0 of the worker.
    pub(in crate::process) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Self::from(ours), theirs.into()))
    }

    /// Sends a message, or nothing. It never waits.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room now; `BrokenPipe` if the other end is closed; `InvalidInput` for a message
    /// that is empty or exceeds [`MAX_MESSAGE`] or [`MAX_DESCRIPTORS`].
    pub(in crate::process) fn send(
        &self,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        if bytes.is_empty() || bytes.len() > MAX_MESSAGE || descriptors.len() > MAX_DESCRIPTORS {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "a message of {} bytes and {} descriptors cannot be sent",
                    bytes.len(),
                    descriptors.len()
                ),
            ));
        }
        let header = header(bytes.len() as u32, descriptors.len() as u32);
        let parts = [IoSlice::new(&header), IoSlice::new(bytes)];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            let has_room = control.push(SendAncillaryMessage::ScmRights(descriptors));
            debug_assert!(has_room, "the space is for MAX_DESCRIPTORS");
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = retry_on_intr(|| sendmsg(&self.stream, &parts, &mut control, flags))?;
        if sent == HEADER + bytes.len() {
            Ok(())
        } else {
            Err(io::Error::new(
                io::ErrorKind::WriteZero,
                format!("{sent} bytes of a message were queued, which should have been all"),
            ))
        }
    }

    /// Receives the next message: its length in `buffer`, and its descriptors, which programs that this process
    /// starts do not inherit. A length of 0 says that the other end is closed and nothing more will come.
    ///
    /// With `wait` it blocks until there is one.
    ///
    /// # Errors
    /// `WouldBlock` if there is no whole message and it shall not wait. `InvalidInput` if the buffer is too short for
    /// the message, which stays. EMFILE for a message whose descriptors this process could not take in. `InvalidData` if the other side does not keep to the form, and `UnexpectedEof` if it
    /// ended in the middle: then the channel is of no use any more.
    pub(in crate::process) fn receive(
        &self,
        buffer: &mut [u8],
        wait: bool,
    ) -> io::Result<(usize, Vec<OwnedFd>)> {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(message) = inbox.take(buffer)? {
                return Ok(message);
            }
            if inbox.fill(&self.stream, wait)? == 0 {
                return if inbox.bytes.is_empty() {
                    Ok((0, Vec::new()))
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// The socket, for waiting until there is something to receive.
    pub(in crate::process) fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl From<UnixStream> for Channel {
    fn from(stream: UnixStream) -> Self {
        Self {
            stream,
            inbox: Mutex::default(),
        }
    }
}

fn header(length: u32, descriptors: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&length.to_le_bytes());
    header[4..].copy_from_slice(&descriptors.to_le_bytes());
    header
}

impl Inbox {
    /// Takes the first message out, if all of it is there.
    fn take(&mut self, buffer: &mut [u8]) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
        let Some((header, rest)) = self.bytes.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let [length, descriptors] = [&header[..4], &header[4..]].map(|part| {
            part.iter()
                .rev()
                .fold(0, |number, byte| number << 8 | usize::from(*byte))
        });
        if !(1..=MAX_MESSAGE).contains(&length) || descriptors > MAX_DESCRIPTORS {
            return Err(invalid("a message announces a size that none has"));
        }
        let Some(message) = rest.get(..length) else {
            return Ok(None);
        };
        // They come with the first byte of their message.
        if self.descriptors.len() < descriptors {
            return Err(invalid("a message lacks its descriptors"));
        }
        let Some(place) = buffer.get_mut(..length) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "a message of {length} bytes does not fit into {}",
                    buffer.len()
                ),
            ));
        };
        place.copy_from_slice(message);
        self.bytes.drain(..HEADER + length);
        let descriptors: Option<Vec<OwnedFd>> = self.descriptors.drain(..descriptors).collect();
        match descriptors {
            Some(descriptors) => Ok(Some((length, descriptors))),
            // The message is gone, and what comes after it is not touched by that.
            None => Err(Errno::MFILE.into()),
        }
    }

    /// Reads once; the number of bytes that came.
    fn fill(&mut self, stream: &UnixStream, wait: bool) -> io::Result<usize> {
        // A side that keeps to the form never has more on its way than this.
        if self.descriptors.len() > MAX_MESSAGE / HEADER {
            return Err(invalid("descriptors came without messages"));
        }
        let mut flags = RecvFlags::CMSG_CLOEXEC;
        if !wait {
            flags |= RecvFlags::DONTWAIT;
        }
        let mut chunk = [0; HEADER + MAX_MESSAGE];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            match recvmsg(
                stream,
                &mut [IoSliceMut::new(&mut chunk)],
                &mut control,
                flags,
            ) {
                Err(Errno::INTR) => {}
                // Closed with messages of ours unread; there is nothing to receive any more either.
                Err(Errno::CONNRESET) => return Ok(0),
                received => break received?,
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors.map(Some));
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            // More than a message has, or than this process may open: the message says which.
            self.descriptors.push_back(None);
        }
        self.bytes.extend_from_slice(&chunk[..received.bytes]);
        Ok(received.bytes)
    }
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn pair() -> (Channel, Channel) {
        let (ours, theirs) = Channel::pair().expect("a pair");
        (ours, Channel::from(UnixStream::from(theirs)))
    }

    #[test]
    fn messages_stay_apart_and_keep_their_order() {
        let (ours, theirs) = pair();
        let messages: Vec<Vec<u8>> = [1, 7, 8, 1000, MAX_MESSAGE]
            .iter()
            .enumerate()
            .map(|(number, length)| vec![number as u8; *length])
            .collect();
        for message in &messages {
            ours.send(message, &[]).expect("there is room");
        }
        let mut buffer = vec![0; MAX_MESSAGE];
        for message in &messages {
            let (length, descriptors) = theirs.receive(&mut buffer, true).expect("it is there");
            assert_eq!(&buffer[..length], message.as_slice());
            assert!(descriptors.is_empty());
        }
        let error = theirs.receive(&mut buffer, false).expect_err("no more");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn descriptors_come_with_their_own_message() {
        let (ours, theirs) = pair();
        let mut pipes: Vec<_> = (0..3).map(|_| io::pipe().expect("a pipe")).collect();
        ours.send(b"none", &[]).expect("sent");
        ours.send(b"two", &[pipes[0].1.as_fd(), pipes[1].1.as_fd()])
            .expect("sent");
        ours.send(b"none", &[]).expect("sent");
        ours.send(b"one", &[pipes[2].1.as_fd()]).expect("sent");

        let mut buffer = [0; 16];
        let mut next = || theirs.receive(&mut buffer, true).expect("it is there").1;
        assert_eq!(next().len(), 0);
        let two = next();
        assert_eq!(next().len(), 0);
        let one = next();
        assert_eq!((two.len(), one.len()), (2, 1));
        for (number, descriptor) in two.into_iter().chain(one).enumerate() {
            let flags = rustix::io::fcntl_getfd(&descriptor).expect("it is open");
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
            let mut writer = io::PipeWriter::from(descriptor);
            writer.write_all(&[number as u8]).expect("it is a pipe");
            let mut byte = [0];
            pipes[number]
                .0
                .read_exact(&mut byte)
                .expect("it is the pipe");
            assert_eq!(byte, [number as u8]);
        }
    }

    #[test]
    fn a_full_channel_refuses_whole_messages_and_takes_them_again_later() {
        let (ours, theirs) = pair();
        let message = vec![5; MAX_MESSAGE];
        let mut sent = 0;
        let error = loop {
            match ours.send(&message, &[]) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(sent > 0);
        let mut buffer = vec![0; MAX_MESSAGE];
        for _ in 0..sent {
            let (length, _) = theirs.receive(&mut buffer, false).expect("it was sent");
            assert_eq!(&buffer[..length], message.as_slice());
        }
        assert!(theirs.receive(&mut buffer, false).is_err());
        ours.send(&message, &[]).expect("there is room again");
    }

    #[test]
    fn a_closed_end_is_no_message_on_one_side_and_an_error_on_the_other() {
        let (ours, theirs) = pair();
        ours.send(b"last", &[]).expect("sent");
        drop(ours);
        let mut buffer = [0; 16];
        assert_eq!(theirs.receive(&mut buffer, true).expect("sent").0, 4);
        assert_eq!(theirs.receive(&mut buffer, true).expect("closed").0, 0);
        assert_eq!(theirs.receive(&mut buffer, false).expect("closed").0, 0);
        // And no SIGPIPE, which ends a process that has it at its default.
        let error = theirs.send(b"lost", &[]).expect_err("closed");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let hostile: [(&[u8], io::ErrorKind); 4] = [
            (&header(0, 0), io::ErrorKind::InvalidData),
            (&header(u32::MAX, 0), io::ErrorKind::InvalidData),
            (&header(1, 99), io::ErrorKind::InvalidData),
            (&header(5, 0), io::ErrorKind::UnexpectedEof),
        ];
        for (bytes, kind) in hostile {
            let (ours, theirs) = Channel::pair().expect("a pair");
            let mut theirs = UnixStream::from(theirs);
            theirs.write_all(bytes).expect("written");
            drop(theirs);
            let error = ours.receive(&mut [0; 16], true).expect_err("no message");
            assert_eq!(error.kind(), kind);
        }
        let (ours, theirs) = Channel::pair().expect("a pair");
        let mut theirs = UnixStream::from(theirs);
        theirs.write_all(&header(1, 1)).expect("written");
        theirs.write_all(b"x").expect("written");
        let error = ours.receive(&mut [0; 16], true).expect_err("no descriptor");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn half_a_message_is_kept_until_the_rest_comes() {
        let (ours, theirs) = Channel::pair().expect("a pair");
        let mut theirs = UnixStream::from(theirs);
        let mut bytes = header(3, 0).to_vec();
        bytes.extend_from_slice(b"abc");
        let mut buffer = [0; 16];
        for byte in bytes {
            let error = ours.receive(&mut buffer, false).expect_err("not whole");
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            theirs.write_all(&[byte]).expect("written");
        }
        assert_eq!(ours.receive(&mut buffer, false).expect("whole").0, 3);
        assert_eq!(&buffer[..3], b"abc");
    }

    #[test]
    fn messages_that_cannot_be_sent_whole_are_refused() {
        let (ours, theirs) = pair();
        let descriptors = vec![ours.as_fd(); MAX_DESCRIPTORS + 1];
        for error in [
            ours.send(&[], &[]),
            ours.send(&[0; MAX_MESSAGE + 1], &[]),
            ours.send(b"x", &descriptors),
        ] {
            assert_eq!(
                error.expect_err("refused").kind(),
                io::ErrorKind::InvalidInput
            );
        }
        ours.send(b"long", &descriptors[1..]).expect("the most");
        let error = theirs.receive(&mut [0; 3], true).expect_err("too short");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let (length, descriptors) = theirs.receive(&mut [0; 4], true).expect("it has stayed");
        assert_eq!((length, descriptors.len()), (4, MAX_DESCRIPTORS));
    }
}
