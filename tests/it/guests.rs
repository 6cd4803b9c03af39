//! What is committed as WebAssembly was built from the sources that are committed beside it.

use std::fs;

use agentstation::domain::hex;
use sha2::{Digest as _, Sha256};

/// Built by the script and unpacked only in memory; its digest is checked where it is embedded.
const UNPACKED: &str = "javascript/runtime.wasm";

#[test]
fn no_guest_source_was_changed_without_a_rebuild() {
    let digests = fs::read_to_string("guests/digests.txt").unwrap();
    let mut listed = 0;
    for line in digests.lines().filter(|line| !line.starts_with('#')) {
        let (digest, file) = line.split_once("  ").unwrap();
        if file == UNPACKED {
            continue;
        }
        let bytes = fs::read(format!("guests/{file}")).unwrap_or_else(|error| panic!("guests/{file}: {error}; run guests/build.sh"));
        let actual = hex::encode(&Sha256::digest(&bytes));
        assert_eq!(
            actual, digest,
            "guests/{file} was changed after the guests were built: run guests/build.sh"
        );
        listed += 1;
    }
    assert!(listed > 0);
}

#[test]
fn every_guest_source_is_in_the_list() {
    let digests = fs::read_to_string("guests/digests.txt").unwrap();
    for folder in [
        "wit",
        "guests/encode/src",
        "guests/javascript/src",
        "examples/agents/log-redactor/src",
    ] {
        for entry in fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let path = format!("{folder}/{name}");
            let shown = path.strip_prefix("guests/").map_or_else(|| format!("../{path}"), str::to_owned);
            assert!(
                digests.lines().any(|line| line.ends_with(&format!("  {shown}"))),
                "{path} is not in guests/digests.txt: run guests/build.sh"
            );
        }
    }
}
