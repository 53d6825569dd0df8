//! Writes the checked-in code of `tidings-proto` from its `.proto` files: `cargo run -p tidings-codegen`.
//!
//! It runs by hand and not in a build script, so that nobody who only builds Tidings needs it, `protoc` or a
//! writable source tree. The test below fails when the result is not the one that is checked in.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use prost::Message as _;

/// The file that holds the service; what it imports comes with it.
const ROOT: &str = "tidings/v1/broker.proto";
/// What nodes say to each other.
const CLUSTER: [&str; 2] = ["tidings/cluster/v1/link.proto", "tidings/cluster/v1/peer.proto"];
/// The descriptors that the reflection service hands out.
const DESCRIPTORS: &str = "tidings.v1.bin";
/// The client half is for who asks for it: a broker has no use for it.
const CLIENT_ONLY: &str = "#[cfg(feature = \"client\")]";

fn main() -> Result<()> {
    generate(&proto_dir().join("src"))
}

/// The directory of the crate `tidings-proto`.
fn proto_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Writes all generated files into `out`.
fn generate(out: &Path) -> Result<()> {
    let descriptors = protox::compile([ROOT], [proto_dir()])?;
    fs::write(out.join(DESCRIPTORS), descriptors.encode_to_vec()).context("writing the descriptors")?;
    tonic_prost_build::configure()
        .build_transport(false)
        .client_mod_attribute(".", CLIENT_ONLY)
        .codec_path("crate::codec::Codec")
        .bytes(".")
        // Headers in one order everywhere: what is encoded twice is the same twice.
        .btree_map(".")
        .out_dir(out)
        .compile_fds(descriptors)
        .context("writing the code")?;
    // Between nodes: messages only, and nobody reflects on them.
    let descriptors = protox::compile(CLUSTER, [proto_dir()])?;
    tonic_prost_build::configure().bytes(".").out_dir(out).compile_fds(descriptors).context("writing the code of the cluster")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checked_in_code_is_what_the_proto_files_give() {
        let fresh = tempfile::tempdir().unwrap();
        generate(fresh.path()).unwrap();
        let mut compared = 0;
        for file in fs::read_dir(fresh.path()).unwrap() {
            let file = file.unwrap();
            let kept = proto_dir().join("src").join(file.file_name());
            let same = fs::read(&kept).is_ok_and(|kept| kept == fs::read(file.path()).unwrap());
            assert!(same, "{} is not current: run `cargo run -p tidings-codegen`", kept.display());
            compared += 1;
        }
        assert_eq!(compared, 3, "the code of both contracts and the descriptors");
    }
}
