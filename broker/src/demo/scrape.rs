//! The broker's own figures, read from its `/metrics` as any Prometheus would.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest wait for an answer; the next sample is due after a second.
const ANSWER_MAX: Duration = Duration::from_millis(800);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// Latency quantiles and processor time are taken over this many readings: one second alone holds too few deliveries to
/// tell a p99, and too few of the kernel's ticks.
const READINGS: usize = 10;

/// What the page shows of the broker.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Figures {
    connections: u64,
    published_per_s: f64,
    delivered_per_s: f64,
    /// `None` when nothing was delivered lately.
    latency_p50_s: Option<f64>,
    latency_p99_s: Option<f64>,
    rss_bytes: u64,
    /// Of one core.
    cpu_percent: f64,
}

/// One reading of the counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reading {
    connections: f64,
    published: f64,
    delivered: f64,
    rss_bytes: f64,
    cpu_seconds: f64,
    /// Upper bound in seconds and how many were at or below it, over all fronts, ascending.
    latency: Vec<(f64, f64)>,
}

impl Reading {
    /// Reads what it knows from the text format of Prometheus and leaves the rest.
    pub(super) fn parse(text: &str) -> Self {
        let mut reading = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Some(value) = value.parse::<f64>().ok().filter(|value| value.is_finite()) else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            match name {
                "tidings_connections" => reading.connections += value,
                "tidings_publishes_answered_total" if label(labels, "outcome") == Some("kept") => reading.published += value,
                "tidings_messages_delivered_total" => reading.delivered += value,
                "tidings_delivery_latency_seconds_bucket" => {
                    if let Some(bound) = label(labels, "le").and_then(|bound| bound.parse::<f64>().ok()) {
                        match reading.latency.iter_mut().find(|(other, _)| *other == bound) {
                            Some((_, count)) => *count += value,
                            None => reading.latency.push((bound, value)),
                        }
                    }
                }
                "process_resident_memory_bytes" => reading.rss_bytes = value,
                "process_cpu_seconds_total" => reading.cpu_seconds = value,
                _ => {}
            }
        }
        reading.latency.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        reading
    }

    fn is_older_than(&self, other: &Self) -> bool {
        self.published <= other.published && self.delivered <= other.delivered && self.cpu_seconds <= other.cpu_seconds
    }
}

fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels.split([',', '}']).find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"'))
}

/// The latest readings, from which rates come.
#[derive(Debug, Default)]
pub(super) struct Readings {
    kept: VecDeque<(Duration, Reading)>,
}

impl Readings {
    /// The figures since the previous reading; `None` when there is none of the same process.
    pub(super) fn see(&mut self, reading: Reading, now: Duration) -> Option<Figures> {
        if self.kept.back().is_some_and(|(_, before)| !before.is_older_than(&reading)) {
            // Counts ran back: the broker was started anew.
            self.kept.clear();
        }
        let figures = self.kept.front().zip(self.kept.back()).map(|((start, first), (then, before))| {
            let rate = |from: Duration, growth: f64| (growth / now.saturating_sub(from).as_secs_f64().max(0.001) * 10.0).round() / 10.0;
            Figures {
                connections: reading.connections as u64,
                published_per_s: rate(*then, reading.published - before.published),
                delivered_per_s: rate(*then, reading.delivered - before.delivered),
                latency_p50_s: quantile(&first.latency, &reading.latency, 0.5),
                latency_p99_s: quantile(&first.latency, &reading.latency, 0.99),
                rss_bytes: reading.rss_bytes as u64,
                cpu_percent: rate(*start, (reading.cpu_seconds - first.cpu_seconds) * 100.0),
            }
        });
        self.kept.push_back((now, reading));
        if self.kept.len() > READINGS {
            self.kept.pop_front();
        }
        figures
    }
}

/// The value below which this share of the observations between two readings lies, as far as the buckets tell: inside one
/// they are taken as spread evenly.
fn quantile(before: &[(f64, f64)], after: &[(f64, f64)], share: f64) -> Option<f64> {
    let grown = |(at, (bound, count)): (usize, &(f64, f64))| {
        let earlier = before.get(at).filter(|(other, _)| other == bound).map_or(0.0, |(_, count)| *count);
        (*bound, (count - earlier).max(0.0))
    };
    let buckets = after.iter().enumerate().map(grown).collect::<Vec<_>>();
    let total = buckets.last().map_or(0.0, |(_, count)| *count);
    if total <= 0.0 {
        return None;
    }
    let rank = share * total;
    let (mut lower, mut below) = (0.0, 0.0);
    for (bound, count) in buckets {
        if count >= rank {
            // Nobody knows how far above the last bound the rest lies.
            return Some(if bound.is_finite() { lower + (bound - lower) * ((rank - below) / (count - below).max(1.0)) } else { lower });
        }
        (lower, below) = (bound, count);
    }
    Some(lower)
}

