//! The release binary: its size, its memory when idle, and the time to its first answer.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::report::{line, ms, percentile, resident_bytes};

const STARTS: usize = 5;
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("its address")
}

fn start(data: &Path, address: SocketAddr) -> Child {
    Command::new(binary())
        .args(["serve", "--listen", &address.to_string(), "--data"])
        .arg(data)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts")
}

fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_agentstation"))
}

fn answers(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return false;
    };
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
}

/// Starts a station on a directory and ends it again: the time to its first answer, and its memory then.
pub fn start_once(data: &Path) -> (Duration, u64) {
    let address = free_port();
    let began = Instant::now();
    let mut child = start(data, address);
    while !answers(address) {
        assert!(began.elapsed() < ANSWER_WITHIN, "no answer");
        std::thread::yield_now();
    }
    let (took, memory) = (began.elapsed(), resident_bytes(child.id()));
    child.kill().expect("it ends");
    child.wait().expect("it ended");
    (took, memory)
}

pub fn bench() {
    let size = std::fs::metadata(binary()).expect("the binary").len();
    line("size", format!("{:.1}", size as f64 / 1e6), "MB");
    let directory = tempfile::tempdir().expect("a directory");
    let (mut times, mut memory) = (Vec::new(), 0);
    for start_number in 0..=STARTS {
        let (took, resident) = start_once(directory.path());
        // The first start makes the database.
        if start_number == 0 {
            line("first start, with a new database, to the first answer", ms(took), "ms");
        } else {
            times.push(took);
        }
        memory = memory.max(resident);
    }
    line("start to the first answer, p50", ms(percentile(&mut times, 0.5)), "ms");
    line("resident memory when idle", format!("{:.1}", memory as f64 / 1e6), "MB");
}
