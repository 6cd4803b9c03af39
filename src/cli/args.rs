//! What can be typed.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::config::{Config, Overrides};

/// Runs sandboxed AI agents for a small team: one executable, one data directory.
#[derive(Debug, Parser)]
#[command(name = "agentstation", version, about, max_term_width = 100)]
pub struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Settings by flag; they go over AGENTSTATION_* variables, which go over agentstation.toml.
#[derive(Debug, ClapArgs)]
pub struct Global {
    /// Where the database, the keys and the caches live [default: ./agentstation-data]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The settings file [default: agentstation.toml where there is one]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The address to serve on [default: 127.0.0.1:8700]
    #[arg(long, global = true, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// How people reach the station, such as https://station.example.com
    #[arg(long, global = true, value_name = "URL")]
    public_url: Option<String>,
    /// Allow plain HTTP on an address that other machines reach
    #[arg(long, global = true)]
    insecure_listen: bool,
    /// How much to log, such as info or warn,agentstation=debug
    #[arg(long, global = true, value_name = "FILTER")]
    log_level: Option<String>,
    /// How to log: auto, human or json
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Global {
    /// The effective settings.
    pub fn load(&self) -> anyhow::Result<Config> {
        let overrides = Overrides {
            config: self.config.clone(),
            data: self.data.clone(),
            listen: self.listen,
            public_url: self.public_url.clone(),
            insecure_listen: self.insecure_listen.then_some(true),
            log_level: self.log_level.clone(),
            log_format: self.log_format.clone(),
        };
        Ok(Config::load(&overrides, &crate::config::environment())?)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a seeded station on a throw-away directory: no key, no network
    Demo,
    /// Serve the station
    Serve {
        /// Print the effective settings and stop
        #[arg(long)]
        print_config: bool,
    },
    /// Make the first owner without a browser
    Init(Init),
    /// Run an agent without a server and print its output, or verify a finished run
    Run(Run),
    /// Check an agent's files
    Agent(Agent),
    /// Make, list and revoke API keys
    Key(Key),
    /// Make, list, change and remove users
    User(User),
    /// Verify and export the audit log
    Audit(Audit),
    /// List, make and restore organizations
    Org(Org),
    /// Look at the data directory, the database and the sandbox
    Doctor {
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Print the OpenAPI document of the HTTP API
    Openapi,
    /// Ask a serving station whether it is alive
    Health {
        #[arg(long, default_value = "127.0.0.1:8700", value_name = "ADDR")]
        address: SocketAddr,
    },
    /// Compile a component from stdin to stdout, within limits (used by the station itself)
    #[command(name = "compile-component", hide = true)]
    CompileComponent,
}

#[derive(Debug, ClapArgs)]
pub struct Init {
    /// The owner's e-mail address
    #[arg(long)]
    pub email: String,
    /// The owner's name [default: from the address]
    #[arg(long)]
    pub name: Option<String>,
    /// Read the password from the first line of stdin
    #[arg(long, required = true)]
    pub password_stdin: bool,
    /// The organization's short name
    #[arg(long, default_value = "default", value_name = "SLUG")]
    pub org: String,
}

#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Run {
    #[command(subcommand)]
    pub command: Option<RunCommand>,
    /// An agent's folder, or a .js or .wasm file; write ./verify for a folder of that name
    #[arg(required = true)]
    pub path: Option<PathBuf>,
    /// The input, JSON [default: {}]
    #[arg(long, value_name = "JSON", conflicts_with = "input_file")]
    pub input: Option<String>,
    /// A file with the input, JSON; - for stdin
    #[arg(long, value_name = "FILE")]
    pub input_file: Option<PathBuf>,
    /// Approve whatever the run asks a person
    #[arg(long, conflicts_with = "deny_all")]
    pub approve_all: bool,
    /// Deny whatever the run asks a person
    #[arg(long)]
    pub deny_all: bool,
    /// Write the artifacts into this directory
    #[arg(long, value_name = "DIR")]
    pub artifacts: Option<PathBuf>,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, Subcommand)]
pub enum RunCommand {
    /// Execute a finished run of the data directory again, without the outside world, and compare it with its journal
    Verify {
        /// The run's id
        id: String,
        /// The organization's short name
        #[arg(long, default_value = "default", value_name = "SLUG")]
        org: String,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
}

#[derive(Debug, ClapArgs)]
pub struct Agent {
    #[command(subcommand)]
    pub command: AgentCommand,
}

#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Check manifest, imports, limits and syntax; one line for each finding
    Check {
        /// An agent's folder, or a .js or .wasm file
        path: PathBuf,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
}

#[derive(Debug, ClapArgs)]
pub struct Key {
    #[command(subcommand)]
    pub command: KeyCommand,
}

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make an API key and print it, once
    Create {
        /// Whose key: an e-mail address
        #[arg(long, value_name = "EMAIL")]
        user: String,
        /// The organization's short name
        #[arg(long, default_value = "default", value_name = "SLUG")]
        org: String,
        #[arg(long, default_value = "command line")]
        name: String,
        /// What it is limited to, such as runs:read,runs:start [default: all that the user may do]
        #[arg(long, value_delimiter = ',')]
        scopes: Option<Vec<String>>,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// List the keys of an organization
    List {
        /// The organization's short name
        #[arg(long, default_value = "default", value_name = "SLUG")]
        org: String,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Replace the master key, and seal everything anew that it sealed; goes on where an earlier try was stopped
    RotateMaster {
        /// A file with the new key, 32 bytes as base64 or hex [default: one is made]
        #[arg(long, value_name = "FILE")]
        new_key_file: Option<PathBuf>,
    },
    /// Revoke a key
    Revoke {
        /// Its public part: the twelve characters after as1_pat_ or as1_svc_
        id: String,
        /// The organization's short name
        #[arg(long, default_value = "default", value_name = "SLUG")]
        org: String,
    },
}

#[derive(Debug, ClapArgs)]
pub struct User {
    #[command(subcommand)]
    pub command: UserCommand,
}

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Make a one-time link with which a user chooses a new password
    ResetLink {
        /// The user's e-mail address
        email: String,
    },
    /// Make a user
    Create {
        #[arg(long)]
        email: String,
        #[arg(long)]
        name: Option<String>,
        /// owner, admin, builder, operator or viewer
        #[arg(long, default_value = "viewer")]
        role: String,
        /// Read the password from the first line of stdin
        #[arg(long, required = true)]
        password_stdin: bool,
        /// The organization's short name
        #[arg(long, default_value = "default", value_name = "SLUG")]
        org: String,
    },
    /// List the people and services of an organization
    List {
        /// The organization's short name
        #[arg(long, default_value = "default", value_name = "SLUG")]
        org: String,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Give a member another role
    Role {
        /// Whose: an e-mail address
        email: String,
        /// owner, admin, builder, operator or viewer
        role: String,
        /// The organization's short name
        #[arg(long, default_value = "default", value_name = "SLUG")]
        org: String,
    },
    /// Shut a person out of the whole station; they stay what they are for when they are let in again
    Disable {
        /// Whom: an e-mail address
        email: String,
        /// The organization whose owner this is done as, by short name
        #[arg(long, default_value = "default", value_name = "SLUG")]
        org: String,
    },
    /// Let a person in again
    Enable {
        /// Whom: an e-mail address
        email: String,
        /// The organization whose owner this is done as, by short name
        #[arg(long, default_value = "default", value_name = "SLUG")]
        org: String,
    },
    /// Remove a member: their keys are revoked, and their runs wait to be adopted
    Remove {
        /// Whom: an e-mail address
        email: String,
        /// The organization's short name
        #[arg(long, default_value = "default", value_name = "SLUG")]
        org: String,
    },
}

#[derive(Debug, ClapArgs)]
pub struct Audit {
    #[command(subcommand)]
    pub command: AuditCommand,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AuditFormat {
    #[default]
    Jsonl,
    Csv,
}

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Walk the log from its first row; exits with 1 where a row was changed or is missing
    Verify {
        /// An organization's short name or id, or "station" [default: all]
        #[arg(long, value_name = "ORG")]
        chain: Option<String>,
        /// A file with what "audit checkpoint" printed: finds a cut end and a log written anew
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Print the newest row of each log, one JSON object a line, to be kept elsewhere
    Checkpoint {
        /// An organization's short name or id, or "station" [default: all]
        #[arg(long, value_name = "ORG")]
        chain: Option<String>,
    },
    /// Print the rows of a log, the newest first
    Export {
        /// An organization's short name or id, or "station"
        #[arg(long, default_value = "default", value_name = "ORG")]
        chain: String,
        #[arg(long, value_enum, default_value_t)]
        format: AuditFormat,
    },
}

#[derive(Debug, ClapArgs)]
pub struct Org {
    #[command(subcommand)]
    pub command: OrgCommand,
}

#[derive(Debug, Subcommand)]
pub enum OrgCommand {
    /// List every organization; one line each
    List {
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Make an organization with one workspace
    Create {
        /// Its short name
        slug: String,
        /// Its name for people [default: the short name]
        #[arg(long)]
        name: Option<String>,
        /// free, pro or enterprise
        #[arg(long, default_value = "free")]
        plan: String,
        /// The e-mail address of its owner, who has an account already
        #[arg(long, value_name = "EMAIL")]
        owner: String,
    },
    /// Take the deletion of an organization back, within 14 days of it
    Restore {
        /// Its short name
        slug: String,
    },
}
