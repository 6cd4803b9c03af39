//! The other side: sites that take requests of each class of effect, count them, and are sometimes slow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::site::{Asked, Reply, Site};

const KEY_HEADER: &str = "X-Key";

/// What came, by method and path: the key of each time, empty where it had none.
type Counted = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

/// Sites by what a repeated write means to them.
pub struct Outside {
    /// Reads, and writes that may be repeated.
    plain: Site,
    /// Knows a repeated write by its key.
    keyed: Site,
    /// Does a write as often as it is sent.
    once: Site,
    /// The same, and a person decides first.
    asking: Site,
    counted: Counted,
}

/// What a site answers: what it was asked, so that a wrong or lost answer shows.
pub fn answer(method: &str, path: &str) -> String {
    format!("{method} {path}")
}

fn slowness(name: &str, times: usize) -> Duration {
    let mixed = name.bytes().fold(times as u64, |sum, byte| {
        sum.wrapping_mul(0x0100_0000_01b3).wrapping_add(u64::from(byte))
    });
    match mixed % 4 {
        0 => Duration::from_millis(mixed / 4 % 120),
        _ => Duration::ZERO,
    }
}

async fn site(counted: &Counted) -> Site {
    let counted = Arc::clone(counted);
    Site::start(move |asked: &Asked| {
        let name = answer(&asked.method, &asked.path);
        let mut counted = counted.lock().unwrap();
        let times = counted.entry(name.clone()).or_default();
        times.push(asked.header(KEY_HEADER).to_owned());
        Reply::Late(slowness(&name, times.len()), name)
    })
    .await
}

impl Outside {
    pub async fn start() -> Self {
        let counted = Counted::default();
        Self {
            plain: site(&counted).await,
            keyed: site(&counted).await,
            once: site(&counted).await,
            asking: site(&counted).await,
            counted,
        }
    }

    /// The line of a manifest that lets an agent reach all of them.
    pub fn grants(&self) -> String {
        let grants = [
            self.plain.grant("\"GET\", \"PUT\"", ""),
            self.keyed.grant("\"POST\"", &format!(", idempotency-header = \"{KEY_HEADER}\"")),
            self.once.grant("\"POST\"", ", approval = \"never\""),
            self.asking.grant("\"POST\"", ""),
        ];
        format!("http = [{}]", grants.join(", "))
    }

    /// The rule by which the agents, which have private data and read what others wrote, need no leave for writes but where they ask anyway.
    pub fn rules(&self) -> Value {
        let hosts: Vec<String> = [&self.plain, &self.keyed, &self.once].map(|site| site.address.to_string()).to_vec();
        json!({ "rules": [{ "id": "own-sites", "effect": "allow", "what": { "http": { "hosts": hosts } } }] })
    }

    /// Where they are, for an agent's input. The class is a part of the path, so that each request tells its own.
    pub fn addresses(&self) -> Value {
        json!({
            "plain": self.plain.url("/plain"), "keyed": self.keyed.url("/keyed"),
            "once": self.once.url("/once"), "asking": self.asking.url("/asking"),
        })
    }

    /// Whether a request has arrived, for a person who is asked.
    pub fn has(&self, method: &str, url: &str) -> bool {
        let path = url::Url::parse(url).unwrap().path().to_owned();
        self.counted.lock().unwrap().contains_key(&answer(method, &path))
    }

    /// Checks what came in the name of a run that has ended well against what is promised for each class.
    pub fn check(&self, token: &str, expected: &BTreeSet<String>, keys: &mut BTreeMap<String, String>) {
        let counted = self.counted.lock().unwrap();
        let part = format!("/{token}/");
        let came: BTreeSet<String> = counted.keys().filter(|name| format!("{name}/").contains(&part)).cloned().collect();
        assert_eq!(&came, expected, "what came in the name of {token}");
        for name in came {
            let times = &counted[&name];
            match name.split('/').nth(1).unwrap() {
                "once" | "asking" => assert_eq!(times.len(), 1, "{name} was sent more than once without a person"),
                "keyed" => {
                    assert!(
                        !times[0].is_empty() && times.iter().all(|key| *key == times[0]),
                        "{name} came under {times:?}"
                    );
                    if let Some(other) = keys.insert(times[0].clone(), name.clone()) {
                        assert_eq!(other, name, "two writes came under one key");
                    }
                }
                _ => {}
            }
        }
    }
}
