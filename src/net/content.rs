//! Takes compressed answers apart under a cap: what comes out is counted, and so is how much more it is than what went in.

use std::io::{self, Write};

use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use reqwest::header::{CONTENT_ENCODING, HeaderMap};

use super::Error;

/// What the station asks for.
pub(super) const ACCEPTED: &str = "gzip, deflate";
/// How many bytes one compressed byte may become, once there are more than [`RATIO_FLOOR_BYTES`].
const RATIO_MAX: u64 = 100;
const RATIO_FLOOR_BYTES: u64 = 256 * 1024;

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Deflate,
}

impl Encoding {
    /// # Errors
    /// [`Error::Unavailable`] where it is one that was not asked for, or one within another.
    pub(super) fn of(headers: &HeaderMap, host: &str) -> Result<Self, Error> {
        let mut found = Self::Identity;
        for value in headers.get_all(CONTENT_ENCODING) {
            let refused = |what: &str| Error::Unavailable(format!("{host} sent a body that is encoded as {what}, which was not asked for"));
            let text = value.to_str().map_err(|_| refused("something unreadable"))?;
            for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                let encoding = match name.to_ascii_lowercase().as_str() {
                    "identity" => continue,
                    "gzip" | "x-gzip" => Self::Gzip,
                    "deflate" => Self::Deflate,
                    _ => return Err(refused(&format!("“{}”", name.chars().take(40).collect::<String>()))),
                };
                if found != Self::Identity {
                    return Err(refused("one encoding within another"));
                }
                found = encoding;
            }
        }
        Ok(found)
    }
}

/// Where the plain bytes gather.
struct Plain {
    bytes: Vec<u8>,
    taken: u64,
    bytes_max: usize,
    host: String,
}

impl Plain {
    fn stop(error: Error) -> io::Error {
        io::Error::other(error)
    }
}

