//! A stream of frames, however it is cut, and whatever happens to its bits.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used)]

mod common;

use common::samples;
use corelode_net::limits::{BODY_SIZE_BYTES_MAX, HEADER_SIZE_BYTES};
use corelode_net::{
    ErrorCode, Flags, FrameError, FrameHeader, FrameReader, FrameWriter, HeaderError, HeaderFields, MapEpoch, RequestId,
};

type Frames = Vec<(HeaderFields, Vec<u8>)>;

fn take_all(reader: &mut FrameReader, into: &mut Frames) {
    while let Some(frame) = reader.next_frame().unwrap() {
        into.push((frame.header.fields, frame.body.to_vec()));
    }
}

fn stream() -> (Vec<u8>, Frames) {
    let bytes: Vec<u8> = samples().into_iter().flat_map(|(_, frame)| frame).collect();
    let mut reader = FrameReader::new(BODY_SIZE_BYTES_MAX);
    reader.push(&bytes);
    let mut frames = Vec::new();
    take_all(&mut reader, &mut frames);
    assert_eq!(reader.pending_bytes(), 0);
    assert_eq!(frames.len(), samples().len());
    (bytes, frames)
}

#[test]
fn frames_arrive_whole_wherever_the_stream_is_cut() {
    let (bytes, expected) = stream();
    for cut in 0..=bytes.len() {
        let mut reader = FrameReader::new(BODY_SIZE_BYTES_MAX);
        let mut frames = Vec::new();
        for part in [&bytes[..cut], &bytes[cut..]] {
            reader.push(part);
            take_all(&mut reader, &mut frames);
        }
        assert!(frames == expected, "cut at {cut}");
    }
}

#[test]
fn frames_arrive_whole_a_byte_at_a_time() {
    let (bytes, expected) = stream();
    let mut reader = FrameReader::with_read_size(BODY_SIZE_BYTES_MAX, 1);
    let mut frames = Vec::new();
    for byte in bytes {
        reader.buffer_for_read().push(byte);
        take_all(&mut reader, &mut frames);
    }
    assert!(frames == expected);
}

#[test]
fn frames_arrive_whole_through_a_buffer_that_the_kernel_owns_meanwhile() {
    let (bytes, expected) = stream();
    let mut reader = FrameReader::with_read_size(BODY_SIZE_BYTES_MAX, 100);
    let mut frames = Vec::new();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let mut buffer = std::mem::take(reader.buffer_for_read());
        let room = (buffer.capacity() - buffer.len()).min(rest.len());
        assert!(room > 0);
        let part;
        (part, rest) = rest.split_at(room);
        buffer.extend_from_slice(part);
        reader.restore_buffer(buffer);
        take_all(&mut reader, &mut frames);
    }
    assert!(frames == expected);
}

#[test]
fn what_is_left_crosses_to_another_core() {
    let (bytes, expected) = stream();
    let mut reader = FrameReader::new(BODY_SIZE_BYTES_MAX);
    reader.push(&bytes);
    let first = reader.next_frame().unwrap().unwrap();
    let mut frames = vec![(first.header.fields, first.body.to_vec())];
    let mut next = FrameReader::new(BODY_SIZE_BYTES_MAX);
    next.push(&reader.into_leftover());
    take_all(&mut next, &mut frames);
    assert!(frames == expected);
}

#[test]
fn every_flipped_bit_is_noticed() {
    for (name, frame) in samples() {
        for bit in 0..frame.len() * 8 {
            let mut damaged = frame.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let mut reader = FrameReader::new(BODY_SIZE_BYTES_MAX);
            reader.push(&damaged);
            let error = reader.next_frame().map(|frame| frame.map(|frame| frame.header)).unwrap_err();
            let is_in_header = bit / 8 < HEADER_SIZE_BYTES;
            assert_eq!(matches!(error, FrameError::Header(_)), is_in_header, "{name}, bit {bit}: {error}");
            assert_eq!(error.code(), ErrorCode::BadChecksum);
            assert_eq!(reader.next_frame().map(|_| ()), Err(error), "an error stays");
        }
    }
}

fn header(length: u32) -> [u8; HEADER_SIZE_BYTES] {
    let fields = HeaderFields {
        request_id: RequestId(1),
        opcode: 1,
        flags: Flags::NONE,
        target: 0,
        map_epoch: MapEpoch(0),
        deadline_ms: 0,
    };
    let length_max = u32::try_from(BODY_SIZE_BYTES_MAX).unwrap();
    let mut bytes = FrameHeader { length: length.min(length_max), fields, body_crc: 0 }.encode();
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    let crc = crc32fast::hash(&[&bytes[..4], &bytes[8..]].concat());
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn an_oversize_length_is_refused_by_the_header_alone() {
    for limit in [0, 2_048, BODY_SIZE_BYTES_MAX] {
        let length = u32::try_from(limit).unwrap();
        let mut reader = FrameReader::new(limit);
        reader.push(&header(length + 1));
        let error = FrameError::Header(HeaderError::Oversize { length: length + 1, limit });
        assert_eq!(reader.next_frame().map(|_| ()), Err(error));
        assert_eq!(error.code(), ErrorCode::TooLarge);
        let mut reader = FrameReader::new(limit);
        reader.push(&header(length));
        // The body's checksum is wrong, but its length is not.
        assert!(!matches!(reader.next_frame(), Err(FrameError::Header(_))), "the limit itself is allowed");
    }
}

#[test]
fn a_promise_of_bytes_takes_no_memory_until_they_arrive() {
    let mut reader = FrameReader::new(BODY_SIZE_BYTES_MAX);
    reader.push(&header(u32::try_from(BODY_SIZE_BYTES_MAX).unwrap()));
    assert!(reader.next_frame().unwrap().is_none());
    reader.buffer_for_read();
    assert!(reader.capacity_bytes() <= 2 * FrameReader::READ_SIZE_BYTES, "{} bytes", reader.capacity_bytes());
}

#[test]
fn memory_of_a_large_frame_is_given_back() {
    let mut bytes = Vec::new();
    let mut frame = FrameWriter::begin(&mut bytes);
    frame.body().extend_from_slice(&vec![3; BODY_SIZE_BYTES_MAX]);
    let fields = FrameHeader::decode(&header(0), 0).unwrap().fields;
    frame.finish(&fields);
    let mut reader = FrameReader::new(BODY_SIZE_BYTES_MAX);
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let buffer = reader.buffer_for_read();
        let room = (buffer.capacity() - buffer.len()).min(rest.len());
        buffer.extend_from_slice(&rest[..room]);
        rest = &rest[room..];
        assert!(buffer.capacity() <= bytes.len() + FrameReader::READ_SIZE_BYTES);
    }
    assert_eq!(reader.next_frame().unwrap().unwrap().body.len(), BODY_SIZE_BYTES_MAX);
    reader.buffer_for_read();
    assert!(reader.capacity_bytes() <= 4 * FrameReader::READ_SIZE_BYTES);
}

#[test]
fn bytes_of_another_protocol_are_refused_at_once() {
    for hello in
        [&b"GET / HTTP/1.1\r\nHost: example\r\n\r\n"[..], b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n....", &[0; 32]]
    {
        let mut reader = FrameReader::new(2_048);
        reader.push(hello);
        let error = reader.next_frame().map(|_| ()).unwrap_err();
        assert!(matches!(error, FrameError::Header(HeaderError::Checksum { .. })), "{error}");
    }
}
