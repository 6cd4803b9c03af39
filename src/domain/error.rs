//! The closed list of codes that the HTTP API answers with.

use super::failure::codes;

codes! {
    /// What went wrong with a request. `web::problem` maps each to a status.
    ErrorCode {
        /// The request is malformed: body, header, query.
        BadRequest = "bad_request",
        /// Fields do not fit; `errors` names them.
        Invalid = "invalid",
        Unauthenticated = "unauthenticated",
        Forbidden = "forbidden",
        /// The caller is a member of no organization.
        NoOrganization = "no_organization",
        /// The request does not say which of several workspaces it is about.
        TenantRequired = "tenant_required",
        /// Whoever is signed in must prove anew who they are.
        ProofRequired = "proof_required",
        /// The organization's plan does not include more of it.
        PlanLimit = "plan_limit",
        CrossSite = "cross_site",
        NotFound = "not_found",
        MethodNotAllowed = "method_not_allowed",
        /// It is not in a state that allows this.
        Conflict = "conflict",
        AlreadyExists = "already_exists",
        /// The same Idempotency-Key with another body.
        IdempotencyMismatch = "idempotency_mismatch",
        /// The first request with this Idempotency-Key has not finished.
        IdempotencyInProgress = "idempotency_in_progress",
        TooLarge = "too_large",
        UriTooLong = "uri_too_long",
        HeadersTooLarge = "headers_too_large",
        /// A body that did not arrive in time.
        TooSlow = "too_slow",
        /// Meant for another host.
        Misdirected = "misdirected",
        UnsupportedMediaType = "unsupported_media_type",
        /// The manifest or the code of an agent is wrong; `errors` has the places.
        AgentRejected = "agent_rejected",
        RateLimited = "rate_limited",
        /// A queue is full or the station is stopping.
        Busy = "busy",
        /// The disk has no room.
        StorageFull = "storage_full",
        Internal = "internal",
    }
}