impl Write for Plain {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let length = self.bytes.len() + piece.len();
        if length > self.bytes_max {
            return Err(Self::stop(Error::LimitExceeded(format!(
                "the answer is larger than {} bytes",
                self.bytes_max
            ))));
        }
        let length = length as u64;
        if length > RATIO_FLOOR_BYTES && length > self.taken.saturating_mul(RATIO_MAX) {
            let text = format!(
                "{} sent a body that grows more than {RATIO_MAX} times when it is unpacked",
                self.host
            );
            return Err(Self::stop(Error::LimitExceeded(text)));
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Unpacking {
    Identity(Plain),
    Gzip(Box<MultiGzDecoder<Plain>>),
    /// Its first bytes say which of two forms it has.
    Deflate(Plain, Vec<u8>),
    Zlib(Box<ZlibDecoder<Plain>>),
    Raw(Box<DeflateDecoder<Plain>>),
}

/// A body on its way in.
pub(super) struct Body {
    state: Option<Unpacking>,
    host: String,
}

impl Body {
    pub(super) fn new(encoding: Encoding, host: &str, bytes_max: usize) -> Self {
        let plain = Plain {
            bytes: Vec::new(),
            taken: 0,
            bytes_max,
            host: host.to_owned(),
        };
        let state = match encoding {
            Encoding::Identity => Unpacking::Identity(plain),
            Encoding::Gzip => Unpacking::Gzip(Box::new(MultiGzDecoder::new(plain))),
            Encoding::Deflate => Unpacking::Deflate(plain, Vec::new()),
        };
        Self {
            state: Some(state),
            host: host.to_owned(),
        }
    }

    /// Takes the next bytes as they came.
    ///
    /// # Errors
    /// They are too many, become too many, or are not what they say they are.
    pub(super) fn take(&mut self, chunk: &[u8]) -> Result<(), Error> {
        let Some(state) = self.state.take() else { return Ok(()) };
        let length = chunk.len() as u64;
        let state = match state {
            Unpacking::Identity(mut plain) => {
                plain.taken += length;
                self.wrote(plain.write_all(chunk))?;
                Unpacking::Identity(plain)
            }
            Unpacking::Gzip(mut decoder) => {
                decoder.get_mut().taken += length;
                self.wrote(decoder.write_all(chunk))?;
                Unpacking::Gzip(decoder)
            }
            Unpacking::Zlib(mut decoder) => {
                decoder.get_mut().taken += length;
                self.wrote(decoder.write_all(chunk))?;
                Unpacking::Zlib(decoder)
            }
            Unpacking::Raw(mut decoder) => {
                decoder.get_mut().taken += length;
                self.wrote(decoder.write_all(chunk))?;
                Unpacking::Raw(decoder)
            }
            Unpacking::Deflate(plain, mut first) => {
                first.extend_from_slice(chunk);
                let [method, flags, ..] = *first.as_slice() else {
                    self.state = Some(Unpacking::Deflate(plain, first));
                    return Ok(());
                };
                let is_zlib = method & 0x0f == 8 && u16::from_be_bytes([method, flags]).is_multiple_of(31);
                self.state = Some(if is_zlib {
                    Unpacking::Zlib(Box::new(ZlibDecoder::new(plain)))
                } else {
                    Unpacking::Raw(Box::new(DeflateDecoder::new(plain)))
                });
                return self.take(&first);
            }
        };
        self.state = Some(state);
        Ok(())
    }

    /// The whole body.
    ///
    /// # Errors
    /// It ended before its end.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, Error> {
        let ended = match self.state.take() {
            Some(Unpacking::Identity(plain)) => Ok(plain),
            // Nothing was sent, as in an answer to HEAD.
            Some(Unpacking::Gzip(decoder)) if decoder.get_ref().taken == 0 => return Ok(Vec::new()),
            Some(Unpacking::Gzip(decoder)) => decoder.finish(),
            Some(Unpacking::Zlib(decoder)) => decoder.finish(),
            Some(Unpacking::Raw(decoder)) => decoder.finish(),
            Some(Unpacking::Deflate(_, first)) if first.is_empty() => return Ok(Vec::new()),
            Some(Unpacking::Deflate(..)) | None => Err(io::ErrorKind::UnexpectedEof.into()),
        };
        match ended {
            Ok(plain) => Ok(plain.bytes),
            Err(error) => Err(self.why(error)),
        }
    }

    fn wrote(&self, result: io::Result<()>) -> Result<(), Error> {
        result.map_err(|error| self.why(error))
    }

    fn why(&self, error: io::Error) -> Error {
        match error.downcast::<Error>() {
            Ok(ours) => ours,
            Err(_) => Error::Unavailable(format!("{} sent a compressed body that cannot be unpacked", self.host)),
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use reqwest::header::HeaderValue;

    use super::*;

    const CAP: usize = 4 * 1024 * 1024;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Unpacks in pieces of this size.
    fn unpack(encoding: Encoding, bytes: &[u8], piece: usize, cap: usize) -> Result<Vec<u8>, Error> {
        let mut body = Body::new(encoding, "a.example", cap);
        for chunk in bytes.chunks(piece) {
            body.take(chunk)?;
        }
        body.finish()
    }

    #[test]
    fn every_form_is_unpacked_in_pieces_of_any_size() {
        let text = "the same again and ".repeat(500);
        let text = text.as_bytes();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(text).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(text).unwrap();
        let (zlib, raw) = (zlib.finish().unwrap(), raw.finish().unwrap());
        let two = [gzip(text), gzip(b"!")].concat();
        for piece in [1, 7, 4096] {
            assert_eq!(unpack(Encoding::Gzip, &gzip(text), piece, CAP).unwrap(), text);
            assert_eq!(unpack(Encoding::Gzip, &two, piece, CAP).unwrap(), [text, b"!"].concat());
            assert_eq!(unpack(Encoding::Deflate, &zlib, piece, CAP).unwrap(), text);
            assert_eq!(unpack(Encoding::Deflate, &raw, piece, CAP).unwrap(), text);
            assert_eq!(unpack(Encoding::Identity, text, piece, CAP).unwrap(), text);
        }
        for encoding in [Encoding::Gzip, Encoding::Deflate, Encoding::Identity] {
            assert_eq!(unpack(encoding, b"", 1, CAP).unwrap(), b"");
        }
    }

    #[test]
    fn a_bomb_is_stopped_while_it_unpacks() {
        let bomb = gzip(&vec![0; 3 * 1024 * 1024]);
        assert!(bomb.len() < 16 * 1024);
        let Err(Error::LimitExceeded(why)) = unpack(Encoding::Gzip, &bomb, 1024, CAP) else {
            panic!("it is a bomb")
        };
        assert!(why.contains("100 times"), "{why}");
        let small = gzip(&vec![0; 200 * 1024]);
        assert_eq!(
            unpack(Encoding::Gzip, &small, 1024, CAP).unwrap().len(),
            200 * 1024,
            "a small one does no harm"
        );
        let Err(Error::LimitExceeded(why)) = unpack(Encoding::Gzip, &small, 1024, 100 * 1024) else {
            panic!("it is too large")
        };
        assert!(why.contains("larger"), "{why}");
        assert!(matches!(unpack(Encoding::Identity, &[0; 11], 3, 10), Err(Error::LimitExceeded(_))));
    }

    #[test]
    fn what_is_broken_is_not_half_an_answer() {
        let whole = gzip(b"some text that is long enough");
        let mut flipped = whole.clone();
        let end = flipped.len() - 6;
        flipped[end] ^= 0xff;
        for broken in [
            &whole[..whole.len() - 3],
            &flipped,
            b"no gzip at all",
            &[&whole[..], b"and more"].concat(),
        ] {
            assert!(
                matches!(unpack(Encoding::Gzip, broken, 5, CAP), Err(Error::Unavailable(_))),
                "{broken:?}"
            );
        }
        assert!(unpack(Encoding::Deflate, b"x", 1, CAP).is_err());
    }

    #[test]
    fn only_one_known_encoding_is_taken() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            Encoding::of(&headers, "a.example")
        };
        assert_eq!(of(&[]), Ok(Encoding::Identity));
        assert_eq!(of(&["identity"]), Ok(Encoding::Identity));
        assert_eq!(of(&["GZIP"]), Ok(Encoding::Gzip));
        assert_eq!(of(&["deflate"]), Ok(Encoding::Deflate));
        for refused in [
            &["br"][..],
            &["zstd"],
            &["gzip, gzip"],
            &["gzip", "deflate"],
            &["gzip;q=1"],
            &["compress"],
        ] {
            assert!(matches!(of(refused), Err(Error::Unavailable(_))), "{refused:?}");
        }
    }
}
