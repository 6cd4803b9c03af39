//! `memory`: durable key-value store of the agent.

use wasmtime::component::LinkerInstance;

use super::super::bindings::wit::memory::{DeleteRequest, Entry, ListRequest, Page, PutRequest, SearchRequest};
use super::super::bindings::wit::types::Failure as WitFailure;
use super::{Guest, Prepared, expect_reply, no_extra, one, within};
use crate::domain::call::{Call, MemoryEntry, MemoryPage, Reply};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::limits::{MEMORY_KEY_BYTES_MAX, MEMORY_PAGE_MAX, MEMORY_VALUE_BYTES_MAX};

fn check_key(key: &str) -> Result<(), Failure> {
    if key.is_empty() {
        return Err(Failure::new(FailureCode::Invalid, "the key is empty"));
    }
    within("the key", key.len(), MEMORY_KEY_BYTES_MAX)
}

pub(super) fn get(key: String) -> Prepared {
    check_key(&key)?;
    Ok((Call::MemoryGet { key }, None))
}

pub(super) fn put(request: PutRequest) -> Prepared {
    no_extra(request.extra.as_deref())?;
    check_key(&request.key)?;
    within("the value", request.value.len(), MEMORY_VALUE_BYTES_MAX)?;
    Ok((
        Call::MemoryPut {
            key: request.key,
            value: request.value,
            if_version: request.if_version,
        },
        None,
    ))
}

pub(super) fn delete(request: DeleteRequest) -> Prepared {
    no_extra(request.extra.as_deref())?;
    check_key(&request.key)?;
    Ok((
        Call::MemoryDelete {
            key: request.key,
            if_version: request.if_version,
        },
        None,
    ))
}

pub(super) fn list(request: ListRequest) -> Prepared {
    no_extra(request.extra.as_deref())?;
    within("the prefix", request.prefix.len(), MEMORY_KEY_BYTES_MAX)?;
    Ok((
        Call::MemoryList {
            prefix: request.prefix,
            after: request.after,
            limit: request.limit.clamp(1, MEMORY_PAGE_MAX),
        },
        None,
    ))
}

pub(super) fn search(request: SearchRequest) -> Prepared {
    no_extra(request.extra.as_deref())?;
    within("the prefix", request.prefix.len(), MEMORY_KEY_BYTES_MAX)?;
    within("the query", request.query.len(), MEMORY_KEY_BYTES_MAX)?;
    Ok((
        Call::MemorySearch {
            query: request.query,
            prefix: request.prefix,
            limit: request.limit.clamp(1, MEMORY_PAGE_MAX),
        },
        None,
    ))
}

pub(super) fn entry_out(entry: MemoryEntry) -> Entry {
    Entry {
        key: entry.key,
        value: entry.value,
        version: entry.version,
        updated_ms: entry.updated_ms,
        extra: None,
    }
}

pub(super) fn page_out(page: MemoryPage) -> Page {
    Page {
        entries: page.entries.into_iter().map(entry_out).collect(),
        next: page.next,
        extra: None,
    }
}

pub(super) fn got(result: Result<Reply, WitFailure>) -> Result<Option<Entry>, WitFailure> {
    expect_reply!(result, Reply::MemoryEntry).map(|entry| entry.map(entry_out))
}

pub(super) fn listed(result: Result<Reply, WitFailure>) -> Result<Page, WitFailure> {
    expect_reply!(result, Reply::MemoryPage).map(page_out)
}

pub(super) fn link(linker: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async("get", |store, (key,): (String,)| {
        Box::new(async move { Ok((got(one(store, get(key)).await?.0),)) })
    })?;
    linker.func_wrap_async("put", |store, (request,): (PutRequest,)| {
        Box::new(async move { Ok((expect_reply!(one(store, put(request)).await?.0, Reply::MemoryVersion),)) })
    })?;
    linker.func_wrap_async("delete", |store, (request,): (DeleteRequest,)| {
        Box::new(async move { Ok((expect_reply!(one(store, delete(request)).await?.0, Reply::MemoryDeleted),)) })
    })?;
    linker.func_wrap_async("list", |store, (request,): (ListRequest,)| {
        Box::new(async move { Ok((listed(one(store, list(request)).await?.0),)) })
    })?;
    linker.func_wrap_async("search", |store, (request,): (SearchRequest,)| {
        Box::new(async move { Ok((listed(one(store, search(request)).await?.0),)) })
    })
}
