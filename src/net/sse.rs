//! Server-sent events, read from bytes as they come.

use std::collections::VecDeque;

use super::Error;

/// Bytes of one event, its name and all its lines.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Empty where the stream names none.
    pub name: String,
    /// The data lines, joined by line breaks.
    pub data: String,
}

/// Turns bytes into events. Bytes may be cut anywhere, within characters and line ends too.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
    /// The last byte was a carriage return: a line feed after it ends the same line.
    after_return: bool,
    ready: VecDeque<Event>,
}

impl Parser {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] for an event without end.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for &byte in bytes {
            match byte {
                b'\n' if self.after_return => self.after_return = false,
                b'\n' | b'\r' => {
                    self.after_return = byte == b'\r';
                    self.end_line();
                }
                _ => {
                    self.after_return = false;
                    self.line.push(byte);
                }
            }
            if self.line.len() + self.event.data.len() > EVENT_BYTES_MAX {
                return Err(Error::LimitExceeded(format!("an event is larger than {EVENT_BYTES_MAX} bytes")));
            }
        }
        Ok(())
    }

    /// The next whole event. What has no blank line after it is no event.
    pub fn pop(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    fn end_line(&mut self) {
        let bytes = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&bytes);
        let line = line.strip_prefix('\u{feff}').unwrap_or(&line);
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if std::mem::take(&mut self.has_data) {
                self.ready.push_back(event);
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            "event" => value.clone_into(&mut self.event.name),
            // Comments, `id` and `retry` are of no use to one who does not reconnect.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(chunks: &[&[u8]]) -> Vec<(String, String)> {
        let mut parser = Parser::default();
        for chunk in chunks {
            parser.push(chunk).unwrap();
        }
        std::iter::from_fn(|| parser.pop()).map(|event| (event.name, event.data)).collect()
    }

    const TEXT: &[u8] = ": hi\n\ndata: one\r\n\r\nevent: named\rdata:two\rdata: three é\r\rdata\n\nid: 7\n\ndata: cut off".as_bytes();

    #[test]
    fn events_are_the_same_wherever_the_bytes_are_cut() {
        let whole = events(&[TEXT]);
        let expected = [("", "one"), ("named", "two\nthree é"), ("", "")];
        assert_eq!(whole, expected.map(|(name, data)| (name.to_owned(), data.to_owned())));
        for cut in 0..TEXT.len() {
            assert_eq!(events(&[&TEXT[..cut], &TEXT[cut..]]), whole, "cut at {cut}");
        }
        assert_eq!(events(&TEXT.chunks(1).collect::<Vec<_>>()), whole);
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut parser = Parser::default();
        let endless = vec![b'x'; EVENT_BYTES_MAX + 1];
        assert!(matches!(parser.push(&endless), Err(Error::LimitExceeded(_))));
        let mut parser = Parser::default();
        let line = [b"data: ".as_slice(), &[b'y'; 1024], b"\n"].concat();
        assert!((0..8192).any(|_| parser.push(&line).is_err()));
    }
}
