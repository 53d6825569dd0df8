//! docs/PROTOCOL.md as scenes: each heading with examples is one, played on a node of its own.

/// The page itself.
pub(super) const PAGE: &str = include_str!("../../../../docs/PROTOCOL.md");

/// The examples under one heading, in order.
pub(super) struct Scene<'a> {
    pub(super) title: &'a str,
    pub(super) blocks: Vec<Block<'a>>,
}

/// One fenced block that is played.
pub(super) struct Block<'a> {
    pub(super) kind: Kind<'a>,
    pub(super) text: String,
    /// Where it begins.
    pub(super) line: usize,
}

/// What a fence's title asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// `yaml config`: what the scene's node is told.
    Config,
    /// `http request`: sent on a connection of its own.
    Request,
    /// `http response`: what the youngest request that has no answer yet is answered.
    Response,
    /// `text stream`: what the youngest event stream says next.
    Stream,
    /// `json websocket asks`: said on the youngest WebSocket.
    Asks,
    /// `json websocket says`: the next object there.
    Says,
    /// `text websocket closes`: the close frame that comes next there.
    Closes,
    /// `sh signal`: the node is told to leave.
    Signal,
    /// `json grpc METHOD`: a call with this request.
    Call(&'a str),
    /// `json grpc-reply`: the call's reply, or the next one of its stream.
    Reply,
    /// `text grpc-status`: how a refused call ends.
    Status,
}

impl<'a> Kind<'a> {
    fn of(title: &'a str) -> Option<Self> {
        Some(match title {
            "yaml config" => Self::Config,
            "http request" => Self::Request,
            "http response" => Self::Response,
            "text stream" => Self::Stream,
            "json websocket asks" => Self::Asks,
            "json websocket says" => Self::Says,
            "text websocket closes" => Self::Closes,
            "sh signal" => Self::Signal,
            "json grpc-reply" => Self::Reply,
            "text grpc-status" => Self::Status,
            _ => Self::Call(title.strip_prefix("json grpc ")?),
        })
    }
}

/// All scenes of the page. Panics at a fence that is no example: each must say what it is.
pub(super) fn scenes(page: &str) -> Vec<Scene<'_>> {
    let mut scenes = vec![Scene { title: "", blocks: Vec::new() }];
    let mut lines = page.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        if line.starts_with('#') {
            scenes.push(Scene { title: line.trim_start_matches('#').trim(), blocks: Vec::new() });
        } else if let Some(title) = line.strip_prefix("```") {
            let kind = Kind::of(title).unwrap_or_else(|| panic!("line {}: `{title}` is no kind of example", at + 1));
            let text = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
            let text = text.map(|line| format!("{line}\n")).collect();
            scenes.last_mut().unwrap().blocks.push(Block { kind, text, line: at + 1 });
        }
    }
    scenes.retain(|scene| !scene.blocks.is_empty());
    scenes
}

/// The rows of the table under this heading, as trimmed cells, without its two head lines.
pub(super) fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let section = PAGE.split(&format!("\n{heading}\n")).nth(1).unwrap_or_else(|| panic!("the page has no `{heading}`"));
    let rows = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect()).collect()
}
