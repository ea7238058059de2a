//! `acequia --help`: the commands by what they are for, and the examples of all of them.

use std::fmt::Write as _;

use clap::{Command, CommandFactory};

use super::Cli;

/// What commands are for, in the order in which people come to need them.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Set up", &["init", "discover", "check"]),
    ("Copy", &["run", "replay"]),
    ("Look", &["status", "runs", "inspect", "verify"]),
    ("Analyse", &["models", "report"]),
    ("Keep in order", &["landing", "replication"]),
];

/// The heading of what is in none of them.
const OTHERS: &str = "For shells and editors";

const EXAMPLES: &str = "\
Examples:
  acequia init --from URL             look at a source, and write an acequia.toml that runs
  acequia check                       see whether the configuration and its connections work
  acequia run                         copy every stream
  acequia run 'v*' --dry-run          see what a run of the streams of these names would do
  acequia run --follow                go on with the changes until Ctrl-C
  acequia status                      see how far each stream is
  acequia runs                        see the last runs, and what failed
  acequia inspect LOAD_ID             see what a load consists of
  acequia replay --destination NAME   build a destination from the landing area
  acequia report                      make one HTML page of what the destination has
  acequia verify                      see whether the tables are equal to their sources

Exit status:
  0    all well
  1    a stream, a model, a test or a check failed
  2    the command line or the configuration is wrong
  130  interrupted

`acequia help COMMAND` tells more of a command.";

pub(super) const INIT: &str = "\
Examples:
  acequia init                         a template to fill in
  acequia init formacion               in a folder of that name, which is made
  acequia init --from postgres://user:password@host/database
                                       what the database has, with a mode for each table
  HUBSPOT_TOKEN=pat-… acequia init --from hubspot://
                                       the objects that the token may read";

pub(super) const DISCOVER: &str = "\
Examples:
  acequia discover operativa                         a source of the configuration
  acequia discover postgres://user@host/database     a database
  acequia discover operativa --output json | jq '.tables[].name'";

pub(super) const CHECK: &str = "\
Examples:
  acequia check                          everything
  acequia check ventas                   one stream, its source and the destination
  acequia check --destination postgres   another destination
  acequia check --output json | jq .ok   for programs";

pub(super) const RUN: &str = "\
Examples:
  acequia run                         every stream
  acequia run ventas cursos           these two
  acequia run --dry-run               the plan; nothing is touched
  acequia run ventas --full-refresh   from the beginning, into a table made anew
  acequia run --follow                go on with the changes until Ctrl-C
  acequia run ventas --from 2024-01-01T00:00:00Z --to 2024-02-01T00:00:00Z
                                      January once more, as the source has it now
  acequia run --output json | jq .    the report, for programs";

pub(super) const REPLAY: &str = "\
Examples:
  acequia replay --destination postgres        every stream
  acequia replay ventas --destination copia    this one
  acequia replay --load 20261124T031300123-5f3a9c01-7b2e\n                                               this load, if nothing is missing before it";

pub(super) const STATUS: &str = "\
Examples:
  acequia status                  every stream
  acequia status ventas           this one
  acequia status --max-age 6h     for a monitor: exits with 1 where a stream is older
  acequia status --output json    for programs: loads, positions, slots, and how runs failed";

pub(super) const RUNS: &str = "\
Examples:
  acequia runs                        the last 20
  acequia runs --failed --limit 100   those that did not succeed
  acequia runs --destination postgres those into another destination";

pub(super) const INSPECT: &str = "\
Examples:
  acequia inspect 20261124T031300123-5f3a9c01-7b2e
  acequia inspect landing/formacion/ventas/20261124T031300123-5f3a9c01-7b2e
  acequia inspect part-00000.parquet --rows 20";

pub(super) const MODELS_RUN: &str = "\
Examples:
  acequia models run                 those that are due
  acequia models run ventas_mes      this one in any case, after what it reads";

pub(super) const REPORT: &str = "\
Examples:
  acequia report                      the page that [report] names
  acequia report --page /srv/www/informe.html
  acequia report --serve              on http://127.0.0.1:8080, as fresh as the destination";

pub(super) const VERIFY: &str = "\
Examples:
  acequia verify                      every stream with its source
  acequia verify ventas --show        the rows that differ, with their values
  acequia verify --counts             the keys alone: what is missing or extra
  acequia verify --against landing    with the landed loads; no source is asked
  acequia verify ventas --repair      and mend what differs";

pub(super) const LANDING_LIST: &str = "\
Examples:
  acequia landing list                          every load, and whether the destination has it
  acequia landing list ventas                   those of one stream
  acequia landing list --destination postgres   as another destination has them";

pub(super) const LANDING_PRUNE: &str = "\
Examples:
  acequia landing prune --dry-run              what would go, by [pipeline] retention
  acequia landing prune --older-than 30d       remove it";

pub(super) const REPLICATION_DROP: &str = "\
Examples:
  acequia replication drop operativa                          asks before it drops anything
  acequia replication drop operativa --yes                    for scripts
  acequia replication drop operativa --destination postgres   the slot of another destination";

pub(super) const COMPLETIONS: &str = "\
Examples:
  acequia completions bash > ~/.local/share/bash-completion/completions/acequia
  acequia completions zsh > ~/.zfunc/_acequia";

pub(super) const CONFIG_SCHEMA: &str = "\
Example, with the editor extension Even Better TOML:
  acequia config-schema > acequia.schema.json
  and as the first line of acequia.toml: #:schema ./acequia.schema.json";

/// The command line, with the help of its top level.
pub(crate) fn command() -> Command {
    let command = Cli::command();
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{}{}\n{{options}}\n\n{EXAMPLES}",
        commands(&command),
        heading(&command, "Options"),
    );
    command.help_template(template)
}

/// The commands with what they do, under the headings of their groups.
fn commands(command: &Command) -> String {
    let grouped = GROUPS.iter().flat_map(|(_, names)| names.iter().copied());
    let rest: Vec<&str> = command
        .get_subcommands()
        .map(Command::get_name)
        .filter(|name| !grouped.clone().any(|known| known == *name))
        .collect();
    let width = command
        .get_subcommands()
        .map(|subcommand| subcommand.get_name().len())
        .max()
        .unwrap_or_default();
    let mut text = String::new();
    let groups = GROUPS.iter().map(|(group, names)| (*group, *names));
    for (group, names) in groups.chain([(OTHERS, rest.as_slice())]) {
        text.push_str(&heading(command, group));
        text.push('\n');
        for subcommand in names
            .iter()
            .filter_map(|name| command.find_subcommand(name))
        {
            let about = subcommand.get_about().cloned().unwrap_or_default();
            let name = subcommand.get_name();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {name:width$}  {about}");
        }
        text.push('\n');
    }
    text
}

/// A heading as clap writes its own.
fn heading(command: &Command, text: &str) -> String {
    let style = command.get_styles().get_header();
    format!("{style}{text}:{style:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_that_is_not_for_shells_and_editors_is_in_a_group() {
        let grouped: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, names)| names.iter().copied())
            .collect();
        let mut rest: Vec<String> = Cli::command()
            .get_subcommands()
            .map(|command| command.get_name().to_owned())
            .filter(|name| !grouped.contains(&name.as_str()))
            .collect();
        rest.sort();
        assert_eq!(rest, ["completions", "config-schema"]);
        for name in grouped {
            assert!(
                Cli::command().find_subcommand(name).is_some(),
                "{name} is no command"
            );
        }
    }

    #[test]
    fn each_line_of_a_command_fits_a_hundred_columns() {
        for line in command().render_help().to_string().lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
}
