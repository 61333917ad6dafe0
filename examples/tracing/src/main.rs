//! One trace from a request to the spans in worker processes, as OpenTelemetry sees it.
//!
//! A request counts the words of some pages in worker processes. What their functions say to `tracing`
//! arrives in this process, under the span in which the pages were submitted, and goes wherever this
//! process sends its spans. Nothing is set up in the workers.
//!
//! ```text
//! request
//! ├── count_words
//! │   └── split      event: counted
//! └── count_words
//!     └── split      event: counted
//! ```

use std::error::Error;

use concurrent_futures::{Executor, ProcessPoolExecutor, Shutdown, TaskError};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanExporter};
use tracing::{Dispatch, info, info_span, instrument, trace};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;

/// Runs in a worker process.
#[instrument(skip(page), fields(bytes = page.len()))]
fn count_words(page: String) -> usize {
    info_span!("split").in_scope(|| {
        let words = page.split_whitespace().count();
        info!(words, "counted");
        trace!("too fine for the filter");
        words
    })
}

/// Runs here.
#[instrument(skip(pages))]
fn request(pool: &ProcessPoolExecutor, path: &str, pages: &[&str]) -> Result<usize, TaskError> {
    let pages = pages.iter().map(ToString::to_string);
    pool.map(count_words, pages).into_iter().sum()
}

/// A subscriber that hands all spans of the level `info` to this exporter, and what gives it the rest.
fn exported_by(exporter: impl SpanExporter + 'static) -> (Dispatch, SdkTracerProvider) {
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter)
        .build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("trace-tree"));
    let layers = tracing_subscriber::registry()
        .with(EnvFilter::new("info"))
        .with(layer);
    (Dispatch::new(layers), provider)
}

const PAGES: [&str; 2] = ["to be or not to be", "that is the question"];

fn main() -> Result<(), Box<dyn Error>> {
    let (dispatch, provider) = exported_by(opentelemetry_stdout::SpanExporter::default());
    tracing::dispatcher::set_global_default(dispatch)?;
    let pool = ProcessPoolExecutor::new(2);
    let words = request(&pool, "/count", &PAGES)?;
    println!("{words} words");
    pool.blocking_shutdown(Shutdown::new())?;
    provider.shutdown()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use opentelemetry::KeyValue;
    use opentelemetry_sdk::trace::{InMemorySpanExporter, SpanData};

    use super::*;

    /// The value of an attribute, as text.
    fn attribute(attributes: &[KeyValue], key: &str) -> String {
        let mut all = attributes.iter();
        let found = all.find(|attribute| attribute.key.as_str() == key);
        let found = found.unwrap_or_else(|| panic!("no {key} among {attributes:?}"));
        found.value.as_str().into_owned()
    }

    #[test]
    fn request_and_worker_processes_are_one_trace() {
        let exporter = InMemorySpanExporter::default();
        let (dispatch, provider) = exported_by(exporter.clone());
        let pool = ProcessPoolExecutor::new(2);
        let words = tracing::dispatcher::with_default(&dispatch, || request(&pool, "/", &PAGES));
        assert_eq!(words.expect("the pool works"), 10);
        pool.blocking_shutdown(Shutdown::new())
            .expect("nothing hangs");
        provider.force_flush().expect("the exporter works");

        let spans = exporter.get_finished_spans().expect("the exporter works");
        let named = |name: &str| -> Vec<&SpanData> {
            spans.iter().filter(|span| span.name == name).collect()
        };
        let [request] = named("request")[..] else {
            panic!("there is one request: {spans:#?}");
        };
        let (counts, splits) = (named("count_words"), named("split"));
        assert_eq!((counts.len(), splits.len(), spans.len()), (2, 2, 5));
        let trace = request.span_context.trace_id();
        assert!(
            spans
                .iter()
                .all(|span| span.span_context.trace_id() == trace)
        );
        for count in &counts {
            assert_eq!(count.parent_span_id, request.span_context.span_id());
            let bytes = attribute(&count.attributes, "bytes");
            assert!(["18", "20"].contains(&&*bytes), "{bytes}");
            let own = splits
                .iter()
                .filter(|split| split.parent_span_id == count.span_context.span_id());
            assert_eq!(own.count(), 1);
        }
        for split in splits {
            let [event] = &split.events.events[..] else {
                panic!("one event is fine enough: {split:#?}");
            };
            assert_eq!(event.name, "counted");
            let words = attribute(&event.attributes, "words");
            assert!(["4", "6"].contains(&&*words), "{words}");
        }
    }
}
