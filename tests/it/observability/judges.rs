//! Those who judge what is sent, in Python, where `scripts/setup.sh` puts them.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use testkit::Received;

/// The interpreter of a folder that `scripts/tools.sh` names.
pub fn python(folder: &str) -> PathBuf {
    let output = Command::new("bash")
        .args([
            "-c",
            &format!(". scripts/tools.sh && printf %s \"${folder}\""),
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let folder = String::from_utf8(output.stdout).unwrap();
    let python = std::path::Path::new(&folder).join("bin/python");
    assert!(
        python.exists(),
        "{} is not there: install python3 with venv (Debian: python3-venv), then run scripts/setup.sh",
        python.display()
    );
    python
}

/// What a script says of an input, which it must take.
pub fn judged(folder: &str, script: &str, input: &str) -> Vec<u8> {
    let scripts = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/observability");
    let mut child = Command::new(python(folder))
        .arg(scripts.join(script))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{input}");
    output.stdout
}

/// Traces and metrics, as the decoder of OTLP reads them.
#[derive(Debug)]
pub struct Otlp {
    pub spans: Vec<Value>,
    pub values: Vec<Value>,
}

impl Otlp {
    pub fn read(received: &[Received]) -> Self {
        let lines = received.iter().map(|sent| {
            assert_eq!(sent.header("content-type"), Some("application/x-protobuf"));
            let (_, signal) = sent.line.rsplit_once('/').unwrap();
            let bytes: Vec<String> = sent.body.iter().map(|byte| format!("{byte:02x}")).collect();
            let body = bytes.concat();
            format!("{signal} {body}\n")
        });
        let input: String = lines.collect();
        let decoded = judged("OBSERVABILITY_FOLDER", "otlp.py", &input);
        let mut decoded: Value = serde_json::from_slice(&decoded).unwrap();
        let mut list = |name: &str| match decoded[name].take() {
            Value::Array(list) => list,
            other => panic!("{other}"),
        };
        Self {
            spans: list("spans"),
            values: list("values"),
        }
    }

    /// The spans of that name, in the order of their beginning.
    pub fn named(&self, name: &str) -> Vec<&Value> {
        self.spans
            .iter()
            .filter(|span| span["name"] == name)
            .collect()
    }

    /// The one span of that name and, if it is named, of that stream.
    pub fn span(&self, name: &str, stream: Option<&str>) -> &Value {
        let of_stream = |span: &&Value| {
            stream.is_none_or(|stream| span["attributes"]["acequia.stream"] == stream)
        };
        let found: Vec<&Value> = self.named(name).into_iter().filter(of_stream).collect();
        assert_eq!(found.len(), 1, "{name} of {stream:?}: {:#?}", self.spans);
        found[0]
    }

    /// The last value of a metric of that stream, source or, else, pipeline.
    pub fn value(&self, name: &str, of: &str) -> Option<f64> {
        let found = self.values.iter().rfind(|value| {
            let labels = value["labels"].as_object().unwrap();
            let own = labels.get("stream").or(labels.get("source"));
            value["name"] == name && own.unwrap_or(&labels["pipeline"]) == of
        })?;
        found["value"].as_f64()
    }
}

/// Events of `OpenLineage`, once its client has taken them.
pub fn lineage(events: &[Value]) {
    let lines: Vec<String> = events.iter().map(|event| format!("{event}\n")).collect();
    judged("OBSERVABILITY_FOLDER", "lineage.py", &lines.concat());
}
