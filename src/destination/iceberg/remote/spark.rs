//! An engine that speaks Spark Connect.
//!
//! The official client is used below its data frames: those send a statement again where its answer is lost.

use std::io::Cursor;
use std::net::ToSocketAddrs as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::{Array as _, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::ipc::reader::StreamReader;
use spark_connect_core::{ChannelBuilder, RetryPolicy, SparkConnectClient, SparkError};
use spark_connect_proto as proto;
use spark_connect_proto::execute_plan_response::ResponseType;

use crate::destination::Interrupter;
use crate::destination::sql::TextRow;
use crate::error::{Error, Result};

use super::channel::Channel;
use super::failure;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What a session is told, so that no setting of a cluster's changes what a statement means: times are UTC, and times before 1900
/// are what they are; bytes are no text; a value that does not fit is an error and not NULL; `${…}` in a text is that text, and `\`
/// escapes in literals; and what is overwritten is the whole table.
const SETTINGS: [(&str, &str); 8] = [
    ("spark.sql.session.timeZone", "UTC"),
    ("spark.sql.parquet.datetimeRebaseModeInRead", "CORRECTED"),
    ("spark.sql.parquet.binaryAsString", "false"),
    ("spark.sql.ansi.enabled", "true"),
    ("spark.sql.storeAssignmentPolicy", "ANSI"),
    ("spark.sql.variable.substitute", "false"),
    ("spark.sql.parser.escapedStringLiterals", "false"),
    ("spark.sql.sources.partitionOverwriteMode", "static"),
];

/// A session of its own.
pub(in crate::destination::iceberg) struct Spark {
    client: Arc<SparkConnectClient>,
    address: String,
    is_interrupted: Arc<AtomicBool>,
}

impl Spark {
    /// Opens a session.
    ///
    /// # Errors
    /// Where the engine does not answer, does not take the token, or the address is none.
    pub(in crate::destination::iceberg) fn open(url: &str) -> Result<Self> {
        let builder = ChannelBuilder::parse(url).map_err(|_| {
            Error::config("`engine` of the destination is no address of Spark Connect")
                .remedy("write engine = \"sc://host:15002/;use_ssl=true;token=${SPARK_TOKEN}\"")
        })?;
        let address = format!("sc://{}", builder.endpoint());
        reach(&builder, &address)?;
        let mut client = spark_connect_core::block_on(SparkConnectClient::connect(&builder))
            .map_err(|_| {
                Error::config(format!(
                    "the token would be sent to the engine at {address} in clear"
                ))
                .remedy("write `use_ssl=true` in `engine` of the destination")
            })?;
        client.set_retry_policy(RetryPolicy::no_retries());
        let spark = Self {
            client: Arc::new(client),
            address,
            is_interrupted: Arc::default(),
        };
        spark.configure()?;
        Ok(spark)
    }

    fn configure(&self) -> Result<()> {
        let pairs = SETTINGS.map(|(key, value)| proto::KeyValue {
            key: key.to_owned(),
            value: Some(value.to_owned()),
        });
        let set = proto::config_request::Set {
            pairs: pairs.to_vec(),
            ..Default::default()
        };
        let request = proto::ConfigRequest {
            session_id: self.client.session_id().to_owned(),
            user_context: Some(self.user()),
            operation: Some(proto::config_request::Operation {
                op_type: Some(proto::config_request::operation::OpType::Set(set)),
            }),
            ..Default::default()
        };
        spark_connect_core::block_on(self.client.config(request))
            .map(drop)
            .map_err(|error| self.failed(&error))
    }

    fn user(&self) -> proto::UserContext {
        proto::UserContext {
            user_id: self.client.user_id().unwrap_or("acequia").to_owned(),
            user_name: "acequia".to_owned(),
            ..Default::default()
        }
    }

    fn plan(sql: &str) -> proto::Plan {
        let sql = proto::Sql {
            query: sql.to_owned(),
            ..Default::default()
        };
        let relation = proto::Relation {
            common: None,
            rel_type: Some(proto::relation::RelType::Sql(sql)),
        };
        proto::Plan {
            op_type: Some(proto::plan::OpType::Root(relation)),
        }
    }

    fn failed(&self, error: &SparkError) -> Error {
        if self.is_interrupted.load(Ordering::Relaxed) {
            return Error::Interrupted;
        }
        let class = Some(error.error_class.as_str()).filter(|class| !class.is_empty());
        failure::of_engine(&self.address, class, error.grpc_code, &error.message)
    }
}

/// Whether something answers there: the client would try for a long time.
fn reach(builder: &ChannelBuilder, address: &str) -> Result<()> {
    let host = builder.host().trim_start_matches('[').trim_end_matches(']');
    let found = (host, builder.port()).to_socket_addrs();
    let mut last = None;
    for place in found.map_err(|error| failure::unreachable(address).cause(error))? {
        match std::net::TcpStream::connect_timeout(&place, CONNECT_TIMEOUT) {
            Ok(_) => return Ok(()),
            Err(error) => last = Some(error),
        }
    }
    let error = failure::unreachable(address);
    Err(match last {
        Some(last) => error.cause(last),
        None => error,
    })
}

impl Channel for Spark {
    fn address(&self) -> &str {
        &self.address
    }

    fn run(&mut self, sql: &str, each: &mut dyn FnMut(TextRow) -> Result<()>) -> Result<()> {
        if self.is_interrupted.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let request = proto::ExecutePlanRequest {
            session_id: self.client.session_id().to_owned(),
            user_context: Some(self.user()),
            operation_id: Some(uuid::Uuid::new_v4().to_string()),
            plan: Some(Self::plan(sql)),
            ..Default::default()
        };
        let mut answers = spark_connect_core::block_on(self.client.execute_plan(request))
            .map_err(|error| self.failed(&error))?;
        loop {
            let answer = spark_connect_core::block_on(answers.message())
                .map_err(|status| self.failed(&SparkError::from_grpc_status(status)))?;
            let Some(answer) = answer else {
                // An engine ends what is interrupted without a word.
                return if self.is_interrupted.load(Ordering::Relaxed) {
                    Err(Error::Interrupted)
                } else {
                    Ok(())
                };
            };
            if let Some(ResponseType::ArrowBatch(batch)) = answer.response_type {
                for batch in decoded(&batch.data)? {
                    rows(&batch, each)?;
                }
            }
        }
    }

    fn columns(&mut self, query: &str) -> Result<Vec<String>> {
        let schema = proto::analyze_plan_request::Schema {
            plan: Some(Self::plan(query)),
        };
        let request = proto::AnalyzePlanRequest {
            session_id: self.client.session_id().to_owned(),
            user_context: Some(self.user()),
            analyze: Some(proto::analyze_plan_request::Analyze::Schema(schema)),
            ..Default::default()
        };
        let answer = spark_connect_core::block_on(self.client.analyze_plan(request))
            .map_err(|error| self.failed(&error))?;
        let Some(proto::analyze_plan_response::Result::Schema(schema)) = answer.result else {
            return Err(unreadable());
        };
        let kind = schema.schema.and_then(|schema| schema.kind);
        let Some(proto::data_type::Kind::Struct(of)) = kind else {
            return Err(unreadable());
        };
        Ok(of.fields.into_iter().map(|field| field.name).collect())
    }

    fn interrupter(&self) -> Interrupter {
        let client = Arc::clone(&self.client);
        let is_interrupted = Arc::clone(&self.is_interrupted);
        Arc::new(move || {
            is_interrupted.store(true, Ordering::Relaxed);
            let client = Arc::clone(&client);
            // Whoever interrupts does not wait.
            spark_connect_core::get_runtime().spawn(async move {
                if let Err(error) = client.interrupt_all().await {
                    tracing::debug!(code = ?error.grpc_code, "the engine was not interrupted");
                }
            });
        })
    }
}

fn decoded(data: &[u8]) -> Result<Vec<RecordBatch>> {
    if data.is_empty() {
        return Ok(Vec::new());
    }
    let reader = StreamReader::try_new(Cursor::new(data), None).map_err(|_| unreadable())?;
    reader
        .collect::<std::result::Result<_, _>>()
        .map_err(|_| unreadable())
}

fn rows(batch: &RecordBatch, each: &mut dyn FnMut(TextRow) -> Result<()>) -> Result<()> {
    let columns = batch
        .columns()
        .iter()
        .map(|column| cast(column, &DataType::Utf8).map_err(|_| unreadable()))
        .collect::<Result<Vec<_>>>()?;
    let columns: Vec<_> = columns
        .iter()
        .map(arrow::array::AsArray::as_string::<i32>)
        .collect();
    for row in 0..batch.num_rows() {
        let values = columns
            .iter()
            .map(|column| column.is_valid(row).then(|| column.value(row).to_owned()));
        each(values.collect())?;
    }
    Ok(())
}

fn unreadable() -> Error {
    Error::internal("the engine's answer could not be read")
}
