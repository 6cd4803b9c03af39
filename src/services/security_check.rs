//! Looks at the station as somebody who means it ill would: where it listens, what it trusts, who can read its files,
//! which accounts and keys are weak. `doctor` and the page `/station/security` show the same findings.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::master_key;
use crate::config::Config;
use crate::config::cidr::Cidr;
use crate::config::master_key::KeySource;
use crate::config::settings::{MailTls, PublicUrl};
use crate::crypto::seal::MasterKey;
use crate::domain::time::Timestamp;
use crate::store::security_check::{self, Weak};
use crate::store::{DATABASE_FILE, Store, station};

/// Less free space than this stops runs before the disk is full.
const FREE_BYTES_WANTED: u64 = 256 << 20;
/// An account or a key that was not used for so long is one too many.
const UNUSED_AFTER: Duration = Duration::from_hours(90 * 24);
/// Address ranges of proxies that are wider than this are no proxies: /8 of IPv4, /32 of IPv6.
const PROXY_BITS_LEAST: (u8, u8) = (8, 32);
/// Where clouds answer any caller with credentials.
const METADATA: [&str; 2] = ["169.254.169.254", "fd00:ec2::254"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    Warning,
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub verdict: Verdict,
    /// In a word or two.
    pub what: &'static str,
    /// How it is.
    pub detail: String,
    /// What to do, where something is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    pub fn ok(what: &'static str, detail: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Ok,
            what,
            detail: detail.into(),
            advice: None,
        }
    }

    pub fn warning(what: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Warning,
            advice: Some(advice.into()),
            ..Self::ok(what, detail)
        }
    }

    pub fn problem(what: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Problem,
            ..Self::warning(what, detail, advice)
        }
    }
}

/// Everything that was looked at. Without a store, accounts and keys are left out.
pub async fn findings(config: &Config, store: Option<&Store>, now: Timestamp) -> Vec<Finding> {
    let mut all = vec![
        listening(config),
        public_address(config),
        proxies(config),
        outbound(config),
        plain_http(config),
        mail(config),
    ];
    all.extend(files(config));
    all.push(master_key(config));
    all.push(core_dumps());
    all.push(user());
    all.push(Finding::ok("sqlite", security_check::sqlite_version()));
    if let Some(store) = store {
        all.extend(sealing(config, store).await);
        let before = Timestamp::from_ms(
            now.as_ms()
                .saturating_sub(i64::try_from(UNUSED_AFTER.as_millis()).unwrap_or(i64::MAX)),
        );
        match store.read(move |reader| security_check::weak(reader, now, before)).await {
            Ok(weak) => all.extend(accounts(&weak)),
            Err(error) => all.push(Finding::problem(
                "accounts",
                format!("they cannot be read: {error}"),
                "Look into the log for the cause.",
            )),
        }
    }
    all
}

fn behind_tls(config: &Config) -> bool {
    config.server.public_url.as_ref().is_some_and(PublicUrl::is_https)
}

fn listening(config: &Config) -> Finding {
    let server = &config.server;
    let here = server.listen.ip().is_loopback();
    let what = "listens";
    match (here, behind_tls(config), server.insecure_listen) {
        (true, ..) => Finding::ok(what, format!("{}: only this machine reaches it", server.listen)),
        (false, true, _) => Finding::ok(what, format!("{}: behind a proxy that speaks TLS", server.listen)),
        (false, false, true) => Finding::warning(
            what,
            format!(
                "{}: other machines reach it without TLS, because insecure_listen is set",
                server.listen
            ),
            "Put a proxy that speaks TLS in front and set server.public_url and server.trusted_proxies; or listen on 127.0.0.1.",
        ),
        (false, false, false) => Finding::problem(
            what,
            format!("{}: other machines would reach it without TLS, so it does not start", server.listen),
            "Set server.public_url to an https:// address and server.trusted_proxies, or listen on 127.0.0.1.",
        ),
    }
}

fn public_address(config: &Config) -> Finding {
    let what = "public address";
    match &config.server.public_url {
        Some(url) if url.is_https() => Finding::ok(what, format!("{}: cookies are sent over TLS only", url.as_str())),
        Some(url) => Finding::warning(
            what,
            format!("{}: passwords and cookies cross the network in the clear", url.as_str()),
            "Give the proxy a certificate and set server.public_url to its https:// address.",
        ),
        None if config.server.listen.ip().is_loopback() => Finding::ok(what, "none: it is used on this machine"),
        None => Finding::warning(
            what,
            "none: links in mails and the Host header cannot be checked against it",
            "Set server.public_url to the address that people open.",
        ),
    }
}

