//! Lines of stdin, read one at a time and only when one is wanted: a command in a script must not swallow what is meant for the next.

use std::io::{BufRead as _, Read as _};
use std::sync::mpsc;

use tokio::sync::mpsc as channel;

use crate::domain::limits::MESSAGE_BYTES_MAX;

/// The rest of stdin.
pub struct Lines {
    want: mpsc::Sender<()>,
    read: channel::UnboundedReceiver<Option<String>>,
    wanted: bool,
    ended: bool,
}

impl Lines {
    /// Starts the thread that reads. It ends with the program: nothing can call it back from a terminal.
    pub fn new() -> Self {
        let (want, wanted) = mpsc::channel::<()>();
        let (write, read) = channel::unbounded_channel();
        std::thread::spawn(move || {
            while wanted.recv().is_ok() {
                if write.send(line()).is_err() {
                    return;
                }
            }
        });
        Self {
            want,
            read,
            wanted: false,
            ended: false,
        }
    }

    /// Whether there is nothing more to come.
    pub const fn ended(&self) -> bool {
        self.ended
    }

    /// Whether a line was asked for that has not come yet.
    pub const fn wanted(&self) -> bool {
        self.wanted
    }

    /// Asks for a line, once.
    pub fn want(&mut self) {
        if !self.wanted && !self.ended {
            self.wanted = self.want.send(()).is_ok();
            self.ended = !self.wanted;
        }
    }

    /// The line that was asked for; `None` at the end. May be dropped before it is done: the line is then the next one's.
    pub async fn next(&mut self) -> Option<String> {
        let line = self.read.recv().await.flatten();
        self.wanted = false;
        self.ended = line.is_none();
        line
    }
}

/// The next line without its end; `None` where stdin has ended or cannot be read.
fn line() -> Option<String> {
    let mut bytes = Vec::new();
    // A longer one comes in pieces, and the first is refused as too long.
    let read = std::io::stdin()
        .lock()
        .take(MESSAGE_BYTES_MAX as u64 + 1)
        .read_until(b'\n', &mut bytes);
    match read {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned()),
    }
}
