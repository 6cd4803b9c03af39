//! `inbox`: the conversation with those who post messages to the run.

use wasmtime::component::LinkerInstance;

use super::super::bindings::wit::inbox::Message;
use super::super::bindings::wit::types::Failure as WitFailure;
use super::{Guest, Prepared, done, expect_reply, one, within};
use crate::domain::call::{Call, Reply};
use crate::domain::limits::{MESSAGE_BYTES_MAX, WAIT_MS_MAX};
use crate::domain::wait;

pub(super) fn reply(text: String) -> Prepared {
    within("the reply", text.len(), MESSAGE_BYTES_MAX)?;
    Ok((Call::InboxReply { text }, None))
}

#[expect(clippy::unnecessary_wraps, reason = "calls are prepared alike")]
pub(super) fn receive(timeout_ms: Option<u64>) -> Prepared {
    let timeout_ms = timeout_ms.map(|ms| ms.min(WAIT_MS_MAX));
    Ok((Call::InboxReceive { timeout_ms }, None))
}

pub(super) fn message_out(message: wait::Message) -> Message {
    Message {
        id: message.id.to_string(),
        text: message.text,
        sender: message.sender,
        sent_ms: message.sent_ms,
        extra: None,
    }
}

pub(super) fn received(result: Result<Reply, WitFailure>) -> Result<Option<Message>, WitFailure> {
    expect_reply!(result, Reply::Message).map(|message| message.map(message_out))
}

pub(super) fn link(linker: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async("reply", |store, (text,): (String,)| {
        Box::new(async move { Ok((done(one(store, reply(text)).await?.0),)) })
    })?;
    linker.func_wrap_async("receive", |store, (timeout_ms,): (Option<u64>,)| {
        Box::new(async move { Ok((received(one(store, receive(timeout_ms)).await?.0),)) })
    })
}
