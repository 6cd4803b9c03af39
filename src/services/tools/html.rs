//! `html_to_text`: the readable text of a page that others wrote. One pass over the bytes, so that no page costs more than its length.

/// Elements whose content is not for readers.
const HIDDEN: [&str; 9] = ["script", "style", "noscript", "template", "svg", "math", "iframe", "object", "head"];
/// Elements that stand on lines of their own, and those around which a line stays free.
const LINES: [&str; 21] = [
    "br",
    "hr",
    "tr",
    "li",
    "dt",
    "dd",
    "div",
    "option",
    "section",
    "article",
    "header",
    "footer",
    "main",
    "nav",
    "aside",
    "form",
    "fieldset",
    "address",
    "details",
    "summary",
    "figcaption",
];
const PARAGRAPHS: [&str; 14] = [
    "p",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "ul",
    "ol",
    "dl",
    "table",
    "blockquote",
    "pre",
    "figure",
];
const ENTITIES: [(&str, &str); 34] = [
    ("amp", "&"),
    ("lt", "<"),
    ("gt", ">"),
    ("quot", "\""),
    ("apos", "'"),
    ("nbsp", " "),
    ("ndash", "–"),
    ("mdash", "—"),
    ("hellip", "…"),
    ("lsquo", "‘"),
    ("rsquo", "’"),
    ("ldquo", "“"),
    ("rdquo", "”"),
    ("laquo", "«"),
    ("raquo", "»"),
    ("bull", "•"),
    ("middot", "·"),
    ("copy", "©"),
    ("reg", "®"),
    ("trade", "™"),
    ("euro", "€"),
    ("pound", "£"),
    ("deg", "°"),
    ("times", "×"),
    ("auml", "ä"),
    ("ouml", "ö"),
    ("uuml", "ü"),
    ("Auml", "Ä"),
    ("Ouml", "Ö"),
    ("Uuml", "Ü"),
    ("szlig", "ß"),
    ("eacute", "é"),
    ("egrave", "è"),
    ("shy", ""),
];
/// Characters of an entity's name or number.
const ENTITY_BYTES_MAX: usize = 10;
/// Links that can be open at once, as a page's own mistakes leave them open.
const LINKS_OPEN_MAX: usize = 16;

/// What stands between two pieces of text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    None,
    Space,
    Line,
    Paragraph,
}

struct Writer {
    out: String,
    gap: Gap,
    /// Depth of `pre`, in which spaces count.
    pre: usize,
    /// Of each open link its address, and where its text begins.
    links: Vec<(String, usize)>,
}

/// The text of a page.
pub(super) fn to_text(html: &str) -> String {
    let mut writer = Writer {
        out: String::with_capacity(html.len() / 2),
        gap: Gap::None,
        pre: 0,
        links: Vec::new(),
    };
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        let (text, tag) = rest.split_at(at);
        writer.text(text);
        rest = writer.markup(tag);
    }
    writer.text(rest);
    writer.out
}

impl Writer {
    /// Reads what begins with `<`, and returns what comes after it.
    fn markup<'a>(&mut self, tag: &'a str) -> &'a str {
        if let Some(comment) = tag.strip_prefix("<!--") {
            return comment.split_once("-->").map_or("", |(_, after)| after);
        }
        let body = tag.get(1..).unwrap_or_default();
        let closes = body.starts_with('/');
        let named = body.strip_prefix('/').unwrap_or(body);
        let is_tag = named.starts_with(|c: char| c.is_ascii_alphabetic());
        if !is_tag && !closes && !body.starts_with(['!', '?']) {
            self.text("<");
            return body;
        }
        let end = end_of_tag(named);
        let inside = named.get(..end).unwrap_or_default();
        let after = named.get(end + 1..).unwrap_or_default();
        let length = inside.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(inside.len());
        let name = inside.get(..length).unwrap_or_default().to_ascii_lowercase();
        if !is_tag {
            return after;
        }
        if !closes && HIDDEN.contains(&name.as_str()) && !inside.ends_with('/') {
            return behind(after, &name);
        }
        self.element(&name, inside, closes);
        after
    }

    fn element(&mut self, name: &str, inside: &str, closes: bool) {
        match name {
            "a" if closes => self.end_link(),
            "a" => {
                let address = attribute(inside, "href").filter(|address| address.starts_with("http://") || address.starts_with("https://"));
                if self.links.len() < LINKS_OPEN_MAX {
                    self.links.push((address.unwrap_or_default(), self.out.len()));
                }
            }
            "img" if !closes => {
                if let Some(alt) = attribute(inside, "alt").filter(|alt| !alt.trim().is_empty()) {
                    self.text(&alt);
                }
            }
            "td" | "th" if closes => self.widen(Gap::Space),
            "title" if closes => self.widen(Gap::Paragraph),
            _ => {
                if PARAGRAPHS.contains(&name) {
                    self.widen(Gap::Paragraph);
                } else if LINES.contains(&name) {
                    self.widen(Gap::Line);
                }
                if name == "pre" {
                    self.pre = if closes { self.pre.saturating_sub(1) } else { self.pre + 1 };
                }
                if name == "li" && !closes {
                    self.put("- ");
                }
            }
        }
    }

    fn end_link(&mut self) {
        let Some((address, began)) = self.links.pop() else { return };
        let shown = self.out.get(began..).unwrap_or_default().trim();
        if !address.is_empty() && !shown.is_empty() && shown != address {
            self.out.push_str(" (");
            self.out.push_str(&address);
            self.out.push(')');
        }
    }

    fn widen(&mut self, gap: Gap) {
        self.gap = self.gap.max(gap);
    }

    fn text(&mut self, text: &str) {
        let text = decoded(text);
        if self.pre > 0 {
            if !text.is_empty() {
                self.put(&text);
            }
            return;
        }
        if text.starts_with(char::is_whitespace) {
            self.widen(Gap::Space);
        }
        for word in text.split_whitespace() {
            self.put(word);
            self.gap = Gap::Space;
        }
        if !text.trim().is_empty() {
            self.gap = if text.ends_with(char::is_whitespace) {
                Gap::Space
            } else {
                Gap::None
            };
        }
    }

    fn put(&mut self, piece: &str) {
        if !self.out.is_empty() {
            self.out.push_str(match self.gap {
                Gap::None => "",
                Gap::Space => " ",
                Gap::Line => "\n",
                Gap::Paragraph => "\n\n",
            });
        }
        self.gap = Gap::None;
        self.out
            .extend(piece.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')));
    }
}

