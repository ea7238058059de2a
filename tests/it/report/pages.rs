//! The page in a browser.

use serde_json::json;

use super::{artefacts, drawn, made, opened, project};

#[test]
fn every_chart_is_drawn_and_the_page_fetches_nothing() {
    let project = project("report_drawn");
    project.run(&[]);
    made(&project);
    let mut browser = opened(&project);
    assert_eq!(browser.complaints(), Vec::<String>::new());
    assert_eq!(browser.requests().len(), 1);
    for (scheme, widths) in [("light", &[390, 820, 1440][..]), ("dark", &[390, 1440])] {
        browser.media("screen", scheme);
        for width in widths {
            browser.width(*width);
            browser.open(&super::address(&project));
            drawn(&mut browser);
            assert_eq!(browser.complaints(), Vec::<String>::new());
            let empty = browser.eval(
                "[...document.querySelectorAll('figure.chart')].filter((figure) => figure.dataset.drawn === 'yes' \
                 && figure.querySelectorAll('.drawing svg path').length < 3).map((figure) => figure.id)",
            );
            assert_eq!(empty, json!([]), "{scheme} {width}");
            // Nothing makes the page wider than its window.
            let wide = browser.eval("document.documentElement.scrollWidth - document.documentElement.clientWidth");
            assert_eq!(wide, json!(0), "{scheme} {width}");
            let file = artefacts().join(format!("page-{scheme}-{width}.png"));
            browser.screenshot(&file, 12_000.0);
        }
    }
}
