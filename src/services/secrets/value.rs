//! The value of a version, wherever it is: sealed in the database, in a variable, or in a file.

use super::super::{App, Error};
use super::unseal;
use crate::config::secret::Secret;
use crate::domain::id::SecretId;
use crate::domain::secret::SECRET_BYTES_MIN;
use crate::store::secrets::{Source, Stored};

/// The value, for the one place that sends it and for those that look for it.
///
/// # Errors
/// `Sealed` where the station's key is not there; `Refused` where a variable or file has no value, or too short a one; `NotFound` where it is
/// destroyed.
pub async fn value(app: &App, id: SecretId, number: u32, stored: &Stored) -> Result<Secret, Error> {
    if stored.destroyed {
        return Err(Error::NotFound("the secret’s value"));
    }
    let places = app.config.pointed_to();
    let found = match stored.source {
        Source::Sealed => return unseal(app, id, number, stored).await,
        Source::Env => places.variable(&stored.place),
        Source::File => places.file(&stored.place),
    };
    let value = found.map_err(Error::Refused)?;
    if value.expose().len() < SECRET_BYTES_MIN {
        return Err(Error::Refused(format!(
            "the value in {} is shorter than {SECRET_BYTES_MIN} bytes",
            stored.place
        )));
    }
    Ok(value)
}