/// Where a tag ends: at the `>` that stands in no quotes.
fn end_of_tag(tag: &str) -> usize {
    let mut quote = None;
    for (at, byte) in tag.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return at,
            // Quotes count behind a `=` only; a stray one does not swallow the page.
            (None, b'"' | b'\'')
                if tag
                    .as_bytes()
                    .get(..at)
                    .is_some_and(|before| before.trim_ascii_end().ends_with(b"=")) =>
            {
                quote = Some(byte);
            }
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
    }
    // Quotes that are never closed end with the first `>`.
    tag.find('>').unwrap_or(tag.len())
}

/// What comes after the end of an element whose content is skipped.
fn behind<'a>(text: &'a str, name: &str) -> &'a str {
    let mut rest = text;
    while let Some(at) = rest.find("</") {
        let tail = rest.get(at + 2..).unwrap_or_default();
        let is_end = tail.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name))
            && !tail
                .get(name.len()..)
                .is_some_and(|more| more.starts_with(|c: char| c.is_ascii_alphanumeric()));
        if is_end {
            return tail.split_once('>').map_or("", |(_, after)| after);
        }
        rest = tail;
    }
    ""
}

/// The value of an attribute, its entities undone.
fn attribute(tag: &str, wanted: &str) -> Option<String> {
    let mut rest = tag;
    while let Some(at) = rest.find('=') {
        let name = rest.get(..at)?.trim_end();
        let value = rest.get(at + 1..)?.trim_start();
        let (value, after) = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value.get(1..)?.split_once(quote)?,
            _ => value.split_at(value.find(char::is_whitespace).unwrap_or(value.len())),
        };
        let name = name.rsplit(|c: char| c.is_whitespace() || c == '/').next()?;
        if name.eq_ignore_ascii_case(wanted) {
            return Some(decoded(value).trim().to_owned());
        }
        rest = after;
    }
    None
}

/// A text with its entities undone.
fn decoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let end = after.as_bytes().iter().take(ENTITY_BYTES_MAX).position(|&byte| byte == b';');
        let entity = end.and_then(|end| Some((end, entity(after.get(..end)?)?)));
        match entity {
            Some((end, entity)) => {
                out.push_str(&entity);
                rest = after.get(end + 1..).unwrap_or_default();
            }
            None => {
                out.push('&');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn entity(name: &str) -> Option<String> {
    let number = match name.strip_prefix('#') {
        Some(hex) if hex.starts_with(['x', 'X']) => u32::from_str_radix(hex.get(1..)?, 16).ok(),
        Some(decimal) => decimal.parse().ok(),
        None => {
            return ENTITIES
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, text)| (*text).to_owned());
        }
    };
    char::from_u32(number?).filter(|c| *c != '\0').map(String::from)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_page_reads_as_its_text() {
        let page = "<!doctype html><html><head><title>No</title><style>p{}</style></head><body>\
            <h1>Prices &amp; terms</h1>\n<p>One <b>bold</b>\n word,\n<a href=\"https://a.example/x?a=1&amp;b=2\">a link</a>.</p>\
            <ul><li>first<li>second</ul><pre>  kept\n  so</pre><script>if (a < b) { alert('</p>') }</script>end<br>here</body></html>";
        assert_eq!(
            to_text(page),
            "Prices & terms\n\nOne bold word, a link (https://a.example/x?a=1&b=2).\n\n- first\n- second\n\n  kept\n  so\n\nend\nhere"
        );
    }

    #[test]
    fn what_is_no_markup_stays_and_what_is_broken_ends() {
        for (html, text) in [
            ("a < b && c > d", "a < b && c > d"),
            ("&#65;&#x42;&unknown;&amp", "AB&unknown;&amp"),
            ("<p title=\">\">x", "x"),
            ("<p title=\"never closed>x</p>", "x"),
            ("<script>never closed", ""),
            ("<!-- never closed", ""),
            ("a<!-- b -->c", "ac"),
            ("<SCRIPT>x</ScRiPt >y", "y"),
            ("<scripty>x</scripty>", "x"),
            ("<img src=x alt='A cat'> b", "A cat b"),
            ("<a href='javascript:x'>go</a>", "go"),
            ("<", "<"),
            ("<>", "<>"),
            ("</", ""),
            ("x\u{1b}[2Jy", "x[2Jy"),
            ("&#0;&#xd800;", "&#0;&#xd800;"),
        ] {
            assert_eq!(to_text(html), text, "{html}");
        }
    }

    #[test]
    fn no_page_costs_more_than_its_length() {
        let began = Instant::now();
        for piece in [
            "<",
            "<a href=\"",
            "<script>",
            "<!--",
            "&",
            "<p title='",
            "</script",
            "<a href=https://a.example>x",
            "<pre>",
        ] {
            to_text(&piece.repeat(256 * 1024 / piece.len()));
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in r#"([a-z<>/!&;#="' \n-]|<script>|</script>|<a href=|é){0,80}"#) {
            to_text(&text);
        }
    }
}
