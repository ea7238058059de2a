//! Reading with connectorx: its PostgreSQL reader and dispatcher, between a source and a destination of our own.
//!
//! connectorx drives the copy. This module chooses the wire type that each field is read as, so that no value passes
//! through a type that would alter it, and sends the fields to a [`BatchBuilder`] and from there over a bounded channel.
//! Each lane has its own dispatcher, so that the lane that failed reports the cause.

use std::time::Duration;

use connectorx::data_order::DataOrder;
use connectorx::destinations::{Destination, DestinationPartition};
use connectorx::errors::ConnectorXError;
use connectorx::prelude::Dispatcher;
use connectorx::sources::postgres::{
    BinaryProtocol, PostgresBinarySourcePartitionParser, PostgresSourceError,
    PostgresSourcePartition, PostgresTypeSystem,
};
use connectorx::sources::{PartitionParser, Produce, Source};
use connectorx::sql::CXQuery;
use connectorx::typesystem::{Transport, TypeAssoc, TypeSystem};
use postgres::types::Type;
use postgres_openssl::MakeTlsConnector;
use r2d2_postgres::PostgresConnectionManager;
use tokio_util::sync::CancellationToken;

use super::{LaneQuery, Sink};
use crate::error::{Error, Result};
use crate::postgres::batch::BatchBuilder;
use crate::postgres::binary::{ColumnBuilder, FieldError, WireType};
use crate::source::joined;
use crate::source::postgres::connection::{OWN_PATH, Server, failed};

/// How long a lane that was stopped is awaited.
const STOP_LIMIT: Duration = Duration::from_secs(3);

type Connection = r2d2::PooledConnection<PostgresConnectionManager<MakeTlsConnector>>;
type Partition = PostgresSourcePartition<BinaryProtocol, MakeTlsConnector>;

/// A lane that is connected and has its snapshot, ready to be read.
pub struct ReadyLane {
    connection: Connection,
    canceller: Canceller,
    lane: LaneQuery,
}

/// Ends a lane's query on the server.
#[derive(Clone)]
struct Canceller {
    token: postgres::CancelToken,
    tls: MakeTlsConnector,
}

impl Canceller {
    /// Asks the server to cancel the query, if it is still running. Blocks.
    fn cancel(&self) {
        if let Err(error) = self.token.cancel_query(self.tls.clone()) {
            tracing::debug!(%error, "the server could not be asked to cancel");
        }
    }
}

impl ReadyLane {
    /// Connects. Blocks.
    pub fn connect(server: &Server, lane: LaneQuery) -> Result<Self> {
        let what = || format!("cannot begin to read at {}", server.place());
        let (config, tls) = (server.with_password_blocking()?, server.tls_connector());
        let pool = r2d2::Pool::builder()
            .max_size(1)
            .test_on_check_out(false)
            .connection_timeout(server.patience())
            .build_unchecked(PostgresConnectionManager::new(config, tls.clone()));
        let mut connection = pool.get().map_err(|error| {
            Error::source(format!(
                "cannot connect to PostgreSQL at {}",
                server.place()
            ))
            .cause(error)
        })?;
        let [settings, optional] = Server::settings();
        let beginning = lane.beginning();
        let mut execute = |statement: &str| connection.batch_execute(statement);
        let begun = execute(settings)
            .map(|()| drop(execute(optional)))
            .and_then(|()| {
                if lane.own_path {
                    execute(OWN_PATH)
                } else {
                    Ok(())
                }
            })
            .and_then(|()| execute(&beginning));
        begun.map_err(|error| failed(what(), &error))?;
        Ok(Self {
            canceller: Canceller {
                token: connection.cancel_token(),
                tls,
            },
            connection,
            lane,
        })
    }

