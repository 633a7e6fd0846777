//! Without a command: serves one client over standard input and output.

/// What a person is told who starts the server in a terminal, where no client speaks to it. It goes to
/// stderr; the server goes on, since a terminal may also be a client under test.
pub const fn terminal_hint() -> &'static str {
    "This is an MCP server, and it waits for a client to speak JSON-RPC on standard input.\n\
     To add it to a desktop client, run `use_aws_mcp init --help`; to see it work, run \
     `use_aws_mcp demo`; for all commands, `use_aws_mcp --help`. Ctrl-D ends it."
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_hint_says_what_it_waits_for_and_how_to_leave() {
        let hint = super::terminal_hint();
        for word in ["JSON-RPC", "use_aws_mcp init", "Ctrl-D"] {
            assert!(hint.contains(word), "{word}");
        }
    }
}
