//! How a run's progress is shown while it lasts: bars on a terminal, a line now and then elsewhere.

use std::collections::HashMap;
use std::time::Duration;

use acequia::names::StreamName;
use acequia::progress::{Phase, Progress, StreamProgress};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::printer::Notices;
use super::{Global, LogFormat, Output, figures};

/// How often bars are drawn.
const BARS: Duration = Duration::from_millis(100);
/// How often lines are written.
const LINES: Duration = Duration::from_secs(5);

/// From when on the speed of an extract tells how long it will take.
const HARDLY_BEGUN: Duration = Duration::from_secs(3);

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Display {
    Bars,
    Lines,
    Nothing,
}

impl Display {
    /// A program that reads the log or the result wants no progress between; a terminal has room for it anyway, unless
    /// the log on it is JSON.
    fn choose(global: &Global, terminal: bool) -> Self {
        match (global.log_format, global.output, terminal) {
            (LogFormat::Json, ..) | (_, Output::Json, false) => Self::Nothing,
            (LogFormat::Text, _, true) => Self::Bars,
            (LogFormat::Text, Output::Text, false) => Self::Lines,
        }
    }
}

/// What shows the progress of a run.
pub(crate) struct ProgressDisplay {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl ProgressDisplay {
    /// Starts it. To be called within the runtime.
    pub(crate) fn start(progress: Progress, global: &Global, notices: &Notices) -> Self {
        let stop = CancellationToken::new();
        let display = Display::choose(global, !notices.bars().is_hidden());
        let notices = notices.clone();
        let task = tokio::spawn({
            let stop = stop.clone();
            async move {
                match display {
                    Display::Bars => show_bars(&progress, &notices, &stop).await,
                    Display::Lines => show_lines(&progress, &notices, &stop).await,
                    Display::Nothing => {}
                }
            }
        });
        Self { stop, task }
    }