/// Fetches the text behind an `http://HOST:PORT/PATH`.
pub(super) async fn fetch(url: &str) -> anyhow::Result<String> {
    let rest = url.strip_prefix("http://").with_context(|| format!("`{url}` does not start with http://"))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let exchange = async {
        let mut socket = TcpStream::connect(authority).await?;
        // HTTP/1.0 (RFC 1945), so that the answer ends with the connection and is never chunked.
        socket.write_all(format!("GET /{path} HTTP/1.0\r\nHost: {authority}\r\n\r\n").as_bytes()).await?;
        let mut answer = Vec::new();
        socket.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let Ok(answer) = timeout(ANSWER_MAX, exchange).await else { bail!("{url} did not answer within {ANSWER_MAX:?}") };
    let answer = String::from_utf8(answer.with_context(|| format!("cannot read {url}"))?).context("the answer is not text")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    let status = head.split(' ').nth(1).unwrap_or("none");
    ensure!(status == "200", "{url} answered with status {status}");
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn text(published: u32, delivered: u32, fast: u32, slow: u32) -> String {
        format!(
            "# TYPE tidings_connections gauge\ntidings_connections 3\n\
             tidings_publishes_answered_total{{source=\"grpc\",outcome=\"kept\"}} {published}\n\
             tidings_publishes_answered_total{{source=\"http\",outcome=\"duplicate\"}} 9\n\
             tidings_messages_delivered_total{{front=\"sse\"}} {delivered}\ntidings_messages_delivered_total{{front=\"grpc\"}} 5\n\
             tidings_delivery_latency_seconds_bucket{{front=\"sse\",le=\"0.001\"}} {fast}\n\
             tidings_delivery_latency_seconds_bucket{{front=\"sse\",le=\"0.01\"}} {}\n\
             tidings_delivery_latency_seconds_bucket{{front=\"sse\",le=\"+Inf\"}} {}\n\
             process_resident_memory_bytes 1048576\nprocess_cpu_seconds_total 1.5\nodd line\nodd{{ NaN\n",
            fast + slow,
            fast + slow
        )
    }

    #[test]
    fn rates_and_quantiles_come_from_two_readings() {
        let mut readings = Readings::default();
        assert_eq!(readings.see(Reading::parse(&text(10, 100, 1000, 0)), Duration::from_secs(1)), None);
        let figures = readings.see(Reading::parse(&text(14, 120, 1090, 10)), Duration::from_secs(3)).expect("figures");
        assert_eq!((figures.connections, figures.rss_bytes), (3, 1 << 20));
        assert_eq!((figures.published_per_s, figures.delivered_per_s), (2.0, 10.0));
        let (p50, p99) = (figures.latency_p50_s.expect("p50"), figures.latency_p99_s.expect("p99"));
        assert!(p50 < 0.001, "{p50}");
        assert!(p99 > 0.001 && p99 < 0.01, "{p99}");
    }

    #[test]
    fn a_broker_started_anew_starts_its_figures_anew() {
        let mut readings = Readings::default();
        readings.see(Reading::parse(&text(10, 100, 10, 0)), Duration::from_secs(1));
        assert_eq!(readings.see(Reading::parse(&text(1, 1, 1, 0)), Duration::from_secs(2)), None);
        assert!(readings.see(Reading::parse(&text(2, 2, 2, 0)), Duration::from_secs(3)).is_some());
    }

    #[test]
    fn without_deliveries_there_is_no_latency() {
        let same = [(0.001, 5.0), (f64::INFINITY, 5.0)];
        assert_eq!(quantile(&same, &same, 0.5), None);
        assert_eq!(quantile(&[], &[], 0.5), None);
        assert_eq!(quantile(&[], &[(0.001, 0.0), (f64::INFINITY, 4.0)], 0.5), Some(0.001));
    }

    #[tokio::test]
    async fn a_page_of_metrics_is_fetched_and_other_answers_are_errors() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            for status in ["200 OK", "404 Not Found"] {
                let (mut socket, _) = listener.accept().await.expect("a connection");
                let mut head = [0; 512];
                let _ = socket.read(&mut head).await;
                let _ = socket.write_all(format!("HTTP/1.1 {status}\r\nx: y\r\n\r\nbody").as_bytes()).await;
            }
        });
        let url = format!("http://{address}/metrics");
        assert_eq!(fetch(&url).await.expect("an answer"), "body");
        assert!(fetch(&url).await.expect_err("not found").to_string().contains("404"));
        assert!(fetch("ftp://elsewhere").await.is_err());
    }
}
