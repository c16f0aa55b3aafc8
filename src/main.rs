//! The `corelode` command line.

fn main() {}
