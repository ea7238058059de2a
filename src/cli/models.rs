//! `acequia models`

use acequia::config::{Pipeline, Selection};
use acequia::models::report::{ModelReport, ModelStatus, ModelsReport, TestStatus};
use acequia::models::{BuiltModel, ModelsView};
use acequia::pipeline::models;
use acequia::{Result, TablesFrom};
use chrono::Utc;

use super::printer::{Mark, Printer};
use super::{Context, Exit, ModelsCommand, block_on, figures, interrupt};

pub(crate) fn run(command: ModelsCommand, context: &mut Context) -> Result<Exit> {
    let (destination, models) = match &command {
        ModelsCommand::Run(args) | ModelsCommand::Test(args) => {
            (&args.destination, args.models.clone())
        }
        ModelsCommand::List(destination) => (destination, Vec::new()),
        ModelsCommand::Graph(args) => (&args.destination, Vec::new()),
    };
    let selection = Selection::from(destination.clone());
    let document = context.document(TablesFrom::AllRuns)?;
    let pipeline = document.resolve_without_sources(&selection)?;
    let printer = &context.printer;
    match command {
        ModelsCommand::Run(_) => {
            let report = block_on(build(&pipeline, models, context))?;
            ended(&report, context)
        }
        ModelsCommand::Test(_) => {
            let report = block_on(models::test(&pipeline, models))?;
            ended(&report, context)
        }
        ModelsCommand::List(_) => {
            let view = block_on(models::look(&pipeline))?;
            list(&view, printer)?;
            Ok(Exit::Ok)
        }
        ModelsCommand::Graph(args) => {
            let view = block_on(models::look(&pipeline))?;
            if printer.is_json() {
                printer.json(&view.graph)?;
            } else if args.mermaid {
                printer.line(view.graph.mermaid())?;
            } else {
                printer.line(view.graph.text())?;
            }
            Ok(Exit::Ok)
        }
    }
}

async fn build(pipeline: &Pipeline, only: Vec<String>, context: &Context) -> Result<ModelsReport> {
    let interrupt = interrupt::listen(context.notices.clone())?;
    models::build(pipeline, only, &interrupt).await
}

/// Prints what was done with models alone.
fn ended(report: &ModelsReport, context: &Context) -> Result<Exit> {
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(report)?;
    } else {
        print_report(report, printer)?;
    }
    if !printer.is_seen() {
        for failure in failures(report) {
            context.notices.failure(&failure);
        }
    }
    Ok(if report.is_ok() {
        Exit::Ok
    } else {
        Exit::Failed
    })
}

/// What failed.
pub(super) fn failures(report: &ModelsReport) -> Vec<String> {
    let tests = report.failed_tests().into_iter();
    let error = report.error.iter().map(|error| format!("models: {error}"));
    tests.chain(error).collect()
}

/// The models of a run, as people see them.
pub(super) fn print_report(report: &ModelsReport, printer: &Printer) -> Result<()> {
    let is_told = |model: &&ModelReport| model.status != ModelStatus::Unchanged;
    if report.models.iter().any(|model| is_told(&model)) {
        printer.table(
            &["model", "kind", "status", ">rows", ">time"],
            report.models.iter().filter(is_told).map(row),
        )?;
    }
    for failure in failures(report) {
        printer.marked(Mark::Bad, &failure)?;
    }
    for left in &report.left_behind {
        printer.marked(Mark::Warning, &left_behind(left, &report.dataset))?;
    }
    let kept = report.count(ModelStatus::Kept) + report.count(ModelStatus::Failed);
    if kept > 0 {
        printer.line("nothing was built: the models' tables are as they were before")?;
    }
    printer.line(summary(report))
}

fn summary(report: &ModelsReport) -> String {
    let test = |status: TestStatus| {
        let tests = report.tests.iter();
        tests.filter(|test| test.status == status).count()
    };
    let mut parts = vec![format!(
        "{} built in {}",
        figures::plural(report.count(ModelStatus::Built), "model"),
        report.dataset
    )];
    for (number, word) in [
        (report.count(ModelStatus::Unchanged), "unchanged"),
        (report.count(ModelStatus::Kept), "left as they were"),
        (report.count(ModelStatus::Failed), "failed"),
    ] {
        if number > 0 {
            parts.push(format!("{number} {word}"));
        }
    }
    parts.push(format!(
        "{} passed",
        figures::plural(test(TestStatus::Passed), "test")
    ));
    for (status, word) in [
        (TestStatus::Failed, "failed"),
        (TestStatus::Skipped, "not run"),
    ] {
        let number = test(status);
        if number > 0 {
            parts.push(format!("{number} {word}"));
        }
    }
    format!(
        "{}, in {}",
        parts.join(", "),
        figures::seconds(report.seconds)
    )
}

fn row(model: &ModelReport) -> Vec<String> {
    let status = match model.status {
        ModelStatus::Built => "built",
        ModelStatus::Unchanged => "unchanged",
        ModelStatus::Kept => "as before",
        ModelStatus::Failed => "failed",
    };
    vec![
        model.model.clone(),
        model.materialized.to_string(),
        status.to_owned(),
        model.rows.map_or_else(|| "-".to_owned(), figures::count),
        figures::seconds(model.seconds),
    ]
}

fn left_behind(model: &str, dataset: &str) -> String {
    format!(
        "the model {model} has no file any more, and its table stays: drop {dataset}.{model}, and its row in _acequia_models, to be \
         rid of it"
    )
}

fn list(view: &ModelsView, printer: &Printer) -> Result<()> {
    if printer.is_json() {
        return printer.json(view);
    }
    let now = Utc::now();
    let none = || "-".to_owned();
    let rows = view.graph.models.iter().zip(&view.built);
    printer.table(
        &[
            "model", "kind", "built at", ">age", ">rows", ">time", "tests", "next run",
        ],
        rows.map(|(model, built)| {
            let at = built.built_at;
            vec![
                model.model.clone(),
                model.materialized.to_string(),
                at.map_or_else(none, figures::moment),
                at.map_or_else(none, |at| figures::age(now - at)),
                built.rows.map_or_else(none, figures::count),
                built.seconds.map_or_else(none, figures::seconds),
                tests(built),
                if built.is_due {
                    "builds it"
                } else {
                    "leaves it"
                }
                .to_owned(),
            ]
        }),
    )?;
    for built in &view.built {
        for test in &built.failed {
            let text = format!(
                "model {}, {test}: it failed when it was last run",
                built.model
            );
            printer.marked(Mark::Bad, &text)?;
        }
    }
    for left in &view.left_behind {
        printer.marked(Mark::Warning, &left_behind(left, &view.dataset))?;
    }
    Ok(())
}

fn tests(built: &BuiltModel) -> String {
    match (built.passed, built.failed.len()) {
        (0, 0) => "-".to_owned(),
        (passed, 0) => format!("{passed} passed"),
        (passed, failed) => format!("{passed} passed, {failed} failed"),
    }
}

/// What a run that follows says of its models.
pub(super) fn told(built: usize, failures: &[String]) -> String {
    let mut parts = Vec::new();
    if built > 0 {
        parts.push(format!("{} built", figures::plural(built, "model")));
    }
    if failures.is_empty() && built == 0 {
        parts.push("the models are in order again".to_owned());
    }
    parts.extend(failures.iter().map(|failure| format!("models: {failure}")));
    parts.join("; ")
}
