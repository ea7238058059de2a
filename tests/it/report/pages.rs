//! The page in a browser.

use serde_json::json;

use super::chromium::Browser;
use super::{artefacts, drawn, made, opened, project};
use crate::support::Project;

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
            let wide = browser.eval(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth",
            );
            assert_eq!(wide, json!(0), "{scheme} {width}");
            let file = artefacts().join(format!("page-{scheme}-{width}.png"));
            browser.screenshot(&file, 12_000.0);
        }
    }
    std::fs::copy(project.path("informe.html"), artefacts().join("page.html")).unwrap();
}

/// The text of the first cells of a table's rows, or of the cells of one column.
fn cells(browser: &mut Browser, part: &str, column: usize) -> Vec<String> {
    let cells = browser.eval(&format!(
        "[...document.querySelectorAll('#\\\\3{} {} .data tbody tr')].map((row) => row.cells[{column}].textContent)",
        &part[..1],
        &part[1..]
    ));
    serde_json::from_value(cells).unwrap()
}

/// A number as Spanish writes it.
fn spanish(number: &str) -> f64 {
    number.replace('.', "").replace(',', ".").parse().unwrap()
}

/// What a chart's marks say of themselves to those who cannot see them.
fn marks(browser: &mut Browser, part: &str) -> Vec<String> {
    let marks = browser.eval(&format!(
        "[...document.querySelectorAll('[id=\"{part}\"] .drawing svg [aria-roledescription=\"bar\"]')] \
         .map((mark) => mark.getAttribute('aria-label'))"
    ));
    serde_json::from_value(marks).unwrap()
}

/// Chooses an option of a filter, as a person does.
fn choose(browser: &mut Browser, filter: &str, option: &str) {
    let before = browser.eval("Number(document.body.dataset.shown)");
    let chosen = browser.eval(&format!(
        "(() => {{ const control = document.getElementById('{filter}'); \
         control.value = {}; control.dispatchEvent(new Event('change', {{bubbles: true}})); return control.value; }})()",
        json!(option)
    ));
    assert_eq!(chosen, json!(option));
    browser.until(&format!("Number(document.body.dataset.shown) > {before}"));
}

#[test]
fn the_numbers_on_the_page_are_those_of_sql() {
    let project = project("report_numbers");
    project.run(&[]);
    made(&project);
    let mut browser = opened(&project);
    // The table shows what the query returns, in its order.
    let first = project.value(
        "SELECT cl.nombre FROM replica.ventas v JOIN replica.clientes cl ON cl.id = v.cliente_id WHERE v.estado <> 'cancelado' \
         GROUP BY 1 ORDER BY sum(v.precio_total) DESC, 1 LIMIT 1",
    );
    assert_eq!(
        cells(&mut browser, "70-clientes", 0).first(),
        first.as_ref()
    );
    browser.eval("document.querySelector('[id=\"70-clientes\"] button.whole').click()");
    let clients = project
        .value("SELECT count(DISTINCT cl.nombre) FROM replica.ventas v JOIN replica.clientes cl ON cl.id = v.cliente_id")
        .unwrap();
    let sums: Vec<f64> = cells(&mut browser, "70-clientes", 3)
        .iter()
        .map(|cell| spanish(cell))
        .collect();
    assert_eq!(sums.len().to_string(), clients);
    let total = project
        .value("SELECT sum(precio_total) FROM replica.ventas WHERE estado <> 'cancelado'")
        .unwrap();
    assert!(
        (sums.iter().sum::<f64>() - total.parse::<f64>().unwrap()).abs() < 0.005,
        "{total}"
    );
    let sales: f64 = cells(&mut browser, "70-clientes", 1)
        .iter()
        .map(|cell| spanish(cell))
        .sum();
    assert_eq!(
        Some(sales.to_string()),
        project.value("SELECT count(*) FROM replica.ventas")
    );
    // A chart's bars are as long as their sums.
    let marks = marks(&mut browser, "30-ingresos-curso");
    assert_eq!(marks.len(), 10);
    let top = project
        .value(
            "SELECT c.nombre || '|' || sum(v.precio_total) FROM replica.ventas v JOIN replica.cursos c ON c.id = v.curso_id \
             WHERE v.estado <> 'cancelado' GROUP BY c.nombre ORDER BY sum(v.precio_total) DESC LIMIT 1",
        )
        .unwrap();
    let (course, sum) = top.split_once('|').unwrap();
    let mark = marks.iter().find(|mark| mark.contains(course));
    let mark = mark.unwrap_or_else(|| panic!("{course} is not in {marks:?}"));
    let shown = mark.split(';').find(|pair| pair.contains('€')).unwrap();
    let shown = spanish(shown.split_once(": ").unwrap().1);
    assert!(
        (shown - sum.parse::<f64>().unwrap()).abs() < 0.005,
        "{mark}: {sum}"
    );
}

