//! `{{secret:NAME}}`: where in a request the station is to put a secret. An agent writes the name and never sees the secret.

use super::limits::NAME_BYTES_MAX;

const OPEN: &str = "{{secret:";
const CLOSE: &str = "}}";

/// A piece of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    Text(&'a str),
    /// The secret of this name stands here.
    Secret(&'a str),
}

/// A text in its parts. What only looks like a placeholder, such as one that is not closed or whose name is none, stays text.
pub fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    // `plain` begins where the last placeholder ended, `rest` where the next is looked for.
    let (mut plain, mut rest) = (text, text);
    while let Some((_, after)) = rest.split_once(OPEN) {
        let Some(name) = name_at(after) else {
            rest = after;
            continue;
        };
        let before = plain.len() - after.len() - OPEN.len();
        if let Some(before) = plain.get(..before).filter(|before| !before.is_empty()) {
            parts.push(Part::Text(before));
        }
        parts.push(Part::Secret(name));
        rest = after.get(name.len() + CLOSE.len()..).unwrap_or_default();
        plain = rest;
    }
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    parts
}

/// The name that stands here up to the end of the placeholder.
fn name_at(text: &str) -> Option<&str> {
    let (name, _) = text.split_once(CLOSE)?;
    is_secret_name(name).then_some(name)
}

/// Whether `text` can name a secret: 1 to 64 of letters, digits, `-`, `_` and `.`.
pub fn is_secret_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// The secrets that a text names, in order, each as often as it stands there.
pub fn secrets(text: &str) -> impl Iterator<Item = &str> {
    parts(text).into_iter().filter_map(|part| match part {
        Part::Secret(name) => Some(name),
        Part::Text(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_placeholder_is_told_from_what_only_looks_like_one() {
        assert_eq!(
            parts("Bearer {{secret:token}}!"),
            [Part::Text("Bearer "), Part::Secret("token"), Part::Text("!")]
        );
        assert_eq!(parts("{{secret:a}}{{secret:b}}"), [Part::Secret("a"), Part::Secret("b")]);
        for text in ["{{secret:}}", "{{secret:a b}}", "{{secret:a", "{{ secret:a }}", "{{SECRET:a}}", ""] {
            assert_eq!(secrets(text).count(), 0, "{text}");
        }
        assert_eq!(secrets("{{secret:{{secret:in}}}}").collect::<Vec<_>>(), ["in"]);
        assert_eq!(secrets(&format!("{{{{secret:{}}}}}", "x".repeat(NAME_BYTES_MAX + 1))).count(), 0);
    }

    fn written(parts: &[Part<'_>]) -> String {
        parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => (*text).to_owned(),
                Part::Secret(name) => format!("{OPEN}{name}{CLOSE}"),
            })
            .collect()
    }

    proptest! {
        #[test]
        fn the_parts_of_any_text_make_that_text_again(text in r"([a-z{}:. ]|\{\{secret:|\}\}|é){0,40}") {
            let parts = parts(&text);
            prop_assert_eq!(&written(&parts), &text);
            for part in parts {
                match part {
                    Part::Secret(name) => prop_assert!(is_secret_name(name)),
                    Part::Text(text) => prop_assert!(!text.is_empty() && secrets(text).count() == 0),
                }
            }
        }

        #[test]
        fn every_secret_that_is_written_is_found(names in proptest::collection::vec("[A-Za-z0-9_.-]{1,64}", 0..6), between in "[a-z {]{0,8}") {
            let text = names.iter().map(|name| format!("{between}{OPEN}{name}{CLOSE}")).collect::<Vec<_>>().concat();
            let found: Vec<String> = secrets(&text).map(str::to_owned).collect();
            prop_assert_eq!(found, names);
        }
    }
}
