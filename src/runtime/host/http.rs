//! `http`: requests to granted hosts.

use wasmtime::component::LinkerInstance;

use super::super::bindings::wit::http::{Header, Request, Response};
use super::super::bindings::wit::types::Failure as WitFailure;
use super::{Guest, Prepared, expect_reply, no_extra, one, within};
use crate::domain::call::{Body, Call, HttpHeader, HttpRequest, HttpResponse, Reply};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::limits::{HTTP_BODY_BYTES_MAX, HTTP_HEADERS_MAX};

const URL_BYTES_MAX: usize = 8 * 1024;
const HEADER_BYTES_MAX: usize = 8 * 1024;

pub(super) fn send(request: Request) -> Prepared {
    no_extra(request.extra.as_deref())?;
    within("the address", request.url.len(), URL_BYTES_MAX)?;
    within("the body", request.body.as_ref().map_or(0, Vec::len), HTTP_BODY_BYTES_MAX)?;
    if request.headers.len() > HTTP_HEADERS_MAX {
        return Err(Failure::new(
            FailureCode::LimitExceeded,
            format!("{} headers, the limit is {HTTP_HEADERS_MAX}", request.headers.len()),
        ));
    }
    for header in &request.headers {
        within("a header", header.name.len() + header.value.len(), HEADER_BYTES_MAX)?;
    }
    let headers = request
        .headers
        .into_iter()
        .map(|header| HttpHeader {
            name: header.name,
            value: header.value,
        })
        .collect();
    let call = HttpRequest {
        method: request.method.to_ascii_uppercase(),
        url: request.url,
        headers,
        body: request.body.map(Body::from_bytes),
        timeout_ms: request.timeout_ms,
    };
    Ok((Call::HttpSend(call), None))
}

fn response_out(response: HttpResponse) -> Response {
    Response {
        status: response.status,
        headers: response
            .headers
            .into_iter()
            .map(|header| Header {
                name: header.name,
                value: header.value,
            })
            .collect(),
        body: response.body.to_bytes().unwrap_or_default(),
        url: response.url,
        extra: None,
    }
}

pub(super) fn sent(result: Result<Reply, WitFailure>) -> Result<Response, WitFailure> {
    expect_reply!(result, Reply::Http).map(response_out)
}

pub(super) fn link(linker: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async("send", |store, (request,): (Request,)| {
        Box::new(async move { Ok((sent(one(store, send(request)).await?.0),)) })
    })
}
