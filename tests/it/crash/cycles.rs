//! The station killed again and again, at random moments and at every named point, while agents of every kind run and people use it.
//!
//! `scripts/crash 1000` makes a thousand cycles; the tests make thirty, of which some pass each named point. `CRASH_SEED` repeats a
//! choice of moments, though not what the machine makes of it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;

use super::invariants;
use super::outside::Outside;
use super::person::Person;
use super::workload::{self, Kind};
use crate::support::manifest;
use crate::support::program::{Launched, Place};

const SETTINGS: &str = "[outbound]\nopen_cidrs = [\"127.0.0.0/8\"]\n
[runs]\nretry_base_ms = 20\nretry_cap_ms = 100\n
[models.default]\nprovider = \"scripted\"\nrules = \"rules.toml\"\nprice = { input_micros = 1000000, output_micros = 2000000 }\n";
const WORKSPACE: &str = "/api/v1/orgs/default/workspaces/default";
/// Each with how often it is passed at least while a cycle's runs go on.
const POINTS: [(&str, u64); 8] = [
    ("before-intent", 6),
    ("after-intent", 4),
    ("after-effect", 6),
    ("after-result", 6),
    ("in-commit", 40),
    ("after-commit", 40),
    ("between-segments", 4),
    ("in-park", 4),
];
/// Kills before everything is let come to its end.
const CYCLES_TO_SETTLE: u64 = 10;
/// Kills before a new database is begun, so that looking at all of it stays quick.
const CYCLES_TO_RENEW: u64 = 50;
const WITHIN: Duration = Duration::from_mins(2);

/// Numbers that follow from a seed: SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 1 to `most`.
    fn upto(&mut self, most: u64) -> u64 {
        self.next() % most + 1
    }

    fn kind(&mut self) -> Kind {
        Kind::ALL[usize::try_from(self.upto(Kind::ALL.len() as u64) - 1).unwrap()]
    }
}

