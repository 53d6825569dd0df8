//! Rounds: every server in turn, again and again, and everything that came of it on disk at once.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use clap::Args;

use crate::kind::{Outcome, Round};
use crate::peer::start::{Programs, Running, fixed_values, missing};
use crate::peer::{Server, choose, read_all};
use crate::report::record::{Record, Report, ServerFacts};
use crate::scenario::{self, Scenario};
use crate::{machine, report};

/// How often a round that somebody disturbed is done again.
const REPEATS: usize = 3;

/// What to run.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Scenarios, or what their names begin with; none: all but the large ones
    scenarios: Vec<String>,
    /// Servers, or peers for all their fronts; none: all that are installed
    #[arg(long, value_delimiter = ',')]
    servers: Vec<String>,
    /// Rounds of every scenario, servers interleaved
    #[arg(long, default_value_t = 6)]
    rounds: usize,
    /// Where the report goes
    #[arg(long, default_value = "bench/out")]
    out: PathBuf,
    /// Seconds that each flow lasts, instead of what the scenario says
    #[arg(long)]
    seconds: Option<f64>,
    /// Only this payload size
    #[arg(long)]
    payload: Option<usize>,
    /// Processors that others may use during a round before it is done again
    #[arg(long, default_value_t = 0.1)]
    foreign: f64,
    /// Use this program, as NAME=PATH, such as centrifugo=/opt/centrifugo; may be repeated
    #[arg(long = "program", value_parser = program)]
    programs: Vec<(String, PathBuf)>,
    /// Where the scenarios are
    #[arg(long, default_value = "bench/scenarios")]
    scenario_folder: PathBuf,
    /// Where the peers are
    #[arg(long, default_value = "bench/peers")]
    peer_folder: PathBuf,
}

fn program(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("NAME=PATH")?;
    Ok((name.to_owned(), path.into()))
}

/// Runs everything and writes the report.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let programs: Programs = options.programs.iter().cloned().collect();
    let mut scenarios = scenario::choose(&options.scenario_folder, &options.scenarios)?;
    for scenario in &mut scenarios {
        if let Some(seconds) = options.seconds {
            scenario.set_seconds(seconds);
        }
        if let Some(payload) = options.payload {
            scenario.payload = vec![payload];
        }
    }
    let mut report = Report {
        machine: machine::describe(),
        began_at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        rounds: options.rounds,
        foreign_limit: options.foreign,
        ..Report::default()
    };
    let mut servers = choose(&read_all(&options.peer_folder)?, &options.servers)?;
    servers.retain(|server| match missing(&server.peer, &programs) {
        None => true,
        Some(why) => {
            println!("left out: {}: {why}", server.id);
            report.left_out.insert(server.id.clone(), why);
            false
        }
    });
    ensure!(!servers.is_empty(), "no server is left");
    for server in &servers {
        let version = server.peer.version(&fixed_values(&server.peer, &programs)?);
        let facts = ServerFacts { peer: server.peer.name.clone(), about: server.peer.about.clone(), version };
        report.servers.insert(server.id.clone(), facts);
    }
    std::fs::create_dir_all(&options.out).with_context(|| options.out.display().to_string())?;

    for scenario in &scenarios {
        report.scenarios.insert(scenario.name.clone(), scenario.about.clone());
        for payload in &scenario.payload {
            for number in 0..options.rounds.min(scenario.rounds_max.unwrap_or(usize::MAX)) {
                for server in in_turn(&servers, scenario, number) {
                    one(&mut report, options, &programs, (scenario, *payload, number), server);
                    report.save(&options.out)?;
                }
            }
        }
    }
    report::write(&options.out)
}

/// The servers of a round: another one begins each time, so that none is always the first on a cool machine.
fn in_turn<'a>(servers: &'a [Server], scenario: &'a Scenario, round: usize) -> impl Iterator<Item = &'a Server> {
    let count = servers.len();
    let turned = (0..count).map(move |at| &servers[(at + round) % count]);
    turned.filter(|server| scenario.takes(server))
}

/// One round of one server, again while others disturb it.
fn one(report: &mut Report, options: &Options, programs: &Programs, what: (&Scenario, usize, usize), server: &Server) {
    let (scenario, payload, number) = what;
    for attempt in 1..=REPEATS {
        let outcomes = attempt_once(programs, scenario, payload, server);
        let record = Record {
            scenario: scenario.name.clone(),
            payload,
            server: server.id.clone(),
            round: number,
            attempt,
            way: None,
            failed: None,
            disturbed: false,
            figures: Default::default(),
        };
        let failed = outcomes.is_err();
        let records: Vec<Record> = match outcomes {
            Ok(outcomes) => outcomes
                .into_iter()
                .map(|Outcome { way, figures, foreign }| Record { way, figures, disturbed: foreign > options.foreign, ..record.clone() })
                .collect(),
            Err(why) => vec![Record { failed: Some(format!("{why:#}")), ..record }],
        };
        records.iter().for_each(Record::print);
        let disturbed = records.iter().any(|record| record.disturbed);
        report.records.extend(records);
        if !disturbed || failed {
            return;
        }
    }
}

fn attempt_once(programs: &Programs, scenario: &Scenario, payload: usize, server: &Server) -> anyhow::Result<Vec<Outcome>> {
    let arguments = scenario.arguments.get(&server.peer.name).cloned().unwrap_or_default();
    let running = Running::start(&server.peer, programs, &arguments)?;
    Round { server, running, scenario, payload }.run()
}
