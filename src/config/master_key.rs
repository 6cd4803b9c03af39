//! The key that seals secrets: from the environment, from systemd, or from a file that only its owner reads.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::secret::Secret;
use super::settings::Settings;
use super::{Error, keys};
use crate::domain::hex;

/// The key's name in the data directory.
pub const FILE: &str = "master.key";
/// The key's name among a systemd unit's credentials.
pub const CREDENTIAL: &str = "agentstation-master-key";
/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// A file that is longer holds something else.
const TEXT_BYTES_MAX: u64 = 1_024;
/// Read and written by nobody but the owner.
const MODE: u32 = 0o600;
const OTHERS: u32 = 0o077;

/// Where the key is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    Environment(Secret),
    /// A file that systemd provides; it alone decides who reads it.
    Credential(PathBuf),
    File(PathBuf),
}

impl KeySource {
    /// The first that is there: the variable, the unit's credential, the file.
    pub(super) fn find(variable: Option<&str>, credentials: Option<&str>, settings: &Settings) -> Self {
        if let Some(text) = variable {
            return Self::Environment(Secret::new(text));
        }
        let credential = credentials.map(|directory| Path::new(directory).join(CREDENTIAL));
        if let Some(path) = credential.filter(|path| path.exists()) {
            return Self::Credential(path);
        }
        let file = settings.security.master_key_file.clone();
        Self::File(file.unwrap_or_else(|| settings.data.join(FILE)))
    }

    /// Where the key comes from, for people.
    pub fn in_words(&self) -> String {
        match self {
            Self::Environment(_) => keys::ENV_MASTER_KEY.to_owned(),
            Self::Credential(path) | Self::File(path) => path.display().to_string(),
        }
    }

    /// The key; none where its file is not there.
    ///
    /// # Errors
    /// It is no key, or others can read its file.
    pub fn read(&self) -> Result<Option<[u8; KEY_BYTES]>, Error> {
        let text = match self {
            Self::Environment(text) => text.expose().to_owned(),
            Self::Credential(path) => match text_of(path, false)? {
                Some(text) => text,
                None => return Ok(None),
            },
            Self::File(path) => match text_of(path, true)? {
                Some(text) => text,
                None => return Ok(None),
            },
        };
        parse(text.trim()).map(Some).ok_or_else(|| {
            Error::Refused(format!(
                "{} holds no key: write {KEY_BYTES} bytes as base64 or hex",
                self.in_words()
            ))
        })
    }

    /// Puts a new key where the file belongs; nothing where the key does not come from a file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep(&self, key: &[u8; KEY_BYTES]) -> Result<(), Error> {
        match self {
            Self::File(path) => write(path, key),
            Self::Environment(_) | Self::Credential(_) => Ok(()),
        }
    }

    /// Where the key waits that is to take this one's place.
    pub fn pending(&self, data: &Path) -> PathBuf {
        self.beside(data, "new")
    }

    /// Where the key of this fingerprint is kept once another has taken its place.
    pub fn retired(&self, data: &Path, fingerprint: &str) -> PathBuf {
        self.beside(data, &format!("{fingerprint}.old"))
    }

    fn beside(&self, data: &Path, ending: &str) -> PathBuf {
        let file = match self {
            Self::File(path) => path.clone(),
            Self::Environment(_) | Self::Credential(_) => data.join(FILE),
        };
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{ending}"));
        file.with_file_name(name)
    }

    /// Puts a key into a file of its own, in place of what is there.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn put(path: &Path, key: &[u8; KEY_BYTES]) -> Result<(), Error> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(unwritable(path, &error)),
            _ => write(path, key),
        }
    }

    /// Keeps the key of this fingerprint under its own name, and puts the one that waits in its place. At every moment one of both is there.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn exchange(&self, data: &Path, fingerprint: &str) -> Result<(), Error> {
        let Self::File(path) = self else { return Ok(()) };
        let (pending, retired) = (self.pending(data), self.retired(data, fingerprint));
        if !pending.exists() {
            // It was exchanged before.
            return Ok(());
        }
        match std::fs::hard_link(path, &retired) {
            Err(error) if !matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => {
                return Err(unwritable(&retired, &error));
            }
            _ => {}
        }
        std::fs::rename(&pending, path).map_err(|error| unwritable(path, &error))?;
        sync_directory(path)
    }

    /// What the operator does once the key that waits in `pending` has taken this one's place; nothing where it lies in its file already.
    pub fn to_do_with(&self, pending: &Path) -> Option<String> {
        let from = pending.display();
        match self {
            Self::File(_) => None,
            Self::Environment(_) => Some(format!(
                "before the next start, set {} to what is in {from}, then delete that file",
                keys::ENV_MASTER_KEY
            )),
            Self::Credential(_) => Some(format!(
                "before the next start, have LoadCredential={CREDENTIAL} of the unit provide what is in {from}, then delete that file"
            )),
        }
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Error {
    Error::Refused(format!("the master key cannot be written to {}: {error}", path.display()))
}

fn write(path: &Path, key: &[u8; KEY_BYTES]) -> Result<(), Error> {
    let failed = |error: std::io::Error| unwritable(path, &error);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(path)
        .map_err(failed)?;
    let text = zeroize::Zeroizing::new(format!("{}\n", STANDARD.encode(key)));
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    sync_directory(path)
}

/// Makes a file's name as lasting as its text.
fn sync_directory(path: &Path) -> Result<(), Error> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let synced = std::fs::File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| unwritable(path, &error))
}

