//! Two JSON texts line by line: what is alike at both ends, and between them what was and what is.

use crate::web::pages::view::pretty;

/// Lines that are alike shown around the change.
const AROUND: usize = 2;

/// One line of a difference.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DiffLine {
    /// `+`, `-` or a space.
    pub sign: char,
    pub text: String,
}

/// The lines that changed, with a few around them.
pub(super) fn lines(was: &str, now: &str) -> Vec<DiffLine> {
    let (was, now) = (pretty(was), pretty(now));
    let (was, now): (Vec<&str>, Vec<&str>) = (was.lines().collect(), now.lines().collect());
    let head = was.iter().zip(&now).take_while(|(was, now)| was == now).count();
    let rest = was.len().min(now.len()) - head;
    let tail = was
        .iter()
        .rev()
        .zip(now.iter().rev())
        .take(rest)
        .take_while(|(was, now)| was == now)
        .count();
    let line = |sign: char| {
        move |text: &&str| DiffLine {
            sign,
            text: (*text).to_owned(),
        }
    };
    let before = was.iter().take(head).skip(head.saturating_sub(AROUND)).map(line(' '));
    let gone = was.iter().take(was.len() - tail).skip(head).map(line('-'));
    let new = now.iter().take(now.len() - tail).skip(head).map(line('+'));
    let after = was.iter().skip(was.len() - tail).take(AROUND).map(line(' '));
    before.chain(gone).chain(new).chain(after).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_told_apart() {
        let shown: Vec<String> = lines(r#"{"a":1,"b":[1,2],"c":3}"#, r#"{"a":1,"b":[1,5],"c":3}"#)
            .into_iter()
            .map(|line| format!("{}{}", line.sign, line.text.trim()))
            .collect();
        assert_eq!(shown, [" \"b\": [", " 1,", "-2", "+5", " ],", " \"c\": 3"]);
    }

    #[test]
    fn texts_that_end_alike_share_no_line_twice() {
        for (was, now) in [("[1,1]", "[1,1,1]"), ("[1,1,1]", "[1]"), ("1", "1"), ("{}", "[]")] {
            let found = lines(was, now);
            let count = |sign: char| found.iter().filter(|line| line.sign != sign).count();
            assert!(
                count('+') <= pretty(was).lines().count() && count('-') <= pretty(now).lines().count(),
                "{was} {now}"
            );
        }
    }
}
