//! Formats of keys that services give out, by which they are known wherever they stand.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Found, refers};

/// How the id of an AWS access key is told: beside it, its secret is looked for too.
pub(super) const AWS_KEY_ID: &str = "the id of an AWS access key";

/// Characters that a key goes on with after its prefix.
#[derive(Clone, Copy)]
enum Characters {
    Hex,
    Upper,
    Alphanumeric,
    /// Letters, digits and `_`.
    Word,
    /// Letters, digits, `_` and `-`.
    Url,
    /// The same, with at least [`SOLID_MIN`] letters and digits in a row: the prefix could begin a name.
    Solid,
    /// Letters, digits and `._-`.
    Dotted,
}

/// How many letters and digits in a row are no word.
const SOLID_MIN: usize = 16;

/// What a key begins with, and what must follow at least. Words with hyphens between them are no key.
struct Format {
    what: &'static str,
    prefixes: &'static [&'static str],
    characters: Characters,
    least: usize,
}

const fn format(
    what: &'static str,
    prefixes: &'static [&'static str],
    characters: Characters,
    least: usize,
) -> Format {
    Format {
        what,
        prefixes,
        characters,
        least,
    }
}

use Characters::{Alphanumeric, Dotted, Hex, Solid, Upper, Url, Word};

/// The formats, the more special ones before those that they would pass for.
const FORMATS: [Format; 55] = [
    format(
        "a GitHub token",
        &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
        Alphanumeric,
        30,
    ),
    format("a GitHub token", &["github_pat_"], Word, 22),
    format(
        "a GitLab token",
        &[
            "glpat-", "gldt-", "glrt-", "glptt-", "glft-", "glsoat-", "glcbt-", "glagent-",
        ],
        Dotted,
        20,
    ),
    format(
        "a Slack token",
        &[
            "xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxe-", "xoxc-", "xoxd-", "xapp-",
        ],
        Url,
        10,
    ),
    format(
        "a Slack webhook",
        &["hooks.slack.com/services/T"],
        Alphanumeric,
        8,
    ),
    format(AWS_KEY_ID, &["AKIA", "ASIA"], Upper, 16),
    format(
        "a Bedrock API key",
        &["ABSKQmVkcm9ja0FQSUtleS"],
        Alphanumeric,
        20,
    ),
    format("an Anthropic API key", &["sk-ant-"], Url, 20),
    format("an OpenRouter API key", &["sk-or-"], Url, 20),
    format("an OpenAI API key", &["sk-"], Solid, 20),
    format(
        "a Stripe key",
        &["sk_live_", "sk_test_", "rk_live_", "rk_test_", "whsec_"],
        Alphanumeric,
        16,
    ),
    format("a Google API key", &["AIza"], Url, 35),
    format("a Google OAuth token", &["ya29."], Url, 20),
    format("a Google client secret", &["GOCSPX-"], Url, 20),
    format("an npm token", &["npm_"], Alphanumeric, 36),
    format("a PyPI token", &["pypi-"], Url, 50),
    format("a RubyGems key", &["rubygems_"], Hex, 32),
    format("a crates.io token", &["cio"], Alphanumeric, 32),
    format(
        "a Hugging Face token",
        &["hf_", "api_org_"],
        Alphanumeric,
        30,
    ),
    format("a Twilio key", &["SK"], Hex, 32),
    format(
        "a Linear key",
        &["lin_api_", "lin_oauth_"],
        Alphanumeric,
        32,
    ),
    format("a Notion token", &["secret_", "ntn_"], Alphanumeric, 40),
    format("a Databricks token", &["dapi"], Hex, 32),
    format(
        "a DigitalOcean token",
        &["dop_v1_", "doo_v1_", "dor_v1_"],
        Hex,
        64,
    ),
    format(
        "a Shopify token",
        &["shpat_", "shpss_", "shpca_", "shppa_"],
        Hex,
        32,
    ),
    format("an Atlassian token", &["ATATT3", "ATCTT3", "ATBB"], Url, 24),
    format("a Figma token", &["figd_"], Url, 30),
    format("a Sentry token", &["sntrys_", "sntryu_"], Word, 30),
    format("a Postman key", &["PMAK-"], Url, 30),
    format("a Grafana token", &["glsa_", "glc_"], Word, 30),
    format("a Supabase key", &["sbp_", "sb_secret_"], Url, 20),
    format("a Vault token", &["hvs.", "hvb."], Url, 24),
    format(
        "a Doppler token",
        &["dp.pt.", "dp.st.", "dp.ct.", "dp.sa."],
        Dotted,
        40,
    ),
    format("a Replicate token", &["r8_"], Alphanumeric, 30),
    format("a Groq key", &["gsk_"], Alphanumeric, 40),
    format("a Perplexity key", &["pplx-"], Alphanumeric, 30),
    format("an xAI key", &["xai-"], Alphanumeric, 40),
    format("a Tavily key", &["tvly-"], Url, 20),
    format("a Firecrawl key", &["fc-"], Hex, 32),
    format("a Brave Search key", &["BSA"], Solid, 24),
    format("a Docker token", &["dckr_pat_", "dckr_oat_"], Url, 20),
    format(
        "a PlanetScale credential",
        &["pscale_tkn_", "pscale_pw_", "pscale_oauth_"],
        Url,
        30,
    ),
    format("a Neon key", &["napi_"], Alphanumeric, 30),
    format("a Square token", &["sq0atp-", "sq0csp-"], Url, 20),
    format("a New Relic key", &["NRAK-", "NRJS-"], Alphanumeric, 16),
    format("a Pulumi token", &["pul-"], Hex, 40),
    format("a Terraform token", &["atlasv1."], Url, 40),
    format("a Buildkite token", &["bkua_"], Hex, 40),
    format("a HubSpot token", &["pat-na1-", "pat-eu1-"], Url, 36),
    format("a Contentful token", &["CFPAT-"], Url, 40),
    format("a Pinecone key", &["pcsk_"], Word, 40),
    format("a Fly.io token", &["fm2_"], Url, 30),
    format("a Tailscale key", &["tskey-"], Url, 20),
    format("an age key", &["AGE-SECRET-KEY-1"], Upper, 50),
    format(
        "a Discord webhook",
        &["discord.com/api/webhooks/"],
        Alphanumeric,
        17,
    ),
];

