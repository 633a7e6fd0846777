//! Names of fields that hold secrets, told from names of what is only about one.

/// How a secret was recognized by its name alone.
pub(super) const BY_ITS_NAME: &str = "its name says so";

/// Words of names that hold secrets.
const WORDS: [&str; 14] = [
    "auth",
    "authorization",
    "bearer",
    "cookie",
    "cookies",
    "credential",
    "credentials",
    "jwt",
    "passphrase",
    "passwd",
    "password",
    "pat",
    "secret",
    "token",
];

/// How words end that have grown together with another: `PGPASSWORD`, `githubtoken`.
const ENDINGS: [&str; 10] = [
    "accesskey",
    "apikey",
    "authkey",
    "cookie",
    "passwd",
    "password",
    "privatekey",
    "secret",
    "secretkey",
    "token",
];

/// Words that make the name of a secret together: `api key`, `X-Access-Key`.
const PAIRS: [(&str, &str); 12] = [
    ("access", "key"),
    ("api", "key"),
    ("app", "key"),
    ("auth", "key"),
    ("encryption", "key"),
    ("license", "key"),
    ("master", "key"),
    ("pass", "word"),
    ("private", "key"),
    ("secret", "key"),
    ("service", "key"),
    ("signing", "key"),
];

/// Last words of names of what is about a secret and none itself: `TOKEN_URL`, `PASSWORD_FILE`.
const ABOUT: [&str; 46] = [
    "algorithm",
    "audience",
    "budget",
    "command",
    "count",
    "dir",
    "directory",
    "domain",
    "enabled",
    "endpoint",
    "expiration",
    "expiry",
    "file",
    "folder",
    "format",
    "helper",
    "host",
    "id",
    "interval",
    "issuer",
    "kind",
    "length",
    "lifetime",
    "limit",
    "location",
    "max",
    "method",
    "min",
    "mode",
    "name",
    "path",
    "policy",
    "prefix",
    "provider",
    "region",
    "required",
    "scheme",
    "scope",
    "scopes",
    "size",
    "store",
    "timeout",
    "ttl",
    "type",
    "uri",
    "url",
];

/// Texts that a switch is set to; no secret is one of them.
const SWITCHES: [&str; 10] = [
    "", "0", "1", "false", "true", "no", "yes", "off", "on", "none",
];

/// Words whose text may be the path of a file instead: `GOOGLE_APPLICATION_CREDENTIALS`.
const OR_PATHS: [&str; 4] = ["cookie", "cookies", "credential", "credentials"];

/// Whether a field of that name holds a secret, whatever the case and the separators of its words.
pub(super) fn is_of_a_secret(name: &str) -> bool {
    let words = words(name);
    if words
        .last()
        .is_some_and(|last| ABOUT.contains(&last.as_str()))
    {
        return false;
    }
    let is_word = |word: &String| {
        WORDS.contains(&word.as_str()) || ENDINGS.iter().any(|ending| word.ends_with(ending))
    };
    let is_pair = |pair: &[String]| match pair {
        // `PWD` alone is the working directory.
        [_, second] if second == "pwd" => true,
        [first, second] => PAIRS.contains(&(first.as_str(), second.as_str())),
        _ => false,
    };
    words.iter().any(is_word) || words.windows(2).any(is_pair)
}

/// Whether `text` is no secret although its field is named like one.
pub(super) fn allows(name: &str, text: &str) -> bool {
    let text = text.trim();
    if SWITCHES.contains(&text.to_ascii_lowercase().as_str()) {
        return true;
    }
    let words = words(name);
    let may_be_path = words.iter().any(|word| OR_PATHS.contains(&word.as_str()));
    may_be_path && is_path(text)
}

