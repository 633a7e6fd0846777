//! The desktop clients: where each keeps its servers, and in what shape.

use std::path::PathBuf;

use crate::config::Environment;

/// A desktop client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Client {
    ClaudeDesktop,
    ClaudeCode,
    Cursor,
    Vscode,
}

/// For which folders a client offers the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Scope {
    /// For all of them
    User,
    /// For the one this command runs in
    Project,
}

impl Client {
    /// Its name, as people call it.
    pub(in crate::cli) const fn title(self) -> &'static str {
        match self {
            Self::ClaudeDesktop => "Claude Desktop",
            Self::ClaudeCode => "Claude Code",
            Self::Cursor => "Cursor",
            Self::Vscode => "Visual Studio Code",
        }
    }

    /// What makes it look at its file again.
    pub(super) const fn reload(self) -> &'static str {
        match self {
            Self::ClaudeDesktop => "Quit Claude Desktop and start it again",
            Self::ClaudeCode => "Start a new session of Claude Code",
            Self::Cursor => "Switch the server on in Cursor's settings, or restart Cursor,",
            Self::Vscode => "Run `MCP: List Servers` in Visual Studio Code and start it there",
        }
    }

    /// The member of its file that holds the servers.
    pub(in crate::cli) const fn servers_key(self) -> &'static str {
        match self {
            Self::ClaudeDesktop | Self::ClaudeCode | Self::Cursor => "mcpServers",
            Self::Vscode => "servers",
        }
    }

    /// Whether it wants to be told that a server is a child process.
    pub(super) const fn wants_type(self) -> bool {
        matches!(self, Self::ClaudeCode | Self::Vscode)
    }

    /// Where its file is, whether it exists or not.
    ///
    /// # Errors
    /// The client has no file of that scope, or this user has no home folder.
    pub(in crate::cli) fn file(
        self,
        scope: Scope,
        environment: &Environment,
    ) -> Result<PathBuf, String> {
        let folder = match (self, scope) {
            (Self::ClaudeDesktop, Scope::Project) => {
                return Err(
                    "Claude Desktop knows no folders of projects; leave out --scope".to_owned(),
                );
            }
            (_, Scope::Project) => Some(environment.working_dir.clone()),
            (Self::ClaudeDesktop | Self::Vscode, Scope::User) => environment.settings_home.clone(),
            (Self::ClaudeCode | Self::Cursor, Scope::User) => environment.home.clone(),
        };
        let name = match (self, scope) {
            (Self::ClaudeDesktop, _) => "Claude/claude_desktop_config.json",
            (Self::ClaudeCode, Scope::User) => ".claude.json",
            (Self::ClaudeCode, Scope::Project) => ".mcp.json",
            (Self::Cursor, _) => ".cursor/mcp.json",
            (Self::Vscode, Scope::User) => "Code/User/mcp.json",
            (Self::Vscode, Scope::Project) => ".vscode/mcp.json",
        };
        folder
            .map(|folder| folder.join(name))
            .ok_or_else(|| "this user has no home folder; name the file with --path".to_owned())
    }
}
