//! How often one may ask, for each kind of request apart: by key and session, times what the organization's plan allows;
//! by address, for those without either and as an outer bound over all; and tries to get in by address alone.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, web};
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use super::identity::Identity;
use crate::domain::error::ErrorCode;
use crate::domain::plan::Plan;
use crate::domain::rate::RateClass;
use crate::web::context::Context;
use crate::web::problem::{Problem, is_safe};
use crate::web::settings::Rates;
use crate::web::state::State;

const WINDOW: Duration = Duration::from_mins(1);
/// Callers that one limit remembers. Where more ask at once, those share [`SHARED`] counts until some have been quiet.
const CALLERS_MAX: usize = 10_000;
const SHARED: u64 = 1_024;
/// Those that have been quiet are forgotten at most this often: looking for them takes time.
const FORGET_EVERY: Duration = Duration::from_secs(1);
/// Who has one address of IPv6 has its whole network.
const NETWORK_BITS: u32 = 64;

/// First parts of addresses where one gets in or proves who one is.
const SIGN_IN: [&str; 6] = ["sign-in", "set-up", "prove", "reset", "forgot", "invitation"];
/// Last parts of addresses that start a run or execute one again.
const RUN_START: [&str; 7] = ["runs", "run", "fork", "start-over", "retry", "requeue", "verify"];

/// What a request counts as; `None` is never counted, being the same for everyone and made without looking anything up.
pub fn class_of(method: &Method, path: &str) -> Option<RateClass> {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let first = parts.next().unwrap_or_default();
    let last = parts.next_back().unwrap_or(first);
    let is_new = last == "new";
    let what = if is_new { parts.next_back().unwrap_or(first) } else { last };
    if ["static", "healthz", "readyz"].contains(&first) {
        return None;
    }
    if is_safe(method) {
        let is_stream = first == "ws" || (first == "api" && last == "stream");
        return Some(if is_stream { RateClass::Stream } else { RateClass::Read });
    }
    Some(match (first, what) {
        // What a passkey is asked to sign is no try.
        (first, what) if SIGN_IN.contains(&first) && what != "options" => RateClass::SignIn,
        ("account", "password") => RateClass::SignIn,
        (_, "agents" | "versions" | "check") => RateClass::Upload,
        (_, what) if RUN_START.contains(&what) => RateClass::RunStart,
        (_, "sessions") if is_new => RateClass::RunStart,
        _ => RateClass::Write,
    })
}

type Keyed = RateLimiter<u64, DashMapStateStore<u64>, DefaultClock, StateInformationMiddleware>;

/// One limit: so many requests a minute for each caller.
struct Limit {
    class: RateClass,
    quota: u32,
    limiter: Keyed,
    hasher: RandomState,
    forgot_at: Mutex<Instant>,
}

/// What is left to a caller, as the `RateLimit` headers say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Left {
    class: RateClass,
    quota: u32,
    remaining: u32,
}

/// A request too many: what is left, which is nothing, and how long to wait.
#[derive(Clone, Copy, Debug)]
struct Refusal(Left, Duration);

impl Limit {
    fn new(class: RateClass, per_minute: u32) -> Self {
        let quota = NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN);
        Self {
            class,
            quota: quota.get(),
            limiter: RateLimiter::dashmap(Quota::per_minute(quota)).with_middleware::<StateInformationMiddleware>(),
            hasher: RandomState::new(),
            forgot_at: Mutex::new(Instant::now()),
        }
    }

    /// Counts one request.
    fn take(&self, caller: impl Hash) -> Result<Left, Refusal> {
        let mut key = self.hasher.hash_one(caller);
        if self.limiter.len() >= CALLERS_MAX {
            self.forget_quiet_callers();
            if self.limiter.len() >= CALLERS_MAX {
                key %= SHARED;
            }
        }
        let left = |remaining| Left {
            class: self.class,
            quota: self.quota,
            remaining,
        };
        match self.limiter.check_key(&key) {
            Ok(snapshot) => Ok(left(snapshot.remaining_burst_capacity())),
            Err(not_until) => Err(Refusal(left(0), not_until.wait_time_from(DefaultClock::default().now()))),
        }
    }

    fn forget_quiet_callers(&self) {
        // Whoever finds it locked need not do it as well.
        if let Ok(mut forgot_at) = self.forgot_at.try_lock()
            && forgot_at.elapsed() >= FORGET_EVERY
        {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
            *forgot_at = Instant::now();
        }
    }
}

/// A limit for each kind of request.
struct Kinds(Vec<Limit>);