/// Whether `text` is a path from a root, from the home folder or from where the child runs.
fn is_path(text: &str) -> bool {
    let drive = text.as_bytes();
    let has_drive =
        matches!(drive, [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic());
    let is_rooted = ["/", "~/", "./", "../", "$HOME/"]
        .iter()
        .any(|start| text.starts_with(start));
    (is_rooted || has_drive) && !text.contains(['=', ';', ' ', '\n'])
}

/// The words of a name in lower case: parted by what is no letter or digit, and where a capital begins one.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let characters: Vec<char> = name.chars().collect();
    for (at, &character) in characters.iter().enumerate() {
        if !character.is_alphanumeric() {
            words.push(String::new());
            continue;
        }
        let before = at.checked_sub(1).and_then(|before| characters.get(before));
        let after = characters.get(at + 1);
        let begins = character.is_uppercase()
            && before.is_some_and(|before| {
                before.is_lowercase()
                    || (before.is_uppercase() && after.is_some_and(|after| after.is_lowercase()))
            });
        if begins {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.extend(character.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known_by_whole_words_in_any_spelling() {
        for name in [
            "token",
            "GITHUB_TOKEN",
            "githubToken",
            "X-Auth-Token",
            "GITHUBTOKEN",
            "password",
            "PGPASSWORD",
            "DB_PASSWD",
            "MYSQL_PWD",
            "secret",
            "CLIENT_SECRET",
            "clientSecret",
            "client-secret",
            "Authorization",
            "Proxy-Authorization",
            "api_key",
            "apikey",
            "API-KEY",
            "apiKey",
            "OPENAI_APIKEY",
            "OPENAI_API_KEY",
            "X-Api-Key",
            "x.api.key",
            "access_key",
            "AWS_SECRET_ACCESS_KEY",
            "private_key",
            "PrivateKey",
            "cookie",
            "Set-Cookie",
            "credential",
            "DB_CREDENTIALS",
            "passphrase",
            "GITHUB_PAT",
            "BEARER",
            "SIGNING_KEY",
            "JWT_SECRET_V2",
            "Pass-Word",
            "BASIC_AUTH",
        ] {
            assert!(is_of_a_secret(name), "{name}");
        }
    }

    #[test]
    fn names_of_what_is_about_a_secret_or_something_else_are_not() {
        for name in [
            "",
            "PATH",
            "PWD",
            "OLDPWD",
            "HOME",
            "MAX_TOKENS",
            "tokens",
            "TOKENIZER",
            "TOKEN_URL",
            "TOKEN_FILE",
            "PASSWORD_FILE",
            "PASSWORD_MIN_LENGTH",
            "SECRET_NAME",
            "tokenLimit",
            "AUTHOR",
            "KEYBOARD",
            "MONKEY",
            "API_VERSION",
            "PATTERN",
            "compatible",
            "ACCESS_LEVEL",
            "KEY_PREFIX",
            "Content-Type",
            "X-Request-Id",
            "Accept",
            "AWS_ACCESS_KEY_ID",
            "AUTH_TYPE",
            "AUTH_METHOD",
            "SECRETARY",
            "passenger",
            "COOKIE_DOMAIN",
            "MYAPP_REGION",
        ] {
            assert!(!is_of_a_secret(name), "{name}");
        }
    }

    #[test]
    fn switches_and_paths_are_no_secrets() {
        for (name, text) in [
            ("USE_TOKEN", "true"),
            ("TOKEN", ""),
            ("COOKIE", "no"),
            ("GOOGLE_APPLICATION_CREDENTIALS", "/home/ada/key.json"),
            ("GOOGLE_APPLICATION_CREDENTIALS", "C:\\keys\\key.json"),
            ("CREDENTIALS", "~/.config/x"),
        ] {
            assert!(allows(name, text), "{name}={text}");
        }
        for (name, text) in [
            ("TOKEN", "/abcdef"),
            ("PASSWORD", "1234"),
            ("COOKIE", "/a=b; c=d"),
            ("CREDENTIALS", "user:pass"),
        ] {
            assert!(!allows(name, text), "{name}={text}");
        }
    }
}