fn proxies(config: &Config) -> Finding {
    let what = "trusted proxies";
    let trusted = &config.server.trusted_proxies;
    let is_wide = |range: &&Cidr| range.bits() < if range.is_v4() { PROXY_BITS_LEAST.0 } else { PROXY_BITS_LEAST.1 };
    if let Some(wide) = trusted.iter().find(is_wide) {
        return Finding::problem(
            what,
            format!("{wide} believes what almost anyone says of their address, so that rates and the audit log can be fooled"),
            "Set server.trusted_proxies to the proxies’ own addresses.",
        );
    }
    match (trusted.is_empty(), behind_tls(config)) {
        (true, true) => Finding::warning(
            what,
            "none, but there is a public https:// address: the proxy’s own address counts for everyone",
            "Set server.trusted_proxies to the proxy’s address, such as 127.0.0.1.",
        ),
        (true, false) => Finding::ok(what, "none: what a request says of its client is not believed"),
        (false, _) => Finding::ok(what, list(trusted.iter().map(Cidr::to_string))),
    }
}

fn outbound(config: &Config) -> Finding {
    let what = "private ranges";
    let open = &config.outbound.open_cidrs;
    if open.is_empty() {
        return Finding::ok(what, "closed to agents");
    }
    let named = list(open.iter().map(Cidr::to_string));
    let is_metadata = |range: &Cidr| {
        METADATA
            .iter()
            .filter_map(|text| text.parse::<IpAddr>().ok())
            .any(|address| range.contains(address))
    };
    if open.iter().any(is_metadata) {
        return Finding::problem(
            what,
            format!("{named} are open to agents, and among them is an address where clouds hand out credentials"),
            "Narrow outbound.open_cidrs to the servers that agents need.",
        );
    }
    Finding::warning(
        what,
        format!("{named} are open to agents that were granted a host there"),
        "Keep outbound.open_cidrs as narrow as the servers that agents need.",
    )
}

fn plain_http(config: &Config) -> Finding {
    let what = "plain http";
    if config.outbound.allow_http {
        Finding::warning(
            what,
            "agents may call http:// addresses, where anyone between can read and change what is said",
            "Unset outbound.allow_http unless an agent needs it.",
        )
    } else {
        Finding::ok(what, "not allowed to agents")
    }
}

fn files(config: &Config) -> Vec<Finding> {
    let data = &config.data;
    if !data.exists() {
        return vec![Finding::ok(
            "data directory",
            format!("{} is made at the first start", data.display()),
        )];
    }
    let mut found = vec![private("data directory", data)];
    found.push(disk(data));
    found.push(private("code cache", &config.cache_dir()));
    let database = data.join(DATABASE_FILE);
    if database.exists() {
        found.push(private("database file", &database));
    }
    found
}

/// Where the key that seals comes from, and who else has it.
fn master_key(config: &Config) -> Finding {
    let what = "master key";
    let source = config.master_key();
    let words = source.in_words();
    let path = match source {
        KeySource::Environment(_) => return Finding::ok(what, format!("comes from {words}, apart from the data")),
        KeySource::Credential(_) => return Finding::ok(what, format!("comes from systemd, in {words}, apart from the data")),
        KeySource::File(path) => path,
    };
    let found = private(what, path);
    if found.verdict == Verdict::Ok && path.exists() && path.starts_with(&config.data) {
        return Finding::warning(
            what,
            format!("{words} lies beside what it seals: a copy of the data directory has both"),
            "Keep it elsewhere (security.master_key_file, AGENTSTATION_MASTER_KEY or a systemd credential), and back it up apart from the data.",
        );
    }
    found
}

/// Whether the key is the one that sealed what is in the database.
async fn sealing(config: &Config, store: &Store) -> Option<Finding> {
    let (what, source) = ("sealing", config.master_key());
    if let Ok(Some((rotation, left))) = master_key::unfinished(store).await {
        let detail = format!(
            "the master key {} is being replaced by {}: {left} sealed things still need the old one",
            rotation.from, rotation.to
        );
        return Some(Finding::warning(
            what,
            detail,
            "Start the station, which finishes it, or run agentstation key rotate-master again; keep both keys until then.",
        ));
    }
    let expected = match store.read(station::master_key).await {
        Ok(expected) => expected?,
        Err(error) => {
            return Some(Finding::problem(
                what,
                format!("the fingerprint of the station’s key cannot be read: {error}"),
                "Look into the log for the cause.",
            ));
        }
    };
    let found = match source.read() {
        Ok(bytes) => bytes.and_then(|bytes| Some(MasterKey::new(&bytes).ok()?.fingerprint())),
        Err(error) => return Some(Finding::problem(what, error.to_string(), "Mend it, then start again.")),
    };
    let place = source.in_words();
    if found.as_ref() == Some(&expected) {
        return Some(Finding::ok(
            what,
            format!("the key in {place} has the fingerprint {expected}, as it should"),
        ));
    }
    let is_there = found.map_or_else(|| "is not there".to_owned(), |found| format!("has the fingerprint {found}"));
    Some(Finding::problem(
        what,
        format!("the key in {place} {is_there}, and what is sealed needs the one with the fingerprint {expected}"),
        match master_key::to_do(source, &config.data, &expected) {
            Some(to_do) => format!("The key was replaced: {to_do}."),
            None => format!("Put that key into {place}, then start again."),
        },
    ))
}

