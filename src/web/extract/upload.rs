//! Uploaded agents: `multipart/form-data` with a few named fields, each with its own most.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use actix_multipart::{Field, Multipart, MultipartError};
use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::{FromRequest, HttpRequest};
use futures_util::StreamExt as _;

use super::body;
use super::form::TOKEN_FIELD;
use crate::domain::error::ErrorCode;
use crate::domain::limits::{CODE_BYTES_MAX, INPUT_BYTES_MAX, INPUT_SCHEMA_BYTES_MAX, MANIFEST_BYTES_MAX, README_BYTES_MAX};
use crate::web::problem::{Place, Problem};

/// The fields and the most bytes of each.
const FIELDS: [(&str, usize); 7] = [
    ("manifest", MANIFEST_BYTES_MAX),
    ("code", CODE_BYTES_MAX),
    ("readme", README_BYTES_MAX),
    ("input", INPUT_SCHEMA_BYTES_MAX),
    ("sample", INPUT_BYTES_MAX),
    ("mode", 16),
    (TOKEN_FIELD, 1024),
];

/// The fields of an upload.
#[derive(Debug, Default)]
pub struct Parts {
    fields: BTreeMap<&'static str, Vec<u8>>,
}

impl Parts {
    /// Takes a field's bytes; an empty file field counts as absent.
    pub fn take(&mut self, name: &str) -> Option<Vec<u8>> {
        self.fields.remove(name).filter(|bytes| !bytes.is_empty())
    }

    /// Takes a field as text.
    ///
    /// # Errors
    /// `invalid` where it is not UTF-8.
    pub fn take_text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        self.take(name)
            .map(String::from_utf8)
            .transpose()
            .map_err(|_| wrong(name, "is not text in UTF-8"))
    }

    /// Whether a field that must be there is.
    ///
    /// # Errors
    /// `invalid`, naming the field.
    pub fn require(&self, name: &str) -> Result<(), Problem> {
        let there = self.fields.get(name).is_some_and(|bytes| !bytes.is_empty());
        if there { Ok(()) } else { Err(wrong(name, "is missing")) }
    }
}

fn wrong(field: &str, what: &str) -> Problem {
    let message = format!("the field “{field}” {what}");
    Problem::new(ErrorCode::Invalid, format!("In the upload, {message}.")).errors(vec![Place {
        message,
        pointer: Some(format!("/{field}")),
        ..Place::default()
    }])
}

impl FromRequest for Parts {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_multipart = body::media_type(request).as_deref() == Some("multipart/form-data");
        let multipart = Multipart::new(request.headers(), payload.take());
        Box::pin(async move {
            if !is_multipart {
                return Err(Problem::new(
                    ErrorCode::UnsupportedMediaType,
                    "An agent is uploaded as multipart/form-data with the fields “manifest” and “code”.",
                ));
            }
            read(multipart).await
        })
    }
}

async fn read(mut multipart: Multipart) -> Result<Parts, Problem> {
    let mut parts = Parts::default();
    while let Some(field) = multipart.next().await {
        let mut field = field.map_err(broken)?;
        let name = field.name().unwrap_or_default().to_owned();
        let Some(&(name, bytes_max)) = FIELDS.iter().find(|(known, _)| *known == name) else {
            return Err(wrong(&name, "is unknown; there are manifest, code, readme, input and sample"));
        };
        let bytes = read_field(&mut field, name, bytes_max).await?;
        if parts.fields.insert(name, bytes).is_some() {
            return Err(wrong(name, "comes twice"));
        }
    }
    Ok(parts)
}

async fn read_field(field: &mut Field, name: &str, bytes_max: usize) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    while let Some(chunk) = field.next().await {
        let chunk = chunk.map_err(broken)?;
        if bytes.len() + chunk.len() > bytes_max {
            return Err(Problem::new(
                ErrorCode::TooLarge,
                format!("In the upload, the field “{name}” is larger than {bytes_max} bytes."),
            ));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn broken(error: MultipartError) -> Problem {
    match error {
        MultipartError::Payload(error) if !matches!(error, PayloadError::Incomplete(_)) => body::broken(&error),
        _ => Problem::new(ErrorCode::BadRequest, "The upload is no complete multipart/form-data."),
    }
}
