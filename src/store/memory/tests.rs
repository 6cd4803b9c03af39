//! Memory of forks, against a model: what is there when every layer is a map, and the topmost that says something decides.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::super::tests::{Fixture, fixture};
use super::super::{Scope as Whose, agents, blobs, members, orgs, users, workspaces};
use super::*;
use crate::domain::id::{PrincipalId, RunId, VersionId, WorkspaceId};
use crate::domain::manifest::Manifest;
use crate::domain::permission::Role;
use crate::domain::plan::Plan;

const MANIFEST: &str = "name = \"a\"\nversion = \"1.0.0\"\nsummary = \"s\"\nruntime = \"javascript\"\nentry = \"a.js\"\n";
const NOW: Timestamp = Timestamp::from_ms(1_763_700_000_000);
const KEYS: [&str; 6] = ["a", "a/1", "a/2", "b", "b/1", "ä"];
const LAYERS: usize = 3;

async fn agent(fixture: &Fixture) -> (OrgId, AgentId) {
    let (org, workspace, person) = (OrgId::new(NOW), WorkspaceId::new(NOW), PrincipalId::new(NOW));
    let agent = AgentId::new(NOW);
    let written = fixture.store.write(move |tx| {
        orgs::insert(tx, org, "o", "o", Plan::Enterprise, NOW)?;
        workspaces::insert(tx, org, workspace, "w", "w", NOW)?;
        let new = users::NewUser {
            email: "a@b.c",
            name: "A",
            password_hash: "x",
        };
        users::insert(tx, person, &new, NOW)?;
        members::insert(tx, org, person, Role::Owner, NOW)?;
        let new = agents::NewVersion {
            id: VersionId::new(NOW),
            manifest: Manifest::parse(MANIFEST).unwrap(),
            manifest_text: MANIFEST.to_owned(),
            code_digest: blobs::put(tx, org, b"code", NOW)?,
            code_bytes: 4,
            input_schema: None,
            readme: None,
            sample_input: None,
            created_by: person,
        };
        agents::insert(tx, Whose { org, workspace }, agent, &new, NOW).map(drop)
    });
    written.await.unwrap();
    (org, agent)
}

