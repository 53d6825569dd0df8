//! The process's log: human lines on a terminal, JSON elsewhere. Floods are cut ([`sample`]), levels change while it runs,
//! and nobody who logs waits for whoever reads ([`writer`]).

mod fields;
mod form;
mod sample;
mod writer;

use std::io::IsTerminal as _;
use std::sync::Arc;

use parking_lot::Mutex;
use tidings::config::{LogConfig, LogFormat};
use tidings::metrics::LogFigures;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, reload};

use fields::Fields;
use form::Form;
use sample::Sampler;
use writer::Writer;

/// The log of this process. What waits to be written is written when it is dropped, and by [`Log::flush`].
pub(crate) struct Log {
    levels: reload::Handle<Targets, Registry>,
    current: Mutex<String>,
    writer: Arc<Writer>,
}

/// Installs it for the whole process.
pub(crate) fn install(config: &LogConfig) -> Log {
    let terminal = std::io::stderr().is_terminal();
    let form = match config.format {
        LogFormat::Auto if terminal => Form::Human { colours: true },
        LogFormat::Human => Form::Human { colours: terminal },
        LogFormat::Auto | LogFormat::Json => Form::Json,
    };
    let sampler = Arc::new(Mutex::new(Sampler::new(config.lines_per_second)));
    let writer = Arc::new(Writer::start(form, sampler.clone()));
    let (levels, handle) = reload::Layer::new(targets(&config.level));
    let lines = Lines { form, sampler, writer: writer.clone() };
    // Fails only when a log is installed already, and then that one serves.
    let _ = tracing_subscriber::registry().with(lines.with_filter(levels)).try_init();
    Log { levels: handle, current: Mutex::new(config.level.clone()), writer }
}

/// The configuration was checked; should the two readers ever differ, a log at `info` beats none.
fn targets(level: &str) -> Targets {
    level.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO))
}

impl tidings::admin::Log for Log {
    fn level(&self) -> String {
        self.current.lock().clone()
    }

    fn set_level(&self, level: &str) -> Result<(), String> {
        LogConfig::check_level(level)?;
        self.levels.reload(targets(level)).map_err(|why| why.to_string())?;
        let before = std::mem::replace(&mut *self.current.lock(), level.to_owned());
        if before != level {
            tracing::info!(event = "log_level_changed", level, before, "the log's level changed");
        }
        Ok(())
    }

    fn figures(&self) -> LogFigures {
        self.writer.figures()
    }
}

impl Log {
    /// Writes what still waits.
    pub(crate) fn flush(&self) {
        self.writer.flush();
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Turns events into lines.
struct Lines {
    form: Form,
    sampler: Arc<Mutex<Sampler>>,
    writer: Arc<Writer>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let now_ms = writer::now_ms();
        // First of all, so that what is left out costs next to nothing.
        if self.sampler.lock().admit(event.metadata().callsite(), || Fields::of(event).kind().to_owned(), now_ms) {
            let mut line = Vec::with_capacity(256);
            self.form.write(&Fields::of(event), now_ms, &mut line);
            self.writer.write(line);
        } else {
            self.writer.leave_out();
        }
    }
}
