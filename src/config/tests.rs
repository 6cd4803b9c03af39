use super::settings::{LogFormat, Synchronous};
use super::*;

struct Case {
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
    overrides: Overrides,
}

/// A configuration whose file has this text.
fn file(text: &str) -> Case {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(CONFIG_FILE);
    std::fs::write(&path, text).unwrap();
    Case {
        folder,
        environment: vec![],
        overrides: Overrides {
            config: Some(path),
            ..Overrides::default()
        },
    }
}

impl Case {
    fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn load(&self) -> Result<Config, Error> {
        Config::load(&self.overrides, &self.environment)
    }

    fn error(&self) -> String {
        self.load().unwrap_err().to_string()
    }
}

#[test]
fn a_flag_beats_a_variable_which_beats_the_file_which_beats_the_default() {
    let mut case = file("[server]\nlisten = \"127.0.0.1:1\"\n[store]\nreaders = 7\n[log]\nformat = \"json\"")
        .env("AGENTSTATION_LISTEN", "127.0.0.1:2")
        .env("AGENTSTATION_STORE_READERS", "8");
    case.overrides.listen = Some("127.0.0.1:3".parse().unwrap());
    let config = case.load().unwrap();
    assert_eq!(config.server.listen.port(), 3);
    assert_eq!(config.source("server.listen"), Source::Flag("--listen"));
    assert_eq!(config.store.readers, 8);
    assert_eq!(config.source("store.readers"), Source::Environment("AGENTSTATION_STORE_READERS"));
    assert_eq!(config.log.format, LogFormat::Json);
    assert!(matches!(config.source("log.format"), Source::File(_)));
    assert_eq!(config.store.synchronous, Synchronous::Full);
    assert_eq!(config.source("store.synchronous"), Source::Default);
}

#[test]
fn every_variable_sets_its_key() {
    for key in KEYS {
        let value = match key.name {
            "listen" => "127.0.0.1:9",
            "public_url" => "https://a.example",
            "trusted_proxies" | "open_cidrs" => "10.0.0.0/8, 127.0.0.1",
            "insecure_listen" | "allow_http" => "true",
            "synchronous" => "normal",
            "tls" => "none",
            "readers"
            | "slots"
            | "retry_attempts"
            | "retry_base_ms"
            | "retry_cap_ms"
            | "session_idle_minutes"
            | "session_max_days"
            | "port" => "3",
            _ if ["server", "rates"].contains(&key.section) => "3",
            "memory_bytes" => "100000000",
            "format" => "human",
            _ => "some",
        };
        let config = file("[mail]\nfrom = \"station@example.com\"").env(key.env, value).load().unwrap();
        assert_eq!(config.source(&key.dotted()), Source::Environment(key.env));
    }
}

#[test]
fn an_unknown_key_in_the_file_is_an_error_with_its_line() {
    let error = file("[server]\nlisten = \"127.0.0.1:1\"\nlissten = 2\n").error();
    assert!(error.contains("line 3") && error.contains("lissten"), "{error}");
    let error = file("[sever]\n").error();
    assert!(error.contains("sever"), "{error}");
}

#[test]
fn an_unknown_variable_names_the_nearest_known_one() {
    let error = file("").env("AGENTSTATION_LISTENS", "x").error();
    assert!(error.contains("did you mean AGENTSTATION_LISTEN?"), "{error}");
    assert!(file("").env("OTHER_LISTENS", "x").load().is_ok());
}

#[test]
fn a_bad_value_names_the_variable_that_holds_it() {
    let error = file("").env("AGENTSTATION_LISTEN", "nowhere").error();
    assert!(error.starts_with("AGENTSTATION_LISTEN"), "{error}");
    let error = file("").env("AGENTSTATION_STORE_READERS", "many").error();
    assert!(error.contains("many"), "{error}");
    assert!(file("[store]\nreaders = 0").error().contains("store.readers"));
}

#[test]
fn a_named_file_must_exist() {
    let mut case = file("");
    case.overrides.config = Some(case.folder.path().join("absent.toml"));
    assert!(case.error().contains("absent.toml"));
}

#[test]
fn paths_in_the_file_are_relative_to_the_file() {
    let case = file("data = \"here\"\n[models.m]\nprovider = \"scripted\"\nrules = \"rules.toml\"\n[runtime]\ncache = \"/abs\"");
    let config = case.load().unwrap();
    assert_eq!(config.data, case.folder.path().join("here"));
    assert_eq!(config.models["m"].rules, Some(case.folder.path().join("rules.toml")));
    assert_eq!(config.cache_dir(), Path::new("/abs"));
}

const OPENAI: &str = "[models.default]\nprovider = \"openai\"\nmodel = \"m\"\nbase_url = \"https://api.example.com/v1\"\n";

