//! What a client has yet to take. Pure, and measured, so that it can be bounded.

use std::collections::VecDeque;

/// Lines on their way out, in order.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    lines: VecDeque<Vec<u8>>,
    /// Bytes of the first line that are gone already.
    sent: usize,
    bytes: usize,
}

impl Outbox {
    /// Appends a line, which brings its end along.
    pub(crate) fn push(&mut self, line: Vec<u8>) {
        self.bytes += line.len();
        self.lines.push_back(line);
    }

    /// What to write next.
    pub(crate) fn front(&self) -> Option<&[u8]> {
        self.lines.front().map(|line| &line[self.sent..])
    }

    /// So many bytes of [`Outbox::front`] were written.
    pub(crate) fn advance(&mut self, written: usize) {
        self.sent += written;
        self.bytes = self.bytes.saturating_sub(written);
        if self.lines.front().is_some_and(|line| self.sent >= line.len()) {
            self.lines.pop_front();
            self.sent = 0;
        }
    }

    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// Whether all is written.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Forgets everything but the line whose beginning is out already: what follows starts on a line of its own.
    pub(crate) fn keep_begun(&mut self) {
        self.lines.truncate(usize::from(self.sent > 0));
        self.bytes = self.front().map_or(0, <[u8]>::len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_in_pieces_is_written_once() {
        let mut out = Outbox::default();
        out.push(b"abc\n".to_vec());
        out.push(b"de\n".to_vec());
        let mut written = Vec::new();
        while let Some(front) = out.front() {
            let n = front.len().min(2);
            written.extend_from_slice(&front[..n]);
            out.advance(n);
        }
        assert_eq!((written, out.len(), out.is_empty()), (b"abc\nde\n".to_vec(), 0, true));
    }

    #[test]
    fn giving_up_keeps_the_line_that_was_begun() {
        let mut out = Outbox::default();
        out.push(b"abc\n".to_vec());
        out.push(b"de\n".to_vec());
        out.advance(1);
        out.keep_begun();
        out.push(b"end\n".to_vec());
        let mut rest = Vec::new();
        while let Some(front) = out.front() {
            rest.extend_from_slice(front);
            let n = front.len();
            out.advance(n);
        }
        assert_eq!(rest, b"bc\nend\n");
    }
}
