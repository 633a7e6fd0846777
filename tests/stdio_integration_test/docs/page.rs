//! What a page asks its reader to do: fenced blocks with a title are files, those of `console` are commands.

use std::fs;
use std::path::Path;

/// A page of docs/.
pub(super) struct Page {
    pub(super) name: String,
    /// What to do, each with its line.
    pub(super) steps: Vec<(usize, Step)>,
    /// Blocks of JSON, each with its line.
    pub(super) machines: Vec<(usize, String)>,
    /// Rows of tables that show a pattern, an event that fits and one that does not.
    pub(super) patterns: Vec<[String; 3]>,
}

/// Something to do.
pub(super) enum Step {
    /// Write a file.
    File { path: String, text: String },
    /// Type a command, and see this.
    Command { text: String, shown: Vec<String> },
}

impl Page {
    pub(super) fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("docs")
            .join(name);
        let text = fs::read_to_string(&path).expect(name);
        let mut page = Self {
            name: name.to_owned(),
            steps: Vec::new(),
            machines: Vec::new(),
            patterns: Vec::new(),
        };
        let mut lines = text.lines().enumerate();
        while let Some((index, line)) = lines.next() {
            if let Some(kind) = line.strip_prefix("```") {
                let block: Vec<&str> = lines
                    .by_ref()
                    .map(|(_, line)| line)
                    .take_while(|line| *line != "```")
                    .collect();
                page.block(index + 1, kind, &block);
            } else if let Some(row) = pattern_row(line) {
                page.patterns.push(row);
            }
        }
        page
    }

    /// Takes in the block that begins on the line `line`.
    fn block(&mut self, line: usize, kind: &str, block: &[&str]) {
        let text = || block.join("\n") + "\n";
        if kind.starts_with("json") {
            self.machines.push((line, text()));
        }
        if let Some((_, title)) = kind.split_once("title=\"") {
            let path = title.trim_end_matches('"').to_owned();
            self.steps.push((line, Step::File { path, text: text() }));
        }
        if kind == "console" {
            self.commands(line, block);
        }
    }

    fn commands(&mut self, first: usize, block: &[&str]) {
        for (offset, line) in block.iter().enumerate() {
            if let Some(command) = line.strip_prefix("$ ") {
                let step = Step::Command {
                    text: command.to_owned(),
                    shown: Vec::new(),
                };
                self.steps.push((first + offset + 1, step));
                continue;
            }
            let Some((_, Step::Command { text, shown })) = self.steps.last_mut() else {
                panic!(
                    "{}:{first}: the block does not begin with a command",
                    self.name
                );
            };
            match line.strip_prefix("> ") {
                Some(more) if shown.is_empty() => {
                    text.push('\n');
                    text.push_str(more);
                }
                _ => shown.push((*line).to_owned()),
            }
        }
    }
}

/// The pattern and the two events of a row `| what | pattern | fits | does not |`.
fn pattern_row(line: &str) -> Option<[String; 3]> {
    let cells: Vec<&str> = line
        .strip_prefix('|')?
        .strip_suffix('|')?
        .split('|')
        .collect();
    let [_, pattern, fits, other] = cells[..] else {
        return None;
    };
    let code = |cell: &str| {
        let text = cell.trim().strip_prefix('`')?.strip_suffix('`')?;
        text.starts_with('{').then(|| text.to_owned())
    };
    Some([code(pattern)?, code(fits)?, code(other)?])
}
