//! Server-sent events: how entries, deltas and signs of life are written, and where a client that comes back goes on.

use std::fmt::Write as _;

use actix_web::HttpRequest;
use actix_web::web::Bytes;
use serde::Serialize;

use super::problem::Problem;
use crate::domain::error::ErrorCode;

/// A silent connection gets a comment this often, so that proxies keep it open.
pub const KEEP_ALIVE: std::time::Duration = std::time::Duration::from_secs(15);

/// The media type.
pub const CONTENT_TYPE: &str = "text/event-stream";

/// One event. With an `id` a client that reconnects goes on after it.
pub fn event(name: &str, id: Option<u64>, data: &impl Serialize) -> Bytes {
    let mut text = String::new();
    // Writing to a String cannot fail.
    if let Some(id) = id {
        _ = writeln!(text, "id: {id}");
    }
    // JSON has no line ends of its own.
    let json = serde_json::to_string(data).unwrap_or_default();
    _ = write!(text, "event: {name}\ndata: {json}\n\n");
    Bytes::from(text)
}

/// A line that clients ignore.
pub fn comment() -> Bytes {
    Bytes::from_static(b": alive\n\n")
}

/// One event as it is described.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes the stream; `event` writes it")]
pub struct EventBody {
    /// What a client that reconnects sends as `Last-Event-ID`.
    id: Option<String>,
    event: Option<String>,
    /// JSON.
    data: Option<String>,
}

/// The last event that the client has, by the header that browsers send when they reconnect.
///
/// # Errors
/// The header is not the id of an event.
pub fn last_event_id(request: &HttpRequest) -> Result<Option<u64>, Problem> {
    let Some(header) = request.headers().get("last-event-id") else {
        return Ok(None);
    };
    let id = header.to_str().ok().and_then(|text| text.trim().parse().ok());
    id.map(Some)
        .ok_or_else(|| Problem::new(ErrorCode::BadRequest, "Last-Event-ID is not the id of an event of this stream."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_lines_and_an_empty_one() {
        let bytes = event("entry", Some(7), &serde_json::json!({"text": "a\nb"}));
        assert_eq!(bytes, "id: 7\nevent: entry\ndata: {\"text\":\"a\\nb\"}\n\n");
        assert!(!String::from_utf8_lossy(&event("delta", None, &1)).contains("id:"));
    }
}
