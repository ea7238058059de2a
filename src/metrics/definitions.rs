//! The metrics that there are, each said once: for Prometheus, for OpenTelemetry and for who embeds the library.

use super::samples::{Kind, Metric};

/// Defines metrics, and the list of all of them.
macro_rules! metrics {
    ($($name:ident = $kind:ident($text:literal, $help:literal);)*) => {
        $(
            #[doc = $help]
            pub(crate) const $name: Metric = Metric {
                name: $text,
                kind: Kind::$kind,
                help: $help,
            };
        )*
        /// All metrics.
        pub const ALL: &[Metric] = &[$($name),*];
    };
}

metrics! {
    RUN_SUCCESS = Gauge("acequia_run_success", "Whether the last run succeeded.");
    RUN_STARTED = Gauge("acequia_run_started_timestamp_seconds", "When the last run began.");
    RUN_ENDED = Gauge("acequia_run_ended_timestamp_seconds", "When the last run ended.");
    SUCCESS = Gauge(
        "acequia_stream_success",
        "Whether the stream's last run succeeded; of one that is followed, whether it still is."
    );
    SYNCED = Gauge(
        "acequia_stream_synced_timestamp_seconds",
        "When the stream was last brought up to date, with rows or without."
    );
    SECONDS = Gauge("acequia_stream_duration_seconds", "Wall time of the stream's last run.");
    EXTRACTED = Gauge(
        "acequia_stream_rows_extracted",
        "Rows, or changes, that the stream's last run read."
    );
    INSERTED = Gauge("acequia_stream_rows_inserted", "Rows that the stream's last run added.");
    UPDATED = Gauge("acequia_stream_rows_updated", "Rows that the stream's last run replaced.");
    DELETED = Gauge(
        "acequia_stream_rows_deleted",
        "Rows that the stream's last run deleted, or marked as deleted."
    );
    LANDED = Gauge(
        "acequia_stream_bytes_landed",
        "Bytes of Parquet that the stream's last run landed."
    );
    RETRIES = Gauge("acequia_stream_retries", "How often the stream's last run read it again.");
    ROWS_TOTAL = Counter(
        "acequia_stream_rows_landed_total",
        "Rows, or changes, that were landed since the run began."
    );
    BYTES_TOTAL = Counter(
        "acequia_stream_bytes_landed_total",
        "Bytes of Parquet that were landed since the run began."
    );
    CONNECTED = Gauge(
        "acequia_source_connected",
        "Whether the run is connected to the source that it follows."
    );
    BATCHES = Counter(
        "acequia_source_batches_total",
        "Batches of changes that were loaded since the run began."
    );
    CHANGES = Counter(
        "acequia_source_changes_total",
        "Changes that were loaded since the run began."
    );
    LAG = Gauge(
        "acequia_source_lag_seconds",
        "Of the last batch: from the first change's commit in the source to its commit in the destination."
    );
}
