//! The code of an answer, read from its bytes, since the types of errors differ from one operation to the next.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

/// How much of an error's body is looked at, in bytes.
const ERROR_BYTES_MAX: usize = 4096;

/// The one of `codes` that an answer names as its error.
pub(super) fn code_among(response: &HttpResponse, codes: &[&'static str]) -> Option<&'static str> {
    let head = response.headers().get("x-amzn-errortype").unwrap_or("");
    let body = response.body().bytes().unwrap_or_default();
    let body = String::from_utf8_lossy(body.get(..ERROR_BYTES_MAX).unwrap_or(body));
    let names = |code: &&&str| {
        head.split(':').next() == Some(**code)
            || ["<Code>", "#", "\"__type\":\"", "\"code\":\""]
                .iter()
                .any(|before| {
                    body.split(before)
                        .skip(1)
                        .any(|rest| rest.strip_prefix(**code).is_some_and(ends_word))
                })
    };
    codes.iter().find(names).copied()
}

fn ends_word(rest: &str) -> bool {
    !rest.starts_with(|next: char| next.is_ascii_alphanumeric())
}
