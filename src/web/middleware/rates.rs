//! How often one may ask: by key or session, reads and writes apart, and sign-ins by address.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, web};
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use super::identity::Identity;
use crate::domain::error::ErrorCode;
use crate::web::problem::{Problem, is_safe};
use crate::web::settings::Rates;
use crate::web::state::State;

const WINDOW: Duration = Duration::from_mins(1);
/// Callers remembered before those that have been quiet are forgotten.
const CALLERS_MAX: usize = 10_000;

type Keyed<K> = RateLimiter<K, DashMapStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// One limit: so many requests a minute for each caller.
pub struct Limit<K: std::hash::Hash + Eq + Clone> {
    name: &'static str,
    quota: u32,
    limiter: Keyed<K>,
}

/// What is left to a caller, as the `RateLimit` headers say it.
#[derive(Clone, Copy, Debug)]
pub struct Left {
    name: &'static str,
    quota: u32,
    remaining: u32,
}

impl<K: std::hash::Hash + Eq + Clone> Limit<K> {
    fn new(name: &'static str, per_minute: u32) -> Self {
        let quota = NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN);
        let rate = Quota::per_minute(quota);
        Self {
            name,
            quota: quota.get(),
            limiter: RateLimiter::dashmap(rate).with_middleware::<StateInformationMiddleware>(),
        }
    }

    /// Counts one request.
    ///
    /// # Errors
    /// How long to wait.
    pub fn take(&self, caller: &K) -> Result<Left, Duration> {
        if self.limiter.len() > CALLERS_MAX {
            self.limiter.retain_recent();
        }
        match self.limiter.check_key(caller) {
            Ok(snapshot) => Ok(Left {
                name: self.name,
                quota: self.quota,
                remaining: snapshot.remaining_burst_capacity(),
            }),
            Err(not_until) => Err(not_until.wait_time_from(DefaultClock::default().now())),
        }
    }
}

/// All limits of the web layer.
pub struct Limits {
    reads: Limit<String>,
    writes: Limit<String>,
    pub sign_ins: Limit<IpAddr>,
}

impl Limits {
    pub fn new(rates: Rates) -> Self {
        Self {
            reads: Limit::new("read", rates.api_reads),
            writes: Limit::new("write", rates.api_writes),
            sign_ins: Limit::new("sign-in", rates.sign_ins),
        }
    }
}

/// The middleware; see [`actix_web::middleware::from_fn`].
pub async fn rates<B: MessageBody + 'static>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<BoxBody>, Error> {
    let taken = match (Identity::of(request.request()).credential(), request.app_data::<web::Data<State>>()) {
        (Some(credential), Some(state)) => {
            let limits = &state.limits;
            let limit = if is_safe(request.method()) { &limits.reads } else { &limits.writes };
            Some(limit.take(&credential.to_owned()))
        }
        _ => None,
    };
    match taken {
        Some(Err(wait)) => Ok(request.error_response(too_many(wait))),
        taken => {
            let mut response = next.call(request).await?.map_into_boxed_body();
            if let Some(Ok(left)) = taken {
                add_headers(response.headers_mut(), left);
            }
            Ok(response)
        }
    }
}

/// The refusal of one request too many.
pub fn too_many(wait: Duration) -> Problem {
    Problem::new(ErrorCode::RateLimited, "Too many requests in a short time.").retry_after(wait)
}

/// The headers of the IETF's RateLimit draft.
fn add_headers(headers: &mut HeaderMap, left: Left) {
    let window = WINDOW.as_secs();
    let policy = format!("\"{}\";q={};w={window}", left.name, left.quota);
    let spent = u64::from(left.quota.saturating_sub(left.remaining));
    let until_full = (spent * window).div_ceil(u64::from(left.quota));
    let now = format!("\"{}\";r={};t={until_full}", left.name, left.remaining);
    for (name, value) in [("ratelimit-policy", policy), ("ratelimit", now)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_its_own_count_and_is_told_how_long_to_wait() {
        let limit = Limit::new("write", 2);
        let (ana, bob) = ("ana".to_owned(), "bob".to_owned());
        assert_eq!(limit.take(&ana).unwrap().remaining, 1);
        assert_eq!(limit.take(&ana).unwrap().remaining, 0);
        let wait = limit.take(&ana).unwrap_err();
        assert!(wait > Duration::from_secs(20) && wait <= Duration::from_secs(30), "{wait:?}");
        assert!(limit.take(&bob).is_ok());
    }

    #[test]
    fn the_headers_say_what_is_left() {
        let mut headers = HeaderMap::new();
        let left = Left {
            name: "read",
            quota: 100,
            remaining: 50,
        };
        add_headers(&mut headers, left);
        assert_eq!(headers.get("ratelimit-policy").unwrap(), "\"read\";q=100;w=60");
        assert_eq!(headers.get("ratelimit").unwrap(), "\"read\";r=50;t=30");
    }
}