    /// Reads all rows and sends them, until `stop` is cancelled.
    pub async fn run(self, sink: Sink, stop: &CancellationToken) -> Result<()> {
        let canceller = self.canceller.clone();
        let reader = tokio::task::spawn_blocking(move || self.read(sink));
        let mut reading = std::pin::pin!(joined(reader));
        tokio::select! {
            ended = &mut reading => return ended,
            () = stop.cancelled() => {}
        }
        let asking = tokio::task::spawn_blocking(move || canceller.cancel());
        // A server that does not answer is abandoned, and so is the thread.
        let ended = tokio::time::timeout(STOP_LIMIT, async {
            let _ = asking.await;
            reading.await
        });
        ended
            .await
            .unwrap_or(Err(Error::Interrupted))
            .and(Err(Error::Interrupted))
    }

    /// Reads all rows and sends them. Blocks.
    fn read(self, batches: Sink) -> Result<()> {
        let Self {
            connection,
            canceller,
            lane,
        } = self;
        let source_types: Vec<PostgresTypeSystem> =
            lane.wire_types.iter().map(|w| wire_type(*w).0).collect();
        let wire_types: Vec<Type> = lane.wire_types.iter().map(|w| wire_type(*w).1).collect();
        let query = CXQuery::naked(&lane.query);
        let source = LaneSource {
            partition: Partition::new(connection, &query, &source_types, &wire_types),
            types: source_types,
        };
        let mut sink = LaneSink {
            batches: Some(BatchSink {
                builder: BatchBuilder::new(&lane.schema, &lane.wire_types, lane.mark),
                batches,
                canceller,
            }),
        };
        // The dispatcher works in rayon's current pool: a pool of one thread keeps lanes from waiting for each other.
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .map_err(|error| {
                Error::internal("a reading thread could not be started").cause(error)
            })?;
        let dispatcher = Dispatcher::<_, _, LaneTransport>::new(source, &mut sink, &[query], None);
        pool.install(|| dispatcher.run()).map_err(Error::from)
    }
}

/// The connectorx type and the PostgreSQL type under which a field is read. The latter need not be the column's: both only
/// choose the decoder. What connectorx would decode lossily is read as integers, text or bytes.
fn wire_type(wire: WireType) -> (PostgresTypeSystem, Type) {
    match wire {
        WireType::Bool => (PostgresTypeSystem::Bool(true), Type::BOOL),
        WireType::Int2 => (PostgresTypeSystem::Int2(true), Type::INT2),
        WireType::Int4 | WireType::Date => (PostgresTypeSystem::Int4(true), Type::INT4),
        WireType::Int8 | WireType::Time | WireType::Timestamp => {
            (PostgresTypeSystem::Int8(true), Type::INT8)
        }
        WireType::Oid => (PostgresTypeSystem::UInt4(true), Type::OID),
        WireType::Float4 => (PostgresTypeSystem::Float4(true), Type::FLOAT4),
        WireType::Float8 => (PostgresTypeSystem::Float8(true), Type::FLOAT8),
        WireType::Text => (PostgresTypeSystem::Text(true), Type::TEXT),
        WireType::Uuid => (PostgresTypeSystem::UUID(true), Type::UUID),
        WireType::Bytea | WireType::Numeric | WireType::Array => {
            (PostgresTypeSystem::ByteA(true), Type::BYTEA)
        }
    }
}

/// A source of one partition, already connected.
struct LaneSource {
    partition: Partition,
    types: Vec<PostgresTypeSystem>,
}

impl Source for LaneSource {
    const DATA_ORDERS: &'static [DataOrder] = &[DataOrder::RowMajor];
    type Partition = Partition;
    type TypeSystem = PostgresTypeSystem;
    type Error = PostgresSourceError;

    fn set_data_order(&mut self, _: DataOrder) -> Result<(), Self::Error> {
        Ok(())
    }

    fn set_queries<Q: ToString>(&mut self, _: &[CXQuery<Q>]) {}

    fn set_origin_query(&mut self, _: Option<String>) {}

    fn fetch_metadata(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }

    fn result_rows(&mut self) -> Result<Option<usize>, Self::Error> {
        Ok(None)
    }

