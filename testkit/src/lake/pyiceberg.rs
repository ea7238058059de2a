//! PyIceberg, asked for one thing after the other: an Iceberg of another family than the one that acequia writes by.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::Lake;

const PROGRAM: &str = include_str!("pyiceberg.py");

/// An interpreter that answers a line of JSON with a line of JSON. It ends with its standard input.
#[derive(Debug)]
pub(super) struct PyIceberg {
    process: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl PyIceberg {
    pub(super) fn start(lake: &Lake) -> Result<Self> {
        let mut process = Command::new(lake.python())
            .args(["-I", "-c", PROGRAM])
            .arg(lake.catalog())
            .arg(lake.warehouse())
            .arg(lake.credential())
            .envs(lake.env())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run Python")?;
        let questions = process.stdin.take();
        let answers = process.stdout.take().context("Python has no output")?;
        Ok(Self {
            process,
            questions,
            answers: BufReader::new(answers),
        })
    }

    pub(super) fn ask(
        &mut self,
        what: &str,
        namespace: &str,
        table: &str,
        with: &Value,
    ) -> Result<Value> {
        let question = json!({"what": what, "namespace": namespace, "table": table, "with": with});
        let questions = self.questions.as_mut().context("Python is stopped")?;
        writeln!(questions, "{question}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let answer: Value =
            serde_json::from_str(&line).context("Python ended, or did not answer in JSON")?;
        match answer.get("error") {
            Some(error) => bail!("{}", error.as_str().unwrap_or_default()),
            None => Ok(answer.get("answer").cloned().unwrap_or_default()),
        }
    }
}

impl Drop for PyIceberg {
    fn drop(&mut self) {
        drop(self.questions.take());
        self.process.wait().ok();
    }
}
