//! What a token costs in a storm of connects: processor time of the broker for each event stream that is opened, without a token and
//! with one of each algorithm, in turn. The question behind it: is a memory of verified tokens worth what it would be to attack?

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, ensure};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::json;
use tidings::auth::secret::Secret;
use tidings::auth::token::config::{Algorithm, TokenKey};
use tidings::auth::token::{SigningKey, sign};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::flood::broker::{Broker, soon};

const SECRET: &str = "the secret of this measurement, long enough for HS256";
/// At once; a browser waits for its own connection only.
const AT_ONCE: usize = 64;

/// How much to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Streams opened each time
    #[arg(long, default_value_t = 4000)]
    connects: usize,
    /// How often each algorithm has its turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// One kind of caller.
struct Caller {
    name: &'static str,
    /// The `Authorization` header, or nothing.
    header: String,
    /// Microseconds of processor time for each connect, one for each round.
    costs: Vec<f64>,
}

pub(crate) async fn run(options: &Options, program: &Path) -> anyhow::Result<()> {
    let (config, mut callers) = prepare()?;
    let mut broker = Broker::start(program, &config)?;
    storm(broker.http, &callers[0].header, options.connects).await?;
    for _ in 0..options.rounds {
        for caller in &mut callers {
            let before = broker.busy()?;
            storm(broker.http, &caller.header, options.connects).await?;
            caller.costs.push((broker.busy()? - before) * 1e6 / options.connects as f64);
        }
    }
    broker.stop()?;
    for caller in &mut callers {
        caller.costs.sort_by(f64::total_cmp);
    }
    let bare = callers[0].costs[options.rounds / 2];
    println!("| token | broker, µs for each connect: median (least to most) | of that the token | share |\n|---|---|---|---|");
    for Caller { name, costs, .. } in &callers {
        let (median, more) = (costs[options.rounds / 2], costs[options.rounds / 2] - bare);
        println!(
            "| {name} | {median:.0} ({:.0} to {:.0}) | {more:.0} | {:.0} % |",
            costs[0],
            costs[costs.len() - 1],
            100.0 * more / median
        );
    }
    Ok(())
}

/// Opens so many streams, each closed as soon as it was answered.
async fn storm(to: SocketAddr, header: &str, connects: usize) -> anyhow::Result<()> {
    let mut openers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let request = format!("GET /sse?channel=calm:a HTTP/1.1\r\nHost: x\r\n{header}\r\n");
        openers.spawn(async move {
            for _ in 0..connects / AT_ONCE {
                let mut stream = TcpStream::connect(to).await?;
                stream.write_all(request.as_bytes()).await?;
                let mut read = Vec::new();
                while memchr::memmem::find(&read, b"\r\n\r\n").is_none() {
                    ensure!(soon("a head", stream.read_buf(&mut read)).await?? > 0, "closed");
                }
                ensure!(read.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&read));
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = openers.join_next().await {
        ended??;
    }
    Ok(())
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// The private and the public half of a new key, as PEM.
fn pair(algorithm: Algorithm) -> anyhow::Result<(String, String)> {
    let (private, public): (Vec<u8>, Vec<u8>) = match algorithm {
        Algorithm::ES256 => {
            let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
            let public: PublicKeyX509Der<'_> = key.public_key().as_der()?;
            (key.to_pkcs8v1()?.as_ref().to_vec(), public.as_ref().to_vec())
        }
        Algorithm::EdDSA => {
            let key = Ed25519KeyPair::generate()?;
            let public: PublicKeyX509Der<'_> = key.public_key().as_der()?;
            (key.to_pkcs8v1()?.as_ref().to_vec(), public.as_ref().to_vec())
        }
        _ => {
            let key = RsaKeyPair::generate(KeySize::Rsa2048)?;
            let private: Pkcs8V1Der<'_> = key.as_der()?;
            let public: PublicKeyX509Der<'_> = key.public_key().as_der()?;
            (private.as_ref().to_vec(), public.as_ref().to_vec())
        }
    };
    Ok((pem("PRIVATE KEY", &private), pem("PUBLIC KEY", &public)))
}

/// The configuration that knows a key of each algorithm, and a caller for each.
fn prepare() -> anyhow::Result<(String, Vec<Caller>)> {
    let mut config = "http: {listen: \"127.0.0.1:0\"}\ngrpc: {listen: \"127.0.0.1:0\"}\nadmin: {listen: \"127.0.0.1:0\"}\n\
                      namespaces: {calm: {allow: {subscribe: anyone}}}\ntokens:\n  keys:\n"
        .to_owned();
    let mut callers = vec![Caller { name: "none", header: String::new(), costs: Vec::new() }];
    for (algorithm, name) in
        [(Algorithm::HS256, "HS256"), (Algorithm::ES256, "ES256"), (Algorithm::EdDSA, "EdDSA"), (Algorithm::RS256, "RS256 (2,048 bits)")]
    {
        let kid = algorithm.as_str();
        config.push_str(&format!("    - kid: {kid}\n      algorithm: {kid}\n"));
        let key = if algorithm == Algorithm::HS256 {
            config.push_str(&format!("      secret: {SECRET:?}\n"));
            let secret = Some(Secret::new(SECRET));
            let key = TokenKey { kid: Some(kid.to_owned()), algorithm, secret, secret_file: None, public_key: None, public_key_file: None };
            SigningKey::of_secret(&key).map_err(anyhow::Error::msg)?
        } else {
            let (private, public) = pair(algorithm)?;
            config.push_str(&format!("      public_key: {public:?}\n"));
            SigningKey::of_pem(Some(kid), algorithm, private.as_bytes()).map_err(anyhow::Error::msg)?
        };
        let claims = json!({ "sub": "ann", "exp": 4_102_444_800u64, "channels": [{ "match": "calm:*", "can": ["subscribe"] }] });
        let token = sign(&key, &claims).map_err(anyhow::Error::msg).context(name)?;
        callers.push(Caller { name, header: format!("Authorization: Bearer {token}\r\n"), costs: Vec::new() });
    }
    Ok((config, callers))
}
