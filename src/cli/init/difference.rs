//! What would change in a file, for a person to read.

use super::super::output::Paint;

/// How many unchanged lines are shown on each side of the change.
const CONTEXT_LINES: usize = 3;

/// The change from `before` to `after`: what stands between their common beginning and their common end.
pub(super) fn show(name: &str, before: &str, after: &str) -> String {
    let old: Vec<&str> = before.lines().collect();
    let new: Vec<&str> = after.lines().collect();
    let start = common(old.iter(), new.iter());
    let end = common(old[start..].iter().rev(), new[start..].iter().rev());
    let first = start.saturating_sub(CONTEXT_LINES);
    let removed = &old[start..old.len() - end];
    let added = &new[start..new.len() - end];
    let after_change = &old[old.len() - end..];
    let after_change = &after_change[..after_change.len().min(CONTEXT_LINES)];
    let unchanged = (start - first) + after_change.len();

    let mut text = vec![
        Paint::Strong.on(format!("--- {name}")),
        Paint::Strong.on(format!("+++ {name}")),
        Paint::Faint.on(format!(
            "@@ -{} +{} @@",
            range(first, unchanged + removed.len()),
            range(first, unchanged + added.len()),
        )),
    ];
    text.extend(old[first..start].iter().map(|line| format!(" {line}")));
    text.extend(removed.iter().map(|line| Paint::Bad.on(format!("-{line}"))));
    text.extend(added.iter().map(|line| Paint::Good.on(format!("+{line}"))));
    text.extend(after_change.iter().map(|line| format!(" {line}")));
    text.join("\n")
}

/// A range of lines as unified differences write it: the first line from 1, or 0 where there is none.
fn range(first: usize, count: usize) -> String {
    let first = if count == 0 { first } else { first + 1 };
    format!("{first},{count}")
}

/// How many lines both begin with.
fn common<'a>(
    left: impl Iterator<Item = &'a &'a str>,
    right: impl Iterator<Item = &'a &'a str>,
) -> usize {
    left.zip(right)
        .take_while(|(left, right)| left == right)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(before: &str, after: &str) -> String {
        anstream::adapter::strip_str(&show("f", before, after)).to_string()
    }

    #[test]
    fn a_change_is_shown_between_a_few_lines_that_stay() {
        let before = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let after = "1\n2\n3\n4\nx\ny\n6\n7\n8\n9\n";
        assert_eq!(
            plain(before, after),
            "--- f\n+++ f\n@@ -2,7 +2,8 @@\n 2\n 3\n 4\n-5\n+x\n+y\n 6\n 7\n 8"
        );
    }

    #[test]
    fn a_new_file_is_all_additions() {
        assert_eq!(plain("", "a\nb\n"), "--- f\n+++ f\n@@ -0,0 +1,2 @@\n+a\n+b");
    }

    #[test]
    fn a_repeated_line_is_not_counted_on_both_sides() {
        assert_eq!(
            plain("a\na\n", "a\na\na\n"),
            "--- f\n+++ f\n@@ -1,2 +1,3 @@\n a\n a\n+a"
        );
    }
}
