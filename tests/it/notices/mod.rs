//! Who is told of runs that fail, and what is kept of each run.

use std::time::Duration;

use serde_json::Value;
use testkit::{Receiver, Seed};

use crate::support::{Output, Project, VENTAS};

mod following;
mod kept;
mod told;

/// How long a notice may take to come.
const SOON: Duration = Duration::from_secs(15);

/// A pipeline whose notices go to a receiver, and to the file `events`.
struct Watched {
    project: Project,
    receiver: Receiver,
}

/// What appends each event to the file `events`, and some of its environment to `variables`.
const COMMAND: &str = "cat >> events; echo \"$ACEQUIA_EVENT $ACEQUIA_PIPELINE $ACEQUIA_DESTINATION $ACEQUIA_STREAMS\" >> variables";

impl Watched {
    /// With these keys of `[notify]` besides.
    fn new(name: &str, keys: &str) -> Self {
        let project = Project::operational(name, "");
        let mut source = project.source.client().unwrap();
        Seed::new(6, 20).only_ventas().apply(&mut source).unwrap();
        Self::of(project, VENTAS, keys)
    }

    fn of(mut project: Project, streams: &str, keys: &str) -> Self {
        let receiver = Receiver::start().unwrap();
        project.set("HOOK", &format!("{}/services/s3cr3t?sig=x", receiver.url()));
        project.streams(&format!(
            "{streams}\n[notify]\nwebhook = \"${{HOOK}}\"\ncommand = '''{COMMAND}'''\n{keys}"
        ));
        Self { project, receiver }
    }

    /// The texts that the webhook was sent since they were last asked for.
    fn texts(&self) -> Vec<String> {
        let received = self.receiver.take();
        received
            .iter()
            .map(|sent| {
                assert_eq!(sent.line, "POST /services/s3cr3t?sig=x");
                assert_eq!(sent.header("content-type"), Some("application/json"));
                let sent = sent.json().unwrap();
                assert_eq!(sent.as_object().unwrap().len(), 1, "{sent}");
                sent["text"].as_str().unwrap().to_owned()
            })
            .collect()
    }

    /// The events that the command was given so far.
    fn events(&self) -> Vec<Value> {
        let events = std::fs::read_to_string(self.project.path("events")).unwrap_or_default();
        let lines = events.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn acequia(&self, arguments: &[&str]) -> Output {
        self.project.acequia(arguments)
    }

    /// Makes the stream `ventas` fail.
    fn break_ventas(&self) {
        let rename = "ALTER TABLE ventas RENAME TO ventas_fuera";
        self.project.source.batch(rename).unwrap();
    }

    fn mend_ventas(&self) {
        let rename = "ALTER TABLE ventas_fuera RENAME TO ventas";
        self.project.source.batch(rename).unwrap();
    }
}
