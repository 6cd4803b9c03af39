//! What runs while the station is killed: agents of every way to act and to wait, and what each must have come to in the end.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::outside::answer;

/// What an agent does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One effect of each class after another, and several at once.
    Worker,
    /// Starts three children at once and gathers what they found.
    Parent,
    /// A question to a person, then a write that a person decides about.
    Asker,
    /// Segments that follow each other, at once and after a time.
    Chain,
    /// A session: messages between segments and within one.
    Chat,
    /// Asks a child questions.
    Teacher,
    /// Is cancelled by a person.
    Sleeper,
    /// Asks a model that fails at first, and is tried again by itself.
    Flaky,
}

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::Worker,
        Self::Parent,
        Self::Asker,
        Self::Chain,
        Self::Chat,
        Self::Teacher,
        Self::Sleeper,
        Self::Flaky,
    ];

    pub const fn agent(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Parent => "parent",
            Self::Asker => "asker",
            Self::Chain => "chain",
            Self::Chat => "chat",
            Self::Teacher => "teacher",
            Self::Sleeper => "sleeper",
            Self::Flaky => "flaky",
        }
    }
}

/// The rules of the model: it answers slowly enough to be killed meanwhile, and fails twice in the life of a station.
pub const RULES: &str = "[[rule]]
user = \"flaky: what of (?P<what>.+)\"
reply = \"answer to ${what}\"
fail = { code = \"unavailable\", times = 2 }

[[rule]]
user = \"slowly\"
reply = \"at long last\"
tokens_per_second = 2

[[rule]]
user = \"of (?P<what>.+)\"
reply = \"answer to ${what}\"
tokens_per_second = 100
";

/// Name and source of every agent.
pub const AGENTS: [(&str, &str); 10] = [
    (
        "worker",
        "export default async function run({ token, at }, station) {
          const said = [];
          for (let i = 0; i < 2; i += 1) {
            const send = (method, url) => station.http.send({ method, url: `${url}/${token}/${i}`, body: 'x' }).then((r) => r.text());
            const count = (await station.memory.get(`count/${token}`)) ?? 0;
            await station.memory.put(`count/${token}`, count + 1);
            station.timeline.info(`round ${i}`);
            said.push(await send('POST', at.once));
            said.push(...await Promise.all([
              station.http.get(`${at.plain}/${token}/${i}`).then((r) => r.text()), send('PUT', at.plain), send('POST', at.keyed),
              send('POST', `${at.once}/beside`), station.models.chat(`what of ${token}/${i}`).then((r) => r.content),
            ]));
            await station.artifacts.put(`${i}.txt`, `round ${i}`);
            await station.clock.sleep(20);
          }
          const { value, version } = await station.memory.getEntry(`count/${token}`);
          return { said, value, version, artifacts: (await station.artifacts.list()).length };
        }",
    ),
    (
        "parent",
        "export default async function run({ token, at }, station) {
          const ids = await Promise.all([0, 1, 2].map((n) => station.agents.start('child', { token: `${token}/${n}`, at, n })));
          const open = new Set(await Promise.all(ids.map((id) => station.waits.child(id))));
          const found = [];
          while (open.size > 0) {
            const ready = await station.waits.any([...open]);
            open.delete(ready.handle);
            found.push(ready.value);
          }
          return found.sort((a, b) => a.n - b.n);
        }",
    ),
    (
        "child",
        "export default async function run({ token, at, n }, station) {
          await station.clock.sleep(10 * n);
          const response = await station.http.send({ method: 'POST', url: `${at.once}/${token}`, body: 'x' });
          return { n, text: response.text(), version: await station.memory.put(`child/${token}`, n) };
        }",
    ),
    (
        "asker",
        "export default async function run({ token, at, want }, station) {
          const decision = await station.approvals.request({
            action: 'May I?', arguments: { want }, reason: 'to go on', verbs: ['approve', 'edit', 'deny'],
          });
          const version = await station.memory.put(`asked/${token}`, decision.verb);
          const sent = await station.http.send({ method: 'POST', url: `${at.asking}/${token}`, body: 'x' });
          return { verb: decision.verb, word: decision.arguments.word ?? null, text: sent.text(), version };
        }",
    ),
    (
        "chain",
        "export default async function run({ token, at, turns }, station) {
          const state = station.state ?? { turn: 0, said: [] };
          const version = await station.memory.put(`chain/${token}/${state.turn}`, state.turn);
          const sent = await station.http.send({ method: 'POST', url: `${at.keyed}/${token}/${state.turn}`, body: 'x' });
          state.said.push([sent.text(), version]);
          state.turn += 1;
          if (state.turn === turns) return state.said;
          return station.next(state, { wake: state.turn % 2 === 1 ? 'now' : { at: station.clock.now() + 20 } });
        }",
    ),
    (
        "chat",
        "export async function onMessage(message, station) {
          if (!message) return undefined;
          const { state } = station;
          state.said ??= [];
          if (message.text === 'bye') return station.done(state.said);
          state.said.push(message.text);
          state.version = await station.memory.put(`chat/${station.input.token}`, state.said.length);
          if (message.text.startsWith('ask')) {
            await station.inbox.reply(`what of ${message.text}?`);
            state.said.push((await station.inbox.receive()).text);
          }
          await station.inbox.reply(`heard ${state.said.length}, version ${state.version}`);
        }",
    ),
    (
        "teacher",
        "export default async function run({ token }, station) {
          const pupil = await station.agents.start('pupil', { token });
          const answers = [];
          for (const n of [1, 2, 3]) answers.push((await station.agents.ask(pupil, `add ${n}`)).text);
          return answers;
        }",
    ),
    (
        "pupil",
        "export async function onMessage(message, station) {
          if (!message) return undefined;
          const { state } = station;
          state.sum = (state.sum ?? 0) + Number(message.text.split(' ')[1]);
          const version = await station.memory.put(`pupil/${station.input.token}`, state.sum);
          await station.clock.sleep(10);
          await station.inbox.reply(`sum ${state.sum}, version ${version}`);
        }",
    ),
    (
        "sleeper",
        "export default async function run({ token }, station) {
          await station.models.chat(`slowly, what of ${token}`);
          await station.clock.sleep(3_600_000);
        }",
    ),
    (
        "flaky",
        "export default async function run({ token, at }, station) {
          const version = await station.memory.put(`flaky/${token}`, 1);
          const [sent, reply] = await Promise.all([
            station.http.send({ method: 'POST', url: `${at.keyed}/${token}`, body: 'x' }), station.models.chat(`flaky: what of ${token}`),
          ]);
          return { version, text: sent.text(), answer: reply.content };
        }",
    ),
];