impl Characters {
    fn include(self, byte: u8) -> bool {
        match self {
            Self::Hex => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
            Self::Upper => byte.is_ascii_digit() || byte.is_ascii_uppercase(),
            Self::Alphanumeric => byte.is_ascii_alphanumeric(),
            Self::Word => byte.is_ascii_alphanumeric() || byte == b'_',
            Self::Url | Self::Solid => byte.is_ascii_alphanumeric() || b"_-".contains(&byte),
            Self::Dotted => byte.is_ascii_alphanumeric() || b"._-".contains(&byte),
        }
    }

    /// Whether `tail` is nothing that a person would write.
    fn is_random(self, tail: &str) -> bool {
        let has = |of: fn(&u8) -> bool| tail.bytes().any(|byte| of(&byte));
        let is_mixed = || has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
        let is_solid = || {
            let mut runs = tail.split(['_', '-']);
            runs.any(|run| run.len() >= SOLID_MIN)
        };
        match self {
            Self::Hex | Self::Upper | Self::Alphanumeric => true,
            Self::Word | Self::Url | Self::Dotted => has(u8::is_ascii_digit) || is_mixed(),
            Self::Solid => is_solid() && (has(u8::is_ascii_digit) || is_mixed()),
        }
    }
}

/// The first key of a known format in `text`.
pub(super) fn find(text: &str) -> Option<Found> {
    private_key(text)
        .or_else(|| FORMATS.iter().find_map(|format| format.find(text)))
        .or_else(|| json_web_token(text))
        .or_else(|| sendgrid(text))
        .or_else(|| airtable(text))
        .or_else(|| telegram(text))
        .or_else(|| user_info(text))
        .or_else(|| scheme(text))
}

impl Format {
    fn find(&self, text: &str) -> Option<Found> {
        self.prefixes.iter().find_map(|prefix| {
            text.match_indices(prefix).find_map(|(start, _)| {
                let tail = start + prefix.len();
                let end = tail + run(text, tail, self.characters);
                let found = text.get(tail..end)?;
                let is_key = begins_word(text, start)
                    && found.len() >= self.least
                    && self.characters.is_random(found);
                is_key.then(|| Found::new(self.what, start..end))
            })
        })
    }
}

/// How many bytes from `start` on are of `characters`.
fn run(text: &str, start: usize, characters: Characters) -> usize {
    let rest = text.as_bytes().get(start..).unwrap_or_default();
    rest.iter()
        .take_while(|&&byte| characters.include(byte))
        .count()
}

/// Whether no letter or digit stands before `at`.
fn begins_word(text: &str, at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|at| text.as_bytes().get(at));
    !before.is_some_and(u8::is_ascii_alphanumeric)
}

/// The key itself follows; whoever cuts it off leaves nothing to hide.
fn private_key(text: &str) -> Option<Found> {
    let start = text.find("-----BEGIN ")?;
    let head = text.get(start..)?.lines().next()?;
    head.contains("PRIVATE KEY")
        .then(|| Found::new("a private key", start..text.len()))
}

/// Three parts of base64, of which the first, and here also the second, is a JSON object.
fn json_web_token(text: &str) -> Option<Found> {
    text.match_indices("eyJ").find_map(|(start, _)| {
        let end = start + run(text, start, Dotted);
        let mut parts = text.get(start..end)?.split('.');
        let (head, body, signature) = (parts.next()?, parts.next()?, parts.next()?);
        let is_token = begins_word(text, start)
            && head.len() >= 10
            && body.len() >= 10
            && signature.len() >= 10;
        is_token.then(|| Found::new("a JSON web token", start..end))
    })
}

