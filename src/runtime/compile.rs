//! Compiling in a child process that can be killed: 78 KB of hostile code can cost the compiler a minute and gigabytes.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Error, engine};
use crate::domain::limits::CODE_BYTES_MAX;

/// The hidden command that a compile child is started with.
pub const COMMAND: &str = "compile-component";
/// Wall clock of a child.
const WALL: Duration = Duration::from_mins(1);
/// Processor seconds of a child.
const CPU_SECONDS: u64 = 30;
/// Address space of a child. A large interpreter needs about half of it.
const ADDRESS_SPACE_BYTES: u64 = 2 << 30;
/// Compiled code may be this much larger than its source.
const OUTPUT_BYTES_MAX: usize = CODE_BYTES_MAX * 8;

/// Starts compile children from one executable.
#[derive(Clone, Debug)]
pub struct Compiler {
    executable: PathBuf,
}

impl Compiler {
    /// `executable` is this program, or in tests the built one.
    pub const fn new(executable: PathBuf) -> Self {
        Self { executable }
    }

    /// Compiles a component to code that this machine's engine can load.
    ///
    /// # Errors
    /// The component is refused, costs too much, or no child can be started.
    pub async fn compile(&self, component: &[u8]) -> Result<Vec<u8>, Error> {
        let mut child = tokio::process::Command::new(&self.executable)
            .arg(COMMAND)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Error::Internal(format!("cannot start the compiler: {error}")))?;
        let work = async {
            let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
            let feed = async {
                if let Some(stdin) = stdin.as_mut() {
                    // A child that dies early closes the pipe; its exit says why.
                    _ = stdin.write_all(component).await;
                }
                drop(stdin);
            };
            let (mut code, mut message) = (Vec::new(), Vec::new());
            let read_code = async {
                match stdout {
                    Some(out) => out.take(OUTPUT_BYTES_MAX as u64 + 1).read_to_end(&mut code).await,
                    None => Ok(0),
                }
            };
            let read_message = async {
                match stderr {
                    Some(err) => err.take(16 * 1024).read_to_end(&mut message).await,
                    None => Ok(0),
                }
            };
            let ((), code_read, message_read) = tokio::join!(feed, read_code, read_message);
            let status = child.wait().await;
            code_read.and(message_read).and(status).map(|status| (status, code, message))
        };
        let (status, code, message) = tokio::time::timeout(WALL, work)
            .await
            .map_err(|_| Error::TooCostly(format!("{} s", WALL.as_secs())))?
            .map_err(|error| Error::Internal(format!("the compiler cannot be read: {error}")))?;
        if code.len() > OUTPUT_BYTES_MAX {
            return Err(Error::TooCostly(format!("{OUTPUT_BYTES_MAX} bytes of compiled code")));
        }
        if status.success() {
            return Ok(code);
        }
        match status.code() {
            Some(REFUSED) => Err(Error::Refused(String::from_utf8_lossy(&message).trim().to_owned())),
            // Killed: by its own limits, or by running out of the address space it gave itself.
            _ => Err(Error::TooCostly(format!(
                "{CPU_SECONDS} s of processor time or {} MiB",
                ADDRESS_SPACE_BYTES >> 20
            ))),
        }
    }
}

/// The child's exit code for code that is not valid.
const REFUSED: i32 = 3;

/// The child: limits itself, reads a component, writes compiled code. Returns its exit code.
pub fn child_main(input: &mut dyn Read, output: &mut dyn Write, messages: &mut dyn Write) -> i32 {
    limit(Resource::As, ADDRESS_SPACE_BYTES);
    limit(Resource::Cpu, CPU_SECONDS);
    limit(Resource::Core, 0);
    let compiled = (|| {
        let mut component = Vec::new();
        input
            .take(CODE_BYTES_MAX as u64 * 2)
            .read_to_end(&mut component)
            .map_err(Error::internal)?;
        engine::compiler()?
            .precompile_component(&component)
            .map_err(|error| Error::Refused(format!("{error:#}")))
    })();
    match compiled {
        Ok(code) => i32::from(output.write_all(&code).and_then(|()| output.flush()).is_err()),
        Err(error) => {
            // The parent reads it; there is nobody else to tell.
            _ = writeln!(messages, "{error}");
            if matches!(error, Error::Refused(_)) { REFUSED } else { 1 }
        }
    }
}

fn limit(resource: Resource, most: u64) {
    // Where a limit cannot be set the parent's wall clock still holds.
    _ = setrlimit(
        resource,
        Rlimit {
            current: Some(most),
            maximum: Some(most),
        },
    );
}
