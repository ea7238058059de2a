//! A seeded operational database for people: `testkit serve` until Ctrl-C, `testkit changes` as often as one likes.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use postgres::{Client, NoTls};
use testkit::{Changes, Cluster, Seed};

#[derive(Debug, Parser)]
#[command(
    version,
    about = "A throw-away PostgreSQL with the operational schema and seeded rows"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a server, fill it, print its URL; runs until Ctrl-C or the end of standard input
    Serve {
        /// Number of sales
        #[arg(long, default_value_t = 10_000)]
        ventas: u64,
        /// Number of participants [default: as many as sales]
        #[arg(long)]
        participantes: Option<u64>,
        /// Number of activities [default: twice the sales]
        #[arg(long)]
        actividades: Option<u64>,
        /// Same seed, same rows
        #[arg(long, default_value_t = 42)]
        seed: u64,
        /// Port on loopback [default: a free one]
        #[arg(long)]
        port: Option<u16>,
    },
    /// Make a day's changes in a database that `serve` made
    Changes {
        /// URL that `serve` printed
        #[arg(long)]
        url: String,
        /// Decides which rows change
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Serve {
            ventas,
            participantes,
            actividades,
            seed,
            port,
        } => {
            let mut rows = Seed::new(seed, ventas);
            rows.participantes = participantes.unwrap_or(rows.participantes);
            rows.actividades = actividades.unwrap_or(rows.actividades);
            serve(rows, port)
        }
        Command::Changes { url, seed } => change(&url, seed),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "error: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn serve(rows: Seed, port: Option<u16>) -> Result<()> {
    let options = Cluster::options();
    let cluster = match port {
        Some(port) => options.port(port),
        None => options,
    }
    .start()?;
    let mut admin = cluster.admin()?;
    admin.batch_execute("CREATE DATABASE formacion TEMPLATE template0")?;
    let mut client = Client::connect(&cluster.url("formacion"), NoTls)?;
    client.batch_execute(testkit::SCHEMA)?;
    let made = rows.apply(&mut client)?;
    drop(client);
    writeln!(
        io::stderr(),
        "{} clientes, {} cursos, {} ventas, {} participantes, {} actividades in {:.1} s; Ctrl-C ends the server",
        made.clientes,
        made.cursos,
        made.ventas,
        made.participantes,
        made.actividades,
        made.elapsed.as_secs_f64()
    )?;
    writeln!(io::stdout(), "{}", cluster.url("formacion"))?;
    io::stdout().flush()?;
    // Ctrl-C ends this process where it stands; the server's supervisor notices and cleans up.
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

fn change(url: &str, seed: u64) -> Result<()> {
    let changed = Changes::day(seed).apply(&mut Client::connect(url, NoTls)?)?;
    writeln!(io::stdout(), "{changed:#?}")?;
    Ok(())
}