impl Kinds {
    fn new(rates: &Rates, factor: u32) -> Self {
        let limit = |&class: &RateClass| Limit::new(class, rates.of(class).saturating_mul(factor));
        Self(RateClass::ALL.iter().map(limit).collect())
    }

    fn take(&self, class: RateClass, caller: impl Hash) -> Option<Result<Left, Refusal>> {
        let limit = self.0.iter().find(|limit| limit.class == class)?;
        Some(limit.take(caller))
    }
}

/// All limits of the web layer.
pub struct Limits {
    /// Of keys and sessions, by the plan of their organization.
    own: Vec<(Plan, Kinds)>,
    /// Of addresses, for requests without a key or session.
    anonymous: Kinds,
    /// Of addresses, for all their requests together.
    address: Kinds,
}

impl Limits {
    pub fn new(rates: &Rates) -> Self {
        let of_plan = |&plan: &Plan| (plan, Kinds::new(rates, plan.limits().rate_factor));
        Self {
            own: Plan::ALL.iter().map(of_plan).collect(),
            anonymous: Kinds::new(rates, 1),
            address: Kinds::new(rates, rates.address_factor),
        }
    }

    fn by_address(&self, class: RateClass, client: IpAddr) -> Option<Result<Left, Refusal>> {
        let client = network_of(client);
        if class == RateClass::SignIn {
            // Whoever is signed in has no more tries at other passwords than others.
            return self.anonymous.take(class, client);
        }
        self.address.take(class, client)
    }

    fn by_caller(&self, class: RateClass, identity: &Identity, client: IpAddr) -> Option<Result<Left, Refusal>> {
        match (class, identity.credential()) {
            (RateClass::SignIn, _) => None,
            (_, Some(credential)) => {
                let plan = identity.known().map_or(Plan::Free, |known| known.actor.plan);
                let (_, kinds) = self.own.iter().find(|(of, _)| *of == plan)?;
                kinds.take(class, credential)
            }
            (_, None) => self.anonymous.take(class, network_of(client)),
        }
    }
}

/// What counts as one address.
fn network_of(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << (128 - NETWORK_BITS)))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The outer middleware, by address: before it is looked up who asks. See [`actix_web::middleware::from_fn`].
pub async fn by_address<B: MessageBody + 'static>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<BoxBody>, Error> {
    let taken = counted(&request, Limits::by_address);
    // Of a try to get in it is told what is left; of other requests the next middleware tells it.
    let told = taken.filter(|taken| taken.is_err() || taken.as_ref().is_ok_and(|left| left.class == RateClass::SignIn));
    answer(request, next, told).await
}

/// The inner middleware, by key or session, or by address where there is neither.
pub async fn by_caller<B: MessageBody + 'static>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<BoxBody>, Error> {
    let identity = Identity::of(request.request());
    let taken = counted(&request, |limits, class, client| limits.by_caller(class, &identity, client));
    answer(request, next, taken).await
}

fn counted(
    request: &ServiceRequest,
    take: impl FnOnce(&Limits, RateClass, IpAddr) -> Option<Result<Left, Refusal>>,
) -> Option<Result<Left, Refusal>> {
    let state = request.app_data::<web::Data<State>>()?;
    let client = request.extensions().get::<Context>()?.client;
    take(&state.limits, class_of(request.method(), request.path())?, client)
}

async fn answer<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
    taken: Option<Result<Left, Refusal>>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match taken {
        Some(Err(Refusal(left, wait))) => {
            request.extensions_mut().insert(Told(left));
            Ok(request.error_response(too_many(wait)))
        }
        taken => {
            if let Some(Ok(left)) = taken {
                request.extensions_mut().insert(Told(left));
            }
            next.call(request).await.map(ServiceResponse::map_into_boxed_body)
        }
    }
}

/// In the extensions of a request: what is left to who sent it.
#[derive(Clone, Copy, Debug)]
pub struct Told(Left);