    fn names(&self) -> Vec<String> {
        vec![String::new(); self.types.len()]
    }

    fn schema(&self) -> Vec<PostgresTypeSystem> {
        self.types.clone()
    }

    fn partition(self) -> Result<Vec<Partition>, Self::Error> {
        Ok(vec![self.partition])
    }
}

/// The type system of the sink: it has one type, a field.
#[derive(Debug, Clone, Copy)]
struct FieldType;

impl TypeSystem for FieldType {}

/// A destination of one partition.
struct LaneSink {
    batches: Option<BatchSink>,
}

/// Collects batches and sends them.
struct BatchSink {
    builder: BatchBuilder,
    batches: Sink,
    canceller: Canceller,
}

impl Destination for LaneSink {
    const DATA_ORDERS: &'static [DataOrder] = &[DataOrder::RowMajor];
    type TypeSystem = FieldType;
    type Partition<'a> = BatchSink;
    type Error = LaneError;

    fn needs_count(&self) -> bool {
        false
    }

    fn allocate<S: AsRef<str>>(
        &mut self,
        _: usize,
        _: &[S],
        _: &[FieldType],
        _: DataOrder,
    ) -> Result<(), LaneError> {
        Ok(())
    }

    fn partition(&mut self, _: usize) -> Result<Vec<BatchSink>, LaneError> {
        Ok(self.batches.take().into_iter().collect())
    }

    fn schema(&self) -> &[FieldType] {
        &[]
    }
}

impl DestinationPartition<'_> for BatchSink {
    type TypeSystem = FieldType;
    type Error = LaneError;

    fn ncols(&self) -> usize {
        self.builder.width()
    }

    /// connectorx calls this before each few rows, so a full batch is sent here.
    fn aquire_row(&mut self, _: usize) -> Result<usize, LaneError> {
        if self.builder.is_full() {
            self.send()?;
        }
        Ok(0)
    }

    fn finalize(&mut self) -> Result<(), LaneError> {
        self.send()?;
        let finished = self.batches.blocking_finish();
        finished.map_err(|error| self.give_up(LaneError::Row(error)))
    }
}

impl BatchSink {
    fn send(&mut self) -> Result<(), LaneError> {
        if let Some(batch) = self.builder.take().map_err(LaneError::Row)? {
            self.batches
                .blocking_send(batch)
                .map_err(|error| self.give_up(LaneError::Row(error)))?;
        }
        Ok(())
    }
}

/// Why a lane ended early.
#[derive(Debug)]
enum LaneError {
    /// connectorx's own.
    ConnectorX(ConnectorXError),
    /// The server's, or the connection's.
    Postgres(PostgresSourceError),
    /// A row that cannot be copied.
    Row(Error),
}

impl From<ConnectorXError> for LaneError {
    fn from(error: ConnectorXError) -> Self {
        Self::ConnectorX(error)
    }
}

impl From<PostgresSourceError> for LaneError {
    fn from(error: PostgresSourceError) -> Self {
        Self::Postgres(error)
    }
}

impl From<LaneError> for Error {
    fn from(error: LaneError) -> Self {
        match error {
            LaneError::Row(error) => error,
            LaneError::Postgres(PostgresSourceError::PostgresError(error)) => {
                failed("the server broke off the extract", &error)
            }
            LaneError::Postgres(error) => {
                Error::source("the extract broke off").cause(error.to_string())
            }
            LaneError::ConnectorX(error) => {
                Error::internal("connectorx cannot read this").cause(error.to_string())
            }
        }
    }
}

/// Copies a field from the reader to the sink.
struct LaneTransport;

type Parser<'s> = PostgresBinarySourcePartitionParser<'s>;
type Carry<'s> = fn(&mut Parser<'s>, &mut BatchSink) -> Result<(), LaneError>;

