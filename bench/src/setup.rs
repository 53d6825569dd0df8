//! What the peers need, and how to get it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use anyhow::ensure;
use clap::Args;

use crate::peer::read_all;
use crate::peer::start::{Programs, find, missing};

/// What to set up.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Peers; none: all
    peers: Vec<String>,
    /// Install what packages give (apt-get as root, npm ci), instead of only telling
    #[arg(long)]
    install: bool,
    /// Where the peers are
    #[arg(long, default_value = "bench/peers")]
    peer_folder: PathBuf,
}

/// Tells, or installs.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let mut packages = BTreeSet::new();
    let mut folders = Vec::new();
    for peer in read_all(&options.peer_folder)? {
        if !options.peers.is_empty() && !options.peers.contains(&peer.name) {
            continue;
        }
        let Some(why) = missing(&peer, &Programs::new()) else {
            println!("{}: ready", peer.name);
            continue;
        };
        println!("{}: {why}", peer.name);
        let lacking: Vec<String> = peer.install.apt.iter().filter(|package| !brings(package)).cloned().collect();
        if !lacking.is_empty() {
            println!("    apt-get install --no-install-recommends {}", lacking.join(" "));
            packages.extend(lacking);
        }
        if peer.install.npm {
            println!("    npm ci --omit=dev --prefix {}", peer.folder.display());
            folders.push(peer.folder.clone());
        }
        if let Some(how) = &peer.install.by_hand {
            println!("    {how}");
        }
    }
    if !options.install {
        return Ok(());
    }
    if !packages.is_empty() {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").args(["install", "-y", "--no-install-recommends"]).args(&packages);
        ensure!(apt.status()?.success(), "apt-get did not install {packages:?}; run `apt-get update` first, and as root");
    }
    for folder in folders {
        let status = Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--omit=dev"]).current_dir(&folder).status()?;
        ensure!(status.success(), "npm ci failed in {}", folder.display());
    }
    Ok(())
}

/// Whether the program that this package brings is there already, from wherever: asking for the package would only get in
/// the way of what brought it.
fn brings(package: &str) -> bool {
    let programs: &[&str] = if package == "nodejs" { &["node", "nodejs"] } else { &[package] };
    programs.iter().any(|program| find(program).is_some())
}