#[test]
fn a_key_comes_from_the_environment_and_is_never_printed() {
    let case = file(&format!("{OPENAI}api_key_env = \"AGENTSTATION_TEST_KEY\"\n")).env("AGENTSTATION_TEST_KEY", "sk-very-secret");
    let config = case.load().unwrap();
    assert_eq!(config.models["default"].api_key, ApiKey::Set(Secret::new("sk-very-secret")));
    let printed = config.print();
    assert!(printed.contains("(set)") && !printed.contains("very-secret"), "{printed}");
    assert!(!format!("{config:?}").contains("very-secret"));
    assert!(config.validate().is_ok());
}

#[test]
fn a_missing_key_is_told_when_serving() {
    let config = file(&format!("{OPENAI}api_key_env = \"MODEL_KEY\"\n")).load().unwrap();
    assert!(config.print().contains("(not set)"));
    let error = config.validate().unwrap_err().to_string();
    assert!(error.contains("MODEL_KEY") && error.contains("models.default"), "{error}");
}

#[test]
fn a_key_in_the_file_itself_is_refused() {
    assert!(file(&format!("{OPENAI}api_key = \"sk\"\n")).error().contains("api_key"));
}

#[test]
fn a_model_without_an_address_is_refused() {
    let error = file("[models.default]\nprovider = \"openai\"\nmodel = \"m\"\n").error();
    assert!(error.contains("models.default") && error.contains("base_url"), "{error}");
}

#[test]
fn an_open_address_without_tls_is_refused_with_the_way_out() {
    let open = "[server]\nlisten = \"0.0.0.0:8700\"\n";
    let error = file(open).load().unwrap().validate().unwrap_err().to_string();
    assert!(error.contains("public_url") && error.contains("insecure_listen"), "{error}");
    let tls = format!("{open}public_url = \"https://a.example\"\ntrusted_proxies = [\"10.0.0.0/8\"]");
    assert!(file(&tls).load().unwrap().validate().is_ok());
    let half = format!("{open}public_url = \"http://a.example\"\ntrusted_proxies = [\"10.0.0.0/8\"]");
    assert!(file(&half).load().unwrap().validate().is_err());
    let insecure = format!("{open}insecure_listen = true");
    assert!(file(&insecure).load().unwrap().validate().is_ok());
    assert!(file("[server]\nlisten = \"[::1]:1\"").load().unwrap().validate().is_ok());
}

#[test]
fn a_public_address_is_an_origin() {
    let config = file("[server]\npublic_url = \"HTTPS://Station.Example:443/\"").load().unwrap();
    assert_eq!(config.server.public_url.as_ref().unwrap().as_str(), "https://station.example");
    assert!(file("[server]\npublic_url = \"https://a.example/path\"").error().contains("path"));
    assert!(file("[server]\npublic_url = \"ftp://a.example\"").load().is_err());
}

#[test]
fn mail_needs_a_sender_and_keeps_its_password_to_itself() {
    assert!(file("[mail]\nhost = \"mail.example.com\"\n").error().contains("from"));
    let mail = "[mail]\nhost = \"mail.example.com\"\nfrom = \"station@example.com\"\nuser = \"station\"\n";
    let missing = file(mail).load().unwrap().validate().unwrap_err().to_string();
    assert!(missing.contains("AGENTSTATION_MAIL_PASSWORD"), "{missing}");
    let config = file(mail).env("AGENTSTATION_MAIL_PASSWORD", "very secret").load().unwrap();
    assert!(config.validate().is_ok());
    assert_eq!(config.mail.port(), 587);
    assert!(!config.print().contains("very secret") && !format!("{config:?}").contains("very secret"));
    assert!(file(&format!("{mail}tls = \"none\"\n")).error().contains("in the clear"));
}

#[test]
fn sessions_last_within_bounds() {
    assert!(
        file("[security]\nsession_idle_minutes = 0")
            .error()
            .contains("session_idle_minutes")
    );
    assert!(file("[security]\nsession_max_days = 91").error().contains("session_max_days"));
    assert!(file("[security]\nsession_max_days = 90").load().is_ok());
}

#[test]
fn what_is_printed_reads_back_as_the_same_settings() {
    let case = file(&format!(
        "data = \"/var/lib/station\"\n{OPENAI}[outbound]\nopen_cidrs = [\"10.0.0.0/8\"]\n"
    ))
    .env("AGENTSTATION_PUBLIC_URL", "https://a.example");
    let config = case.load().unwrap();
    let printed = config.print();
    assert!(
        printed.contains("# AGENTSTATION_PUBLIC_URL") && printed.contains("# default"),
        "{printed}"
    );
    let again = file(&printed).load().unwrap();
    assert_eq!(*again, *config);
}
