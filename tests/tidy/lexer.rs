//! Tells code from comments and literals, as far as looking for names needs it.

/// A source text, taken apart.
pub(crate) struct Lexed {
    /// The text with comments and the insides of literals blanked, character for character, so that
    /// lines stay where they are.
    pub(crate) code: String,
    /// String literals without their quotes, escapes as written, each with the line it begins on.
    pub(crate) literals: Vec<(usize, String)>,
}

/// A name or keyword in code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word<'a> {
    /// The text.
    pub(crate) text: &'a str,
    /// The line, from 1.
    pub(crate) line: usize,
    /// Where it begins, in bytes of the code.
    pub(crate) start: usize,
    /// Where it ends.
    pub(crate) end: usize,
}

/// Takes `text` apart.
pub(crate) fn lex(text: &str) -> Lexed {
    let mut lexer = Lexer {
        text: text.chars().collect(),
        at: 0,
        line: 1,
        code: String::with_capacity(text.len()),
        literals: Vec::new(),
    };
    while lexer.at < lexer.text.len() {
        lexer.step();
    }
    Lexed {
        code: lexer.code,
        literals: lexer.literals,
    }
}

/// The words of `code`, in order.
pub(crate) fn words(code: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut line = 1;
    let mut begun = None;
    for (at, character) in code.char_indices().chain([(code.len(), '\n')]) {
        if is_word(character) {
            begun.get_or_insert(at);
            continue;
        }
        if let Some(start) = begun.take() {
            words.push(Word {
                text: &code[start..at],
                line,
                start,
                end: at,
            });
        }
        if character == '\n' {
            line += 1;
        }
    }
    words
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

struct Lexer {
    text: Vec<char>,
    at: usize,
    line: usize,
    code: String,
    literals: Vec<(usize, String)>,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    /// Goes one character on, which is kept or blanked; lines are always kept.
    fn take(&mut self, keep: bool) -> char {
        let character = self.text[self.at];
        self.at += 1;
        if character == '\n' {
            self.line += 1;
        }
        self.code.push(match character {
            '\n' => '\n',
            _ if keep => character,
            _ => ' ',
        });
        character
    }

    fn step(&mut self) {
        match (self.peek(0), self.peek(1)) {
            (Some('/'), Some('/')) => {
                while self.peek(0).is_some_and(|next| next != '\n') {
                    self.take(false);
                }
            }
            (Some('/'), Some('*')) => self.block_comment(),
            (Some('"'), _) => self.string(),
            (Some('\''), _) => self.quote(),
            (Some(first), _) if is_word(first) => self.word(),
            _ => {
                self.take(true);
            }
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        while let Some(next) = self.peek(0) {
            match (next, self.peek(1)) {
                ('/', Some('*')) => depth += 1,
                ('*', Some('/')) => depth -= 1,
                _ => {
                    self.take(false);
                    continue;
                }
            }
            self.take(false);
            self.take(false);
            if depth == 0 {
                return;
            }
        }
    }

    /// A literal with escapes.
    fn string(&mut self) {
        let line = self.line;
        let mut inside = String::new();
        self.take(true);
        while let Some(next) = self.peek(0) {
            if next == '"' {
                self.take(true);
                break;
            }
            inside.push(self.take(false));
            if next == '\\' && self.peek(0).is_some() {
                inside.push(self.take(false));
            }
        }
        self.literals.push((line, inside));
    }

    /// A character, or a lifetime.
    fn quote(&mut self) {
        let is_character = self.peek(1) == Some('\\') || self.peek(2) == Some('\'');
        self.take(true);
        if !is_character {
            return;
        }
        let escaped = self.take(false) == '\\';
        if escaped && self.peek(0).is_some() {
            self.take(false);
        }
        while self.peek(0).is_some_and(|next| next != '\'') {
            self.take(false);
        }
        if self.peek(0).is_some() {
            self.take(true);
        }
    }

    /// A word, and the raw literal whose prefix it may be.
    fn word(&mut self) {
        let mut word = String::new();
        while self.peek(0).is_some_and(is_word) {
            word.push(self.take(true));
        }
        let hashes = self.text[self.at..]
            .iter()
            .take_while(|&&next| next == '#')
            .count();
        let raw = matches!(word.as_str(), "r" | "br" | "cr") && self.peek(hashes) == Some('"');
        if !raw {
            return;
        }
        let line = self.line;
        let mut inside = String::new();
        for _ in 0..=hashes {
            self.take(true);
        }
        while self.at < self.text.len() {
            let ends = self.peek(0) == Some('"')
                && (1..=hashes).all(|ahead| self.peek(ahead) == Some('#'));
            if ends {
                for _ in 0..=hashes {
                    self.take(true);
                }
                break;
            }
            inside.push(self.take(false));
        }
        self.literals.push((line, inside));
    }
}

#[test]
fn comments_and_literals_are_no_code() {
    let text = concat!(
        "let a = \"rmcp \\\" // x\"; // rmcp\n",
        "/* rmcp /* rmcp */\n rmcp */ let b = 'r'; let c = '\\''; let d: &'a str;\n",
        "let e = r#\"rmcp \" rmcp\"#; let f = br\"\\\"; let r#type = '\"'; rmcp::x();\n",
    );
    let lexed = lex(text);
    assert_eq!(lexed.code.chars().count(), text.chars().count());
    assert_eq!(lexed.code.lines().count(), text.lines().count());
    let found: Vec<usize> = words(&lexed.code)
        .iter()
        .filter(|word| word.text == "rmcp")
        .map(|word| word.line)
        .collect();
    assert_eq!(found, [4], "only the call is code: {}", lexed.code);
    let literals: Vec<(usize, &str)> = lexed
        .literals
        .iter()
        .map(|(line, text)| (*line, text.as_str()))
        .collect();
    assert_eq!(
        literals,
        [(1, "rmcp \\\" // x"), (4, "rmcp \" rmcp"), (4, "\\")]
    );
}

#[test]
fn a_text_that_breaks_off_is_read_to_its_end() {
    for text in ["\"abc", "r#\"abc\"", "/* abc", "'\\", "'", "b'\\''", "\"\\"] {
        assert_eq!(lex(text).code.chars().count(), text.chars().count());
    }
}
