//! What a server's refusal means: whose fault it is, whether it may pass, what to do.

use std::time::Duration;

use serde_json::Value;

use crate::domain::failure::{Failure, FailureCode};

/// Bytes of the server's own words that are passed on.
const WORDS_BYTES_MAX: usize = 500;

pub(super) struct Refusal {
    pub failure: Failure,
    /// Whether the same server may be asked the same again.
    pub again: bool,
    /// How long the server asked to wait.
    pub after: Option<Duration>,
    pub wants_old_cap_name: bool,
}

/// The fields of an error's body, in whichever shape the server sends them.
#[derive(Default)]
struct Words {
    message: String,
    /// `code` and `type`, in lower case.
    kinds: String,
}

impl Words {
    fn of(body: &Value) -> Self {
        let error = body.get("error").unwrap_or(body);
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let message = match error {
            Value::String(message) => message.clone(),
            _ => [error.get("message"), error.get("detail"), body.get("message"), body.get("detail")]
                .into_iter()
                .map(text)
                .find(|message| !message.is_empty())
                .unwrap_or_default(),
        };
        Self {
            message: short(&message),
            kinds: format!("{} {}", text(error.get("code")), text(error.get("type"))).to_ascii_lowercase(),
        }
    }

    /// No money is left: trying again helps nobody.
    fn is_out_of_money(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        let kinds = [
            "insufficient_quota",
            "billing",
            "insufficient_balance",
            "insufficient_credits",
            "payment_required",
            "credit_balance",
            "spend_limit",
        ];
        let words = [
            "credit balance",
            "insufficient balance",
            "insufficient credit",
            "exceeded your current quota",
            "credit_balance",
        ];
        kinds.iter().any(|kind| self.kinds.contains(kind)) || words.iter().any(|word| message.contains(word))
    }

    fn said(&self) -> String {
        if self.message.is_empty() {
            String::new()
        } else {
            format!(": {}", self.message)
        }
    }
}

/// Reads a status that is not 200.
pub(super) fn refusal(host: &str, status: u16, header: impl Fn(&str) -> Option<String>, body: &str) -> Refusal {
    let words = serde_json::from_str(body).map_or_else(
        |_| Words {
            message: short(body),
            kinds: String::new(),
        },
        |body| Words::of(&body),
    );
    let mut failure = meaning(host, status, &words);
    let after = failure.retryable.then(|| retry_after(&header)).flatten();
    if matches!(status, 429 | 503 | 529) {
        failure.retry_after_ms = after.and_then(|after| u64::try_from(after.as_millis()).ok());
    }
    // The server knows best, but no word of its brings money.
    let said = header("x-should-retry").map(|word| word.trim() == "true");
    let again = match said {
        Some(said) => said && status != 402 && !words.is_out_of_money(),
        None => failure.retryable,
    };
    Refusal {
        failure,
        again,
        after,
        wants_old_cap_name: status == 400 && words.message.contains("max_completion_tokens"),
    }
}

/// Reads an error that came inside a reply.
pub(super) fn in_stream(host: &str, error: &Value) -> Failure {
    let words = Words::of(error);
    let status = error
        .get("code")
        .or(error.get("status"))
        .and_then(Value::as_u64)
        .and_then(|status| u16::try_from(status).ok());
    let status = status.unwrap_or(match words.kinds.as_str() {
        kinds if kinds.contains("rate_limit") => 429,
        kinds if kinds.contains("overloaded") || kinds.contains("server_error") || kinds.contains("api_error") => 503,
        kinds if kinds.contains("timeout") => 408,
        kinds if kinds.contains("authentication") || kinds.contains("permission") => 401,
        kinds if kinds.contains("not_found") => 404,
        kinds if kinds.contains("invalid_request") => 400,
        _ => 0,
    });
    meaning(host, status, &words)
}

