//! The calls a guest may make, their effect classes, and the fingerprint by which replay knows them again.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::chat::{ChatReply, ChatRequest, ChatTool};
use super::failure::{Failure, codes};
use super::id::RunId;
use super::wait::{Answer, ApprovalRequest, AskRequest, Decision, Handle, Message, Ready, Wait};

codes! {
    /// What a call does outside the sandbox, which decides how it is recorded and recovered.
    EffectClass {
        /// Derived from the journal; no entry.
        Pure = "pure",
        /// Our own database: effect and entry in one transaction, exactly once.
        Local = "local",
        Read = "read",
        PaidRead = "paid-read",
        WriteIdempotent = "write-idempotent",
        WriteOnce = "write-once",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpHeader {
    pub name: String,
    pub value: String,
}

/// Bytes in JSON: text where they are UTF-8, else base64.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    Text(String),
    Base64(String),
}

impl Body {
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        use base64::Engine as _;
        match String::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(error) => Self::Base64(base64::engine::general_purpose::STANDARD.encode(error.as_bytes())),
        }
    }

    /// The bytes; `None` where the base64 is damaged.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        use base64::Engine as _;
        match self {
            Self::Text(text) => Some(text.as_bytes().to_vec()),
            Self::Base64(text) => base64::engine::general_purpose::STANDARD.decode(text).ok(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "text of {} bytes", text.len()),
            Self::Base64(text) => write!(f, "base64 of {} characters", text.len()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRequest {
    pub method: String,
    pub url: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HttpHeader>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpResponse {
    pub status: u16,
    pub headers: Vec<HttpHeader>,
    pub body: Body,
    /// The address that answered, after redirects.
    pub url: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryEntry {
    pub key: String,
    pub value: String,
    pub version: u64,
    pub updated_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPage {
    pub entries: Vec<MemoryEntry>,
    /// Where there is more: the key to go on after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactInfo {
    pub name: String,
    pub content_type: String,
    pub bytes: u64,
    /// `sha256:` and hexadecimal.
    pub digest: String,
}

/// What a person may write in the place of a tool's call.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolArguments {
    name: String,
    arguments: serde_json::Value,
}

/// One call with its arguments. Its JSON is what the journal keeps and what the fingerprint is made of.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Call {
    ModelsChat(ChatRequest),
    HttpSend(HttpRequest),
    MemoryPut {
        key: String,
        value: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        if_version: Option<u64>,
    },
    MemoryGet {
        key: String,
    },
    MemoryDelete {
        key: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        if_version: Option<u64>,
    },
    MemoryList {
        prefix: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        after: Option<String>,
        limit: u32,
    },
    MemorySearch {
        query: String,
        prefix: String,
        limit: u32,
    },
    /// The body stands apart, by digest; see [`ArtifactInfo`].
    ArtifactsPut(ArtifactInfo),
    ArtifactsGet {
        name: String,
    },
    ArtifactsList {},
    ClockSleep {
        ms: u64,
    },
    ApprovalsRequest(ApprovalRequest),
    InboxReply {
        text: String,
    },
    InboxReceive {
        #[serde(skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
    },
    AgentsStart {
        agent: String,
        /// JSON.
        input: String,
    },
    AgentsAsk(AskRequest),
    WaitsOpen(Wait),
    WaitsAny {
        handles: Vec<Handle>,
        #[serde(skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
    },
    WaitsClose {
        handle: Handle,
    },
    ToolsDescribe {},
    ToolsCall {
        name: String,
        /// A JSON object.
        arguments: serde_json::Value,
    },
}

impl Call {
    /// The function's name, which is also the entry's kind.
    pub const fn function(&self) -> &'static str {
        match self {
            Self::ModelsChat(_) => "models.chat",
            Self::HttpSend(_) => "http.send",
            Self::MemoryGet { .. } => "memory.get",
            Self::MemoryPut { .. } => "memory.put",
            Self::MemoryDelete { .. } => "memory.delete",
            Self::MemoryList { .. } => "memory.list",
            Self::MemorySearch { .. } => "memory.search",
            Self::ArtifactsPut(_) => "artifacts.put",
            Self::ArtifactsGet { .. } => "artifacts.get",
            Self::ArtifactsList {} => "artifacts.list",
            Self::ClockSleep { .. } => "clock.sleep",
            Self::ApprovalsRequest(_) => "approvals.request",
            Self::InboxReply { .. } => "inbox.reply",
            Self::InboxReceive { .. } => "inbox.receive",
            Self::AgentsStart { .. } => "agents.start",
            Self::AgentsAsk(_) => "agents.ask",
            Self::WaitsOpen(_) => "waits.open",
            Self::WaitsAny { .. } => "waits.any",
            Self::WaitsClose { .. } => "waits.close",
            Self::ToolsDescribe {} => "tools.describe",
            Self::ToolsCall { .. } => "tools.call",
        }
    }

    /// The class where the call alone decides it; a tool has that of the call it stands for. A host grant may make an HTTP write idempotent.
    pub fn class(&self) -> EffectClass {
        match self {
            Self::ModelsChat(_) => EffectClass::PaidRead,
            Self::HttpSend(request) => match request.method.to_ascii_uppercase().as_str() {
                "GET" | "HEAD" | "OPTIONS" => EffectClass::Read,
                "PUT" | "DELETE" => EffectClass::WriteIdempotent,
                _ => EffectClass::WriteOnce,
            },
            Self::ToolsCall { .. } => self.stands_for().map_or(EffectClass::Local, |call| call.class()),
            _ => EffectClass::Local,
        }
    }

    /// The call that these arguments make, where `function` has an effect outside the station. Used where people edit arguments.
    ///
    /// # Errors
    /// The function cannot be approved beforehand, or the arguments are not its.
    pub fn of_action(function: &str, arguments: &serde_json::Value) -> Result<Self, String> {
        let read = |error: serde_json::Error| format!("these are no arguments of {function}: {error}");
        match function {
            "http.send" => HttpRequest::deserialize(arguments).map(Self::HttpSend).map_err(read),
            "models.chat" => ChatRequest::deserialize(arguments).map(Self::ModelsChat).map_err(read),
            "tools.call" => {
                let given = ToolArguments::deserialize(arguments).map_err(read)?;
                super::tool::check(&given.name, &given.arguments).map_err(|failure| failure.message)?;
                Ok(Self::ToolsCall {
                    name: given.name,
                    arguments: given.arguments,
                })
            }
            _ => Err(format!("{function} is no function that a person can give leave for")),
        }
    }

    /// The arguments as canonical JSON: fields in the order of their declaration, no spaces.
    pub fn to_json(&self) -> String {
        // Strings, numbers and lists only: serializing cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What a call answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Chat(ChatReply),
    Http(HttpResponse),
    MemoryEntry(Option<MemoryEntry>),
    MemoryVersion(u64),
    MemoryDeleted(bool),
    MemoryPage(MemoryPage),
    Artifact(ArtifactInfo),
    ArtifactFound(Option<ArtifactInfo>),
    Artifacts(Vec<ArtifactInfo>),
    /// A timer was due, a reply is said, a wait is closed.
    Done,
    Decision(Decision),
    Message(Option<Message>),
    /// A child was started.
    Child(RunId),
    /// A child has ended; its output, JSON.
    ChildOutput(String),
    Answer(Answer),
    Handle(Handle),
    Ready(Option<Ready>),
    Tools(Vec<ChatTool>),
    /// JSON.
    ToolResult(String),
}

/// How a call ended; its JSON is the journal's response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallResult {
    Ok(Reply),
    Failed(Failure),
}

impl CallResult {
    pub fn to_json(&self) -> String {
        // Strings, numbers and lists only: serializing cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Reply {
    /// Whether this is what the function answers.
    pub fn fits(&self, function: &str) -> bool {
        match function {
            "models.chat" => matches!(self, Self::Chat(_)),
            "http.send" => matches!(self, Self::Http(_)),
            "memory.get" => matches!(self, Self::MemoryEntry(_)),
            "memory.put" => matches!(self, Self::MemoryVersion(_)),
            "memory.delete" => matches!(self, Self::MemoryDeleted(_)),
            "memory.list" | "memory.search" => matches!(self, Self::MemoryPage(_)),
            "artifacts.put" => matches!(self, Self::Artifact(_)),
            "artifacts.get" => matches!(self, Self::ArtifactFound(_)),
            "artifacts.list" => matches!(self, Self::Artifacts(_)),
            "clock.sleep" | "inbox.reply" | "waits.close" => matches!(self, Self::Done),
            "approvals.request" => matches!(self, Self::Decision(_)),
            "inbox.receive" => matches!(self, Self::Message(_)),
            "agents.start" => matches!(self, Self::Child(_)),
            "agents.ask" => matches!(self, Self::Answer(_)),
            "waits.open" => matches!(self, Self::Handle(_)),
            "waits.any" => matches!(self, Self::Ready(_)),
            "tools.describe" => matches!(self, Self::Tools(_)),
            "tools.call" => matches!(self, Self::ToolResult(_)),
            _ => false,
        }
    }
}

/// Raised when the way fingerprints are made changes, so that old journals are not compared with new ones.
const FINGERPRINT_VERSION: u8 = 1;

/// Half a SHA-256 over version, function and canonical arguments.
pub fn fingerprint(function: &str, arguments: &str) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update([FINGERPRINT_VERSION]);
    hash.update(function.as_bytes());
    hash.update([0]);
    hash.update(arguments.as_bytes());
    let digest = hash.finalize();
    let mut half = [0; 16];
    for (to, from) in half.iter_mut().zip(digest.iter()) {
        *to = *from;
    }
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_tell_function_and_arguments_apart() {
        assert_eq!(fingerprint("a", "b"), fingerprint("a", "b"));
        assert_ne!(fingerprint("a", "b"), fingerprint("a", "c"));
        assert_ne!(fingerprint("a", "b"), fingerprint("ab", ""));
    }

    #[test]
    fn an_http_method_decides_the_class() {
        let call = |method: &str| {
            Call::HttpSend(HttpRequest {
                method: method.to_owned(),
                url: String::new(),
                headers: vec![],
                body: None,
                timeout_ms: None,
            })
        };
        assert_eq!(call("get").class(), EffectClass::Read);
        assert_eq!(call("PUT").class(), EffectClass::WriteIdempotent);
        assert_eq!(call("POST").class(), EffectClass::WriteOnce);
    }

    #[test]
    fn bytes_that_are_no_text_survive_json() {
        let body = Body::from_bytes(vec![0xff, 0, 1]);
        let json = serde_json::to_string(&body).unwrap();
        let back: Body = serde_json::from_str(&json).unwrap();
        assert_eq!(back.to_bytes(), Some(vec![0xff, 0, 1]));
    }
}
