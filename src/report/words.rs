//! The page's own words, in each language. No I/O.

use serde::Serialize;

use crate::config::Language;

/// The page's own words. What its script needs as well, it is given.
#[derive(Debug, Serialize)]
pub(crate) struct Words {
    /// Leads past the head, for those who use the keyboard.
    pub(crate) skip: &'static str,
    /// The list of sections.
    pub(crate) contents: &'static str,
    /// When the page was made.
    pub(crate) made: &'static str,
    /// When the newest load was committed.
    pub(crate) newest: &'static str,
    /// No stream has been loaded.
    pub(crate) never: &'static str,
    /// The table of streams.
    pub(crate) streams: &'static str,
    pub(crate) stream: &'static str,
    pub(crate) last_load: &'static str,
    pub(crate) age: &'static str,
    pub(crate) rows: &'static str,
    /// The stream's last run failed.
    pub(crate) failed: &'static str,
    pub(crate) filters: &'static str,
    pub(crate) all: &'static str,
    /// A text without letters.
    pub(crate) empty: &'static str,
    pub(crate) from: &'static str,
    pub(crate) until: &'static str,
    pub(crate) reset: &'static str,
    /// Which filters do not apply to a chart or table.
    pub(crate) unfiltered: &'static str,
    pub(crate) no_rows: &'static str,
    pub(crate) as_table: &'static str,
    pub(crate) show_all: &'static str,
    pub(crate) show_fewer: &'static str,
    /// How many of how many rows are shown.
    pub(crate) shown: &'static str,
    pub(crate) sort: &'static str,
    pub(crate) yes: &'static str,
    pub(crate) no: &'static str,
    /// A chart could not be drawn.
    pub(crate) broken: &'static str,
    /// The page needs its script.
    pub(crate) no_script: &'static str,
    /// What made the page.
    pub(crate) made_by: &'static str,
    /// What its charts are drawn with.
    pub(crate) drawn_with: &'static str,
}

const ENGLISH: Words = Words {
    skip: "Skip to the report",
    contents: "Contents",
    made: "Page made",
    newest: "Last load",
    never: "nothing was loaded yet",
    streams: "How old each table is",
    stream: "Table",
    last_load: "Last load",
    age: "Age",
    rows: "Rows loaded",
    failed: "the last run failed",
    filters: "Filters",
    all: "All",
    empty: "(empty)",
    from: "from",
    until: "to",
    reset: "Clear filters",
    unfiltered: "Not filtered by:",
    no_rows: "There is no data to show.",
    as_table: "Data as a table",
    show_all: "Show all rows",
    show_fewer: "Show fewer rows",
    shown: "{shown} of {total} rows",
    sort: "Sort by",
    yes: "yes",
    no: "no",
    broken: "This chart could not be drawn:",
    no_script: "The charts and tables of this page are drawn by its own script, which this program does not run: open the page in a browser.",
    made_by: "Made by",
    drawn_with: "charts drawn with",
};

const SPANISH: Words = Words {
    skip: "Ir al informe",
    contents: "Contenido",
    made: "Página generada",
    newest: "Última carga",
    never: "todavía no se ha cargado nada",
    streams: "Antigüedad de cada tabla",
    stream: "Tabla",
    last_load: "Última carga",
    age: "Antigüedad",
    rows: "Filas cargadas",
    failed: "la última ejecución falló",
    filters: "Filtros",
    all: "Todos",
    empty: "(vacío)",
    from: "desde",
    until: "hasta",
    reset: "Quitar filtros",
    unfiltered: "No se filtra por:",
    no_rows: "No hay datos que mostrar.",
    as_table: "Datos en tabla",
    show_all: "Mostrar todas las filas",
    show_fewer: "Mostrar menos filas",
    shown: "{shown} de {total} filas",
    sort: "Ordenar por",
    yes: "sí",
    no: "no",
    broken: "No se pudo dibujar este gráfico:",
    no_script: "Los gráficos y tablas de esta página los dibuja su propio script, que este programa no ejecuta: abra la página en un navegador.",
    made_by: "Generado por",
    drawn_with: "gráficos dibujados con",
};

/// The words of a language.
pub(crate) fn words(language: Language) -> &'static Words {
    match language {
        Language::En => &ENGLISH,
        Language::Es => &SPANISH,
    }
}
