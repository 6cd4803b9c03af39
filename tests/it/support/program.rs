//! The real program: run to its end, or serving until a signal.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::{CODE_CACHE, Http, OWNER_EMAIL, PASSWORD};

const WITHIN: Duration = Duration::from_mins(1);

/// What a finished command left.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// Itself, if it ended with this exit code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Its stdout, which must be one JSON text.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// A directory to run the program in.
pub struct Place {
    dir: TempDir,
    environment: Vec<(String, String)>,
}

impl Place {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            environment: Vec::new(),
        }
    }

    /// The same with a variable set for the program.
    pub fn with(mut self, variable: &str, value: &str) -> Self {
        self.environment.retain(|(known, _)| known != variable);
        self.environment.push((variable.to_owned(), value.to_owned()));
        self
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file there, with the folders it is in.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agentstation"));
        command
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .env("AGENTSTATION_RUNTIME_CACHE", CODE_CACHE)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    pub async fn run(&self, args: &[&str]) -> Finished {
        self.run_with(args, "").await
    }

    /// Runs a command that dies at a named point.
    pub async fn run_dying(&self, args: &[&str], point: &str) {
        use std::os::unix::process::ExitStatusExt as _;
        let status = self.command(args).env("AGENTSTATION_CRASH_AT", point).status();
        let status = tokio::time::timeout(WITHIN, status).await.expect("the command ends").unwrap();
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "it passes {point}");
    }

    /// Runs a command to its end with this on its stdin.
    pub async fn run_with(&self, args: &[&str], stdin: &str) -> Finished {
        let mut child = self.command(args).spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        // A command that reads no stdin may be gone already.
        _ = pipe.write_all(stdin.as_bytes()).await;
        drop(pipe);
        let output = tokio::time::timeout(WITHIN, child.wait_with_output())
            .await
            .expect("the command ends")
            .unwrap();
        Finished {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Makes the owner and a key of theirs.
    pub async fn init(&self) -> String {
        self.run_with(&["init", "--email", OWNER_EMAIL, "--password-stdin"], &format!("{PASSWORD}\n"))
            .await
            .expect(0);
        let key = self.run(&["key", "create", "--user", OWNER_EMAIL]).await.expect(0);
        key.stdout.trim().to_owned()
    }

    /// Serves the data of this place on a free port.
    pub async fn serve(&self) -> Serving {
        let launched = self.launch(None);
        let address = tokio::time::timeout(WITHIN, launched.address()).await.expect("it serves in time");
        let address = address.unwrap_or_else(|| panic!("it did not serve: {}", launched.log()));
        Serving { launched, address }
    }

    /// Begins to serve the data of this place on a free port, to die at a named point where one is given.
    pub fn launch(&self, crash_at: Option<&str>) -> Launched {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
        if let Some(point) = crash_at {
            command.env("AGENTSTATION_CRASH_AT", point);
        }
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (found, address) = watch::channel(None);
        let written = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let address: Option<SocketAddr> = line
                    .split_once("serving http://")
                    .and_then(|(_, rest)| rest.split(['"', ' ']).next()?.parse().ok());
                written.lock().unwrap().push(line);
                if address.is_some() {
                    found.send_replace(address);
                }
            }
        });
        Launched { child, log, address }
    }
}

/// A program that has been started, and may have died since.
pub struct Launched {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    address: watch::Receiver<Option<SocketAddr>>,
}

impl Launched {
    /// Where it serves, once it does; nothing if it died before.
    pub fn address(&self) -> impl Future<Output = Option<SocketAddr>> + use<> {
        let mut address = self.address.clone();
        async move {
            let found = address.wait_for(Option::is_some).await;
            found.ok().and_then(|address| *address)
        }
    }

    /// Waits until it has died by itself.
    pub async fn died(&mut self) -> ExitStatus {
        self.child.wait().await.unwrap()
    }

    /// Ends it as a power cut would.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }
}

/// A program that serves.
pub struct Serving {
    launched: Launched,
    pub address: SocketAddr,
}

impl Serving {
    pub fn client(&self, key: &str) -> Http {
        Http::new(self.address).bearer(key)
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.launched.log()
    }

    /// Waits until it has logged this.
    pub async fn until_logged(&self, text: &str) {
        let logged = async {
            while !self.log().contains(text) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let found = tokio::time::timeout(WITHIN, logged).await;
        assert!(found.is_ok(), "it never says “{text}”: {}", self.log());
    }

    /// Ends it as a power cut would.
    pub async fn kill(mut self) {
        self.launched.kill().await;
    }

    /// Tells it to stop.
    pub fn signal(&self) {
        let id = Pid::from_raw(i32::try_from(self.launched.child.id().unwrap()).unwrap()).unwrap();
        kill_process(id, Signal::TERM).unwrap();
    }

    /// Tells it to stop and waits until it has.
    pub async fn terminate(mut self) -> ExitStatus {
        self.signal();
        tokio::time::timeout(WITHIN, self.launched.died()).await.expect("it stops in time")
    }
}
