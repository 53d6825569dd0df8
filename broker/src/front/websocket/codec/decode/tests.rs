use proptest::prelude::*;

use super::super::{Deflater, Frame, write_close};
use super::*;

const RULES: Rules = Rules { message_bytes_max: 1000, has_deflate: true };
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// An item that owns what it says, or how the connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    Wrong(Violation),
}

/// Decodes pieces as so many reads.
fn decode_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, rules: Rules) -> (Vec<Said>, Decoder) {
    let (mut decoder, mut inflater) = (Decoder::new(rules), Inflater::default());
    let mut said = Vec::new();
    for piece in pieces {
        let mut scratch = piece.to_vec();
        let mut input = Input::new(&mut scratch);
        loop {
            said.push(match decoder.next(&mut input, &mut inflater) {
                Ok(Some(Item::Text(text))) => Said::Text(text.into_owned()),
                Ok(Some(Item::Binary(bytes))) => Said::Binary(bytes.into_owned()),
                Ok(Some(Item::Ping(bytes))) => Said::Ping(bytes.into_owned()),
                Ok(Some(Item::Pong(bytes))) => Said::Pong(bytes.into_owned()),
                Ok(Some(Item::Close(close))) => Said::Close(close.map(|close| (close.code.get(), close.reason))),
                Ok(None) => break,
                Err(violation) => Said::Wrong(violation),
            });
        }
        assert!(input.is_empty(), "all of a read is taken");
    }
    (said, decoder)
}

fn decode(bytes: &[u8]) -> Vec<Said> {
    decode_pieces([bytes], RULES).0
}

/// As it comes from the encoder, with a client's mask.
fn masked(server_frame: &[u8]) -> Vec<u8> {
    let head = match server_frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let mut out = server_frame[..head].to_vec();
    out[1] |= 0x80;
    out.extend_from_slice(&MASK);
    out.extend_from_slice(&server_frame[head..]);
    unmask(&mut out[head + 4..], MASK, 0);
    out
}

fn frame(frame: Frame, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame.write(&mut out, payload);
    masked(&out)
}

/// A close frame with any payload at all.
fn close_frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame(Frame::PING, payload);
    bytes[0] = 0x88;
    bytes
}

fn text(text: &str) -> Said {
    Said::Text(text.to_owned())
}

#[test]
fn the_examples_of_the_rfc_are_understood() {
    assert_eq!(decode(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), [text("Hello")]);
    let fragments = [frame(Frame::TEXT.to_be_continued(), b"Hel"), frame(Frame::CONTINUATION, b"lo")].concat();
    assert_eq!(decode(&fragments), [text("Hello")]);
    assert_eq!(decode(&frame(Frame::PING, b"Hello")), [Said::Ping(b"Hello".into())]);
    assert_eq!(decode(&frame(Frame::PONG, b"Hello")), [Said::Pong(b"Hello".into())]);
    assert_eq!(decode(&frame(Frame::BINARY, &[7; 256])), [Said::Binary(vec![7; 256])]);
    let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    assert_eq!(decode(&frame(Frame::TEXT.compressed(), hello)), [text("Hello")]);
    let fragments = [frame(Frame::TEXT.compressed().to_be_continued(), &hello[..3]), frame(Frame::CONTINUATION, &hello[3..])].concat();
    assert_eq!(decode(&fragments), [text("Hello")]);
}

#[test]
fn control_frames_come_between_the_pieces_of_a_message() {
    let bytes = [
        frame(Frame::TEXT.to_be_continued(), b"one "),
        frame(Frame::PING, b"a"),
        frame(Frame::CONTINUATION.to_be_continued(), b""),
        frame(Frame::PONG, &[1; 125]),
        frame(Frame::CONTINUATION.to_be_continued(), b"message"),
        frame(Frame::CONTINUATION, b""),
        frame(Frame::BINARY, b""),
        frame(Frame::TEXT, b""),
    ]
    .concat();
    let expected = [Said::Ping(b"a".into()), Said::Pong(vec![1; 125]), text("one message"), Said::Binary(vec![]), text("")];
    assert_eq!(decode(&bytes), expected);
    assert_eq!(decode_pieces(bytes.chunks(1), RULES).0, expected);
}

#[test]
fn a_message_follows_the_one_before_and_nothing_else() {
    let continued = frame(Frame::CONTINUATION, b"x");
    assert_eq!(decode(&continued), [Said::Wrong(Violation::NothingToContinue)]);
    assert_eq!(decode(&continued[..1]), [Said::Wrong(Violation::NothingToContinue)], "known from the first byte on");
    let after_whole = [frame(Frame::TEXT, b"x"), continued].concat();
    assert_eq!(decode(&after_whole), [text("x"), Said::Wrong(Violation::NothingToContinue)]);
    for next in [Frame::TEXT, Frame::BINARY] {
        let bytes = [frame(Frame::TEXT.to_be_continued(), b"x"), frame(next, b"y")].concat();
        assert_eq!(decode(&bytes), [Said::Wrong(Violation::UnfinishedMessage)]);
    }
}