#[test]
fn a_filter_changes_what_has_its_column_and_the_others_say_so() {
    let project = project("report_filters");
    project.run(&[]);
    made(&project);
    let mut browser = opened(&project);
    let before = marks(&mut browser, "30-ingresos-curso");
    let course = project
        .value(
            "SELECT c.nombre FROM replica.ventas v JOIN replica.cursos c ON c.id = v.curso_id WHERE v.estado <> 'cancelado' \
             GROUP BY 1 ORDER BY sum(v.precio_total) DESC LIMIT 1",
        )
        .unwrap();
    choose(&mut browser, "filter-0", &format!("={course}"));
    let after = marks(&mut browser, "30-ingresos-curso");
    assert_eq!((before.len(), after.len()), (10, 1));
    assert!(after[0].contains(&course), "{after:?}");
    let note =
        browser.eval("document.querySelector('[id=\"70-clientes\"] .unfiltered').textContent");
    assert_eq!(note, json!("No se filtra por: Curso"));
    let hidden =
        browser.eval("document.querySelector('[id=\"30-ingresos-curso\"] .unfiltered').hidden");
    assert_eq!(hidden, json!(true));
    // What is chosen survives a reload.
    let address = browser.eval("location.href");
    browser.open(address.as_str().unwrap());
    drawn(&mut browser);
    assert_eq!(marks(&mut browser, "30-ingresos-curso").len(), 1);
    // The periods are those of the data; the other filter is taken back by the button.
    let reset = browser.eval("(() => { document.querySelector('button.reset').click(); return document.activeElement.id; })()");
    assert_eq!(reset, json!("filter-0"));
    browser.until("document.querySelectorAll('[id=\"30-ingresos-curso\"] svg [aria-roledescription=\"bar\"]').length === 10");
    let month = project
        .value("SELECT strftime(max(fecha_venta), '%Y-%m') FROM replica.ventas")
        .unwrap();
    choose(&mut browser, "filter-2-from", &month);
    let cells = browser.eval(
        "document.querySelectorAll('[id=\"40-estado\"] .drawing svg [aria-roledescription=\"rect mark\"]').length",
    );
    let states = project
        .value(&format!(
            "SELECT count(DISTINCT estado) FROM replica.ventas WHERE strftime(fecha_venta, '%Y-%m') = '{month}'"
        ))
        .unwrap();
    assert_eq!(cells.to_string(), states);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_table_is_sorted_by_the_keyboard() {
    let project = project("report_sort");
    project.run(&[]);
    made(&project);
    let mut browser = opened(&project);
    let sorted = |browser: &mut Browser| {
        browser.eval("[...document.querySelectorAll('[id=\"70-clientes\"] th')].map((th) => th.getAttribute('aria-sort'))")
    };
    let before = cells(&mut browser, "70-clientes", 1);
    browser.eval(
        "document.querySelector('[id=\"70-clientes\"] th button[data-column=\"1\"]').focus()",
    );
    browser.press("Enter", 13);
    assert_eq!(
        sorted(&mut browser),
        json!(["none", "descending", "none", "none", "none"])
    );
    let descending: Vec<f64> = cells(&mut browser, "70-clientes", 1)
        .iter()
        .map(|cell| spanish(cell))
        .collect();
    assert!(descending.is_sorted_by(|a, b| a >= b), "{descending:?}");
    let most = project.value(
        "SELECT max(n) FROM (SELECT count(*) AS n FROM replica.ventas GROUP BY cliente_id) AS q",
    );
    assert_eq!(Some(descending[0].to_string()), most);
    // The same heading still has the focus.
    browser.press("Enter", 13);
    assert_eq!(
        sorted(&mut browser),
        json!(["none", "ascending", "none", "none", "none"])
    );
    let ascending: Vec<f64> = cells(&mut browser, "70-clientes", 1)
        .iter()
        .map(|cell| spanish(cell))
        .collect();
    assert!(ascending.is_sorted(), "{ascending:?}");
    assert_ne!(before, cells(&mut browser, "70-clientes", 1));
}

#[test]
fn a_page_on_paper_is_light_and_has_no_controls() {
    let project = project("report_print");
    project.run(&[]);
    made(&project);
    let mut browser = opened(&project);
    browser.media("print", "dark");
    let shown = browser.eval(
        "[getComputedStyle(document.documentElement).getPropertyValue('--ink').trim(), \
          getComputedStyle(document.getElementById('filters')).display]",
    );
    assert_eq!(shown, json!(["#1b2127", "none"]));
    browser.screenshot(&artefacts().join("page-print.png"), 12_000.0);
}

/// A page of these parts alone.
fn page_of(project: &Project, parts: &[(&str, &str)]) {
    for entry in std::fs::read_dir(project.path("informe")).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for (name, text) in parts {
        std::fs::write(project.path("informe").join(name), text).unwrap();
    }
    made(project);
}

#[test]
fn text_from_the_destination_is_shown_and_not_obeyed() {
    let project = project("report_hostile");
    project.run(&[]);
    let hostile =
        "<img src=x onerror=\"window.obeyed=1\"></script><script>window.obeyed=1</script>{{1}}";
    let sql = format!("SELECT '{hostile}' AS \"<b>curso</b>\", 7 AS n");
    let chart = json!({
        "title": hostile,
        "description": hostile,
        "data": {"sql": sql},
        "mark": "bar",
        "encoding": {
            "x": {"field": "n", "type": "quantitative"},
            "color": {"field": "<b>curso</b>", "type": "nominal"},
        },
    });
    let table = format!("-- title: {hostile}\n-- description: {hostile}\n{sql}");
    let filters = json!([{"field": "<b>curso</b>", "label": hostile, "type": "select"}]);
    page_of(
        &project,
        &[
            ("10-a.md", &format!("# {hostile}\n\n{hostile}\n")),
            ("20-b.vl.json", &chart.to_string()),
            ("30-c.sql", &table),
            ("filters.json", &filters.to_string()),
        ],
    );
    let mut browser = opened(&project);
    // The tooltip has it as well.
    let place = browser.eval(
        "(() => { const bar = document.querySelector('.drawing [aria-roledescription=\"bar\"]'); \
         bar.scrollIntoView({block: 'center', behavior: 'instant'}); const box = bar.getBoundingClientRect(); \
         return [box.left + box.width / 2, box.top + box.height / 2]; })()",
    );
    browser.send(
        "Input.dispatchMouseEvent",
        &json!({"type": "mouseMoved", "x": place[0], "y": place[1]}),
    );
    browser.until("document.querySelector('#vg-tooltip-element.visible') !== null");
    let told = browser.eval(
        "[document.querySelector('#vg-tooltip-element').textContent.includes('onerror'), \
          document.querySelector('.data tbody td').textContent.includes('onerror'), \
          document.querySelector('h2').textContent.includes('onerror'), window.obeyed === undefined, \
          document.images.length, document.querySelectorAll('script').length]",
    );
    assert_eq!(told, json!([true, true, true, true, 0, 6]));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_chart_that_cannot_be_drawn_says_so_in_its_place_and_the_others_are() {
    let project = project("report_broken");
    project.run(&[]);
    let chart = |calculate: &str| {
        json!({
            "title": "T",
            "description": "D",
            "data": {"sql": "SELECT 1 AS n"},
            "transform": [{"calculate": calculate, "as": "m"}],
            "mark": "bar",
            "encoding": {"x": {"field": "m", "type": "quantitative"}},
        })
        .to_string()
    };
    page_of(
        &project,
        &[
            ("10-mal.vl.json", &chart("datum.(")),
            ("20-bien.vl.json", &chart("datum.n + 1")),
        ],
    );
    let mut browser = Browser::start();
    browser.width(1440);
    browser.open(&super::address(&project));
    browser.until("document.body.dataset.shown > 0");
    let told = browser.eval(
        "[document.querySelector('[id=\"10-mal\"] .error').textContent.startsWith('No se pudo dibujar este gráfico:'), \
          document.body.dataset.charts, document.body.dataset.drawn]",
    );
    assert_eq!(told, json!([true, "2", "1"]));
    assert_eq!(browser.complaints().len(), 1);
}

#[test]
fn a_day_is_the_same_day_wherever_its_reader_is() {
    let project = project("report_zones");
    project.run(&[]);
    page_of(
        &project,
        &[(
            "10-dia.vl.json",
            r#"{"title": "T", "description": "D", "data": {"sql": "SELECT DATE '2026-03-01' AS mes, 1 AS n"}, "mark": "bar",
            "encoding": {"x": {"field": "mes", "timeUnit": "yearmonth", "type": "temporal"}, "y": {"field": "n", "type": "quantitative"}}}"#,
        )],
    );
    let mut browser = Browser::start();
    browser.width(820);
    for zone in ["America/Los_Angeles", "Pacific/Auckland", "UTC"] {
        browser.send(
            "Emulation.setTimezoneOverride",
            &json!({"timezoneId": zone}),
        );
        browser.open(&super::address(&project));
        drawn(&mut browser);
        let marks = marks(&mut browser, "10-dia");
        assert!(
            marks[0].contains("mar 2026") || marks[0].contains("marzo 2026"),
            "{zone}: {marks:?}"
        );
    }
}

/// A table is sorted by the numbers that it has, also those that no browser computes with; a filter offers the empty text.
#[test]
fn numbers_that_are_no_doubles_are_shown_and_sorted_as_they_are() {
    let project = project("report_odd");
    project.run(&[]);
    let sql = "SELECT * FROM (VALUES \
         (CAST('NaN' AS DOUBLE), 12345678901234567890.2, '', JSON '{\"id\":9007199254740993}'), \
         (CAST('Infinity' AS DOUBLE), 12345678901234567890.1, 'Madrid', JSON '[1, 2]'), \
         (7.0, 12345678901234567890.3, 'Cádiz', JSON '[1]')) AS t(f, d, ciudad, j)";
    let filters = json!([{"field": "ciudad", "label": "Ciudad", "type": "select"}]);
    page_of(
        &project,
        &[
            (
                "10-t.sql",
                &format!("-- title: T\n-- description: D\n{sql}"),
            ),
            ("filters.json", &filters.to_string()),
        ],
    );
    let mut browser = Browser::start();
    browser.width(1440);
    browser.open(&super::address(&project));
    browser.until("document.body.dataset.shown > 0");
    let column = |browser: &mut Browser, at: usize| {
        browser.eval(&format!(
            "[...document.querySelectorAll('[id=\"10-t\"] tbody tr')].map((row) => row.cells[{at}].textContent)"
        ))
    };
    let sort = |browser: &mut Browser, at: usize| {
        browser.eval(&format!(
            "document.querySelector('[id=\"10-t\"] button[data-column=\"{at}\"]').click()"
        ));
    };
    assert_eq!(column(&mut browser, 0), json!(["NaN", "∞", "7"]));
    assert_eq!(
        column(&mut browser, 3),
        json!(["{\"id\":9007199254740993}", "[1,2]", "[1]"])
    );
    // From the greatest, and from the least.
    sort(&mut browser, 0);
    assert_eq!(column(&mut browser, 0), json!(["NaN", "∞", "7"]));
    sort(&mut browser, 0);
    assert_eq!(column(&mut browser, 0), json!(["7", "∞", "NaN"]));
    sort(&mut browser, 1);
    assert_eq!(column(&mut browser, 2), json!(["Cádiz", "", "Madrid"]));
    sort(&mut browser, 1);
    assert_eq!(column(&mut browser, 2), json!(["Madrid", "", "Cádiz"]));
    let offered = browser.eval(
        "[...document.getElementById('filter-0').options].map((option) => option.textContent)",
    );
    assert_eq!(offered, json!(["Todos", "(vacío)", "Cádiz", "Madrid"]));
    choose(&mut browser, "filter-0", "=");
    assert_eq!(column(&mut browser, 2), json!([""]));
    choose(&mut browser, "filter-0", "");
    assert_eq!(column(&mut browser, 2), json!(["Madrid", "", "Cádiz"]));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
