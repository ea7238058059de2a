//! A seeded operational database, a CRM and a lake for people: `testkit serve`, `testkit hubspot` and `testkit lake` until
//! Ctrl-C, `testkit changes` as often as one likes.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use postgres::{Client, NoTls};
use testkit::hubspot::{Fault, HubSpotOptions, Limits};
use testkit::{Changes, Cluster, Lake, Sail, Seed, Spark};

#[derive(Debug, Parser)]
#[command(
    version,
    about = "A throw-away PostgreSQL with the operational schema and seeded rows, and a HubSpot to go with it"
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
        /// The three years before today, not 2023 to 2025
        #[arg(long)]
        until_today: bool,
        /// Port on loopback [default: a free one]
        #[arg(long)]
        port: Option<u16>,
    },
    /// Start a HubSpot with generated companies, print its URL; runs until Ctrl-C or the end of standard input
    Hubspot {
        /// Number of companies; they are those of `serve --seed` with the same numbers
        #[arg(long, default_value_t = 1_000)]
        companies: u64,
        /// Number of companies after those, that nobody has sold anything to
        #[arg(long, default_value_t = 0)]
        prospects: u64,
        /// Number of properties besides the usual ones of companies
        #[arg(long, default_value_t = 0)]
        properties: usize,
        /// Same seed, same values
        #[arg(long, default_value_t = 42)]
        seed: u64,
        /// Port on loopback [default: a free one]
        #[arg(long)]
        port: Option<u16>,
        /// The token to accept
        #[arg(long, default_value = testkit::HUBSPOT_TOKEN)]
        token: String,
        /// Seconds after which search knows of a change
        #[arg(long, default_value_t = 0)]
        index_lag: i64,
        /// Requests in ten seconds
        #[arg(long, default_value_t = 190)]
        window: u32,
        /// Requests in a day
        #[arg(long, default_value_t = 1_000_000)]
        daily: u32,
        /// Scope that the token lacks, as in crm.objects.companies.read; may be repeated
        #[arg(long)]
        deny_scope: Vec<String>,
        /// Fault, as WHAT[@PATH][+AFTER][xTIMES]: a status, reset, cut, cutjson, html or delay, for requests to PATH, after
        /// so many of them, so many times; may be repeated. 503@/batch/read+10x2
        #[arg(long)]
        fault: Vec<Fault>,
    },
    /// Start an Iceberg catalog with its object storage, print the variables by which acequia finds it; runs until Ctrl-C or the
    /// end of standard input
    Lake {
        /// An engine of two workers beside it, and the variables by which acequia finds that
        #[arg(long)]
        engine: Option<Engine>,
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

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Engine {
    Sail,
    Spark,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Serve {
            ventas,
            participantes,
            actividades,
            seed,
            until_today,
            port,
        } => {
            let mut rows = Seed::new(seed, ventas);
            if until_today {
                rows = rows.until_today();
            }
            rows.participantes = participantes.unwrap_or(rows.participantes);
            rows.actividades = actividades.unwrap_or(rows.actividades);
            serve(rows, port)
        }
        Command::Hubspot {
            companies,
            prospects,
            properties,
            seed,
            port,
            token,
            index_lag,
            window,
            daily,
            deny_scope,
            fault,
        } => {
            let options = HubSpotOptions {
                seed,
                companies,
                prospects,
                properties,
                port,
                limits: Limits {
                    window: Some(window),
                    daily: Some(daily),
                    ..Limits::default()
                },
                token,
            };
            hubspot(options, index_lag, &deny_scope, fault)
        }
        Command::Lake { engine } => lake(engine),
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

fn hubspot(
    options: HubSpotOptions,
    index_lag: i64,
    denied: &[String],
    faults: Vec<Fault>,
) -> Result<()> {
    let companies = options.companies + options.prospects;
    let server = options.start()?;
    server.portal().set_index_lag(index_lag);
    for scope in denied {
        server.deny_scope(scope);
    }
    for fault in faults {
        server.inject(fault);
    }
    writeln!(
        io::stderr(),
        "{companies} companies; the token is {}; records can be changed with PATCH, DELETE and POST as in HubSpot; Ctrl-C \
         ends the server",
        server.token()
    )?;
    writeln!(io::stdout(), "{}", server.url())?;
    io::stdout().flush()?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

fn lake(engine: Option<Engine>) -> Result<()> {
    let lake = Lake::start()?;
    let (mut sail, mut spark) = (None, None);
    let found = match engine {
        None => None,
        Some(Engine::Sail) => {
            let started = sail.insert(Sail::start_cluster(&lake)?);
            Some((started.url(), Sail::CATALOG))
        }
        Some(Engine::Spark) => {
            let started = spark.insert(Spark::start_cluster(&lake)?);
            Some((started.url(), Spark::CATALOG))
        }
    };
    if let Some((url, catalog)) = found {
        writeln!(io::stdout(), "ENGINE_URL={url}\nENGINE_CATALOG={catalog}")?;
    }
    for (name, value) in lake.variables() {
        writeln!(io::stdout(), "{name}={value}")?;
    }
    io::stdout().flush()?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

fn change(url: &str, seed: u64) -> Result<()> {
    let changed = Changes::day(seed).apply(&mut Client::connect(url, NoTls)?)?;
    writeln!(io::stdout(), "{changed:#?}")?;
    Ok(())
}