fn meaning(host: &str, status: u16, words: &Words) -> Failure {
    let said = words.said();
    if status == 402 || words.is_out_of_money() {
        return Failure::new(
            FailureCode::ProviderError,
            format!("the account at {host} has no money left; top it up, or configure another model{said}"),
        );
    }
    match status {
        401 | 403 => Failure::new(
            FailureCode::ProviderError,
            format!(
                "{host} refused the key ({status}); check the provider’s key under Settings → Models, or api_key_env or api_key_file of this model{said}"
            ),
        ),
        404 => Failure::new(
            FailureCode::ProviderError,
            format!("{host} has no such model or address (404); check the model’s name and the base URL{said}"),
        ),
        429 => Failure::retryable(FailureCode::RateLimited, format!("{host} takes no more requests for now{said}")),
        _ if words.kinds.contains("context_length") => {
            Failure::new(FailureCode::LimitExceeded, format!("the request is too long for the model{said}"))
        }
        413 => Failure::new(FailureCode::LimitExceeded, format!("the request is too large for {host}{said}")),
        400 | 422 => Failure::new(FailureCode::Invalid, format!("{host} refused the request{said}")),
        409 => Failure::retryable(
            FailureCode::Unavailable,
            format!("{host} was busy with something that is in the way{said}"),
        ),
        408 => Failure::retryable(FailureCode::Timeout, format!("{host} took too long{said}")),
        500.. => Failure::retryable(FailureCode::Unavailable, format!("{host} failed ({status}){said}")),
        0 => Failure::new(FailureCode::ProviderError, format!("{host} broke off its reply{said}")),
        _ => Failure::new(FailureCode::ProviderError, format!("{host} answered {status}{said}")),
    }
}

fn retry_after(header: &impl Fn(&str) -> Option<String>) -> Option<Duration> {
    let number = |name: &str| header(name)?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms").map(|ms| ms / 1000.0).or_else(|| number("retry-after"));
    match seconds {
        Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        None => until_date(header),
    }
}

/// From the server's own time to the date that it names.
fn until_date(header: &impl Fn(&str) -> Option<String>) -> Option<Duration> {
    let date = |name: &str| jiff::fmt::rfc2822::parse(header(name)?.trim()).ok();
    let (until, now) = (date("retry-after")?.timestamp(), date("date")?.timestamp());
    Duration::try_from(until.duration_since(now)).ok()
}

fn short(text: &str) -> String {
    let text = text.trim();
    text.get(..text.floor_char_boundary(WORDS_BYTES_MAX)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, headers: &[(&str, &str)], body: &str) -> Refusal {
        let header = |name: &str| {
            headers
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        };
        refusal("api.example.com", status, header, body)
    }

    #[test]
    fn without_money_nothing_is_asked_again_whatever_the_status_and_the_headers_say() {
        for (status, body) in [
            (
                429,
                r#"{"error":{"code":"insufficient_quota","type":"insufficient_quota","message":"m"}}"#,
            ),
            (429, r#"{"error":{"code":"credit_balance_exhausted","message":"m"}}"#),
            (429, r#"{"error":{"code":"billing_hard_limit_reached","message":"m"}}"#),
            (403, r#"{"type":"error","error":{"type":"billing_error","message":"m"}}"#),
            (
                429,
                r#"{"type":"error","error":{"type":"enforced_spend_limit_reached","message":"m"}}"#,
            ),
            (402, "{}"),
        ] {
            let refusal = read(status, &[("x-should-retry", "true"), ("retry-after", "1")], body);
            assert!(!refusal.failure.retryable && refusal.after.is_none(), "{body}");
            assert!(!refusal.again, "{body}");
            assert!(refusal.failure.message.contains("no money"), "{body}");
        }
    }

    #[test]
    fn the_server_says_when_to_come_back_and_whether_at_all() {
        let milliseconds = read(429, &[("retry-after-ms", "250"), ("retry-after", "9")], "");
        assert_eq!((milliseconds.again, milliseconds.after), (true, Some(Duration::from_millis(250))));
        assert_eq!(milliseconds.failure.retry_after_ms, Some(250));
        assert_eq!(read(529, &[("retry-after", "2")], "").after, Some(Duration::from_secs(2)));
        let dated = [
            ("retry-after", "Sat, 21 Nov 2026 10:00:30 GMT"),
            ("date", "Sat, 21 Nov 2026 10:00:00 GMT"),
        ];
        assert_eq!(read(503, &dated, "").after, Some(Duration::from_secs(30)));
        let never = read(529, &[("x-should-retry", "false")], "");
        assert!(never.failure.retryable && !never.again);
        assert!(read(409, &[], "").again && read(408, &[], "").again && !read(400, &[], "").again);
        assert!(read(400, &[("x-should-retry", "true")], "").again);
    }
}
