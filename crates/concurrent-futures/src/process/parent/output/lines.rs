//! Cutting what a process has written into lines, and keeping the last of them.
//!
//! Always: any bytes are welcome, and no line is longer than [`LONGEST`].

use std::borrow::Cow;

/// A line that is longer becomes several, in bytes.
pub(super) const LONGEST: usize = 16 << 10;

/// How much of what a task has written stays for its error, in bytes and in lines.
const TAIL_BYTES: usize = 4 << 10;
const TAIL_LINES: usize = 20;

/// Where the whole lines in `bytes` end. What lies behind has to wait for its end, unless it is as long
/// as a line may be.
pub(super) fn end_of_lines(bytes: &[u8]) -> usize {
    let rest = bytes.rsplit(|byte| *byte == b'\n').next();
    let rest = rest.unwrap_or_default();
    if rest.len() < LONGEST {
        bytes.len() - rest.len()
    } else {
        bytes.len() - length_of_cut_off_character(rest)
    }
}

/// The lines of a block, without their ends.
pub(super) fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let block = block.strip_suffix(b"\n").unwrap_or(block);
    block.split(|byte| *byte == b'\n').flat_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut rest = Some(line);
        std::iter::from_fn(move || {
            let line = rest?;
            if line.len() <= LONGEST {
                return rest.take();
            }
            let end = LONGEST - length_of_cut_off_character(&line[..LONGEST]);
            let (piece, after) = line.split_at(end);
            rest = Some(after);
            Some(piece)
        })
    })
}

/// How many bytes at the end are the beginning of a character.
fn length_of_cut_off_character(bytes: &[u8]) -> usize {
    (1..=bytes.len().min(3))
        .find(|length| {
            let end = &bytes[bytes.len() - length..];
            let error = std::str::from_utf8(end).err();
            error.is_some_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
        })
        .unwrap_or(0)
}

/// The last that was written.
#[derive(Default)]
pub(super) struct Tail(Vec<u8>);

impl Tail {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let from = bytes.len().saturating_sub(TAIL_BYTES);
        self.0.extend_from_slice(&bytes[from..]);
        // Seldom, so that bytes which come one by one are not moved for each.
        if self.0.len() > 2 * TAIL_BYTES {
            self.0.drain(..self.0.len() - TAIL_BYTES);
        }
    }

    /// What is kept, from the beginning of a line where one begins there; `None` for nothing.
    pub(super) fn text(&self) -> Option<Cow<'_, str>> {
        let kept = self.0.strip_suffix(b"\n").unwrap_or(&self.0);
        let mut ends = kept.iter().rposition(|byte| *byte == b'\n');
        for _ in 1..TAIL_LINES {
            let Some(end) = ends else { break };
            ends = kept[..end].iter().rposition(|byte| *byte == b'\n');
        }
        let kept = ends.map_or(kept, |end| &kept[end + 1..]);
        let from = kept.len().saturating_sub(TAIL_BYTES);
        let mut text = &kept[from..];
        if from > 0 {
            let line = text.iter().position(|byte| *byte == b'\n');
            let is_inside = |byte: &u8| *byte & 0xc0 == 0x80;
            let character = || {
                text.iter()
                    .take(3)
                    .take_while(|byte| is_inside(byte))
                    .count()
            };
            text = &text[line.map_or_else(character, |line| line + 1)..];
        }
        (!text.is_empty()).then(|| String::from_utf8_lossy(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(block: &[u8]) -> Vec<&[u8]> {
        lines(block).collect()
    }

    #[test]
    fn a_block_gives_its_lines_empty_ones_included() {
        assert_eq!(all(b"a\n\nb\r\nc"), [&b"a"[..], b"", b"b", b"c"]);
        assert_eq!(all(b"\n"), [b""]);
        assert_eq!(end_of_lines(b"a\nb"), 2);
        assert_eq!(end_of_lines(b"ab"), 0);
        assert_eq!(end_of_lines(b""), 0);
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let text = format!("x{}", "ä".repeat(LONGEST));
        let pieces = all(text.as_bytes());
        assert_eq!(pieces.len(), 3);
        assert!(pieces.iter().all(|piece| piece.len() <= LONGEST));
        assert!(
            pieces
                .iter()
                .all(|piece| std::str::from_utf8(piece).is_ok())
        );
        assert_eq!(pieces.concat(), text.as_bytes());
        // One that has not ended is cut as well, and keeps half a character.
        assert_eq!(end_of_lines(&text.as_bytes()[..LONGEST]), LONGEST - 1);
        // What is no text is cut anywhere.
        assert_eq!(end_of_lines(&[0xff; LONGEST]), LONGEST);
        assert_eq!(all(&[0xff; LONGEST + 1]).concat(), [0xff; LONGEST + 1]);
    }

    #[test]
    fn a_tail_is_the_last_lines_and_no_more_than_fit() {
        let mut tail = Tail::default();
        assert_eq!(tail.text(), None);
        for number in 0..50 {
            tail.push(format!("line {number}\n").as_bytes());
        }
        let text = tail.text().expect("something was written");
        assert!(
            text.starts_with("line 30\n") && text.ends_with("line 49"),
            "{text}"
        );
        tail.clear();
        tail.push(&b"x".repeat(TAIL_BYTES));
        tail.push(b"\nthe end");
        assert_eq!(tail.text().as_deref(), Some("the end"));
        tail.clear();
        tail.push("ä".repeat(TAIL_BYTES).as_bytes());
        tail.push(b"!");
        let text = tail.text().expect("something was written");
        assert!(
            text.starts_with('ä') && text.len() <= TAIL_BYTES,
            "{}",
            text.len()
        );
    }
}
