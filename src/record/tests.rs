//! What holds for both formats: any bytes round-trip, and a bad line costs only itself.

use proptest::{collection::vec, option, prelude::*};

use super::*;

fn read(format: Format, text: &[u8]) -> Vec<Result<Record, String>> {
    RecordReader::new(text, format).map(|outcome| outcome.map_err(|error| error.to_string())).collect()
}

fn record(key: &str, value: &str) -> Record {
    Record { key: key.into(), value: value.into(), ttl_ms: None }
}

#[test]
fn ndjson_reads_text_base64_and_time_to_live() {
    for (line, expected) in [
        (r#"{"key":"a","value":"1"}"#, record("a", "1")),
        (r#" { "value" : "line\nbreak \ud83e\udd80" , "key" : "b" } "#, record("b", "line\nbreak 🦀")),
        (r#"{"key":"","value":""}"#, record("", "")),
        (
            r#"{"key_base64":"/w==","value_base64":"AAE=","ttl_ms":1500}"#,
            Record { key: vec![0xff], value: vec![0, 1], ttl_ms: NonZeroU64::new(1500) },
        ),
    ] {
        assert_eq!(read(Format::Ndjson, line.as_bytes()), [Ok(expected)], "{line}");
    }
}

#[test]
fn ndjson_refuses_with_the_line_and_the_reason() {
    for (line, expected) in [
        (r#"{"value":"1"}"#, "line 2: neither `key` nor `key_base64`"),
        (r#"{"key":"a"}"#, "line 2: neither `value` nor `value_base64`"),
        (r#"{"key":"a","key_base64":"YQ==","value":"1"}"#, "line 2: both `key` and `key_base64`: give one of them"),
        (r#"{"key":"a","value":"1","value_base64":""}"#, "line 2: both `value` and `value_base64`: give one of them"),
        (r#"{"key":"a","key":"b","value":"1"}"#, "line 2: duplicate field `key`, at column 16"),
        (r#"{"key":"a","value_base64":"?"}"#, "line 2: `value_base64` is not base64: Invalid symbol 63, offset 0."),
        (r#"{"key":"a","value":null}"#, "line 2: invalid type: null, expected a string, at column 23"),
        (r#"{"key":"a","value":7}"#, "line 2: invalid type: integer `7`, expected a string, at column 20"),
        (
            r#"{"key":"a","value":"1","ttl_ms":0}"#,
            "line 2: invalid value: integer `0`, expected a nonzero u64, at column 33",
        ),
        (r#"{"key":"a","value":"1""#, "line 2: EOF while parsing an object, at column 22"),
        (r#"{"key":"a","value":"1"} x"#, "line 2: trailing characters, at column 25"),
        (r#"["a","1"]"#, "line 2: not a JSON object: write {\"key\":\"…\",\"value\":\"…\"}"),
        ("hello", "line 2: not a JSON object: write {\"key\":\"…\",\"value\":\"…\"}"),
    ] {
        let text = format!("{{\"key\":\"before\",\"value\":\"\"}}\n{line}\n{{\"key\":\"after\",\"value\":\"\"}}\n");
        assert_eq!(
            read(Format::Ndjson, text.as_bytes()),
            [Ok(record("before", "")), Err(expected.to_owned()), Ok(record("after", ""))]
        );
    }
    let misspelt = read(Format::Ndjson, br#"{"key":"a","value":"1","ttl":5}"#);
    assert!(matches!(&misspelt[..], [Err(reason)] if reason.contains("unknown field `ttl`")), "{misspelt:?}");
    let not_text = read(Format::Ndjson, b"{\"key\":\"\xff\",\"value\":\"\"}");
    assert!(matches!(&not_text[..], [Err(reason)] if reason.contains("invalid unicode")), "{not_text:?}");
}

#[test]
fn tsv_refuses_with_the_line_and_the_reason() {
    for (line, expected) in [
        ("no tab", "line 2: no TAB between key and value"),
        ("a\tb\tc", "line 2: a second TAB: write \\t for a TAB inside a key or value"),
        ("a\tb\r", "line 2: a bare carriage return: write \\r if it is meant, or convert the file to plain line ends"),
        ("a\t\\q", "line 2: the escape \\q means nothing: write \\\\ for a backslash"),
        ("\\x4\tb", "line 2: an escape is incomplete: write \\xNN with two hexadecimal digits"),
    ] {
        let text = format!("before\t\n{line}\nafter\t\n");
        assert_eq!(
            read(Format::Tsv, text.as_bytes()),
            [Ok(record("before", "")), Err(expected.to_owned()), Ok(record("after", ""))]
        );
    }
}

#[test]
fn empty_lines_are_passed_over_but_counted() {
    assert_eq!(
        read(Format::Tsv, b"\n\na\tb\n\nbad\n"),
        [Ok(record("a", "b")), Err("line 5: no TAB between key and value".to_owned())]
    );
}

#[test]
fn a_line_too_long_costs_only_itself() {
    let mut text = b"before\t\n".to_vec();
    text.resize(text.len() + LINE_SIZE_BYTES_MAX + 1, b'x');
    text.extend_from_slice(b"\nafter\t\n");
    assert_eq!(
        read(Format::Tsv, &text),
        [
            Ok(record("before", "")),
            Err("line 2: the line is longer than 8388608 bytes".to_owned()),
            Ok(record("after", ""))
        ]
    );
}

#[test]
fn the_largest_record_fits_a_line_however_it_is_escaped() {
    for byte in [0_u8, b'"', 0xff] {
        let record =
            Record { key: vec![byte; KEY_SIZE_BYTES_MAX], value: vec![byte; VALUE_SIZE_BYTES_MAX], ttl_ms: None };
        for format in [Format::Tsv, Format::Ndjson] {
            assert!(round_trip(format, std::slice::from_ref(&record)) == [Ok(record.clone())], "{byte} as {format:?}");
        }
    }
}

#[test]
fn a_stream_that_fails_ends_the_records() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("gone"))
        }
    }
    let found: Vec<String> = RecordReader::new(std::io::BufReader::new(Broken), Format::Tsv)
        .map(|outcome| outcome.unwrap_err().to_string())
        .collect();
    assert_eq!(found, ["the input cannot be read: gone"]);
}

#[test]
fn the_ending_of_a_file_names_its_format() {
    for (path, expected) in [
        ("a.tsv", Some(Format::Tsv)),
        ("dir.tsv/a.NDJSON", Some(Format::Ndjson)),
        ("a.jsonl", Some(Format::Ndjson)),
        ("a.txt", None),
        ("tsv", None),
        ("-", Some(Format::Ndjson)),
    ] {
        assert_eq!(Format::of_file(Path::new(path)), expected, "{path}");
    }
}

fn round_trip(format: Format, records: &[Record]) -> Vec<Result<Record, String>> {
    let mut writer = RecordWriter::new(Vec::new(), format);
    for Record { key, value, ttl_ms } in records {
        writer.write(key, value, *ttl_ms).unwrap();
    }
    let text = writer.into_inner();
    assert_eq!(text.iter().filter(|&&byte| byte == b'\n').count(), records.len(), "a record is not one line");
    assert!(std::str::from_utf8(&text).is_ok(), "what is written is text");
    read(format, &text)
}

/// Bytes of every kind, with those that formats treat in a special way more often than chance would have them.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let special = prop::sample::select(vec![b'\\', b'\t', b'\n', b'\r', b'"', 0, b'x', b'{', 0x7f, 0xc2, 0x85, 0xff]);
    prop_oneof![vec(any::<u8>(), 0..40), vec(special, 0..40), any::<String>().prop_map(String::into_bytes)]
}

proptest! {
    #[test]
    fn any_bytes_round_trip(records in vec((bytes(), bytes(), option::of(any::<NonZeroU64>())), 0..8)) {
        let records: Vec<Record> =
            records.into_iter().map(|(key, value, ttl_ms)| Record { key, value, ttl_ms }).collect();
        let read_back: Result<Vec<Record>, String> = round_trip(Format::Ndjson, &records).into_iter().collect();
        prop_assert_eq!(read_back, Ok(records.clone()));

        let without_ttl: Vec<Record> = records.into_iter().map(|record| Record { ttl_ms: None, ..record }).collect();
        let read_back: Result<Vec<Record>, String> = round_trip(Format::Tsv, &without_ttl).into_iter().collect();
        prop_assert_eq!(read_back, Ok(without_ttl));
    }

    #[test]
    fn any_input_is_read_to_its_end_without_a_panic(text in vec(any::<u8>(), 0..400)) {
        for format in [Format::Tsv, Format::Ndjson] {
            let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count();
            prop_assert_eq!(read(format, &text).len(), lines);
        }
    }
}
