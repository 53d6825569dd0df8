//! docs/PROTOCOL.md is played: every example against a real node, every table against the code.

mod grpc;
mod page;
mod pattern;
mod stage;

use tidings::close::CloseReason;
use tidings::error::ErrorCode;
use tidings::log::GapReason;
use tokio::task::JoinSet;

use page::{Kind, PAGE, scenes, table};
use stage::Stage;

/// Fewer means that the page is not read as it should be.
const RESPONSES_MIN: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_of_the_page_is_what_a_node_says() {
    let scenes = scenes(PAGE);
    let is_answer = |kind| matches!(kind, Kind::Response | Kind::Stream | Kind::Says | Kind::Closes | Kind::Reply | Kind::Status);
    let answers = scenes.iter().flat_map(|scene| &scene.blocks).filter(|block| is_answer(block.kind)).count();
    assert!(answers >= RESPONSES_MIN, "only {answers} answers were found");
    // Side by side, since some wait for heartbeats and drains.
    let mut playing: JoinSet<()> = scenes.into_iter().map(|scene| async move { Stage::play(&scene).await }).collect();
    while let Some(played) = playing.join_next().await {
        played.unwrap_or_else(|why| std::panic::resume_unwind(why.into_panic()));
    }
}

#[test]
fn the_tables_of_the_page_are_those_of_the_code() {
    let errors = table("## Errors");
    let of_code = ErrorCode::ALL.map(|code| {
        let retry = if code.may_retry() { "yes" } else { "no" };
        [
            code.as_str().to_owned(),
            code.http_status().as_u16().to_string(),
            format!("{:?}", tidings::api::grpc::grpc_code(code)),
            retry.to_owned(),
        ]
    });
    assert_eq!(errors.iter().map(|row| row[..4].to_vec()).collect::<Vec<_>>(), of_code);

    let of_code = GapReason::ALL.map(GapReason::as_str);
    assert_eq!(table("## Gaps").iter().map(|row| row[0]).collect::<Vec<_>>(), of_code);

    let of_code = CloseReason::ALL.map(|reason| [reason.as_str(), if reason.may_retry() { "yes" } else { "no" }]);
    assert_eq!(table("### The end of a stream").iter().map(|row| row[..2].to_vec()).collect::<Vec<_>>(), of_code);
}

#[test]
fn every_method_of_the_service_is_on_the_page() {
    let proto = include_str!("../../../proto/tidings/v1/broker.proto");
    let methods: Vec<&str> = proto.lines().filter_map(|line| line.trim().strip_prefix("rpc ")?.split('(').next()).collect();
    assert!(methods.len() > 5, "only {methods:?} were found");
    assert_eq!(table("## gRPC").iter().map(|row| row[0]).collect::<Vec<_>>(), methods);
}