/// What each agent may do: the same for all, since a child may no more than its parent.
pub fn capabilities(grants: &str) -> String {
    format!("[capabilities]\nmemory = true\nmodels = [\"default\"]\nagents = [\"child\", \"pupil\"]\n{grants}\n")
}

/// How many segments a chain has.
const TURNS: u32 = 5;
/// What is said to a session, in order.
pub const SAID: [&str; 5] = ["one", "ask about two", "two", "three", "bye"];

/// The decision that an asker wants, which the person makes.
pub fn wanted(number: u64) -> &'static str {
    ["approve", "edit", "deny"][usize::try_from(number % 3).unwrap()]
}

/// An agent's input.
pub fn input(kind: Kind, token: &str, number: u64, addresses: &Value) -> Value {
    match kind {
        Kind::Asker => json!({ "token": token, "at": addresses, "want": wanted(number) }),
        Kind::Chain => json!({ "token": token, "at": addresses, "turns": TURNS }),
        _ => json!({ "token": token, "at": addresses }),
    }
}

/// How a run must end: its state and its output.
pub fn end(kind: Kind, token: &str, number: u64) -> (&'static str, Value) {
    let output = match kind {
        Kind::Worker => {
            let said: Vec<String> = (0..2)
                .flat_map(|i| {
                    let of = |method, class: &str| answer(method, &format!("/{class}/{token}/{i}"));
                    [
                        of("POST", "once"),
                        of("GET", "plain"),
                        of("PUT", "plain"),
                        of("POST", "keyed"),
                        of("POST", "once/beside"),
                        format!("answer to {token}/{i}"),
                    ]
                })
                .collect();
            json!({ "said": said, "value": 2, "version": 2, "artifacts": 2 })
        }
        Kind::Parent => (0..3)
            .map(|n| json!({ "n": n, "text": answer("POST", &format!("/once/{token}/{n}")), "version": 1 }))
            .collect(),
        Kind::Asker => {
            let verb = wanted(number);
            let word = (verb == "edit").then_some("edited");
            json!({ "verb": verb, "word": word, "text": answer("POST", &format!("/asking/{token}")), "version": 1 })
        }
        Kind::Chain => (0..TURNS)
            .map(|turn| json!([answer("POST", &format!("/keyed/{token}/{turn}")), 1]))
            .collect(),
        Kind::Chat => json!(SAID[..SAID.len() - 1]),
        Kind::Teacher => json!(["sum 1, version 1", "sum 3, version 2", "sum 6, version 3"]),
        Kind::Flaky => {
            json!({ "version": 1, "text": answer("POST", &format!("/keyed/{token}")), "answer": format!("answer to {token}") })
        }
        Kind::Sleeper => return ("cancelled", Value::Null),
    };
    ("succeeded", output)
}

/// What a session must have replied.
pub const REPLIES: [&str; 4] = [
    "heard 1, version 1",
    "what of ask about two?",
    "heard 3, version 2",
    "heard 4, version 3",
];

/// Children that a run must have had.
pub const fn children(kind: Kind) -> i64 {
    match kind {
        Kind::Parent => 3,
        Kind::Teacher => 1,
        _ => 0,
    }
}

/// What must have arrived outside, by method and path.
pub fn arrivals(kind: Kind, token: &str) -> BTreeSet<String> {
    match end(kind, token, 0).1 {
        Value::Object(output) if kind == Kind::Worker => texts(&output["said"]),
        Value::Object(output) => std::iter::once(output["text"].as_str().unwrap().to_owned()).collect(),
        Value::Array(list) if kind == Kind::Parent => list.iter().map(|child| child["text"].as_str().unwrap().to_owned()).collect(),
        Value::Array(list) if kind == Kind::Chain => list.iter().map(|turn| turn[0].as_str().unwrap().to_owned()).collect(),
        _ => BTreeSet::new(),
    }
}

fn texts(list: &Value) -> BTreeSet<String> {
    let texts = list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned());
    texts.filter(|text| !text.starts_with("answer")).collect()
}
