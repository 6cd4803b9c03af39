//! Whatever strangers send to the parsers of keys, cookies, cursors and manifests is answered, never believed, and never
//! breaks anything. Brief here; `PROPTEST_CASES=100000 cargo test --test it parsers` goes on for longer.

use agentstation::crypto::api_key::{ApiKey, KeyKind};
use agentstation::domain::manifest::Manifest;
use agentstation::domain::permission::Permission;
use agentstation::web::routes;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

use crate::support::{Http, TestStation, manifest};

/// How many cases, where nobody asks for more.
fn runner(cases: u32) -> TestRunner {
    // Read from the environment by the library.
    let (asked, usual) = (Config::default().cases, 256);
    TestRunner::new(Config {
        cases: if asked == usual { cases } else { asked },
        failure_persistence: None,
        ..Config::default()
    })
}

#[track_caller]
fn holds<S: Strategy>(cases: u32, values: &S, check: impl Fn(S::Value) -> Result<(), TestCaseError>)
where
    S::Value: std::fmt::Debug,
{
    match runner(cases).run(values, check) {
        Ok(()) => {}
        Err(TestError::Fail(why, value)) => panic!("{why}: {value:?}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

/// Text that looks a little like a key.
fn key_like() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "as1_(pat|svc|agt|x)_[0-9A-Za-z]{0,70}",
        "as1_pat_[0-9A-Za-z]{61}",
        "[ -~]{0,80}",
    ]
}

#[test]
fn what_was_not_made_as_a_key_is_none() {
    holds(2_000, &key_like(), |text| {
        // 36 bits of checksum: a guess that fits would be news.
        prop_assert!(ApiKey::parse(&text).is_err());
        Ok(())
    });
}

#[test]
fn a_key_with_anything_put_into_it_or_taken_from_it_is_none() {
    let key = ApiKey::new(KeyKind::Personal).unwrap().reveal();
    let cuts = (0..key.len(), 0..key.len(), "[0-9A-Za-z_]{0,4}");
    holds(2_000, &cuts, |(from, len, put)| {
        let to = (from + len % 5).min(key.len());
        let (before, after) = (key.get(..from).unwrap(), key.get(to..).unwrap());
        let changed = format!("{before}{put}{after}");
        prop_assert!(changed == key || ApiKey::parse(&changed).is_err(), "{changed}");
        Ok(())
    });
}

#[test]
fn any_text_as_a_manifest_is_read_or_refused_with_its_place() {
    let lines = manifest("page-watch", "1.2.0")
        + "[capabilities]\nmodels = [\"default\"]\nhttp = [{ host = \"example.com\", methods = [\"GET\"] }]\n";
    let spots = (
        0..lines.len(),
        0..12_usize,
        prop_oneof![any::<String>(), "[\\[\\]{}\"=.,a-z0-9\n -]{0,12}"],
    );
    holds(1_000, &spots, |(at, len, put)| {
        let from = lines.floor_char_boundary(at);
        let to = lines.ceil_char_boundary((at + len).min(lines.len()));
        let (before, after) = (lines.get(..from).unwrap(), lines.get(to..).unwrap());
        let text = format!("{before}{put}{after}");
        match Manifest::parse(&text) {
            Ok(read) => prop_assert!(agentstation::domain::manifest::is_name(&read.name)),
            Err(findings) => prop_assert!(!findings.is_empty() && findings.iter().all(|finding| !finding.message.is_empty())),
        }
        Ok(())
    });
    holds(1_000, &any::<String>(), |text| {
        prop_assert!(Manifest::parse(&text).is_err());
        Ok(())
    });
}

/// A header's value: anything that HTTP can carry.
fn header_value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,120}",
        "as_sid=[ -~]{0,60}(; (__Host-)?as_sid=[!-~]{0,50}){0,3}",
        "((__Host-)?as_(sid|visit|step)=[0-9A-Za-z_-]{0,50}; ?){0,5}",
    ]
}

#[test]
fn no_cookie_and_no_authorization_that_was_made_up_lets_anybody_in() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let station = runtime.block_on(TestStation::start());
    let ask = |http: Http| runtime.block_on(async move { http.get("/api/v1/runs").await.status.as_u16() });
    holds(200, &header_value(), |value| {
        prop_assert_eq!(ask(station.nobody().with("cookie", &value)), 401);
        Ok(())
    });
    let credentials = prop_oneof![
        "[ -~]{0,120}",
        "(Bearer|Basic|bearer|Token) [!-~]{0,90}",
        key_like().prop_filter_map("a header", |key| {
            key.bytes()
                .all(|byte| (b' '..=b'~').contains(&byte))
                .then(|| format!("Bearer {key}"))
        })
    ];
    holds(200, &credentials, |value| {
        prop_assert_eq!(ask(station.nobody().with("authorization", &value)), 401, "{}", value);
        Ok(())
    });
    // A true key as Basic, or in the query, is no key.
    let basic = format!("Basic {}", station.key);
    assert_eq!(ask(station.nobody().with("authorization", &basic)), 401);
    let in_query = runtime.block_on(station.nobody().get(&format!("/api/v1/runs?key={0}&access_token={0}", station.key)));
    assert_eq!(in_query.status.as_u16(), 401);
}

#[test]
fn any_text_as_a_cursor_is_a_page_or_a_mistake() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let station = runtime.block_on(TestStation::start());
    let key = runtime.block_on(station.scoped_key(Permission::ALL));
    let lists: Vec<String> = routes::table()
        .iter()
        .filter(|line| line.method == actix_web::http::Method::GET && line.path.starts_with("/api/v1/"))
        .filter(|line| !line.path.contains("{run}") && !line.path.contains("{agent}") && !line.path.contains(":.+"))
        .map(|line| line.path.replace("{org}", "default").replace("{workspace}", "default"))
        .filter(|path| !path.contains('{'))
        .collect();
    assert!(lists.len() >= 5, "{lists:?}");
    let cursors = prop_oneof![
        any::<String>(),
        "[0-9A-Za-z_=-]{0,60}",
        "(run|apr|agt|inv|ses)_[0-9a-z]{26}",
        "[0-9]{1,20}"
    ];
    holds(60, &(0..lists.len(), cursors), |(list, cursor)| {
        let cursor: String = url::form_urlencoded::byte_serialize(cursor.as_bytes()).collect();
        let path = format!("{}?cursor={cursor}", lists[list]);
        let http = station.nobody().bearer(&key);
        let status = runtime.block_on(async { http.get(&path).await.status.as_u16() });
        // A route without pages knows no cursor.
        prop_assert!([200, 400, 422].contains(&status), "{path}: {status}");
        Ok(())
    });
}
