//! Newline framing: chunks of bytes in, whole lines out, wherever the chunks were cut.
//!
//! A line ends with `\n`, which is not part of it; everything else is, `\r` included. Lines with nothing in
//! them, or nothing but `\r`, are skipped. What stands after the last `\n` is a line when the input ends
//! ([`Lines::finish`]). A line over the limit is reported once and skipped to its end.

/// A line that was found, or the fact that one was too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Its bytes without the newline, never empty.
    Whole(&'a [u8]),
    /// It has more bytes than the limit; its bytes are gone.
    TooLong,
}

/// Holds what is left of the last chunk, at most `limit` bytes.
#[derive(Debug)]
pub(super) struct Lines {
    partial: Vec<u8>,
    limit: usize,
    skipping: bool,
}

/// A partial line's buffer that has grown beyond this is given back when the line is done.
const KEEP: usize = 16 * 1024;

impl Lines {
    pub(super) fn new(limit: usize) -> Self {
        Self { partial: Vec::new(), limit, skipping: false }
    }

    /// Bytes of the line that has begun and not ended.
    pub(super) fn held(&self) -> usize {
        self.partial.len()
    }

    /// Cuts `chunk` into lines; `each` may stop it with an error.
    pub(super) fn feed<E>(
        &mut self,
        chunk: &[u8],
        mut each: impl FnMut(Line<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', chunk) {
            self.end_line(chunk.get(start..end).unwrap_or_default(), &mut each)?;
            start = end + 1;
        }
        self.begin_line(chunk.get(start..).unwrap_or_default(), &mut each)
    }

    /// The input has ended: what is left is a line.
    pub(super) fn finish<E>(&mut self, mut each: impl FnMut(Line<'_>) -> Result<(), E>) -> Result<(), E> {
        self.end_line(&[], &mut each)
    }

    fn end_line<E>(
        &mut self,
        tail: &[u8],
        each: &mut impl FnMut(Line<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if std::mem::take(&mut self.skipping) {
            return Ok(());
        }
        if self.partial.is_empty() {
            return found(tail, self.limit, each);
        }
        let result = if self.partial.len() + tail.len() > self.limit {
            each(Line::TooLong)
        } else {
            self.partial.extend_from_slice(tail);
            found(&self.partial, self.limit, each)
        };
        self.forget_partial();
        result
    }

    fn begin_line<E>(
        &mut self,
        head: &[u8],
        each: &mut impl FnMut(Line<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.skipping {
            return Ok(());
        }
        if self.partial.len() + head.len() > self.limit {
            self.skipping = true;
            self.forget_partial();
            return each(Line::TooLong);
        }
        self.partial.extend_from_slice(head);
        Ok(())
    }

    fn forget_partial(&mut self) {
        self.partial.clear();
        if self.partial.capacity() > KEEP {
            self.partial = Vec::new();
        }
    }
}

fn found<E>(line: &[u8], limit: usize, each: &mut impl FnMut(Line<'_>) -> Result<(), E>) -> Result<(), E> {
    match line {
        [] | [b'\r'] => Ok(()),
        line if line.len() > limit => each(Line::TooLong),
        line => each(Line::Whole(line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    fn cut(chunks: &[&[u8]], limit: usize) -> Vec<Option<Vec<u8>>> {
        let mut lines = Lines::new(limit);
        let mut out = Vec::new();
        let mut each = |line: Line<'_>| {
            out.push(match line {
                Line::Whole(bytes) => Some(bytes.to_vec()),
                Line::TooLong => None,
            });
            Ok::<(), Infallible>(())
        };
        for chunk in chunks {
            lines.feed(chunk, &mut each).unwrap();
            assert!(lines.held() <= limit);
        }
        lines.finish(&mut each).unwrap();
        out
    }

    fn model(input: &[u8], limit: usize) -> Vec<Option<Vec<u8>>> {
        input
            .split(|b| *b == b'\n')
            .filter(|line| !line.is_empty() && *line != b"\r")
            .map(|line| (line.len() <= limit).then(|| line.to_vec()))
            .collect()
    }

    #[test]
    fn a_line_keeps_every_byte_but_its_newline() {
        let out = cut(&[b"a\r\n\0\xff\n\n\r\nlast"], 10);
        assert_eq!(out, vec![Some(b"a\r".to_vec()), Some(b"\0\xff".to_vec()), Some(b"last".to_vec())]);
    }

    #[test]
    fn a_line_over_the_limit_is_reported_once_and_the_next_one_is_whole() {
        let out = cut(&[b"123", b"456", b"789\nabc\n12345\n123456\n"], 5);
        assert_eq!(out, vec![None, Some(b"abc".to_vec()), Some(b"12345".to_vec()), None]);
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_lines(
            input in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'x'), any::<u8>()], 0..300),
            cuts in proptest::collection::vec(1usize..20, 1..50),
            limit in 1usize..12,
        ) {
            let mut chunks = Vec::new();
            let mut rest = input.as_slice();
            for len in cuts.iter().cycle() {
                if rest.is_empty() { break }
                let (head, tail) = rest.split_at((*len).min(rest.len()));
                chunks.push(head);
                rest = tail;
            }
            prop_assert_eq!(cut(&chunks, limit), model(&input, limit));
        }
    }
}
