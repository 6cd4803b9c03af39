//! Request bodies: bounded in bytes (in time they are by `middleware::pace`), JSON only where JSON is meant.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header;
use actix_web::web::BytesMut;
use actix_web::{FromRequest, HttpRequest};
use futures_util::StreamExt as _;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::domain::error::ErrorCode;
use crate::domain::limits::JSON_BODY_BYTES_MAX;
use crate::web::extract::form::check_header_token;
use crate::web::problem::{Place, Problem};

/// A JSON body, and its bytes as they came.
#[derive(Debug)]
pub struct Json<T> {
    pub value: T,
    pub raw: Vec<u8>,
}

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = media_type(request).is_some_and(|media| media == "application/json" || media.ends_with("+json"));
        let token = check_header_token(request);
        let payload = payload.take();
        Box::pin(async move {
            token?;
            if !is_json {
                return Err(Problem::new(
                    ErrorCode::UnsupportedMediaType,
                    "This address reads JSON. Send “Content-Type: application/json”.",
                ));
            }
            let raw = read(payload, JSON_BODY_BYTES_MAX).await?;
            let value = parse(&raw)?;
            Ok(Self { value, raw })
        })
    }
}

/// A JSON body, or what an empty body stands for.
#[derive(Debug)]
pub struct JsonOrNone<T>(pub T);

impl<T: DeserializeOwned + Default + 'static> FromRequest for JsonOrNone<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        if media_type(request).is_some() {
            let json = Json::from_request(request, payload);
            return Box::pin(async move { Ok(Self(json.await?.value)) });
        }
        let token = check_header_token(request);
        Box::pin(async move { token.map(|()| Self(T::default())) })
    }
}

/// The media type without its parameters, in lower case.
pub fn media_type(request: &HttpRequest) -> Option<String> {
    let value = request.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// The whole body, if it is not larger than `bytes_max`.
///
/// # Errors
/// `too_large`, `too_slow`, `bad_request`
pub async fn read(mut payload: Payload, bytes_max: usize) -> Result<Vec<u8>, Problem> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| broken(&error))?;
        if body.len() + chunk.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.to_vec())
}

/// Why a body could not be read to its end.
pub fn broken(error: &PayloadError) -> Problem {
    match error {
        PayloadError::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            Problem::new(ErrorCode::TooSlow, "The request’s body came too slowly, or stopped in the middle.")
        }
        _ => Problem::new(ErrorCode::BadRequest, "The request’s body broke off."),
    }
}

pub fn too_large(bytes_max: usize) -> Problem {
    Problem::new(
        ErrorCode::TooLarge,
        format!("The request’s body is larger than {bytes_max} bytes, the most that this address takes."),
    )
}

fn parse<T: DeserializeOwned>(raw: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(raw)
        .map(|Object(value)| value)
        .map_err(|error| match error.classify() {
            serde_json::error::Category::Data => {
                // The text names fields and types of our own, nothing of the parser.
                let message = error.to_string();
                let message = message.split(" at line ").next().unwrap_or_default().to_owned();
                Problem::new(ErrorCode::Invalid, format!("The body does not fit: {message}.")).errors(vec![Place {
                    message,
                    pointer: Some(String::new()),
                    ..Place::default()
                }])
            }
            _ => Problem::new(
                ErrorCode::BadRequest,
                format!(
                    "The body is no valid JSON: it breaks at line {}, column {}.",
                    error.line(),
                    error.column()
                ),
            ),
        })
}

/// What is written as a JSON object: for itself serde also takes an array of the fields’ values in order.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = T;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(fields))
            }
        }

        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

/// A field that must be written as an object; for `deserialize_with`.
pub fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Object::deserialize(deserializer).map(|object| object.0)
}

/// The same, or left out or null.
pub fn object_or_none<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::<Object<T>>::deserialize(deserializer).map(|object| object.map(|object| object.0))
}

/// A list of such objects.
pub fn objects<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Vec::<Object<T>>::deserialize(deserializer).map(|all| all.into_iter().map(|object| object.0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Two {
        #[expect(dead_code, reason = "only parsing is tested")]
        two: u8,
    }

    #[test]
    fn broken_json_is_told_from_json_that_does_not_fit() {
        assert_eq!(parse::<Two>(b"{\"two\":").unwrap_err().code, ErrorCode::BadRequest);
        let misfit = parse::<Two>(b"{\"three\": 3}").unwrap_err();
        assert_eq!(misfit.code, ErrorCode::Invalid);
        assert!(misfit.detail.contains("three"), "{}", misfit.detail);
        assert!(!misfit.detail.contains("line"), "{}", misfit.detail);
    }

    #[test]
    fn an_array_does_not_stand_for_an_object() {
        assert!(parse::<Two>(b"{\"two\": 2}").is_ok());
        let misfit = parse::<Two>(b"[2]").unwrap_err();
        assert_eq!(misfit.code, ErrorCode::Invalid);
        assert!(misfit.detail.contains("an object"), "{}", misfit.detail);
    }
}
