//! Cutting a stream of bytes into lines, with a bound on what a peer can make us hold.

/// The longest line of a request, without its line feed. Answers may be longer.
pub const MAX_LINE: usize = 1024 * 1024;

/// The peer sent a longer line than it may; nothing that follows can be made sense of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineTooLong;

impl std::fmt::Display for LineTooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the line is too long")
    }
}

impl std::error::Error for LineTooLong {}

/// Bytes as they come in, lines as they go out. Each byte is looked at once, however it was cut.
#[derive(Debug)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    /// Lines before this were handed out.
    start: usize,
    /// No line feed between `start` and this.
    scanned: usize,
    longest: usize,
}

impl LineBuffer {
    /// A buffer that refuses lines of more than `longest` bytes.
    #[must_use]
    pub fn new(longest: usize) -> LineBuffer {
        LineBuffer { bytes: Vec::new(), start: 0, scanned: 0, longest }
    }

    /// Takes over what came in.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole line, without its line feed or a carriage return before it; none until more comes in.
    ///
    /// # Errors
    /// When the line is, or will be, too long. It stays so: the connection is to be closed.
    pub fn next_line(&mut self) -> Option<Result<&[u8], LineTooLong>> {
        let found = self.bytes[self.scanned..].iter().position(|byte| *byte == b'\n');
        let end = found.map_or(self.bytes.len(), |at| self.scanned + at);
        if end - self.start > self.longest {
            return Some(Err(LineTooLong));
        }
        if found.is_none() {
            self.scanned = end;
            return None;
        }
        let line = &self.bytes[self.start..end];
        (self.start, self.scanned) = (end + 1, end + 1);
        Some(Ok(line.strip_suffix(b"\r").unwrap_or(line)))
    }

    /// How many bytes wait for the rest of their line.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.bytes.len() - self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(buffer: &mut LineBuffer) -> Vec<Result<Vec<u8>, LineTooLong>> {
        let mut lines = Vec::new();
        while let Some(line) = buffer.next_line() {
            let line = line.map(<[u8]>::to_vec);
            let end = line.is_err();
            lines.push(line);
            if end {
                break;
            }
        }
        lines
    }

    #[test]
    fn lines_come_out_however_the_bytes_were_cut() {
        let stream = b"one\ntwo\r\n\nlast";
        for cut in 0..stream.len() {
            let mut buffer = LineBuffer::new(10);
            buffer.push(&stream[..cut]);
            let mut found = lines(&mut buffer);
            buffer.push(&stream[cut..]);
            found.extend(lines(&mut buffer));
            assert_eq!(found, [Ok(b"one".to_vec()), Ok(b"two".to_vec()), Ok(Vec::new())], "cut at {cut}");
            assert_eq!(buffer.pending(), 4);
        }
    }

    #[test]
    fn a_line_may_be_just_as_long_as_allowed() {
        let mut buffer = LineBuffer::new(4);
        buffer.push(b"1234\n12345");
        assert_eq!(lines(&mut buffer), [Ok(b"1234".to_vec()), Err(LineTooLong)]);
        buffer.push(b"\nok\n");
        assert_eq!(lines(&mut buffer), [Err(LineTooLong)], "a stream that was too long stays refused");
    }
}
