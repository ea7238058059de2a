//! `NN-name.md`: text. Its headings are the page's sections. HTML in it is shown as it is written. No I/O.

use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

use super::html::{slug, unique};
use super::problems::Problems;

/// Schemes of links that a reader may follow. A link without one leads into the page, or to a file beside it.
const SCHEMES: [&str; 3] = ["https", "http", "mailto"];

/// A text, ready for the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    /// As HTML.
    pub(crate) html: String,
    /// Its headings.
    pub(crate) headings: Vec<Heading>,
}

/// A heading of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heading {
    /// Its level on the page: 2 is the highest, as 1 is the page's title.
    pub(crate) level: usize,
    /// The element's name.
    pub(crate) id: String,
    /// Its text.
    pub(crate) text: String,
}

/// The text of a file; `ids` are the names that elements of the page have.
pub(crate) fn parse(
    file: &str,
    text: &str,
    ids: &mut Vec<String>,
    problems: &mut Problems,
) -> Text {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut events: Vec<Event<'_>> = Vec::new();
    let mut headings: Vec<Heading> = Vec::new();
    // Where the heading that is being read began among the events.
    let mut open: Option<usize> = None;
    for (event, place) in Parser::new_ext(text, options).into_offset_iter() {
        let line = || {
            Some(
                text.get(..place.start)
                    .map_or(1, |before| before.matches('\n').count() + 1),
            )
        };
        match event {
            Event::Html(html) | Event::InlineHtml(html) => events.push(Event::Text(html)),
            Event::Start(Tag::HtmlBlock) => events.push(Event::Start(Tag::Paragraph)),
            Event::End(TagEnd::HtmlBlock) => events.push(Event::End(TagEnd::Paragraph)),
            Event::Start(Tag::Image { .. }) => {
                let what = "it has an image, and the page fetches nothing";
                let remedy = "leave the image out, or draw a chart (NN-name.vl.json)";
                problems.add(file, line(), what, remedy);
            }
            Event::End(TagEnd::Image) => {}
            Event::Start(Tag::Link { ref dest_url, .. }) => {
                if !may_be_followed(dest_url) {
                    let what = "it has a link that is neither to a page nor to an address";
                    let remedy = "links begin with https://, http:// or mailto:, or with # and a heading's name";
                    problems.add(file, line(), what, remedy);
                }
                events.push(event);
            }
            Event::Start(Tag::Heading { level, .. }) => {
                open = Some(events.len());
                events.push(Event::Start(heading_tag(level, None)));
            }
            Event::End(TagEnd::Heading(level)) => {
                if let Some(start) = open.take() {
                    let text = plain(events.get(start..).unwrap_or_default());
                    let id = unique(&slug(&text), ids);
                    if let Some(event) = events.get_mut(start) {
                        *event = Event::Start(heading_tag(level, Some(id.clone())));
                    }
                    let level = lowered(level) as usize;
                    headings.push(Heading { level, id, text });
                }
                events.push(Event::End(TagEnd::Heading(lowered(level))));
            }
            event => events.push(event),
        }
    }
    let mut html = String::new();
    html::push_html(&mut html, events.into_iter());
    Text {
        // A table that is wider than a telephone scrolls by itself.
        html: html
            .replace("<table>", "<div class=\"scroll\" tabindex=\"0\"><table>")
            .replace("</table>", "</table></div>"),
        headings,
    }
}

fn heading_tag<'a>(level: HeadingLevel, id: Option<String>) -> Tag<'a> {
    Tag::Heading {
        level: lowered(level),
        id: id.map(CowStr::from),
        classes: Vec::new(),
        attrs: Vec::new(),
    }
}

/// One level below the page's title.
fn lowered(level: HeadingLevel) -> HeadingLevel {
    match level {
        HeadingLevel::H1 => HeadingLevel::H2,
        HeadingLevel::H2 => HeadingLevel::H3,
        HeadingLevel::H3 => HeadingLevel::H4,
        HeadingLevel::H4 => HeadingLevel::H5,
        HeadingLevel::H5 | HeadingLevel::H6 => HeadingLevel::H6,
    }
}

fn plain(events: &[Event<'_>]) -> String {
    let texts = events.iter().filter_map(|event| match event {
        Event::Text(text) | Event::Code(text) => Some(text.as_ref()),
        Event::SoftBreak | Event::HardBreak => Some(" "),
        _ => None,
    });
    texts.collect()
}

/// Whether a link leads where a reader may be led: never to a script.
fn may_be_followed(link: &str) -> bool {
    let scheme = link
        .split_once(':')
        .map(|(scheme, _)| scheme)
        .filter(|scheme| !scheme.contains(['/', '#', '?']));
    scheme.is_none_or(|scheme| SCHEMES.contains(&scheme.to_ascii_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(markdown: &str) -> Text {
        let mut problems = Problems::default();
        let text = parse("10-t.md", markdown, &mut Vec::new(), &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        text
    }

    #[test]
    fn headings_are_sections_below_the_title() {
        let text = text("# Qué *se* vende\n\n## Por `curso`\n\nSí.\n\n# Qué se vende\n");
        let told: Vec<(usize, &str, &str)> = text
            .headings
            .iter()
            .map(|heading| (heading.level, heading.id.as_str(), heading.text.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (2, "qué-se-vende", "Qué se vende"),
                (3, "por-curso", "Por curso"),
                (2, "qué-se-vende-2", "Qué se vende"),
            ]
        );
        assert!(text.html.starts_with("<h2 id=\"qu"), "{}", text.html);
    }

    #[test]
    fn html_is_shown_and_not_obeyed() {
        for markdown in [
            "<script>alert(1)</script>",
            "a <img src=x onerror=alert(1)> b",
            "<div\nonclick='x'>\n\nb\n</div>",
            "# <b>x</b>",
            "```\n<script>\n```",
            "[<script>](https://example.com)",
            "[a](https://example.com/\"onmouseover=\"x)",
        ] {
            let html = text(markdown).html;
            for word in ["<script", "<img", "<div\n", "<b>", "\"onmouse"] {
                assert!(!html.contains(word), "{markdown}: {html}");
            }
        }
    }

    #[test]
    fn what_would_be_fetched_or_run_is_refused() {
        let mut problems = Problems::default();
        let markdown = "a\n\n![b](c.png)\n\n[d](javascript:alert(1)) [e](JaVaScRiPt:x) [f](data:text/html,x) [g](#h) [i](j:k/l)";
        parse("10-t.md", markdown, &mut Vec::new(), &mut problems);
        let report = problems.finish(()).unwrap_err().report();
        assert!(report.contains("10-t.md:3: it has an image"), "{report}");
        assert_eq!(
            report.matches("10-t.md:5: it has a link").count(),
            4,
            "{report}"
        );
    }
}
