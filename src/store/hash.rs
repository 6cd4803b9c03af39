//! SHA-256, by which payloads and blobs are found.

use sha2::{Digest as _, Sha256};

/// The hash of some bytes.
pub type Hash = [u8; 32];

pub(super) fn of(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// zstd's quick level: payloads are written on the way of a run.
const LEVEL: i32 = 1;
/// Less than this is not worth the header.
const COMPRESS_FROM_BYTES: usize = 256;

/// The bytes as they are stored, and whether they are compressed: only where that helps.
pub(super) fn pack(bytes: &[u8]) -> (bool, Option<Vec<u8>>) {
    if bytes.len() < COMPRESS_FROM_BYTES {
        return (false, None);
    }
    match zstd::bulk::compress(bytes, LEVEL) {
        Ok(packed) if packed.len() < bytes.len() => (true, Some(packed)),
        _ => (false, None),
    }
}

/// The bytes as they were.
pub(super) fn unpack(stored: Vec<u8>, compressed: bool, bytes: usize) -> Result<Vec<u8>, super::Error> {
    if !compressed {
        return Ok(stored);
    }
    zstd::bulk::decompress(&stored, bytes).map_err(|error| super::Error::Corrupt(format!("a stored payload does not unpack: {error}")))
}