fn text_of(path: &Path, must_be_private: bool) -> Result<Option<String>, Error> {
    let unreadable = |source| Error::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mode = file.metadata().map_err(unreadable)?.mode();
    if must_be_private && mode & OTHERS != 0 {
        return Err(Error::Refused(format!(
            "others can read the master key: run chmod 600 {0}, and if somebody may have read it, make a new one",
            path.display()
        )));
    }
    let mut text = String::new();
    file.take(TEXT_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    Ok(Some(text))
}

fn parse(text: &str) -> Option<[u8; KEY_BYTES]> {
    if let Some(key) = hex::decode(text) {
        return Some(key);
    }
    [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE_NO_PAD]
        .iter()
        .find_map(|engine| engine.decode(text).ok()?.try_into().ok())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_hex_or_base64_of_32_bytes() {
        let key = [0xfb; KEY_BYTES];
        for text in [hex::encode(&key), STANDARD.encode(key), URL_SAFE_NO_PAD.encode(key)] {
            assert_eq!(parse(&text), Some(key), "{text}");
        }
        for text in ["", "short", &hex::encode(&[1; 31]), &STANDARD.encode([1; 33])] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_new_file_is_private_and_one_that_others_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let source = KeySource::File(path.clone());
        assert_eq!(source.read().unwrap(), None);
        source.keep(&[7; KEY_BYTES]).unwrap();
        assert_eq!(source.read().unwrap(), Some([7; KEY_BYTES]));
        assert_eq!(path.metadata().unwrap().mode() & 0o777, MODE);
        assert!(source.keep(&[8; KEY_BYTES]).is_err(), "a key is never overwritten");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let refused = source.read().unwrap_err().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
    }

    #[test]
    fn the_variable_comes_before_the_credential_before_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().to_str().unwrap();
        let mut settings = Settings::default();
        let find = |variable, settings: &Settings| KeySource::find(variable, Some(directory), settings);
        assert_eq!(find(None, &settings), KeySource::File(settings.data.join(FILE)));
        settings.security.master_key_file = Some(PathBuf::from("/elsewhere"));
        assert_eq!(find(None, &settings), KeySource::File(PathBuf::from("/elsewhere")));
        std::fs::write(folder.path().join(CREDENTIAL), hex::encode(&[1; KEY_BYTES])).unwrap();
        assert_eq!(find(None, &settings).read().unwrap(), Some([1; KEY_BYTES]));
        let given = find(Some("00"), &settings);
        assert!(given.read().unwrap_err().to_string().contains("AGENTSTATION_MASTER_KEY"));
        assert!(!format!("{given:?}").contains("00"));
    }
}