impl LaneTransport {
    fn carry<'s>(source: PostgresTypeSystem) -> Result<Carry<'s>, ConnectorXError> {
        /// Reads a field as `$type` and pushes it, `$length` telling its bytes beyond the fixed.
        macro_rules! by {
            ($type:ty, $push:ident) => {
                Ok(|parser, sink| {
                    let value: Option<$type> = sink.parse(parser)?;
                    sink.field(value.is_none(), 0, |column| column.$push(value))
                })
            };
        }
        match source {
            PostgresTypeSystem::Bool(_) => by!(bool, push_bool),
            PostgresTypeSystem::Int2(_) => by!(i16, push_i16),
            PostgresTypeSystem::Int4(_) => by!(i32, push_i32),
            PostgresTypeSystem::Int8(_) => by!(i64, push_i64),
            PostgresTypeSystem::UInt4(_) => by!(u32, push_u32),
            PostgresTypeSystem::Float4(_) => by!(f32, push_f32),
            PostgresTypeSystem::Float8(_) => by!(f64, push_f64),
            PostgresTypeSystem::Text(_) => Ok(|parser, sink| {
                let value: Option<&str> = sink.parse(parser)?;
                let length = value.map_or(0, str::len);
                sink.field(value.is_none(), length, |column| column.push_str(value))
            }),
            PostgresTypeSystem::UUID(_) => Ok(|parser, sink| {
                let value: Option<uuid::Uuid> = sink.parse(parser)?;
                let bytes = value.as_ref().map(|uuid| uuid.as_bytes().as_slice());
                sink.field(bytes.is_none(), 0, |column| column.push_binary(bytes))
            }),
            PostgresTypeSystem::ByteA(_) => Ok(|parser, sink| {
                let value: Option<Vec<u8>> = sink.parse(parser)?;
                let length = value.as_ref().map_or(0, Vec::len);
                sink.field(value.is_none(), length, |column| {
                    column.push_binary(value.as_deref())
                })
            }),
            other => Err(ConnectorXError::NoConversionRule(
                format!("{other:?}"),
                "a field".to_owned(),
            )),
        }
    }
}

impl BatchSink {
    fn field(
        &mut self,
        is_null: bool,
        bytes: usize,
        push: impl FnOnce(&mut ColumnBuilder) -> Result<(), FieldError>,
    ) -> Result<(), LaneError> {
        self.builder
            .field(is_null, bytes, push)
            .map_err(|error| self.give_up(LaneError::Row(error)))
    }

    /// The field at the parser's position.
    fn parse<'r, 's, T>(&self, parser: &'r mut Parser<'s>) -> Result<T, LaneError>
    where
        T: TypeAssoc<PostgresTypeSystem>,
        Parser<'s>: Produce<'r, T, Error = PostgresSourceError>,
    {
        PartitionParser::parse(parser).map_err(|error| self.give_up(LaneError::Postgres(error)))
    }

    /// Before an error ends the lane: a client that is dropped amid a COPY first reads all that is left of it, so the
    /// server is asked to stop sending.
    fn give_up(&self, error: LaneError) -> LaneError {
        self.canceller.cancel();
        error
    }
}

impl Transport for LaneTransport {
    type TSS = PostgresTypeSystem;
    type TSD = FieldType;
    type S = LaneSource;
    type D = LaneSink;
    type Error = LaneError;

    fn convert_typesystem(_: PostgresTypeSystem) -> connectorx::errors::Result<FieldType> {
        Ok(FieldType)
    }

    fn process<'s, 'd, 'r>(
        source: PostgresTypeSystem,
        _: FieldType,
        parser: &'r mut Parser<'s>,
        sink: &'r mut BatchSink,
    ) -> Result<(), LaneError>
    where
        Self: 'd,
    {
        Self::carry(source)?(parser, sink)
    }

    fn processor<'s, 'd>(
        source: PostgresTypeSystem,
        _: FieldType,
    ) -> connectorx::errors::Result<Carry<'s>>
    where
        Self: 'd,
    {
        Self::carry(source)
    }
}