/// Whether letters can be sent, and unread by others on their way to the mail server.
fn mail(config: &Config) -> Finding {
    let (what, mail) = ("mail", &config.mail);
    let Some(host) = &mail.host else {
        return Finding::warning(
            what,
            "no server is configured: invitations and links to new passwords are handed over by hand, and nobody is told of changes to \
             their account",
            "Add a section [mail] with host and from to the settings; /station/mail shows one.",
        );
    };
    let server = format!("{host}:{}", mail.port());
    match (mail.tls, mail.is_on_this_machine()) {
        (MailTls::None, false) => Finding::warning(
            what,
            format!("{server}, in the clear: links to accounts can be read on their way"),
            "Set mail.tls to starttls or tls.",
        ),
        (MailTls::None, true) => Finding::ok(what, format!("{server}, on this machine")),
        (MailTls::Starttls | MailTls::Tls, _) => Finding::ok(what, format!("{server}, over TLS")),
    }
}

/// Whether only the station's own user can look into a file or directory.
fn private(what: &'static str, path: &Path) -> Finding {
    match std::fs::metadata(path) {
        Ok(metadata) => {
            let mode = metadata.mode() & 0o777;
            let detail = format!("{} has mode {mode:o}", path.display());
            if mode.trailing_zeros() >= 6 {
                Finding::ok(what, detail)
            } else {
                let wanted = if metadata.is_dir() { "700" } else { "600" };
                Finding::warning(
                    what,
                    format!("{detail}; others can look into it"),
                    format!("chmod {wanted} {}", path.display()),
                )
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Finding::ok(what, format!("{} is made when it is needed", path.display()))
        }
        Err(error) => Finding::problem(
            what,
            format!("{}: {error}", path.display()),
            "Let the station’s user own its data directory.",
        ),
    }
}

fn disk(path: &Path) -> Finding {
    match rustix::fs::statvfs(path) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let detail = format!("{} MiB free", free >> 20);
            if free >= FREE_BYTES_WANTED {
                Finding::ok("disk", detail)
            } else {
                Finding::problem("disk", detail, format!("Make room: {} MiB are wanted.", FREE_BYTES_WANTED >> 20))
            }
        }
        Err(error) => Finding::problem(
            "disk",
            format!("the free space cannot be read: {error}"),
            "Look at the data directory’s file system.",
        ),
    }
}

fn core_dumps() -> Finding {
    let what = "core dumps";
    let limit = rustix::process::getrlimit(rustix::process::Resource::Core);
    if limit.maximum == Some(0) {
        Finding::ok(what, "off: a crash leaves no copy of the memory on disk")
    } else {
        Finding::warning(
            what,
            "on: a crash writes the memory, with secrets in it, to disk",
            "Set the limit to 0 where the station is started: LimitCORE=0, or ulimit -c 0.",
        )
    }
}

fn user() -> Finding {
    let what = "user";
    if rustix::process::geteuid().is_root() {
        Finding::warning(
            what,
            "root: a fault in the station is a fault of the whole machine",
            "Make a user for the station that owns its data directory and nothing else.",
        )
    } else {
        Finding::ok(what, format!("{}, without special rights", rustix::process::geteuid().as_raw()))
    }
}

