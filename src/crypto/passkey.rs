//! Passkeys (WebAuthn): what a browser is asked, and whether its answer proves who holds the key. User verification is required,
//! so that a passkey is both factors at once.

use serde_json::{Value, json};
use webauthn_rs::prelude::{
    DiscoverableAuthentication, Passkey, PasskeyRegistration, PublicKeyCredential, RegisterPublicKeyCredential, Url, Uuid, Webauthn,
    WebauthnBuilder,
};

use super::Error;

const STATION: &str = "AgentStation";

/// Where passkeys are good: a domain, and the origin of the pages that use them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    pub domain: String,
    pub origin: String,
}

impl Site {
    /// The site of an origin; none where browsers give it no passkeys: they want a name, and TLS everywhere but on localhost.
    pub fn of(origin: &str) -> Option<Self> {
        let url = Url::parse(origin).ok()?;
        let domain = url.domain()?.to_owned();
        (url.scheme() == "https" || domain == "localhost").then(|| Self {
            domain,
            origin: url.origin().ascii_serialization(),
        })
    }

    fn library(&self) -> Result<Webauthn, Error> {
        let origin = Url::parse(&self.origin).map_err(|_| Error::Passkey)?;
        WebauthnBuilder::new(&self.domain, &origin)
            .and_then(|builder| builder.rp_name(STATION).build())
            .map_err(|_| Error::Passkey)
    }
}

/// A registration that was begun; kept on the server until the browser answers.
#[derive(Clone)]
pub struct Registration(PasskeyRegistration);

/// A proof that was asked for; kept on the server until the browser answers.
#[derive(Clone)]
pub struct Challenge(DiscoverableAuthentication);

/// What is stored of a passkey.
#[derive(Clone, Debug)]
pub struct Registered {
    /// The id that the authenticator gave it.
    pub credential_id: Vec<u8>,
    /// JSON: public key and counter.
    pub credential: String,
}

/// Whom a passkey is to stand for.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    pub handle: &'a [u8; 16],
    pub email: &'a str,
    pub name: &'a str,
}

/// Begins to register a passkey: what the browser gets, and what is kept. `registered` are the holder's others.
///
/// # Errors
/// [`Error::Passkey`] where the site is none for passkeys.
pub fn begin_registration(site: &Site, holder: Holder<'_>, registered: &[String]) -> Result<(Value, Registration), Error> {
    let known = registered
        .iter()
        .filter_map(|credential| parse(credential).ok())
        .map(|passkey| passkey.cred_id().clone())
        .collect();
    let handle = Uuid::from_bytes(*holder.handle);
    let (options, state) = site
        .library()?
        .start_passkey_registration(handle, holder.email, holder.name, Some(known))
        .map_err(|_| Error::Passkey)?;
    let mut options = serde_json::to_value(options).map_err(|_| Error::Passkey)?;
    // One that the device itself finds is what signs in without an address typed first.
    if let Some(Value::Object(selection)) = options.pointer_mut("/publicKey/authenticatorSelection") {
        selection.insert("residentKey".to_owned(), json!("required"));
        selection.insert("requireResidentKey".to_owned(), json!(true));
    }
    Ok((options, Registration(state)))
}

/// # Errors
/// [`Error::Passkey`] where the answer does not fit what was asked.
pub fn finish_registration(site: &Site, answer: &str, state: &Registration) -> Result<Registered, Error> {
    let answer: RegisterPublicKeyCredential = serde_json::from_str(answer).map_err(|_| Error::Passkey)?;
    let passkey = site
        .library()?
        .finish_passkey_registration(&answer, &state.0)
        .map_err(|_| Error::Passkey)?;
    Ok(Registered {
        credential_id: passkey.cred_id().clone(),
        credential: serde_json::to_string(&passkey).map_err(|_| Error::Passkey)?,
    })
}

/// Asks for a proof by any passkey of this site.
///
/// # Errors
/// [`Error::Passkey`] where the site is none for passkeys.
pub fn challenge(site: &Site) -> Result<(Value, Challenge), Error> {
    let (options, state) = site.library()?.start_discoverable_authentication().map_err(|_| Error::Passkey)?;
    let options = serde_json::to_value(options).map_err(|_| Error::Passkey)?;
    Ok((options, Challenge(state)))
}

/// A browser's answer to a challenge, not checked yet.
pub struct Answer(PublicKeyCredential);

impl Answer {
    /// # Errors
    /// [`Error::Passkey`] where it is none.
    pub fn parse(text: &str) -> Result<Self, Error> {
        serde_json::from_str(text).map(Self).map_err(|_| Error::Passkey)
    }

    /// The passkey that it claims to be of.
    pub fn credential_id(&self) -> &[u8] {
        self.0.raw_id.as_ref()
    }

    /// Whom it claims to stand for.
    fn handle(&self) -> Option<&[u8]> {
        self.0.response.user_handle.as_ref().map(AsRef::as_ref)
    }

    /// Checks it against the stored passkey of `handle`, and returns that with its new counter.
    ///
    /// # Errors
    /// [`Error::Passkey`] where it proves nothing: another key, another site, another person, a counter that did not grow.
    pub fn check(&self, site: &Site, challenge: Challenge, credential: &str, handle: &[u8; 16]) -> Result<String, Error> {
        if self.handle() != Some(handle.as_slice()) {
            return Err(Error::Passkey);
        }
        let mut passkey = parse(credential)?;
        let result = site
            .library()?
            .finish_discoverable_authentication_v2(&self.0, challenge.0, &passkey)
            .map_err(|_| Error::Passkey)?;
        if !result.user_verified() {
            return Err(Error::Passkey);
        }
        passkey.update_credential(&result).ok_or(Error::Passkey)?;
        serde_json::to_string(&passkey).map_err(|_| Error::Passkey)
    }
}

fn parse(credential: &str) -> Result<Passkey, Error> {
    serde_json::from_str(credential).map_err(|_| Error::Passkey)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passkeys_want_a_name_and_tls_but_on_localhost() {
        let site = Site::of("https://station.example.com").unwrap();
        assert_eq!(
            (site.domain.as_str(), site.origin.as_str()),
            ("station.example.com", "https://station.example.com")
        );
        assert_eq!(Site::of("http://localhost:8700").unwrap().origin, "http://localhost:8700");
        for none in [
            "http://127.0.0.1:8700",
            "https://10.0.0.1",
            "http://station.example.com",
            "nonsense",
        ] {
            assert_eq!(Site::of(none), None, "{none}");
        }
    }

    #[test]
    fn a_registration_asks_for_a_passkey_that_the_device_finds_and_that_checks_its_user() {
        let site = Site::of("http://localhost:8700").unwrap();
        let holder = Holder {
            handle: &[7; 16],
            email: "ana@example.com",
            name: "Ana",
        };
        let (options, _) = begin_registration(&site, holder, &[]).unwrap();
        let selection = options.pointer("/publicKey/authenticatorSelection").unwrap();
        assert_eq!(selection["residentKey"], "required");
        assert_eq!(selection["userVerification"], "required");
        let (options, _) = challenge(&site).unwrap();
        assert_eq!(options.pointer("/publicKey/userVerification").unwrap(), "required");
        assert_eq!(options.pointer("/publicKey/rpId").unwrap(), "localhost");
    }
}
