"""Spark Connect in front of a Spark of this process: what the tests of the lake need of that service, which Spark 3.5 has in a
jar that no registry of Python packages brings. Statements, the columns of a query, settings, and to end what runs.

Arguments: the port to listen on, the token that it wants, the catalog's name, its address, its warehouse, a file with its token,
the object storage's address, a folder for files of its own, and jars. With `SPARK_MASTER` in the environment, that is where statements
run, as a cluster is set up; else here, as tests are best served.
"""

import os
import sys
import threading
from concurrent import futures

import grpc
import pyarrow as pa
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.connect.proto import base_pb2 as proto
from pyspark.sql.connect.proto import base_pb2_grpc as service

port, wanted, name, catalog, warehouse, token, endpoint, folder, *jars = sys.argv[1:]

SETTINGS = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.jars": ",".join(jars),
    "spark.local.dir": folder,
    "spark.sql.warehouse.dir": f"{folder}/warehouse",
    "spark.ui.enabled": "false",
    "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
    f"spark.sql.catalog.{name}": "org.apache.iceberg.spark.SparkCatalog",
    f"spark.sql.catalog.{name}.type": "rest",
    f"spark.sql.catalog.{name}.uri": catalog,
    f"spark.sql.catalog.{name}.warehouse": warehouse,
    f"spark.sql.catalog.{name}.token": open(token).read(),
    f"spark.sql.catalog.{name}.io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
    f"spark.sql.catalog.{name}.s3.endpoint": endpoint,
    f"spark.sql.catalog.{name}.s3.path-style-access": "true",
    f"spark.sql.catalog.{name}.s3.access-key-id": os.environ["AWS_ACCESS_KEY_ID"],
    f"spark.sql.catalog.{name}.s3.secret-access-key": os.environ["AWS_SECRET_ACCESS_KEY"],
    f"spark.sql.catalog.{name}.client.region": os.environ["AWS_REGION"],
    f"spark.sql.catalog.{name}.http-client.type": "urlconnection",
    # What a cluster may be set to, and a client that is careful does not depend on.
    "spark.sql.ansi.enabled": "false",
    "spark.sql.storeAssignmentPolicy": "LEGACY",
    "spark.sql.session.timeZone": "America/Lima",
    "spark.sql.parser.escapedStringLiterals": "true",
    "spark.sql.sources.partitionOverwriteMode": "dynamic",
    "spark.sql.parquet.binaryAsString": "true",
    # Parts are read by way of Hadoop.
    "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
    "spark.hadoop.fs.s3a.endpoint": endpoint,
    "spark.hadoop.fs.s3a.path.style.access": "true",
    "spark.hadoop.fs.s3a.connection.ssl.enabled": "false",
    "spark.hadoop.fs.s3a.access.key": os.environ["AWS_ACCESS_KEY_ID"],
    "spark.hadoop.fs.s3a.secret.key": os.environ["AWS_SECRET_ACCESS_KEY"],
}

if "SPARK_MASTER" in os.environ:
    SETTINGS |= {
        "spark.driver.memory": "2g",
        "spark.driver.extraJavaOptions": f"-Djava.io.tmpdir={folder}",
        "spark.executor.memory": "2g",
        "spark.sql.shuffle.partitions": "8",
    }
else:
    # Tests have few rows and many statements.
    SETTINGS |= {
        "spark.driver.memory": "1g",
        "spark.driver.extraJavaOptions": f"-Djava.io.tmpdir={folder} -XX:+UseSerialGC -XX:TieredStopAtLevel=1",
        "spark.default.parallelism": "1",
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.shuffle.partitions": "1",
    }


class Guard(grpc.ServerInterceptor):
    """Whoever does not show the token is told no more."""

    def intercept_service(self, goes_on, details):
        if ("authorization", f"Bearer {wanted}") in ((of.key, of.value) for of in details.invocation_metadata):
            return goes_on(details)
        refuse = lambda _, context: context.abort(grpc.StatusCode.UNAUTHENTICATED, "no such token")
        handler = goes_on(details)
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(refuse)
        return grpc.unary_unary_rpc_method_handler(refuse)


class Service(service.SparkConnectServiceServicer):
    """Each session of a client is one of the Spark's."""

    def __init__(self, spark):
        self.spark = spark
        self.sessions = {}
        self.lock = threading.Lock()

    def session(self, of):
        with self.lock:
            if of not in self.sessions:
                self.sessions[of] = self.spark.newSession()
            return self.sessions[of]

    def carried_out(self, context, what):
        try:
            return what()
        except PySparkException as error:
            told = error.desc if hasattr(error, "desc") else str(error)
            reason = error.getErrorClass() or type(error).__name__
        except Exception as error:  # of Java: what ran was ended, a file is not there
            told = str(getattr(error, "java_exception", error))
            reason = type(error).__name__
        detail = any_pb2.Any()
        detail.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="org.apache.spark"))
        told = told[:4000]
        print(f"refused: {reason}: {told}", file=sys.stderr, flush=True)
        status = status_pb2.Status(code=grpc.StatusCode.INTERNAL.value[0], message=told, details=[detail])
        context.abort_with_status(rpc_status.to_status(status))

    def ExecutePlan(self, request, context):
        def run():
            self.spark.sparkContext.setJobGroup(request.session_id, "a statement", interruptOnCancel=True)
            data = self.session(request.session_id).sql(request.plan.root.sql.query)
            rows = data.collect()
            names = [str(place) for place in range(len(data.columns))]
            columns = [[None if row[place] is None else str(row[place]) for row in rows] for place in range(len(names))]
            arrays = [pa.array(column, pa.string()) for column in columns]
            return pa.record_batch(arrays, names=names) if names else None

        batch = self.carried_out(context, run)
        if batch is not None:
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, batch.schema) as stream:
                stream.write_batch(batch)
            answer = proto.ExecutePlanResponse(session_id=request.session_id)
            answer.arrow_batch.row_count = batch.num_rows
            answer.arrow_batch.data = sink.getvalue().to_pybytes()
            yield answer

    def AnalyzePlan(self, request, context):
        def run():
            return self.session(request.session_id).sql(request.schema.plan.root.sql.query).columns

        answer = proto.AnalyzePlanResponse(session_id=request.session_id)
        for column in self.carried_out(context, run):
            field = answer.schema.schema.struct.fields.add()
            field.name = column
        return answer

    def Config(self, request, context):
        def run():
            for pair in request.operation.set.pairs:
                self.session(request.session_id).conf.set(pair.key, pair.value)

        self.carried_out(context, run)
        return proto.ConfigResponse(session_id=request.session_id)

    def Interrupt(self, request, context):
        self.spark.sparkContext.cancelJobGroup(request.session_id)
        return proto.InterruptResponse(session_id=request.session_id)


builder = SparkSession.builder.master(os.environ.get("SPARK_MASTER", "local[2]"))
for key, value in SETTINGS.items():
    builder = builder.config(key, value)
spark = builder.getOrCreate()
spark.sparkContext.setLogLevel("WARN")
server = grpc.server(
    futures.ThreadPoolExecutor(max_workers=16), interceptors=[Guard()], options=[("grpc.so_reuseport", 0)]
)
service.add_SparkConnectServiceServicer_to_server(Service(spark), server)
if server.add_insecure_port(f"127.0.0.1:{port}") == 0:
    sys.exit("address already in use")
server.start()
server.wait_for_termination()
