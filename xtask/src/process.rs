//! Starting other programs: shown, captured, or watched line by line.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use crate::failure::Failure;

/// Runs a program to its end with our own standard streams.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let status = command.stdin(Stdio::null()).status().map_err(|source| start_failure(command, source))?;
    if status.success() { Ok(()) } else { Err(Failure::Exit { command: shown(command), status }) }
}

/// Runs a program and returns what it wrote to standard output; its standard error stays visible.
pub(crate) fn capture(command: &mut Command) -> Result<String, Failure> {
    let bytes = capture_bytes(command)?;
    String::from_utf8(bytes)
        .map_err(|error| Failure::Unreadable { what: shown(command), reason: format!("not UTF-8: {error}") })
}

/// As [`capture`], for output that need not be text.
pub(crate) fn capture_bytes(command: &mut Command) -> Result<Vec<u8>, Failure> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| start_failure(command, source))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(Failure::Exit { command: shown(command), status: output.status })
    }
}

/// Whether a program can be started and exits with success; says nothing.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs a program, passes its standard error on to ours line by line, and shows each line to `watch` as well.
/// Cargo and nextest write everything that we want to read there.
pub(crate) fn run_watched(command: &mut Command, mut watch: impl FnMut(&str)) -> Result<(), Failure> {
    let mut child =
        command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(|source| start_failure(command, source))?;
    let pipe = child.stderr.take().expect("standard error was piped one statement above");
    let mut lines = BufReader::new(pipe);
    let mut line = Vec::new();
    let mut own = std::io::stderr();
    loop {
        line.clear();
        let count = lines.read_until(b'\n', &mut line).map_err(|source| start_failure(command, source))?;
        if count == 0 {
            break;
        }
        // Our own standard error may be closed early (`| head`); the program's verdict still counts.
        let _ = own.write_all(&line);
        watch(String::from_utf8_lossy(&line).trim_end());
    }
    let status = child.wait().map_err(|source| start_failure(command, source))?;
    if status.success() { Ok(()) } else { Err(Failure::Exit { command: shown(command), status }) }
}

/// The command as one would type it, for messages.
pub(crate) fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|argument| argument.to_string_lossy().into_owned()));
    words.join(" ")
}

fn start_failure(command: &Command, source: std::io::Error) -> Failure {
    Failure::Start { program: command.get_program().to_string_lossy().into_owned(), source }
}
