//! `artifacts`: files of the run. Calls and journal carry digests; the bytes travel beside them.

use sha2::{Digest, Sha256};
use wasmtime::component::LinkerInstance;

use super::super::bindings::wit::artifacts::{Artifact, Info, PutRequest};
use super::super::bindings::wit::types::Failure as WitFailure;
use super::super::exchange::Exchange;
use super::{Guest, Prepared, expect_reply, no_extra, one, trap, within};
use crate::domain::call::{ArtifactInfo, Call, Reply};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::hex;
use crate::domain::limits::ARTIFACT_BYTES_MAX;

const NAME_BYTES_MAX: usize = 128;
const CONTENT_TYPE_BYTES_MAX: usize = 128;

fn check_name(name: &str) -> Result<(), Failure> {
    within("the name", name.len(), NAME_BYTES_MAX)?;
    let odd = |c: char| c.is_control() || matches!(c, '/' | '\\');
    if name.is_empty() || name.starts_with('.') || name.contains(odd) {
        return Err(Failure::new(
            FailureCode::Invalid,
            format!("“{name}” is no file name: no slashes, no leading dot"),
        ));
    }
    Ok(())
}

pub(super) fn put(request: PutRequest) -> Prepared {
    no_extra(request.extra.as_deref())?;
    check_name(&request.name)?;
    within("the content type", request.content_type.len(), CONTENT_TYPE_BYTES_MAX)?;
    within("the artifact", request.body.len(), ARTIFACT_BYTES_MAX)?;
    if !request.content_type.is_ascii() || request.content_type.contains(|c: char| c.is_ascii_control()) {
        return Err(Failure::new(
            FailureCode::Invalid,
            "the content type must be plain ASCII, such as text/csv",
        ));
    }
    let info = ArtifactInfo {
        name: request.name,
        content_type: request.content_type,
        bytes: request.body.len() as u64,
        digest: format!("sha256:{}", hex::encode(&Sha256::digest(&request.body))),
    };
    Ok((Call::ArtifactsPut(info), Some(request.body)))
}

pub(super) fn get(name: String) -> Prepared {
    check_name(&name)?;
    Ok((Call::ArtifactsGet { name }, None))
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of its siblings")]
pub(super) fn list() -> Prepared {
    Ok((Call::ArtifactsList {}, None))
}

pub(super) fn info_out(info: ArtifactInfo) -> Info {
    Info {
        name: info.name,
        content_type: info.content_type,
        bytes: info.bytes,
        digest: info.digest,
        extra: None,
    }
}

pub(super) fn was_put(result: Result<Reply, WitFailure>) -> Result<Info, WitFailure> {
    expect_reply!(result, Reply::Artifact).map(info_out)
}

pub(super) async fn found(
    result: Result<Reply, WitFailure>,
    exchange: &Exchange,
) -> wasmtime::Result<Result<Option<Artifact>, WitFailure>> {
    let info = match expect_reply!(result, Reply::ArtifactFound) {
        Ok(Some(info)) => info,
        Ok(None) => return Ok(Ok(None)),
        Err(failure) => return Ok(Err(failure)),
    };
    let body = exchange.artifact_bytes(&info.digest).await.map_err(trap)?;
    Ok(Ok(Some(Artifact {
        info: info_out(info),
        body,
    })))
}

pub(super) fn listed(result: Result<Reply, WitFailure>) -> Result<Vec<Info>, WitFailure> {
    expect_reply!(result, Reply::Artifacts).map(|infos| infos.into_iter().map(info_out).collect())
}

pub(super) fn link(linker: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async("put", |store, (request,): (PutRequest,)| {
        Box::new(async move { Ok((was_put(one(store, put(request)).await?.0),)) })
    })?;
    linker.func_wrap_async("get", |store, (name,): (String,)| {
        Box::new(async move {
            let (result, exchange) = one(store, get(name)).await?;
            Ok((found(result, &exchange).await?,))
        })
    })?;
    linker.func_wrap_async("list", |store, (): ()| {
        Box::new(async move { Ok((listed(one(store, list()).await?.0),)) })
    })
}
