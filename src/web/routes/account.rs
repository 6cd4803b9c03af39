//! One’s own account: profile, password, second factors, passkeys, sessions, and proving who one is.

use super::{Line, get, post};
use crate::web::pages::{account, passkeys};

pub(super) fn lines() -> Vec<Line> {
    vec![
        get("/account", account::profile::show),
        post("/account/profile", account::profile::rename),
        post("/account/email", account::profile::change_email),
        post("/account/password", account::sign_in::change_password),
        get("/account/sign-in", account::sign_in::show),
        post("/account/sign-in/totp/begin", account::totp::begin),
        get("/account/sign-in/totp/new", account::totp::show),
        get("/account/sign-in/totp/new/qr.svg", account::totp::picture),
        post("/account/sign-in/totp/new", account::totp::confirm),
        post("/account/sign-in/totp/remove", account::totp::remove),
        post("/account/sign-in/recovery-codes", account::totp::renew_codes),
        post("/account/sign-in/recovery-codes/file", account::totp::file),
        post("/account/sign-in/passkeys/options", passkeys::registration_options),
        post("/account/sign-in/passkeys", passkeys::register),
        post("/account/sign-in/passkeys/{passkey}/rename", passkeys::rename),
        post("/account/sign-in/passkeys/{passkey}/remove", passkeys::remove),
        get("/account/sessions", account::sessions::show),
        post("/account/sessions/others/revoke", account::sessions::revoke_others),
        post("/account/sessions/{session}/revoke", account::sessions::revoke),
        get("/prove", account::prove::show),
        post("/prove", account::prove::submit),
        post("/prove/passkey/options", passkeys::proof_options),
        post("/prove/passkey", passkeys::prove),
    ]
}