fn sendgrid(text: &str) -> Option<Found> {
    text.match_indices("SG.").find_map(|(start, _)| {
        let end = start + run(text, start, Dotted);
        let mut parts = text.get(start..end)?.split('.').skip(1);
        let is_key = parts.next()?.len() >= 16 && parts.next()?.len() >= 32;
        (is_key && begins_word(text, start)).then(|| Found::new("a SendGrid key", start..end))
    })
}

/// The token's id of 14 characters, a point and 64 hexadecimal digits.
fn airtable(text: &str) -> Option<Found> {
    text.match_indices("pat").find_map(|(start, prefix)| {
        let id = start + prefix.len();
        let point = id + run(text, id, Alphanumeric);
        let end = point + 1 + run(text, point + 1, Hex);
        let is_token = point - id == 14
            && text.as_bytes().get(point) == Some(&b'.')
            && end - point > 64
            && begins_word(text, start);
        is_token.then(|| Found::new("an Airtable token", start..end))
    })
}

/// A bot's number, a colon and 35 characters.
fn telegram(text: &str) -> Option<Found> {
    text.match_indices(':').find_map(|(colon, _)| {
        let before = text.get(..colon)?.bytes().rev();
        let digits = before.take_while(u8::is_ascii_digit).count();
        let length = run(text, colon + 1, Url);
        let start = colon - digits;
        let tail = text.get(colon + 1..colon + 1 + length)?;
        let is_token = (8..=10).contains(&digits)
            && length == 35
            && tail.starts_with("AA")
            && begins_word(text, start);
        is_token.then(|| Found::new("a Telegram bot token", start..colon + 1 + length))
    })
}

/// A URL with a password, or one of the web with any user info. A name alone, as in `ssh://git@host`, is none.
fn user_info(text: &str) -> Option<Found> {
    text.match_indices("://").find_map(|(at, _)| {
        let scheme = text.get(..at)?;
        let start = at + "://".len();
        let rest = text.get(start..)?;
        let end = rest
            .find(|character: char| "/?#\"'<>".contains(character) || character.is_whitespace())
            .unwrap_or(rest.len());
        let (info, _) = rest.get(..end)?.rsplit_once('@')?;
        let password = password(info);
        let is_web = scheme.ends_with("http") || scheme.ends_with("https");
        let secret = match password {
            "" if is_web => info,
            password => password,
        };
        let is_secret = !secret.is_empty() && secret != ":" && !refers(secret);
        let first = start + info.len() - secret.len();
        is_secret.then(|| Found::new("a URL with user info", first..start + info.len()))
    })
}

/// What follows the first colon that is none of a reference's.
fn password(info: &str) -> &str {
    let mut depth = 0_u32;
    let colon = info.char_indices().find(|(_, character)| {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        *character == ':' && depth == 0
    });
    let (at, _) = colon.unwrap_or((info.len(), ':'));
    info.get(at + 1..).unwrap_or_default()
}

/// What is sent in a header `Authorization`, wherever it stands.
fn scheme(text: &str) -> Option<Found> {
    let lower = text.to_ascii_lowercase();
    let credentials = |scheme: &str, fits: fn(&str) -> bool| {
        lower.match_indices(scheme).find_map(|(at, _)| {
            let start = at + scheme.len();
            let rest = text.get(start..)?;
            let length = rest
                .bytes()
                .take_while(|byte| byte.is_ascii_alphanumeric() || b"._~+/=-".contains(byte))
                .count();
            let found = rest.get(..length)?;
            (begins_word(text, at) && fits(found)).then_some(start..start + length)
        })
    };
    let bearer = credentials("bearer ", |found| {
        found.len() >= 16 && found.bytes().any(|byte| byte.is_ascii_digit())
    });
    let basic = || {
        credentials("basic ", |found| {
            let decoded = STANDARD.decode(found);
            decoded
                .is_ok_and(|text| std::str::from_utf8(&text).is_ok_and(|text| text.contains(':')))
        })
    };
    let found = |range: Range<usize>| Found::new("credentials of a header Authorization", range);
    bearer.or_else(basic).map(found)
}

/// Forty characters of base64 in a row that are no hash: letters of both cases and digits.
pub(super) fn aws_secret(text: &str) -> Option<Found> {
    const LENGTH: usize = 40;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"/+".contains(&byte);
    let bytes = text.as_bytes();
    let mut start = 0;
    while start < bytes.len() {
        let rest = bytes.get(start..).unwrap_or_default();
        let length = rest.iter().take_while(|&&byte| is_part(byte)).count();
        let found = rest.get(..length).unwrap_or_default();
        let has = |of: fn(&u8) -> bool| found.iter().any(of);
        let is_mixed =
            has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit);
        if length == LENGTH && is_mixed {
            return Some(Found::new(
                "a secret access key of AWS",
                start..start + length,
            ));
        }
        start += length + 1;
    }
    None
}

#[cfg(test)]
mod tests;
