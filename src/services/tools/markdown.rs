//! `markdown_to_text`: what Markdown says, without its marks.

use std::fmt::Write as _;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

pub(super) fn to_text(markdown: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut out = String::with_capacity(markdown.len());
    let mut links: Vec<(String, usize)> = Vec::new();
    // Of each open list the next number, where it has any.
    let mut lists: Vec<Option<u64>> = Vec::new();
    for event in Parser::new_ext(markdown, options) {
        match event {
            Event::Text(text) | Event::Code(text) => out.push_str(&text),
            Event::SoftBreak | Event::HardBreak => out.push('\n'),
            Event::TaskListMarker(done) => out.push_str(if done { "[x] " } else { "[ ] " }),
            Event::Start(Tag::Link { dest_url, .. }) => links.push((dest_url.into_string(), out.len())),
            Event::End(TagEnd::Link) => {
                if let Some((address, began)) = links.pop()
                    && !address.is_empty()
                    && out.get(began..) != Some(address.as_str())
                {
                    _ = write!(out, " ({address})");
                }
            }
            Event::Start(Tag::List(first)) => {
                end_block(&mut out, if lists.is_empty() { "\n\n" } else { "\n" });
                lists.push(first);
            }
            Event::End(TagEnd::List(_)) => {
                lists.pop();
                end_block(&mut out, if lists.is_empty() { "\n\n" } else { "\n" });
            }
            Event::Start(Tag::Item) => {
                if !out.ends_with('\n') {
                    end_block(&mut out, "\n");
                }
                out.push_str(&"  ".repeat(lists.len().saturating_sub(1).min(8)));
                match lists.last_mut() {
                    Some(Some(number)) => {
                        _ = write!(out, "{number}. ");
                        *number = number.saturating_add(1);
                    }
                    _ => out.push_str("- "),
                }
            }
            Event::Start(Tag::Paragraph) if lists.is_empty() => end_block(&mut out, "\n\n"),
            Event::Rule | Event::Start(Tag::Heading { .. } | Tag::CodeBlock(_) | Tag::BlockQuote(_) | Tag::Table(_)) => {
                end_block(&mut out, "\n\n");
            }
            Event::End(TagEnd::Heading(_) | TagEnd::CodeBlock | TagEnd::BlockQuote(_) | TagEnd::Table | TagEnd::Paragraph) => {
                end_block(&mut out, if lists.is_empty() { "\n\n" } else { "\n" });
            }
            Event::End(TagEnd::TableHead | TagEnd::TableRow) => {
                let row = out.trim_end_matches(" | ").len();
                out.truncate(row);
                out.push('\n');
            }
            Event::End(TagEnd::TableCell) => out.push_str(" | "),
            _ => {}
        }
    }
    out.trim().to_owned()
}

/// Ends what stands there with exactly this.
fn end_block(out: &mut String, end: &str) {
    let kept = out.trim_end_matches('\n').len();
    out.truncate(kept);
    if !out.is_empty() {
        out.push_str(end);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn marks_go_and_words_stay() {
        let text = to_text(
            "# Title\n\nSome *words*, a [link](https://a.example) and `code`.\n\n1. one\n2. two\n   - deep\n\n> quoted\n\n```\nx = 1\n```\n",
        );
        assert_eq!(
            text,
            "Title\n\nSome words, a link (https://a.example) and code.\n\n1. one\n2. two\n  - deep\n\nquoted\n\nx = 1"
        );
        assert_eq!(to_text("| a | b |\n|---|---|\n| 1 | 2 |"), "a | b\n1 | 2");
        assert_eq!(to_text("<script>alert(1)</script>\n\ntext"), "text");
        assert_eq!(to_text("<https://a.example>"), "https://a.example");
        assert_eq!(to_text(""), "");
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in r"([a-z#*_\[\]()<>`|> \n-]){0,200}") {
            to_text(&text);
        }
    }
}
