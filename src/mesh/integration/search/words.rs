//! Words of names and sentences, as they are compared: in lower case, without the commonest endings.

/// The most characters of a word.
const CHARS_MAX: usize = 40;

/// Words that say nothing of what is wanted.
const FILLERS: [&str; 38] = [
    "a", "all", "an", "and", "any", "are", "as", "at", "be", "by", "can", "do", "for", "from",
    "how", "i", "if", "in", "into", "is", "it", "its", "me", "my", "need", "of", "on", "or",
    "pleas", "that", "the", "this", "to", "tool", "want", "which", "with", "you",
];

/// Whether `word`, as [`words`] gives it, says nothing of what is wanted.
pub(super) fn is_filler(word: &str) -> bool {
    FILLERS.binary_search(&word).is_ok()
}

/// The words of `text`: split where they are written apart (`create issue`, `create_issue`, `createIssue`,
/// `HTTPServer`), each by its stem. What is written without spaces between words is split into characters.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> {
    Pieces { rest: text }.map(|piece| {
        let lower: String = piece
            .chars()
            .take(CHARS_MAX)
            .flat_map(char::to_lowercase)
            .collect();
        stem(lower)
    })
}

struct Pieces<'text> {
    rest: &'text str,
}

impl<'text> Iterator for Pieces<'text> {
    type Item = &'text str;

    fn next(&mut self) -> Option<&'text str> {
        let start = self.rest.find(char::is_alphanumeric)?;
        let text = self.rest.get(start..)?;
        let end = end_of_word(text);
        let (word, rest) = text.split_at(end);
        self.rest = rest;
        Some(word)
    }
}

/// Where the word ends with which `text` begins.
fn end_of_word(text: &str) -> usize {
    let mut characters = text.char_indices().peekable();
    let mut before: Option<char> = None;
    while let Some((at, character)) = characters.next() {
        if !character.is_alphanumeric() {
            return at;
        }
        if let Some(before) = before {
            let next = characters.peek().map(|(_, next)| *next);
            let is_new = character.is_uppercase()
                && (before.is_lowercase()
                    || before.is_numeric()
                    || before.is_uppercase() && next.is_some_and(char::is_lowercase));
            if is_new || is_alone(before) || is_alone(character) {
                return at;
            }
        }
        before = Some(character);
    }
    text.len()
}

/// Whether a character is a word by itself: Chinese, Japanese and Thai are written without spaces.
const fn is_alone(character: char) -> bool {
    matches!(character, '\u{0e00}'..='\u{0e7f}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}')
}

/// A word without its commonest English endings, so that `issues`, `creating` and `deletion` are found by
/// `issue`, `create` and `delete`.
fn stem(word: String) -> String {
    if word.len() < 4 || !word.is_ascii() || word.bytes().any(|byte| byte.is_ascii_digit()) {
        return word;
    }
    let singular = without_plural(&word);
    let mut stem = without_tense(singular.as_deref().unwrap_or(&word)).to_owned();
    if stem.len() > 3 && stem.ends_with('e') {
        stem.pop();
    }
    stem
}

fn without_plural(word: &str) -> Option<String> {
    if let Some(stem) = word.strip_suffix("ies").filter(|stem| stem.len() > 1) {
        return Some(format!("{stem}y"));
    }
    if let Some(stem) = word.strip_suffix("es") {
        let hisses = ["s", "x", "z", "ch", "sh"];
        if hisses.into_iter().any(|end| stem.ends_with(end)) && stem.len() > 2 {
            return Some(stem.to_owned());
        }
    }
    let stem = word.strip_suffix('s')?;
    let keeps = ["s", "u", "i"].into_iter().any(|end| stem.ends_with(end)) && word != "apis";
    (!keeps).then(|| stem.to_owned())
}

fn without_tense(word: &str) -> &str {
    for ending in ["ing", "ed"] {
        let Some(stem) = word.strip_suffix(ending).filter(|stem| stem.len() > 2) else {
            continue;
        };
        if !stem.bytes().any(|byte| b"aeiouy".contains(&byte)) {
            continue;
        }
        let mut ends = stem.bytes().rev();
        let (last, before) = (ends.next(), ends.next());
        let is_doubled = last == before && !last.is_some_and(|byte| b"lsz".contains(&byte));
        return match is_doubled {
            true => stem.get(..stem.len() - 1).unwrap_or(stem),
            false => stem,
        };
    }
    match word.strip_suffix("ion") {
        Some(stem) if stem.len() > 3 && stem.ends_with(['t', 's']) => stem,
        _ => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_where_they_are_written_apart() {
        for (text, expected) in [
            ("create_issue", &["creat", "issu"][..]),
            ("createIssue", &["creat", "issu"]),
            ("HTTPServer", &["http", "server"]),
            ("get-s3.Object", &["get", "s3", "object"]),
            ("base64Encode!", &["base64", "encod"]),
            ("  ", &[]),
            ("读取文件", &["读", "取", "文", "件"]),
            ("Größe ändern", &["größe", "ändern"]),
        ] {
            let found: Vec<_> = words(text).collect();
            assert_eq!(found, expected, "{text}");
        }
        assert_eq!(words(&"x".repeat(1000)).next().unwrap().len(), CHARS_MAX);
    }

    #[test]
    fn forms_of_a_word_are_one_word() {
        for forms in [
            &["issue", "issues"][..],
            &["create", "creates", "created", "creating", "creation"],
            &["delete", "deletion", "deleting"],
            &["query", "queries"],
            &["search", "searches", "searching"],
            &["run", "running", "runs"],
            &["file", "files"],
            &["translate", "translation"],
            &["api", "apis"],
        ] {
            let stems: Vec<_> = forms.iter().flat_map(|form| words(form)).collect();
            assert!(stems.iter().all(|stem| *stem == stems[0]), "{stems:?}");
        }
        for (one, other) in [("status", "state"), ("class", "clasp"), ("string", "str")] {
            let stems: Vec<_> = [one, other].into_iter().flat_map(words).collect();
            assert_ne!(stems[0], stems[1], "{one} {other}");
        }
        assert!(FILLERS.is_sorted() && is_filler("the") && !is_filler("issu"));
    }
}