#[derive(Clone, Debug)]
enum Op {
    Put(&'static str, String, Option<u64>),
    Delete(&'static str, Option<u64>),
    Get(&'static str),
    List(&'static str, Option<&'static str>, u32),
    Search(&'static str, &'static str, u32),
}

fn op() -> impl Strategy<Value = (usize, Op)> {
    let key = prop::sample::select(KEYS.to_vec());
    let prefix = prop::sample::select(vec!["", "a", "a/", "b", "c"]);
    let query = prop::sample::select(vec!["A", "x", "%", "_", "1", "\\"]);
    let value = prop::sample::select(vec!["x", "X%", "a_b", "\\", ""]);
    let version = prop::option::weighted(0.4, 0..4_u64);
    let op = prop_oneof![
        4 => (key.clone(), value, version.clone()).prop_map(|(key, value, version)| Op::Put(key, value.to_owned(), version)),
        3 => (key.clone(), version).prop_map(|(key, version)| Op::Delete(key, version)),
        1 => key.clone().prop_map(Op::Get),
        2 => (prefix.clone(), prop::option::of(key), 1..4_u32).prop_map(|(prefix, after, limit)| Op::List(prefix, after, limit)),
        2 => (query, prefix, 1..4_u32).prop_map(|(query, prefix, limit)| Op::Search(query, prefix, limit)),
    ];
    (0..LAYERS, op)
}

/// Of each layer, from the bottom up: what it says of keys; `None` is that they are gone.
type Model = Vec<BTreeMap<&'static str, Option<(String, u64)>>>;

/// What is there, seen from a layer.
fn seen(model: &Model, layer: usize) -> BTreeMap<&'static str, (String, u64)> {
    let mut all = BTreeMap::new();
    for said in model.iter().take(layer + 1) {
        for (&key, value) in said {
            match value {
                Some(value) => _ = all.insert(key, value.clone()),
                None => _ = all.remove(key),
            }
        }
    }
    all
}

fn expected_page(found: impl Iterator<Item = (&'static str, (String, u64))>, limit: u32) -> (Vec<(String, String, u64)>, Option<String>) {
    let mut found: Vec<_> = found.map(|(key, (value, version))| (key.to_owned(), value, version)).collect();
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(|(key, ..)| key.clone());
    (found, next)
}

fn page(page: MemoryPage) -> (Vec<(String, String, u64)>, Option<String>) {
    let entries = page.entries.into_iter().map(|entry| (entry.key, entry.value, entry.version));
    (entries.collect(), page.next)
}

/// Does an operation on store and model, and says whether they answer alike.
fn agree(tx: &Tx<'_>, scope: Scope<'_>, model: &mut Model, layer: usize, op: &Op) -> Result<(), String> {
    let all = seen(model, layer);
    let same = |what: &str, store: String, wanted: String| {
        if store == wanted {
            Ok(())
        } else {
            Err(format!("{what} at {layer}: {store} instead of {wanted}"))
        }
    };
    match op {
        Op::Put(key, value, wanted) => {
            let has = all.get(key).map_or(0, |value| value.1);
            let fits = wanted.is_none_or(|wanted| wanted == has);
            if fits {
                model[layer].insert(key, Some((value.clone(), has + 1)));
            }
            let stored = put(tx, scope, key, value, *wanted, NOW);
            same("put", format!("{:?}", stored.ok()), format!("{:?}", fits.then_some(has + 1)))
        }
        Op::Delete(key, wanted) => {
            let has = all.get(key).map_or(0, |value| value.1);
            let fits = wanted.is_none_or(|wanted| wanted == has);
            if fits && has > 0 {
                if layer == 0 {
                    model[layer].remove(key);
                } else {
                    model[layer].insert(key, None);
                }
            }
            let stored = delete(tx, scope, key, *wanted, NOW);
            same("delete", format!("{:?}", stored.ok()), format!("{:?}", fits.then_some(has > 0)))
        }
        Op::Get(key) => {
            let stored = get(tx, scope, key).unwrap().map(|entry| (entry.value, entry.version));
            same("get", format!("{stored:?}"), format!("{:?}", all.get(key).cloned()))
        }
        Op::List(prefix, after, limit) => {
            let wanted = all
                .into_iter()
                .filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|after| *key > after));
            let stored = list(tx, scope, prefix, *after, *limit).unwrap();
            same(
                "list",
                format!("{:?}", page(stored)),
                format!("{:?}", expected_page(wanted, *limit)),
            )
        }
        Op::Search(query, prefix, limit) => {
            let has = |text: &str| text.to_ascii_lowercase().contains(&query.to_ascii_lowercase());
            let wanted = all
                .into_iter()
                .filter(|(key, value)| key.starts_with(prefix) && (has(key) || has(&value.0)));
            let stored = search(tx, scope, query, prefix, *limit).unwrap();
            same(
                "search",
                format!("{:?}", page(stored)),
                format!("{:?}", expected_page(wanted, *limit)),
            )
        }
    }
}

#[test]
fn a_fork_sees_what_lies_beneath_and_what_it_changed() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fixture = runtime.block_on(async { fixture() });
    let (org, agent) = runtime.block_on(agent(&fixture));
    let mut runner = TestRunner::new(Config {
        cases: 150,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&prop::collection::vec(op(), 1..40), |ops| {
            // Environments of their own, so that no case sees another's.
            let base = Environment::from_stored(RunId::new(NOW).to_string());
            let one = base.fork(RunId::new(NOW));
            let layers = [base, one.clone(), one.fork(RunId::new(NOW))];
            let done = runtime.block_on(fixture.store.write(move |tx| {
                let mut model: Model = vec![BTreeMap::new(); LAYERS];
                for (layer, op) in &ops {
                    let scope = Scope {
                        org,
                        agent,
                        environment: &layers[*layer],
                    };
                    if let Err(difference) = agree(tx, scope, &mut model, *layer, op) {
                        return Ok(Err(difference));
                    }
                }
                Ok(Ok(()))
            }));
            done.unwrap().map_err(TestCaseError::fail)
        })
        .unwrap();
}