#[test]
fn a_close_says_a_good_code_and_good_words_or_nothing() {
    let mut good = Vec::new();
    write_close(&mut good, Some((CloseCode::GOING_AWAY, "bye ü")));
    let cases: [(Vec<u8>, Said); 9] = [
        (masked(&good), Said::Close(Some((1001, "bye ü".into())))),
        (close_frame(b""), Said::Close(None)),
        (close_frame(b"\x03\xe8"), Said::Close(Some((1000, String::new())))),
        (close_frame(b"\x13\x87"), Said::Close(Some((4999, String::new())))),
        (close_frame(b"\x03"), Said::Wrong(Violation::HalfCloseCode)),
        (close_frame(b"\x03\xed"), Said::Wrong(Violation::BadCloseCode)),
        (close_frame(b"\x03\xee"), Said::Wrong(Violation::BadCloseCode)),
        (close_frame(b"\x13\x88"), Said::Wrong(Violation::BadCloseCode)),
        (close_frame(b"\x03\xe8\xce\xba\xe1\xbd\xb9\xed\xa0\x80"), Said::Wrong(Violation::NotUtf8)),
    ];
    for (bytes, expected) in cases {
        assert_eq!(decode(&bytes), [expected]);
    }
}

#[test]
fn nothing_counts_after_the_end() {
    let bytes = [close_frame(b"\x03\xe8"), frame(Frame::TEXT, b"x"), b"\xff\xff".to_vec()].concat();
    assert_eq!(decode_pieces(bytes.chunks(5), RULES).0, [Said::Close(Some((1000, String::new())))]);
    let bytes = [b"\x83".to_vec(), frame(Frame::TEXT, b"x")].concat();
    assert_eq!(decode_pieces(bytes.chunks(5), RULES).0, [Said::Wrong(Violation::ReservedOpCode)]);
}

#[test]
fn wrong_text_is_noticed_before_its_frame_is_complete() {
    // The middle of a long frame, and the second fragment, of which the rest never comes.
    let long = frame(Frame::TEXT, &[b"valid \xed\xa0\x80".to_vec(), vec![b'x'; 500]].concat());
    assert_eq!(decode(&long[..8 + 8]), [Said::Wrong(Violation::NotUtf8)]);
    let begun = frame(Frame::TEXT.to_be_continued(), b"caf\xc3");
    assert_eq!(decode(&[&begun[..], &frame(Frame::CONTINUATION, b"(...")[..7]].concat()), [Said::Wrong(Violation::NotUtf8)]);
    // A character cut in two is none the worse for it; half of one at the end is.
    let rest = frame(Frame::CONTINUATION, b"\xa9");
    assert_eq!(decode(&[begun.clone(), rest].concat()), [text("café")]);
    let empty = frame(Frame::CONTINUATION, b"");
    assert_eq!(decode(&[begun, empty].concat()), [Said::Wrong(Violation::NotUtf8)]);
    assert_eq!(decode(&frame(Frame::TEXT, b"caf\xc3")), [Said::Wrong(Violation::NotUtf8)]);
    assert_eq!(decode(&frame(Frame::BINARY, b"caf\xc3")), [Said::Binary(b"caf\xc3".into())]);
    let packed = Deflater::new(6, 15).deflate(b"caf\xc3");
    assert_eq!(decode(&frame(Frame::TEXT.compressed(), &packed)), [Said::Wrong(Violation::NotUtf8)]);
}

