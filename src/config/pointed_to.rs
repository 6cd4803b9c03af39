//! Where secrets may be kept outside the database: in variables that begin with `AGENTSTATION_SECRET_`, and in files of one directory.
//! Neither is ever stored.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use super::secret::Secret;
use super::settings::Settings;
use crate::domain::secret::{ENV_SECRET_PREFIX, SECRET_BYTES_MAX};

/// The variables and directories that secrets may point to.
#[derive(Clone, Debug, Default)]
pub struct PointedTo {
    variables: BTreeMap<String, Secret>,
    /// `security.secrets_dir`, and what systemd provides.
    directories: Vec<PathBuf>,
}

impl PointedTo {
    pub(super) fn find(environment: &[(String, String)], credentials: Option<&str>, settings: &Settings) -> Self {
        let named = environment.iter().filter(|(name, _)| name.starts_with(ENV_SECRET_PREFIX));
        let directories = settings.security.secrets_dir.iter().cloned();
        Self {
            variables: named.map(|(name, value)| (name.clone(), Secret::new(value))).collect(),
            directories: directories.chain(credentials.map(PathBuf::from)).collect(),
        }
    }

    /// What is wrong with the name of a variable that a secret is to point to.
    pub fn check_variable(name: &str) -> Result<(), String> {
        let rest = name.strip_prefix(ENV_SECRET_PREFIX).unwrap_or_default();
        let fits = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        if rest.is_empty() || name.len() > 128 || !rest.bytes().all(fits) {
            return Err(format!(
                "name a variable such as {ENV_SECRET_PREFIX}TOKEN: it must begin with {ENV_SECRET_PREFIX}"
            ));
        }
        Ok(())
    }

    /// What is wrong with the name of a file that a secret is to point to.
    pub fn check_file(&self, name: &str) -> Result<(), String> {
        if self.directories.is_empty() {
            return Err("set security.secrets_dir in the settings first: secrets may point to files in there only".to_owned());
        }
        let path = Path::new(name);
        let is_inside = path.components().all(|part| matches!(part, Component::Normal(_)));
        if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) || !is_inside {
            return Err("name a file in security.secrets_dir, such as payments/token".to_owned());
        }
        Ok(())
    }

    /// A variable's value, as it was when the station started.
    ///
    /// # Errors
    /// It is not set; the text has no value in it.
    pub fn variable(&self, name: &str) -> Result<Secret, String> {
        Self::check_variable(name)?;
        let value = self.variables.get(name).filter(|value| !value.expose().is_empty());
        value
            .cloned()
            .ok_or_else(|| format!("the variable {name} is not set where the station runs"))
    }

    /// A file's text as it is now, without the line break at its end.
    ///
    /// # Errors
    /// It is not in one of the directories, or no text of the right size; the text has nothing of it.
    pub fn file(&self, name: &str) -> Result<Secret, String> {
        self.check_file(name)?;
        let inside = |directory: &PathBuf| {
            let directory = directory.canonicalize().ok()?;
            // Links are followed, and may not lead out.
            let path = directory.join(name).canonicalize().ok()?;
            (path.starts_with(&directory) && path.is_file()).then_some(path)
        };
        let path = self.directories.iter().find_map(inside);
        let path = path.ok_or_else(|| format!("there is no file {name} in security.secrets_dir"))?;
        let unreadable = |_| format!("the file {name} in security.secrets_dir cannot be read as text");
        let mut text = zeroize::Zeroizing::new(String::new());
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(SECRET_BYTES_MAX as u64 + 2)
            .read_to_string(&mut text)
            .map_err(unreadable)?;
        let value = text
            .strip_suffix('\n')
            .map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        if value.is_empty() || value.len() > SECRET_BYTES_MAX {
            return Err(format!("the file {name} is empty, or larger than {SECRET_BYTES_MAX} bytes"));
        }
        Ok(Secret::new(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_point_to_their_own_variables_and_files_only() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("secrets");
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(inside.join("token"), "from-a-file\n").unwrap();
        std::fs::write(folder.path().join("outside"), "not for agents").unwrap();
        std::os::unix::fs::symlink("../outside", inside.join("link")).unwrap();
        let mut settings = Settings::default();
        settings.security.secrets_dir = Some(inside.clone());
        let environment = [
            ("AGENTSTATION_SECRET_TOKEN".to_owned(), "from-a-variable".to_owned()),
            ("AGENTSTATION_MASTER_KEY".to_owned(), "the-master-key".to_owned()),
        ];
        let places = PointedTo::find(&environment, None, &settings);
        assert_eq!(places.variable("AGENTSTATION_SECRET_TOKEN").unwrap().expose(), "from-a-variable");
        assert_eq!(places.file("token").unwrap().expose(), "from-a-file");
        for name in [
            "AGENTSTATION_MASTER_KEY",
            "AGENTSTATION_SECRET_",
            "AGENTSTATION_SECRET_OTHER",
            "PATH",
        ] {
            assert!(places.variable(name).is_err(), "{name}");
        }
        let absolute = inside.join("token");
        for name in ["", "missing", "../outside", "link", "./../outside", absolute.to_str().unwrap()] {
            assert!(places.file(name).is_err(), "{name}");
        }
        let none = PointedTo::find(&[], None, &Settings::default());
        assert!(none.file("token").unwrap_err().contains("secrets_dir"));
        assert!(!format!("{places:?}").contains("from-a"));
    }
}
