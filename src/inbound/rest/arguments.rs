//! What a request brings in its query, its headers and its body, as the arguments of a call.

use http::{HeaderMap, Uri};

use crate::inbound::transport::surrogate::lone_surrogate;
use crate::mesh::Error;

/// The header by which clients tell a repeated request.
pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The members `names` of a query, of which each may be given once, and no other.
pub(super) fn query<const N: usize>(
    uri: &Uri,
    names: [&str; N],
) -> Result<[Option<String>; N], Error> {
    let mut values = [const { None }; N];
    for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        let known = names.iter().position(|known| *known == name);
        let Some(slot) = known.and_then(|at| values.get_mut(at)) else {
            let shown: String = name.chars().take(64).collect();
            let error =
                Error::invalid(&shown, format!("`{shown}` is no parameter of this address"));
            let error = match names.is_empty() {
                true => error.fix("It takes no parameters."),
                false => error.fix(format!("It takes {}.", names.join(", "))),
            };
            return Err(error);
        };
        if slot.replace(value.into_owned()).is_some() {
            let error = Error::invalid(&name, format!("`{name}` is given twice"));
            return Err(error);
        }
    }
    Ok(values)
}

/// The text of the arguments in a body; nothing where it is empty. Whether it is one JSON object is left to the
/// call, which is charged and recorded whatever its arguments are like.
pub(super) fn of_body(bytes: Vec<u8>) -> Result<Option<String>, Error> {
    let Ok(text) = String::from_utf8(bytes) else {
        let message = "the body is no UTF-8: it is the arguments, one JSON object";
        return Err(Error::invalid("arguments", message));
    };
    if let Some(escape) = lone_surrogate(&text) {
        let reason = format!("{escape} is half of a character: send both halves or \\ufffd");
        return Err(Error::invalid("arguments", reason));
    }
    let is_empty = text.bytes().all(|byte| byte.is_ascii_whitespace());
    Ok((!is_empty).then_some(text))
}

/// The key of the header `Idempotency-Key`, in quotes as the draft of its standard writes it or without. How long
/// it may be is left to the tool.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    let Some(text) = text.map(str::trim) else {
        let error = Error::invalid(
            "idempotency_key",
            "the header Idempotency-Key is given twice, or is no text",
        );
        return Err(error);
    };
    let quoted = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    Ok(Some(quoted.unwrap_or(text).to_owned()))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::mesh::ErrorKind;

    #[test]
    fn a_query_has_each_of_its_members_once_and_no_other() {
        let at = |query: &str| {
            let uri: Uri = format!("/resources?{query}").parse().unwrap();
            super::query(&uri, ["cursor", "uri"])
        };
        let found = at("uri=mesh%3A%2F%2Fa%20b+c").unwrap();
        assert_eq!(found, [None, Some("mesh://a b c".to_owned())]);
        assert_eq!(at("").unwrap(), [None, None]);
        for wrong in ["uri=1&uri=2", "x=1", "uri=1&Cursor=2"] {
            assert_eq!(at(wrong).unwrap_err().kind(), ErrorKind::InvalidParameter);
        }
    }

    #[test]
    fn a_body_is_text_of_whole_characters_and_blanks_are_no_arguments() {
        let of = |body: &[u8]| of_body(body.to_vec()).map_err(|error| error.kind());
        assert_eq!(of(b""), Ok(None));
        assert_eq!(of(b" \r\n\t"), Ok(None));
        assert_eq!(of(b" {} "), Ok(Some(" {} ".to_owned())));
        assert_eq!(of(b"{\"a\": \"\xff\"}"), Err(ErrorKind::InvalidParameter));
        assert_eq!(of(br#"{"a": "\ud800"}"#), Err(ErrorKind::InvalidParameter));
    }

    #[test]
    fn a_key_may_stand_in_quotes() {
        let of = |values: &[&str]| {
            let name = HeaderName::from_static(IDEMPOTENCY_KEY);
            let values = values
                .iter()
                .map(|value| (name.clone(), HeaderValue::from_str(value).unwrap()));
            idempotency_key(&values.collect()).map_err(|error| error.kind())
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["a-1"]), Ok(Some("a-1".to_owned())));
        assert_eq!(of(&["\"a-1\""]), Ok(Some("a-1".to_owned())));
        assert_eq!(of(&["\""]), Ok(Some("\"".to_owned())));
        assert_eq!(of(&["a", "a"]), Err(ErrorKind::InvalidParameter));
    }
}