#[test]
fn a_message_over_the_bound_is_refused_by_its_head() {
    let too_large = [Said::Wrong(Violation::TooLarge)];
    assert_eq!(decode(&frame(Frame::BINARY, &[0; 1000])), [Said::Binary(vec![0; 1000])]);
    assert_eq!(decode(&frame(Frame::BINARY, &[0; 1001])[..8]), too_large);
    assert_eq!(decode(b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xffmask"), too_large);
    let fragments = [frame(Frame::TEXT.to_be_continued(), &[b'x'; 600]), frame(Frame::CONTINUATION, &[b'x'; 401])[..8].to_vec()];
    assert_eq!(decode(&fragments.concat()), too_large);
    let packed = Deflater::new(6, 15).deflate(&[b'x'; 1001]);
    assert_eq!(decode(&frame(Frame::TEXT.compressed(), &packed)), too_large);
    assert_eq!(Violation::TooLarge.code(), CloseCode::TOO_LARGE);
}

#[test]
fn without_the_agreement_nothing_may_be_compressed() {
    let rules = Rules { has_deflate: false, ..RULES };
    let bytes = frame(Frame::TEXT.compressed(), b"\xf2\x48\xcd\xc9\xc9\x07\x00");
    assert_eq!(decode_pieces([&bytes[..]], rules).0, [Said::Wrong(Violation::ReservedBit)]);
}

#[test]
fn between_messages_nothing_is_kept() {
    let whole = frame(Frame::TEXT, b"Hello");
    let (_, decoder) = decode_pieces([&whole[..]], RULES);
    assert!(!decoder.is_in_the_middle());
    for cut in 1..whole.len() {
        let (said, decoder) = decode_pieces([&whole[..cut]], RULES);
        assert!(said.is_empty() && decoder.is_in_the_middle());
        let (said, decoder) = decode_pieces([&whole[..cut], &whole[cut..]], RULES);
        assert!(said == [text("Hello")] && !decoder.is_in_the_middle());
    }
    assert!(size_of::<Decoder>() <= 40, "an idle connection pays {}", size_of::<Decoder>());
}

#[test]
fn what_came_in_one_piece_is_not_copied() {
    let mut bytes = frame(Frame::BINARY, b"Hello");
    let range = bytes.as_ptr_range();
    let mut input = Input::new(&mut bytes);
    let Ok(Some(Item::Binary(Cow::Borrowed(payload)))) = Decoder::new(RULES).next(&mut input, &mut Inflater::default()) else {
        panic!("borrowed from the input");
    };
    assert!(range.contains(&payload.as_ptr()));
}

/// A message or control frame that a client may send, as frames, with what it means.
fn valid() -> impl Strategy<Value = (Vec<Vec<u8>>, Said)> {
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    let text = ("(?s).{0,40}", any::<bool>(), cuts.clone())
        .prop_map(|(said, packs, cuts)| (message(Frame::TEXT, said.as_bytes(), packs, &cuts), Said::Text(said)));
    let binary = (prop::collection::vec(any::<u8>(), 0..300), any::<bool>(), cuts)
        .prop_map(|(said, packs, cuts)| (message(Frame::BINARY, &said, packs, &cuts), Said::Binary(said)));
    let control = (prop::collection::vec(any::<u8>(), 0..=125), any::<bool>()).prop_map(|(said, is_ping)| {
        let kind = if is_ping { Frame::PING } else { Frame::PONG };
        (vec![frame(kind, &said)], if is_ping { Said::Ping(said) } else { Said::Pong(said) })
    });
    prop_oneof![text, binary, control]
}

/// A message as frames, compressed or not, cut anywhere.
fn message(first: Frame, payload: &[u8], packs: bool, cuts: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let payload = if packs { Deflater::new(6, 15).deflate(payload) } else { payload.to_vec() };
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
    cuts.extend([0, payload.len()]);
    cuts.sort_unstable();
    let last = cuts.len() - 2;
    let pieces = cuts.windows(2).enumerate().map(|(at, cut)| {
        let kind = if at > 0 {
            Frame::CONTINUATION
        } else if packs {
            first.compressed()
        } else {
            first
        };
        frame(if at < last { kind.to_be_continued() } else { kind }, &payload[cut[0]..cut[1]])
    });
    pieces.collect()
}

fn cut(bytes: &[u8], cuts: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| bytes[cut[0]..cut[1]].to_vec()).collect()
}

proptest! {
    #[test]
    fn however_a_valid_stream_is_cut_it_says_the_same(
        parts in prop::collection::vec(valid(), 0..6),
        pings in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut frames: Vec<(Vec<u8>, Option<Said>)> = Vec::new();
        for (pieces, said) in parts {
            let last = pieces.len() - 1;
            frames.extend(pieces.into_iter().enumerate().map(|(at, piece)| (piece, (at == last).then(|| said.clone()))));
        }
        for ping in pings {
            frames.insert(ping.index(frames.len() + 1), (frame(Frame::PING, b"!"), Some(Said::Ping(b"!".into()))));
        }
        let expected: Vec<Said> = frames.iter().filter_map(|(_, said)| said.clone()).collect();
        let bytes: Vec<u8> = frames.into_iter().flat_map(|(bytes, _)| bytes).collect();
        let pieces = cut(&bytes, &cuts);
        let (said, decoder) = decode_pieces(pieces.iter().map(Vec::as_slice), RULES);
        prop_assert_eq!(said, expected);
        prop_assert!(!decoder.is_in_the_middle());
    }

    #[test]
    fn however_any_stream_is_cut_the_verdict_is_the_same(
        parts in prop::collection::vec(valid(), 0..3),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        noise in prop::collection::vec(any::<u8>(), 0..40),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut bytes: Vec<u8> = parts.into_iter().flat_map(|(frames, _)| frames.concat()).chain(noise).collect();
        for (at, byte) in damage {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        let pieces = cut(&bytes, &cuts);
        let (said, _) = decode_pieces(pieces.iter().map(Vec::as_slice), RULES);
        prop_assert_eq!(said, decode(&bytes));
    }
}