    /// Ends it, and removes what it has drawn.
    pub(crate) async fn finish(self) {
        self.stop.cancel();
        // What it shows is of no consequence, so neither is how it ended.
        let _ = self.task.await;
    }
}

async fn show_bars(progress: &Progress, notices: &Notices, stop: &CancellationToken) {
    let mut bars: HashMap<StreamName, ProgressBar> = HashMap::new();
    let mut ticks = ticks(BARS);
    while tick(&mut ticks, stop).await {
        let snapshot = progress.snapshot();
        let width = snapshot
            .iter()
            .map(|stream| stream.stream.as_str().len())
            .max()
            .unwrap_or(0);
        for stream in snapshot {
            if stream.phase == Phase::Waiting {
                continue;
            }
            let bar = bars.entry(stream.stream.clone()).or_insert_with(|| {
                let bar = notices.bars().add(ProgressBar::no_length());
                bar.set_prefix(format!("{:width$}", stream.stream.as_str()));
                bar
            });
            if !bar.is_finished() {
                draw(bar, &stream);
            }
        }
    }
    for bar in bars.values() {
        bar.finish_and_clear();
    }
}

fn draw(bar: &ProgressBar, stream: &StreamProgress) {
    // Estimates may be too low; a full bar then says that the end is near.
    let estimate = stream
        .estimated_rows
        .filter(|rows| *rows > 0 && stream.phase == Phase::Extracting);
    let template = match estimate {
        // What a narrow terminal has no room for is cut off: a line that wraps is not drawn over.
        Some(_) => "{spinner} {prefix}  {bar:10} {wide_msg}",
        None => "{spinner} {prefix}  {wide_msg}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    if let Some(estimate) = estimate {
        bar.set_length(estimate);
        bar.set_position(stream.rows.min(estimate));
    }
    bar.set_message(describe(stream));
    match stream.phase {
        Phase::Done | Phase::Failed => bar.abandon(),
        _ => bar.tick(),
    }
}

async fn show_lines(progress: &Progress, notices: &Notices, stop: &CancellationToken) {
    let mut ticks = ticks(LINES);
    // The first tick is immediate, when there is nothing to show.
    ticks.tick().await;
    while tick(&mut ticks, stop).await {
        for stream in progress.snapshot() {
            if matches!(stream.phase, Phase::Extracting | Phase::Loading) {
                notices.say(&format!("{}: {}", stream.stream, describe(&stream)));
            }
        }
    }
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Waits for the next tick; false when it is time to stop.
async fn tick(ticks: &mut Interval, stop: &CancellationToken) -> bool {
    tokio::select! {
        biased;
        () = stop.cancelled() => false,
        _ = ticks.tick() => true,
    }
}

/// `extracting, 1,200,000 of about 4,800,000 rows, 1 min 12 s left, 50,000 rows/s, 34.5 MB, 24.0 s`
fn describe(stream: &StreamProgress) -> String {
    let phase = match stream.phase {
        Phase::Waiting => "waiting",
        Phase::Extracting => "extracting",
        Phase::Loading => "loading",
        Phase::Done => "done",
        Phase::Failed => "failed",
    };
    let mut text = format!("{phase}, {}", figures::count(stream.rows));
    let estimate = stream
        .estimated_rows
        .filter(|rows| *rows > stream.rows && stream.phase == Phase::Extracting);
    if let Some(estimate) = estimate {
        text.push_str(" of about ");
        text.push_str(&figures::count(estimate));
    }
    text.push_str(" rows");
    if let Some(left) = estimate.and_then(|estimate| left(stream, estimate)) {
        text.push_str(", ");
        text.push_str(&figures::elapsed(left));
        text.push_str(" left");
    }
    if stream.phase == Phase::Extracting {
        text.push_str(", ");
        text.push_str(&figures::rate(stream.rows, stream.elapsed));
    }
    format!(
        "{text}, {}, {}",
        figures::bytes(stream.bytes),
        figures::elapsed(stream.elapsed)
    )
}

/// How long an extract will still take, if it goes on as it went: unknown while it has hardly begun.
fn left(stream: &StreamProgress, estimate: u64) -> Option<Duration> {
    if stream.rows == 0 || stream.elapsed < HARDLY_BEGUN {
        return None;
    }
    let millis =
        stream.elapsed.as_millis() * u128::from(estimate - stream.rows) / u128::from(stream.rows);
    u64::try_from(millis).ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_phase_rows_speed_bytes_and_time() {
        let mut stream = StreamProgress {
            stream: "ventas".parse().unwrap(),
            phase: Phase::Extracting,
            rows: 1_200_000,
            bytes: 34_512_000,
            estimated_rows: None,
            elapsed: Duration::from_secs(24),
        };
        assert_eq!(
            describe(&stream),
            "extracting, 1,200,000 rows, 50,000 rows/s, 34.5 MB, 24.0 s"
        );
        stream.estimated_rows = Some(4_800_000);
        assert_eq!(
            describe(&stream),
            "extracting, 1,200,000 of about 4,800,000 rows, 1 min 12 s left, 50,000 rows/s, 34.5 MB, 24.0 s"
        );
        // An estimate that was too low is none.
        stream.estimated_rows = Some(1_200_000);
        assert_eq!(
            describe(&stream),
            "extracting, 1,200,000 rows, 50,000 rows/s, 34.5 MB, 24.0 s"
        );
        stream.estimated_rows = Some(4_800_000);
        stream.phase = Phase::Loading;
        assert_eq!(
            describe(&stream),
            "loading, 1,200,000 rows, 34.5 MB, 24.0 s"
        );
    }

    #[test]
    fn progress_never_disturbs_a_program() {
        let global = |output, log_format| Global {
            config: "acequia.toml".into(),
            output,
            verbose: 0,
            log_format,
        };
        for (output, log_format, terminal, display) in [
            (Output::Text, LogFormat::Text, true, Display::Bars),
            (Output::Text, LogFormat::Text, false, Display::Lines),
            (Output::Json, LogFormat::Text, true, Display::Bars),
            (Output::Json, LogFormat::Text, false, Display::Nothing),
            (Output::Text, LogFormat::Json, true, Display::Nothing),
        ] {
            assert_eq!(
                Display::choose(&global(output, log_format), terminal),
                display
            );
        }
    }
}
