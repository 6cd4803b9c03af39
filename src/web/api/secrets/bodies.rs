//! What is sent and answered about secrets. No value is ever answered.

use serde::{Deserialize, Serialize};

use crate::config::secret::Secret;
use crate::domain::secret::Binding;
use crate::domain::time::Timestamp;
use crate::services::secrets::{Info, Value, Version};
use crate::web::problem::Problem;

/// One way in which a secret may be used.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SecretBinding)]
pub struct BindingBody {
    /// Names of agents; `*` is every agent whose manifest grants the secret.
    #[schema(example = json!(["*"]), min_items = 1, max_items = 50)]
    pub agents: Vec<String>,
    /// As in a manifest: `example.com`, `*.example.com`, `example.com:8443`.
    #[schema(example = "api.example.com", max_length = 253)]
    pub host: String,
    /// None is all.
    #[serde(default)]
    #[schema(max_items = 7)]
    pub methods: Vec<String>,
    /// What the path must begin with.
    #[serde(default)]
    #[schema(example = "/v1/", max_length = 1024)]
    pub path_prefix: String,
}

impl From<Binding> for BindingBody {
    fn from(binding: Binding) -> Self {
        let Binding {
            agents,
            host,
            methods,
            path_prefix,
        } = binding;
        Self {
            agents,
            host,
            methods,
            path_prefix,
        }
    }
}

impl From<BindingBody> for Binding {
    fn from(body: BindingBody) -> Self {
        let BindingBody {
            agents,
            host,
            methods,
            path_prefix,
        } = body;
        Self {
            agents,
            host,
            methods: methods.iter().map(|method| method.to_ascii_uppercase()).collect(),
            path_prefix,
        }
    }
}

/// A secret without its value, which nobody sees. Times are milliseconds since 1970 UTC.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Secret)]
pub struct SecretBody {
    pub id: String,
    /// Agents write it as `{{secret:NAME}}`.
    pub name: String,
    /// The workspace that it is of; absent where the whole organization has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    pub note: String,
    pub bindings: Vec<BindingBody>,
    /// The version that is sent.
    pub current_version: u32,
    /// `sealed`, `env` or `file`.
    #[schema(example = "sealed")]
    pub source: String,
    /// Of a variable or a file: its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Versions that are not destroyed.
    pub versions: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    pub created_at: i64,
    pub updated_at: i64,
    /// To the minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<i64>,
}

impl From<Info> for SecretBody {
    fn from(info: Info) -> Self {
        Self {
            id: info.id.to_string(),
            name: info.name,
            workspace: info.workspace.map(|id| id.to_string()),
            note: info.note,
            bindings: info.bindings.into_iter().map(BindingBody::from).collect(),
            current_version: info.current,
            source: info.source.as_str().to_owned(),
            place: Some(info.place).filter(|place| !place.is_empty()),
            versions: info.versions,
            created_by: info.created_by.map(|id| id.to_string()),
            created_at: info.created_at.as_ms(),
            updated_at: info.updated_at.as_ms(),
            last_used_at: info.last_used_at.map(Timestamp::as_ms),
        }
    }
}

/// One version of a secret.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = SecretVersion)]
pub struct VersionBody {
    pub number: u32,
    pub source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    pub created_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destroyed_at: Option<i64>,
}

impl From<Version> for VersionBody {
    fn from(version: Version) -> Self {
        Self {
            number: version.number,
            source: version.source.as_str().to_owned(),
            created_by: version.created_by.map(|id| id.to_string()),
            created_at: version.created_at.as_ms(),
            destroyed_at: version.destroyed_at.map(Timestamp::as_ms),
        }
    }
}

/// A secret with its versions, the newest first.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = SecretWithVersions)]
pub struct WholeBody {
    #[serde(flatten)]
    pub secret: SecretBody,
    /// At most 500.
    pub history: Vec<VersionBody>,
}

/// A secret to be made. Exactly one of `value`, `env` and `file` says where its value is.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSecret)]
pub struct NewBody {
    /// Letters, digits, `-`, `_` and `.`.
    #[schema(example = "payments-token", pattern = "^[A-Za-z0-9_.-]{1,64}$")]
    pub name: String,
    /// One line.
    #[serde(default)]
    #[schema(max_length = 300)]
    pub note: String,
    #[serde(default)]
    #[schema(max_items = 50)]
    pub bindings: Vec<BindingBody>,
    /// The value itself, 8 to 8192 bytes.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "sk-live-0123456789")]
    pub value: Option<ValueText>,
    /// The name of a variable of the station's that begins with `AGENTSTATION_SECRET_`. For station admins.
    #[serde(default)]
    pub env: Option<String>,
    /// The name of a file in the station's `security.secrets_dir`. For station admins.
    #[serde(default)]
    pub file: Option<String>,
}

/// A new value. Exactly one of the three.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSecretValue)]
pub struct ValueBody {
    /// The value itself, 8 to 8192 bytes.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "sk-live-0123456789")]
    pub value: Option<ValueText>,
    /// The name of a variable of the station's that begins with `AGENTSTATION_SECRET_`. For station admins.
    #[serde(default)]
    pub env: Option<String>,
    /// The name of a file in the station's `security.secrets_dir`. For station admins.
    #[serde(default)]
    pub file: Option<String>,
}

/// A value on its way in: wiped from memory, and never printed.
pub struct ValueText(Secret);

impl<'de> Deserialize<'de> for ValueText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Secret::new(String::deserialize(deserializer)?)))
    }
}

pub(super) fn value_of(value: Option<ValueText>, env: Option<String>, file: Option<String>) -> Result<Value, Problem> {
    match (value, env, file) {
        (Some(value), None, None) => Ok(Value::Given(value.0)),
        (None, Some(name), None) => Ok(Value::Variable(name)),
        (None, None, Some(name)) => Ok(Value::File(name)),
        _ => Err(Problem::invalid("/value", "send exactly one of value, env and file")),
    }
}

/// What is to be otherwise. What is not given stays.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SecretChange)]
pub struct ChangeBody {
    #[serde(default)]
    #[schema(max_length = 300)]
    pub note: Option<String>,
    /// All bindings that there are to be.
    #[serde(default)]
    #[schema(max_items = 50)]
    pub bindings: Option<Vec<BindingBody>>,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// At most 500; 50 where it is not given.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default)]
    #[param(pattern = "^[A-Za-z0-9_.-]{1,64}$")]
    pub cursor: Option<String>,
}
