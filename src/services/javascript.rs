//! The JavaScript runtime that is built into this program.

use crate::domain::hex;
use crate::runtime::Error;

const COMPRESSED: &[u8] = include_bytes!("../../guests/javascript/runtime.wasm.zst");
const DIGESTS: &str = include_str!("../../guests/digests.txt");
/// Uncompressed; a generous multiple of what it is.
const BYTES_MAX: usize = 16 << 20;
const NAME: &str = "javascript/runtime.wasm";

/// SHA-256 of the runtime component, as the build script wrote it.
///
/// # Errors
/// The list of digests lacks it; a test reads it.
pub fn digest() -> Result<[u8; 32], Error> {
    DIGESTS
        .lines()
        .find_map(|line| line.strip_suffix(NAME))
        .and_then(|text| hex::decode(text.trim()))
        .ok_or_else(|| Error::Internal(format!("guests/digests.txt has no digest of {NAME}")))
}

/// The runtime component.
///
/// # Errors
/// The embedded bytes are damaged.
pub fn component() -> Result<Vec<u8>, Error> {
    zstd::bulk::decompress(COMPRESSED, BYTES_MAX).map_err(|error| Error::Internal(format!("the JavaScript runtime is damaged: {error}")))
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn the_embedded_runtime_has_the_digest_that_its_build_wrote() {
        let actual: [u8; 32] = Sha256::digest(component().unwrap()).into();
        assert_eq!(digest().unwrap(), actual);
    }
}
