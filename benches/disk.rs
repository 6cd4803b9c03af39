//! What the database takes: by call, and by whatever else a benchmark leaves in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use agentstation::services::agents::AgentRef;
use agentstation::services::runs;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::report::line;
use crate::station::{Station, run_of};

const CALLS: usize = 2_000;
const WITHIN: Duration = Duration::from_mins(5);
/// Of the answer to a request.
const ANSWER_ITEMS: usize = 32;

/// Bytes of the pages of each table with its indexes.
pub struct Weight(BTreeMap<String, i64>);

impl Weight {
    pub fn of(station: &Station) -> Self {
        let database = station.database();
        let mut statement = database
            .prepare(
                "SELECT s.tbl_name, sum(d.pgsize) FROM dbstat d JOIN sqlite_schema s ON s.name = d.name
                 WHERE d.aggregate = TRUE GROUP BY s.tbl_name",
            )
            .expect("SQLite counts its pages");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
        Self(rows.collect::<Result<_, _>>().expect("sizes"))
    }

    /// Prints what was added since `before` for each of `count`, and for the tables that most of it is in.
    pub fn print_growth(&self, before: &Self, what: &str, count: usize) {
        let each = |bytes: i64| bytes as f64 / count as f64;
        let mut grown: Vec<(&str, i64)> = self
            .0
            .iter()
            .map(|(table, bytes)| (table.as_str(), bytes - before.0.get(table).copied().unwrap_or(0)))
            .collect();
        grown.sort_by_key(|(_, bytes)| -bytes);
        let all: i64 = grown.iter().map(|(_, bytes)| bytes).sum();
        let mut parts = String::new();
        for (table, bytes) in grown.into_iter().filter(|(_, bytes)| *bytes * 100 > all).take(6) {
            let comma = if parts.is_empty() { "" } else { ", " };
            write!(parts, "{comma}{table} {:.0}", each(bytes)).expect("text");
        }
        line(what, format!("{:.0}", each(all)), &format!("bytes  ({parts})"));
    }
}

pub async fn bench(scale: usize) {
    let station = Station::start(1).await;
    let calls = CALLS / scale;
    let site = serve().await;
    let small = "await station.memory.put(`key-${i}`, i);";
    measure(&station, "memory.put of a number, each under its own key", "", small, calls).await;
    let chat = "await station.models.chat({ messages: [{ role: 'user', content: `Question ${i}: ${text}` }], maxOutputTokens: 200 });";
    measure(
        &station,
        "models.chat, one question and its answer",
        "models = [\"default\"]\n",
        chat,
        calls,
    )
    .await;
    let conversation = "turns.push({ role: 'user', content: `Question ${i}: ${text}` });
        const reply = await station.models.chat({ messages: turns, maxOutputTokens: 200 });
        turns.push({ role: 'assistant', content: reply.content });";
    let (what, turns) = ("models.chat, a turn of a conversation of 100", 100.min(calls));
    measure(&station, what, "models = [\"default\"]\n", conversation, turns).await;
    let grant = format!("http = [{{ host = \"{site}\", methods = [\"GET\"] }}]\n");
    let get = format!("await station.http.send({{ method: 'GET', url: `http://{site}/items/${{i}}` }});");
    let what = format!("http.send, GET of {:.1} kB of JSON", answer(1).len() as f64 / 1e3);
    measure(&station, &what, &grant, &get, calls).await;
    station.app.stop().await;
}

/// What one call of a loop leaves behind. The first run pays for what comes with any run.
async fn measure(station: &Station, what: &str, capabilities: &str, call: &str, calls: usize) {
    let source = format!(
        "export default async function run(input, station) {{
           const text = 'which of the forty chairs have to be ordered before the end of the week, who decides about it, and what may they cost?';
           const turns = [];
           for (let i = input.from; i < input.to; i += 1) {{ {call} }}
           return {{}};
         }}"
    );
    let name = format!("disk-{}", call.len());
    let agent = station.script(&name, capabilities, &source).await;
    execute(station, &agent, 0, 1).await;
    let before = Weight::of(station);
    execute(station, &agent, 1, calls + 1).await;
    Weight::of(station).print_growth(&before, what, calls);
}

async fn execute(station: &Station, agent: &AgentRef, from: usize, to: usize) {
    let input = format!("{{\"from\":{from},\"to\":{to}}}");
    let ended = runs::start_and_wait(&station.app, &station.actor, run_of(agent, input), WITHIN)
        .await
        .expect("ended");
    assert_eq!(ended.run.state.as_str(), "succeeded", "{:?}", ended.run.error);
}

/// A list of things with numbers and words, as an API answers; another for each `number`.
fn answer(number: u64) -> String {
    let items: Vec<_> = (0..ANSWER_ITEMS as u64)
        .map(|item| {
            let id = (number * 1_000 + item).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            serde_json::json!({ "id": format!("{id:016x}"), "name": format!("Chair {item}"), "price": id % 100_000 })
        })
        .collect();
    serde_json::json!({ "items": items }).to_string()
}

/// A site whose answer to each path is another.
async fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = vec![0; 8192];
                let read = stream.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..read]).into_owned();
                let path = head.split_whitespace().nth(1).unwrap_or_default();
                let number = path.rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or(0);
                let body = answer(number);
                let length = body.len();
                let whole = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
                // Who does not read it fails its own call.
                _ = stream.write_all(whole.as_bytes()).await;
            });
        }
    });
    address
}