/// When a station dies.
#[derive(Clone, Debug)]
enum Moment {
    At { point: &'static str, passing: u64 },
    AfterStart(Duration),
    OnceItServes(Duration),
    AfterAnswers(u64),
}

impl Moment {
    fn choose(cycle: u64, chance: &mut Chance) -> Self {
        if cycle.is_multiple_of(2) {
            let (point, most) = POINTS[usize::try_from(cycle / 2 % POINTS.len() as u64).unwrap()];
            let passing = chance.upto(most);
            return Self::At { point, passing };
        }
        match chance.upto(3) {
            1 => Self::AfterStart(Duration::from_millis(chance.upto(500))),
            2 => Self::OnceItServes(Duration::from_millis(chance.upto(500))),
            _ => Self::AfterAnswers(chance.upto(12)),
        }
    }
}

/// What a cycle begins with.
fn kinds(moment: &Moment, chance: &mut Chance) -> Vec<Kind> {
    let sure = match moment {
        Moment::At {
            point: "between-segments", ..
        } => Kind::Chain,
        Moment::At { point: "in-park", .. } => Kind::Asker,
        Moment::At { .. } => Kind::Worker,
        _ => chance.kind(),
    };
    vec![sure, chance.kind(), chance.kind()]
}

/// How long a station is used.
#[derive(Clone, Copy, Debug)]
enum Until {
    /// Everything wanted has ended.
    Content,
    /// So many requests were answered.
    Answered(u64),
    Dead,
}

/// Has a person use a station from its start.
async fn use_station(launched: &Launched, key: &str, data: PathBuf, person: &mut Person<'_>, until: Until) {
    let Some(address) = launched.address().await else { return };
    let http = crate::support::Http::new(address).bearer(key);
    // What it found is in order before anybody touches it.
    let mut db = invariants::of_living(&data);
    invariants::check(&mut db);
    if person.reconnect(&http).await.is_err() {
        return;
    }
    loop {
        match until {
            Until::Content if person.is_content() => return,
            Until::Answered(enough) if person.is_content() || person.answered >= enough => return,
            // Where it is to die at a point, the point may have been passed too seldom.
            Until::Dead if person.is_content() => [Kind::Worker, Kind::Asker, Kind::Chain].map(|kind| person.want(kind)),
            _ => [(); 3],
        };
        if person.work(&http).await.is_err() {
            return;
        }
    }
}

/// A station that is used and dies.
async fn cycle(place: &Place, key: &str, person: &mut Person<'_>, moment: &Moment, chance: &mut Chance) {
    let data = place.path().join("agentstation-data");
    for kind in kinds(moment, chance) {
        person.want(kind);
    }
    let crash_at = match moment {
        Moment::At { point, passing } => Some(format!("{point}:{passing}")),
        _ => None,
    };
    let began = Instant::now();
    let mut launched = place.launch(crash_at.as_deref());
    let serves = launched.address();
    let until = match moment {
        Moment::AfterAnswers(answers) => Until::Answered(person.answered + answers),
        _ => Until::Dead,
    };
    let late = async {
        match moment {
            Moment::AfterStart(after) => tokio::time::sleep(after.saturating_sub(began.elapsed())).await,
            Moment::OnceItServes(after) => {
                serves.await;
                tokio::time::sleep(*after).await;
            }
            _ => std::future::pending().await,
        }
    };
    let used = use_station(&launched, key, data.clone(), person, until);
    tokio::select! {
        () = late => {}
        () = used => {}
        () = tokio::time::sleep(WITHIN) => panic!("the station was not killed in time"),
    }
    if crash_at.is_some() {
        let status = tokio::time::timeout(WITHIN, launched.died()).await.expect("the point is passed");
        assert_eq!(status.signal(), Some(9), "{status}: {}", launched.log());
    } else {
        launched.kill().await;
    }
    assert!(!launched.log().contains("panic"), "{}", launched.log());
    let mut db = invariants::of_dead(&data);
    invariants::check(&mut db);
    person.check_kept(&db);
}

/// Lets everything come to its end, and checks what it came to.
async fn settle(place: &Place, key: &str, person: &mut Person<'_>) {
    let data = place.path().join("agentstation-data");
    let mut launched = place.launch(None);
    let used = use_station(&launched, key, data.clone(), person, Until::Content);
    let ended = tokio::time::timeout(WITHIN, used).await;
    assert!(ended.is_ok(), "these are stuck:\n{}\n{}", person.open(), launched.log());
    launched.kill().await;
    let mut db = invariants::of_dead(&data);
    invariants::check(&mut db);
    person.check_kept(&db);
    person.settle(&db);
}

async fn station(outside: &Outside) -> (Place, String) {
    let place = Place::new();
    place.write("agentstation.toml", SETTINGS);
    place.write("rules.toml", workload::RULES);
    let key = place.init().await;
    let serving = place.serve().await;
    let client = serving.client(&key);
    for (name, source) in workload::AGENTS {
        let manifest = format!("{}{}", manifest(name, "1.0.0"), workload::capabilities(&outside.grants()));
        let fields: [(&str, &[u8]); 2] = [("manifest", manifest.as_bytes()), ("code", source.as_bytes())];
        client.upload(&format!("{WORKSPACE}/agents"), &fields).await.expect(201);
    }
    let me = client.get("/api/v1/me").await.expect(200).json();
    let policy = format!("/api/v1/orgs/{}/policy", me["org"]["id"].as_str().unwrap());
    let rules = outside.rules().to_string().into_bytes();
    client
        .with("if-match", "\"0\"")
        .send(reqwest::Method::PUT, &policy, Some("application/json"), rules)
        .await
        .expect(200);
    serving.kill().await;
    (place, key)
}

async fn all(cycles: u64, seed: u64) {
    let mut chance = Chance(seed);
    let outside = Outside::start().await;
    let mut killed_at = BTreeSet::new();
    let mut done = 0;
    while done < cycles {
        let (place, key) = station(&outside).await;
        let mut person = Person::new(format!("from{done}"), &outside);
        for cycle_of_place in 1..=CYCLES_TO_RENEW.min(cycles - done) {
            let moment = Moment::choose(done, &mut chance);
            let what = format!("cycle {done} of seed {seed}, killed {moment:?}");
            report(&what);
            let went = AssertUnwindSafe(cycle(&place, &key, &mut person, &moment, &mut chance));
            failing(went, &what).await;
            if let Moment::At { point, .. } = moment {
                killed_at.insert(point);
            }
            done += 1;
            if cycle_of_place.is_multiple_of(CYCLES_TO_SETTLE) || done == cycles {
                failing(AssertUnwindSafe(settle(&place, &key, &mut person)), &format!("after {what}")).await;
            }
        }
    }
    if cycles >= 2 * POINTS.len() as u64 {
        assert_eq!(killed_at.len(), POINTS.len(), "killed at {killed_at:?} only");
    }
}

/// Adds to a failure when it was.
async fn failing(work: AssertUnwindSafe<impl Future<Output = ()>>, what: &str) {
    if let Err(panic) = work.catch_unwind().await {
        let mut said = String::from(what);
        if let Some(text) = panic.downcast_ref::<String>() {
            _ = write!(said, ": {text}");
        }
        panic!("{said}");
    }
}

#[expect(clippy::print_stderr, reason = "shown where somebody watches, kept for a failure otherwise")]
fn report(what: &str) {
    eprintln!("{what}");
}

#[expect(clippy::disallowed_methods, reason = "how a person asks for other cycles than the usual")]
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a whole number"))
}

#[tokio::test]
async fn a_station_that_is_killed_at_any_moment_keeps_every_promise() {
    let seed = number("CRASH_SEED").unwrap_or_else(|| getrandom::u64().unwrap() % 1_000_000);
    let cycles = number("CRASH_CYCLES").unwrap_or(30);
    report(&format!("{cycles} cycles of seed {seed}"));
    all(cycles, seed).await;
}
