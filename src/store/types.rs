//! How the domain's types stand in columns: ids and codes as text, times as milliseconds.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use crate::domain::budget::{BudgetScope, LineKind, OnExhausted, Period};
use crate::domain::call::EffectClass;
use crate::domain::failure::EndReason;
use crate::domain::id::{
    AgentId, ApprovalId, BudgetId, ChannelId, DataKeyId, InvitationId, LedgerId, MessageId, NodeId, NotificationId, OrgId, PasskeyId, PriceId,
    PrincipalId, RunId, SecretId, SessionId, VersionId, WorkspaceId,
};
use crate::domain::journal::{Lane, Phase};
use crate::domain::manifest::RuntimeKind;
use crate::domain::notification::{ChannelKind, Tone};
use crate::domain::permission::{PrincipalKind, Role};
use crate::domain::plan::Plan;
use crate::domain::run::{Environment, Holds, RunState, Trigger, WakeOn};
use crate::domain::time::Timestamp;
use crate::domain::wait::{ApprovalKind, ApprovalState, OnTimeout, Verb};

macro_rules! ids {
    ($($id:ty),* $(,)?) => {$(
        impl ToSql for $id {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.to_string().into())
            }
        }

        impl FromSql for $id {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                value.as_str()?.parse().map_err(FromSqlError::other)
            }
        }
    )*};
}

macro_rules! codes_as_text {
    ($($code:ty),* $(,)?) => {$(
        impl ToSql for $code {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.as_str().into())
            }
        }

        impl FromSql for $code {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                Self::parse(value.as_str()?).ok_or(FromSqlError::InvalidType)
            }
        }
    )*};
}

ids!(
    OrgId,
    WorkspaceId,
    PrincipalId,
    AgentId,
    VersionId,
    RunId,
    SessionId,
    LedgerId,
    NodeId,
    ApprovalId,
    MessageId,
    InvitationId,
    PasskeyId,
    SecretId,
    DataKeyId,
    PriceId,
    BudgetId,
    NotificationId,
    ChannelId
);
codes_as_text!(Tone, ChannelKind);
codes_as_text!(
    RunState,
    WakeOn,
    Trigger,
    EndReason,
    Lane,
    Phase,
    EffectClass,
    Role,
    PrincipalKind,
    RuntimeKind,
    ApprovalKind,
    ApprovalState,
    OnTimeout,
    Verb,
    BudgetScope,
    LineKind,
    OnExhausted,
    Period
);

impl ToSql for Plan {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for Plan {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str().map(Self::of)
    }
}

impl ToSql for Timestamp {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_ms().into())
    }
}

impl FromSql for Timestamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Self::from_ms)
    }
}

impl ToSql for Environment {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for Environment {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        String::column_result(value).map(Self::from_stored)
    }
}

impl ToSql for Holds {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.bits().into())
    }
}

impl FromSql for Holds {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        u32::column_result(value).map(Self::from_bits)
    }
}