fn accounts(weak: &Weak) -> Vec<Finding> {
    let finding = |what, names: &[String], fine: &str, wrong: &str, advice: &str| {
        if names.is_empty() {
            Finding::ok(what, fine)
        } else {
            Finding::warning(what, format!("{wrong}: {}", list(names.iter().cloned())), advice)
        }
    };
    vec![
        finding(
            "second factor",
            &weak.in_charge_without_second_factor,
            "all owners and admins have one",
            "owners and admins who sign in with a password alone",
            "Let them add an authenticator app or a passkey under Account, Signing in.",
        ),
        finding(
            "unused accounts",
            &weak.never_signed_in,
            "none",
            "never signed in since they were made",
            "Remove the accounts that nobody needs.",
        ),
        finding(
            "keys without expiry",
            &weak.keys_without_expiry,
            "none",
            "keys that hold until somebody revokes them",
            "Make new ones that expire, and revoke these.",
        ),
        finding(
            "unused keys",
            &weak.keys_unused,
            "none",
            "keys that were not used for 90 days",
            "Revoke the keys that nobody needs.",
        ),
    ]
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::Overrides;

    fn config(environment: &[(&str, &str)]) -> Config {
        let environment: Vec<(String, String)> = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Config::load(&Overrides::default(), &environment).unwrap()
    }

    #[test]
    fn each_weak_setting_is_found() {
        use Verdict::{Ok, Problem, Warning};
        let https = ("AGENTSTATION_PUBLIC_URL", "https://station.example");
        let open = ("AGENTSTATION_LISTEN", "0.0.0.0:8700");
        type Case<'a> = (&'a [(&'a str, &'a str)], fn(&Config) -> Finding, Verdict);
        let mail_host = ("AGENTSTATION_MAIL_HOST", "smtp.mail.example");
        let mail_from = ("AGENTSTATION_MAIL_FROM", "station@station.example");
        let cases: [Case<'_>; 19] = [
            (&[], listening, Ok),
            (&[open, https], listening, Ok),
            (&[open], listening, Problem),
            (&[open, ("AGENTSTATION_INSECURE_LISTEN", "true")], listening, Warning),
            (&[https], public_address, Ok),
            (&[("AGENTSTATION_PUBLIC_URL", "http://station.example")], public_address, Warning),
            (&[open], public_address, Warning),
            (&[], proxies, Ok),
            (&[https], proxies, Warning),
            (&[https, ("AGENTSTATION_TRUSTED_PROXIES", "10.0.0.0/8")], proxies, Ok),
            (&[https, ("AGENTSTATION_TRUSTED_PROXIES", "10.0.0.1, 0.0.0.0/0")], proxies, Problem),
            (&[https, ("AGENTSTATION_TRUSTED_PROXIES", "::/0")], proxies, Problem),
            (&[("AGENTSTATION_OUTBOUND_OPEN_CIDRS", "10.1.0.0/16")], outbound, Warning),
            (&[("AGENTSTATION_OUTBOUND_OPEN_CIDRS", "169.254.0.0/16")], outbound, Problem),
            (&[("AGENTSTATION_OUTBOUND_ALLOW_HTTP", "true")], plain_http, Warning),
            (&[], mail, Warning),
            (&[mail_host, mail_from], mail, Ok),
            (&[mail_host, mail_from, ("AGENTSTATION_MAIL_TLS", "none")], mail, Warning),
            (&[("AGENTSTATION_MASTER_KEY", "00")], master_key, Ok),
        ];
        for (environment, look, verdict) in cases {
            let finding = look(&config(environment));
            assert_eq!(finding.verdict, verdict, "{environment:?}: {finding:?}");
            assert_eq!(finding.advice.is_none(), verdict == Ok, "{finding:?}");
        }
    }

    #[test]
    fn files_that_others_can_read_are_found_with_the_command_that_mends_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, "x").unwrap();
        for (mode, verdict) in [
            (0o600, Verdict::Ok),
            (0o400, Verdict::Ok),
            (0o640, Verdict::Warning),
            (0o604, Verdict::Warning),
        ] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let finding = private("file", &file);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            if verdict == Verdict::Warning {
                assert_eq!(finding.advice.unwrap(), format!("chmod 600 {}", file.display()));
            }
        }
    }

    #[test]
    fn the_master_key_is_looked_for_where_it_comes_from() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let at = |path: &Path| {
            let (data, key) = (data.to_str().unwrap(), path.to_str().unwrap());
            master_key(&config(&[
                ("AGENTSTATION_DATA", data),
                ("AGENTSTATION_SECURITY_MASTER_KEY_FILE", key),
            ]))
        };
        let (beside, apart) = (data.join("master.key"), dir.path().join("station.key"));
        for path in [&beside, &apart] {
            assert_eq!(at(path).verdict, Verdict::Ok, "it is made at the first start");
            std::fs::write(path, "x").unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o640)).unwrap();
            assert_eq!(at(path).advice.unwrap(), format!("chmod 600 {}", path.display()));
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        assert_eq!(at(&apart).verdict, Verdict::Ok);
        let advice = at(&beside).advice.unwrap();
        assert!(advice.contains("apart from the data"), "{advice}");
    }
}
