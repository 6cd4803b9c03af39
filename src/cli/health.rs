//! Asks a serving station whether it is alive, as a container's health check does.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context as _;

use super::Exit;

const WITHIN: Duration = Duration::from_secs(3);

pub fn check(address: SocketAddr) -> anyhow::Result<Exit> {
    let mut stream = TcpStream::connect_timeout(&address, WITHIN).with_context(|| format!("no station answers at {address}"))?;
    stream.set_read_timeout(Some(WITHIN))?;
    stream.set_write_timeout(Some(WITHIN))?;
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).context("the station closed the connection")?;
    Ok(if head.ends_with(b" 200") { Exit::Success } else { Exit::Failure })
}
