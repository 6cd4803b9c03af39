//! Markdown of users and agents as safe HTML: no raw HTML, no images, links only to the web, and marked as foreign.

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

/// Bytes of Markdown that are rendered.
const BYTES_MAX: usize = 256 * 1024;

/// `text` as HTML that may stand in a page of ours.
pub fn to_html(text: &str) -> String {
    let end = text.floor_char_boundary(BYTES_MAX);
    let text = text.get(..end).unwrap_or_default();
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut links = Vec::new();
    let events = Parser::new_ext(text, options).filter_map(|event| tame(event, &mut links));
    let mut out = String::with_capacity(text.len() * 3 / 2);
    html::push_html(&mut out, events);
    out
}

/// Lets through what cannot harm; `links` remembers which open link was kept.
fn tame<'a>(event: Event<'a>, links: &mut Vec<bool>) -> Option<Event<'a>> {
    match event {
        Event::Html(text) | Event::InlineHtml(text) => Some(Event::Text(text)),
        Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => None,
        Event::Start(Tag::Link { dest_url, .. }) => {
            let kept = is_web_address(&dest_url);
            links.push(kept);
            kept.then(|| Event::Html(opening(&dest_url)))
        }
        Event::End(TagEnd::Link) => links.pop().unwrap_or(false).then_some(Event::Html(CowStr::Borrowed("</a>"))),
        // A title inside a readme starts below the page's own.
        Event::Start(Tag::Heading { level, classes, attrs, id }) => Some(Event::Start(Tag::Heading {
            level: below(level),
            classes,
            attrs,
            id,
        })),
        Event::End(TagEnd::Heading(level)) => Some(Event::End(TagEnd::Heading(below(level)))),
        other => Some(other),
    }
}

const fn below(level: pulldown_cmark::HeadingLevel) -> pulldown_cmark::HeadingLevel {
    use pulldown_cmark::HeadingLevel as L;
    match level {
        L::H1 => L::H2,
        L::H2 => L::H3,
        L::H3 => L::H4,
        L::H4 => L::H5,
        L::H5 | L::H6 => L::H6,
    }
}

fn is_web_address(address: &str) -> bool {
    url::Url::parse(address).is_ok_and(|url| matches!(url.scheme(), "http" | "https" | "mailto"))
}

fn opening(address: &str) -> CowStr<'static> {
    let mut tag = "<a href=\"".to_owned();
    for c in address.chars() {
        match c {
            '&' => tag.push_str("&amp;"),
            '"' => tag.push_str("&quot;"),
            '\'' => tag.push_str("&#39;"),
            '<' => tag.push_str("&lt;"),
            '>' => tag.push_str("&gt;"),
            c => tag.push(c),
        }
    }
    tag.push_str("\" rel=\"noopener noreferrer nofollow\">");
    CowStr::from(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_markdown_is_rendered_below_the_pages_title() {
        let html = to_html("# Title\n\nSome *text* and `code`.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n");
        assert!(html.contains("<h2>Title</h2>"), "{html}");
        assert!(html.contains("<em>text</em>") && html.contains("<td>1</td>"), "{html}");
    }

    #[test]
    fn nothing_in_it_can_act_or_load() {
        let html = to_html(
            "<script>alert(1)</script>\n\n<b onclick=x>b</b> ![pixel](https://evil.example/p.png) \
             [js](javascript:alert(1)) [data](data:text/html,x) [rel](/sign-out) <javascript:alert(1)>",
        );
        assert!(
            !html.contains("<script") && !html.contains("<b ") && !html.contains("<img"),
            "{html}"
        );
        assert!(!html.contains("href"), "{html}");
        assert!(html.contains("pixel") && html.contains("js"), "{html}");
    }

    #[test]
    fn links_to_the_web_stay_and_cannot_leave_their_attribute() {
        let html = to_html("[x](https://example.com/?a=1&b=%22)  [y](<https://example.com/\"onmouseover=\"a>)");
        assert!(html.contains("href=\"https://example.com/?a=1&amp;b=%22\" rel="), "{html}");
        assert!(html.contains("&quot;onmouseover=&quot;"), "{html}");
    }
}
