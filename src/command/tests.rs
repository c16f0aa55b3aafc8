//! What the command line takes, refuses, and fills in by itself.

use clap::CommandFactory;

use super::*;
use crate::record::Format;

fn parse(words: &[&str]) -> Result<CommandLine, clap::error::ErrorKind> {
    CommandLine::try_parse_from(["corelode"].iter().chain(words)).map_err(|error| error.kind())
}

#[test]
fn the_declaration_is_consistent() {
    CommandLine::command().debug_assert();
}

#[test]
fn every_subcommand_and_every_argument_has_help() {
    for subcommand in CommandLine::command().get_subcommands() {
        assert!(subcommand.get_about().is_some(), "{} has no help", subcommand.get_name());
        for argument in subcommand.get_arguments() {
            assert!(argument.get_help().is_some(), "{} of {} has no help", argument.get_id(), subcommand.get_name());
        }
    }
}

#[test]
fn what_is_left_out_has_the_documented_defaults() {
    let Ok(CommandLine { command: Command::Serve(serve), .. }) = parse(&["serve"]) else {
        panic!("serve needs nothing")
    };
    assert_eq!(serve.data_dir.to_str(), Some("./corelode-data"));
    assert_eq!(serve.listen, None, "127.0.0.1:7400, or what --peers says");
    assert_eq!((serve.cores, serve.partitions, serve.insecure), (None, None, false));

    let Ok(CommandLine { command: Command::Import(import), .. }) = parse(&["import", "-", "--format", "tsv"]) else {
        panic!("import takes standard input")
    };
    assert_eq!(import.format, Some(Format::Tsv));
    assert!(import.in_flight.get() >= 32);
    assert_eq!(import.durability, WriteDurability::Synced);

    let Ok(CommandLine { command: Command::Get(get), .. }) = parse(&["get", "a"]) else { panic!("get takes a key") };
    assert_eq!(get.output, Output::Raw);
}

#[test]
fn the_server_may_be_named_before_and_behind_the_command() {
    let server = ["--url", "corelode://[::1]:7500"];
    for words in [[&server[..], &["get", "a"]].concat(), [&["get", "a"], &server[..]].concat()] {
        let Ok(CommandLine { url, .. }) = parse(&words) else { panic!("{words:?} is understood") };
        assert_eq!(url.to_string(), "corelode://[::1]:7500");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    use clap::error::ErrorKind;
    for (words, expected) in [
        (&["get"][..], ErrorKind::MissingRequiredArgument),
        (&["get", "a", "b"], ErrorKind::UnknownArgument),
        (&["put", "a"], ErrorKind::MissingRequiredArgument),
        (&["put", "a", "b", "--value-file", "c"], ErrorKind::ArgumentConflict),
        (&["put", "a", "b", "--ttl-ms", "0"], ErrorKind::ValueValidation),
        (&["get", "a", "--url", "http://localhost"], ErrorKind::ValueValidation),
        (&["export", "-", "--format", "xml"], ErrorKind::InvalidValue),
        (&["serve", "--cores", "0"], ErrorKind::ValueValidation),
        (&["serve", "--partitions", "65536"], ErrorKind::ValueValidation),
        (&["frobnicate"], ErrorKind::InvalidSubcommand),
    ] {
        assert_eq!(parse(words).map(|_| ()), Err(expected), "{words:?}");
    }
}