impl Told {
    /// The headers of the IETF's RateLimit draft.
    pub fn add_headers(self, headers: &mut HeaderMap) {
        let left = self.0;
        let window = WINDOW.as_secs();
        let policy = format!("\"{}\";q={};w={window}", left.class, left.quota);
        let spent = u64::from(left.quota.saturating_sub(left.remaining));
        let until_full = (spent * window).div_ceil(u64::from(left.quota));
        let now = format!("\"{}\";r={};t={until_full}", left.class, left.remaining);
        for (name, value) in [("ratelimit-policy", policy), ("ratelimit", now)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

/// The refusal of one request too many.
fn too_many(wait: Duration) -> Problem {
    Problem::new(ErrorCode::RateLimited, "Too many requests in a short time.")
        .hint("Wait as long as Retry-After says, then go on more slowly.")
        .retry_after(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_its_own_count_and_is_told_how_long_to_wait() {
        let limit = Limit::new(RateClass::Write, 2);
        assert_eq!(limit.take("ana").unwrap().remaining, 1);
        assert_eq!(limit.take("ana").unwrap().remaining, 0);
        let Refusal(left, wait) = limit.take("ana").unwrap_err();
        assert_eq!(left.remaining, 0);
        assert!(wait > Duration::from_secs(20) && wait <= Duration::from_secs(30), "{wait:?}");
        assert!(limit.take("bob").is_ok());
    }

    #[test]
    fn however_many_callers_come_only_so_many_are_remembered() {
        let limit = Limit::new(RateClass::Read, 2);
        for caller in 0..3 * CALLERS_MAX {
            _ = limit.take(caller);
        }
        assert!(
            limit.limiter.len() <= CALLERS_MAX + usize::try_from(SHARED).unwrap(),
            "{}",
            limit.limiter.len()
        );
    }

    #[test]
    fn an_address_of_ipv6_is_its_network_and_one_of_ipv4_itself() {
        let network = |text: &str| network_of(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
    }

    #[test]
    fn a_larger_plan_allows_more_and_tries_to_get_in_are_counted_by_address_whoever_makes_them() {
        let limits = Limits::new(&Rates::default());
        let of = |plan: Plan| {
            let (_, kinds) = limits.own.iter().find(|(of, _)| *of == plan).unwrap();
            kinds.take(RateClass::Read, "ana").unwrap().unwrap().quota
        };
        assert_eq!(of(Plan::Pro), of(Plan::Free) * Plan::Pro.limits().rate_factor);
        let client = "192.0.2.7".parse().unwrap();
        for _ in 0..Rates::default().sign_in {
            assert!(limits.by_address(RateClass::SignIn, client).unwrap().is_ok());
        }
        assert!(limits.by_address(RateClass::SignIn, client).unwrap().is_err());
        assert!(limits.by_caller(RateClass::SignIn, &Identity::Nobody, client).is_none());
    }

    #[test]
    fn the_headers_say_what_is_left() {
        let mut headers = HeaderMap::new();
        let left = Left {
            class: RateClass::Read,
            quota: 100,
            remaining: 50,
        };
        Told(left).add_headers(&mut headers);
        assert_eq!(headers.get("ratelimit-policy").unwrap(), "\"read\";q=100;w=60");
        assert_eq!(headers.get("ratelimit").unwrap(), "\"read\";r=50;t=30");
    }

    #[test]
    fn every_route_counts_as_what_it_costs() {
        use RateClass::{Read, RunStart, SignIn, Stream, Upload, Write};
        for line in crate::web::routes::table() {
            let class = class_of(&line.method, line.path);
            let cheap = line.path.starts_with("/static/") || line.path == "/healthz" || line.path == "/readyz";
            let expected_of_safe = if line.path.starts_with("/ws/") || line.path.ends_with("/stream") {
                Stream
            } else {
                Read
            };
            match class {
                None => assert!(cheap, "{} {}", line.method, line.path),
                Some(class) if is_safe(&line.method) => assert_eq!(class, expected_of_safe, "{}", line.path),
                Some(class) => assert!([SignIn, Write, RunStart, Upload].contains(&class), "{} {class}", line.path),
            }
        }
        for (path, class) in [
            ("/sign-in", SignIn),
            ("/sign-in/link", SignIn),
            ("/set-up", SignIn),
            ("/invitation", SignIn),
            ("/prove", SignIn),
            ("/prove/passkey", SignIn),
            ("/prove/passkey/options", Write),
            ("/account/password", SignIn),
            ("/settings/invitations", Write),
            ("/sign-out", Write),
            ("/agents/new", Upload),
            ("/agents/check", Upload),
            ("/agents/a/versions/new", Upload),
            ("/api/v1/agents", Upload),
            ("/api/v1/orgs/o/workspaces/w/agents", Upload),
            ("/api/v1/agents/a/versions", Upload),
            ("/agents/a/run", RunStart),
            ("/api/v1/runs", RunStart),
            ("/api/v1/orgs/o/workspaces/w/runs", RunStart),
            ("/api/v1/runs/r/fork", RunStart),
            ("/sessions/new", RunStart),
            ("/runs/r/verify", RunStart),
            ("/sessions/s", Write),
            ("/api/v1/runs/r/cancel", Write),
            ("/api/v1/approvals/a/decision", Write),
        ] {
            assert_eq!(class_of(&Method::POST, path), Some(class), "{path}");
        }
    }
}
