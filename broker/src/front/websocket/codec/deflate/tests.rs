use proptest::prelude::*;

use super::*;

fn inflate(compressed: &[u8], bytes_max: usize) -> Result<Vec<u8>, Violation> {
    Inflater::default().inflate(compressed, bytes_max)
}

#[test]
fn the_examples_of_the_rfc_are_read() {
    for compressed in [
        // One block, a stored block, a last block, two blocks (RFC 7692, sections 7.2.3.1 to 7.2.3.5).
        &b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..],
        b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
        b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
    ] {
        assert_eq!(inflate(compressed, 100).unwrap(), b"Hello", "{compressed:x?}");
    }
    for empty in [&b"\x00"[..], b"\x02\x00", b""] {
        assert_eq!(inflate(empty, 100).unwrap(), b"", "{empty:x?}");
    }
    assert_eq!(Deflater::new(6, 15).deflate(b"Hello"), b"\xf2\x48\xcd\xc9\xc9\x07\x00");
    assert_eq!(Deflater::new(6, 15).deflate(b"").len(), 1, "an empty message is one byte (section 7.2.3.6)");
}

#[test]
fn nothing_is_known_of_the_message_before() {
    let mut inflater = Inflater::default();
    inflater.inflate(b"\xf2\x48\xcd\xc9\xc9\x07\x00", 100).unwrap();
    // The example of section 7.2.3.2 points back into it.
    assert_eq!(inflater.inflate(b"\xf2\x00\x11\x00\x00", 100), Err(Violation::BrokenCompression));
    assert_eq!(inflater.inflate(b"\xf2\x48\xcd\xc9\xc9\x07\x00", 100).unwrap(), b"Hello", "and a broken one spoils no other");
}

#[test]
fn a_bomb_is_put_out_at_the_bound() {
    let bomb = Deflater::new(9, 15).deflate(&vec![0; 10_000_000]);
    assert!(bomb.len() < 20_000);
    assert_eq!(inflate(&bomb, 1 << 20), Err(Violation::TooLarge));
    assert_eq!(inflate(&bomb, 9_999_999), Err(Violation::TooLarge));
    assert_eq!(inflate(&bomb, 10_000_000).unwrap().len(), 10_000_000);
    let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    assert_eq!((inflate(hello, 4), inflate(hello, 0)), (Err(Violation::TooLarge), Err(Violation::TooLarge)));
    assert_eq!(inflate(b"\x00", 0).unwrap(), b"");
}

#[test]
fn what_is_no_compressed_data_is_broken() {
    for broken in [&b"\xff\xff\xff"[..], b"Hello", b"\x07", b"\x01\x05\x00\x00\x00"] {
        assert_eq!(inflate(broken, 1000), Err(Violation::BrokenCompression), "{broken:x?}");
    }
}

proptest! {
    #[test]
    fn what_is_compressed_comes_back(
        messages in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..5000),
            "(chan|nel|[a-f]){0,2000}".prop_map(String::into_bytes),
        ], 1..4),
        level in 1u32..=9,
        window_bits in WINDOW_BITS_MIN..=WINDOW_BITS_MAX,
    ) {
        let mut deflater = Deflater::new(level, window_bits);
        let mut inflater = Inflater::default();
        for message in messages {
            let compressed = deflater.deflate(&message);
            prop_assert!(compressed.len() <= Inflater::compressed_max(message.len()), "{} of {}", compressed.len(), message.len());
            prop_assert_eq!(&inflater.inflate(&compressed, message.len()).unwrap(), &message);
            // Alone it is the same: nothing is taken over.
            prop_assert_eq!(Deflater::new(level, window_bits).deflate(&message), compressed);
        }
    }

    #[test]
    fn no_bytes_make_it_fail_otherwise(bytes in prop::collection::vec(any::<u8>(), 0..300), bytes_max in 0usize..2000) {
        if let Ok(out) = inflate(&bytes, bytes_max) {
            prop_assert!(out.len() <= bytes_max);
        }
    }
}
