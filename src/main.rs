//! Parses the command line, starts logging to stderr, runs the command.

fn main() {}
