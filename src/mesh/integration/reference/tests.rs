//! Texts with references, escapes and what is neither.

use super::*;

fn shown(text: &str) -> Result<Vec<String>, String> {
    references(text)
        .map(|found| found.iter().map(ToString::to_string).collect())
        .map_err(|error| error.to_string())
}

fn referents(pairs: &[(&str, &str)]) -> Referents {
    let mut referents = Referents::default();
    for (reference, text) in pairs {
        let reference = references(reference).unwrap().remove(0);
        referents.insert(reference, SecretString::from(*text));
    }
    referents
}

#[test]
fn references_are_found_in_order_and_escapes_are_none() {
    for (text, expected) in [
        ("", vec![]),
        ("plain $HOME {x} $$ } $", vec![]),
        ("${secret:a}", vec!["${secret:a}"]),
        (
            "Bearer ${secret:GITHUB.token-1_x}/${credential:token}",
            vec!["${secret:GITHUB.token-1_x}", "${credential:token}"],
        ),
        ("$${secret:a}", vec![]),
        ("$${x ${secret:a}", vec!["${secret:a}"]),
        ("$$${secret:a}", vec![]),
        ("${secret:a}${secret:a}", vec!["${secret:a}", "${secret:a}"]),
    ] {
        assert_eq!(shown(text).unwrap(), expected, "{text}");
    }
    let longest = format!("${{secret:{}}}", "x".repeat(SECRET_NAME_CHARS_MAX));
    assert_eq!(shown(&longest).unwrap().concat(), longest);
}

#[test]
fn what_looks_like_a_reference_and_is_none_is_named() {
    for wrong in [
        "${HOME}",
        "${}",
        "${secret}",
        "${secret:}",
        "${secret:a b}",
        "${secret:a/b}",
        "${Secret:a}",
        "${ secret:a}",
        "${env:HOME}",
        "${secret:${secret:a}}",
        "${secret:a",
        "${",
        &format!("${{secret:{}}}", "x".repeat(SECRET_NAME_CHARS_MAX + 1)),
    ] {
        let told = shown(&format!("before {wrong} after")).unwrap_err();
        assert!(
            told.starts_with("`${") && told.ends_with("is no reference"),
            "{told}"
        );
        assert!(!told.contains("before"), "{told}");
    }
    assert!(shown("a ${HOME} b").unwrap_err().contains("`${HOME}`"));
    let long = shown(&format!("${{{}", "y".repeat(500))).unwrap_err();
    assert!(long.len() < 80, "{long}");
    assert!(
        !shown("${\u{202e}\n}")
            .unwrap_err()
            .contains(['\n', '\u{202e}'])
    );
}

#[test]
fn a_definition_has_a_bounded_number_of_references() {
    let texts: Vec<String> = (0..=REFERENCES_MAX)
        .map(|number| format!("${{secret:s{number}}} ${{secret:s0}}"))
        .collect();
    let most = texts.iter().take(REFERENCES_MAX).map(String::as_str);
    assert_eq!(all_references("env", most).unwrap().len(), REFERENCES_MAX);
    let error = all_references("env", texts.iter().map(String::as_str)).unwrap_err();
    assert_eq!(error.details()["parameter"], "env");
}

#[test]
fn references_are_replaced_once_and_escapes_become_what_they_stand_for() {
    // A secret that looks like a reference is none.
    let known = referents(&[("${secret:a}", "${secret:b}"), ("${credential:t}", "tok")]);
    for (text, expected) in [
        ("plain", "plain"),
        ("x${secret:a}y", "x${secret:b}y"),
        ("Bearer ${credential:t}", "Bearer tok"),
        ("$${secret:a}", "${secret:a}"),
        ("$$${secret:a}", "$${secret:a}"),
        ("a$b$", "a$b$"),
    ] {
        let expanded = expand(text, &known, Place::Process).unwrap();
        assert_eq!(expanded.expose_secret(), expected, "{text}");
    }
}

#[test]
fn what_stands_for_nothing_is_named_with_what_to_do() {
    let none = Referents::default();
    let error = expand("${secret:a}", &none, Place::Header).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.fix_text().unwrap().contains("secrets set a"));
    let error = expand("${credential:token}", &none, Place::Header).unwrap_err();
    assert!(error.fix_text().unwrap().contains("integration_connect"));
}

#[test]
fn a_secret_that_would_break_out_of_its_place_is_refused_and_not_shown() {
    for (text, place, fits) in [
        ("canary\r\nX-Other: 1", Place::Header, false),
        ("canary\n", Place::Header, false),
        ("canary\t", Place::Header, false),
        ("canary\u{7f}", Place::Header, false),
        ("canary\0", Place::Header, false),
        ("canary\0", Place::Process, false),
        ("canary\nsecond line", Place::Process, true),
        ("canary \u{e4}", Place::Header, true),
    ] {
        let known = referents(&[("${secret:a}", text)]);
        let result = expand("v ${secret:a}", &known, place);
        assert_eq!(result.is_ok(), fits, "{text:?}");
        if let Err(error) = result {
            assert!(error.message().contains("${secret:a}"), "{error}");
            assert!(!format!("{error:?} {:?}", error.fix_text()).contains("canary"));
        }
        // The text around references is held to the same.
        assert_eq!(expand(text, &known, place).is_ok(), fits, "{text:?}");
    }
}

#[test]
fn an_expanded_text_has_a_size_at_most() {
    let quarter = "x".repeat(EXPANDED_BYTES_MAX / 4);
    let known = referents(&[("${secret:a}", &quarter)]);
    let fits = "${secret:a}".repeat(4);
    let expanded = expand(&fits, &known, Place::Process).unwrap();
    assert_eq!(expanded.expose_secret().len(), EXPANDED_BYTES_MAX);
    let error = expand(&format!("{fits}y"), &known, Place::Process).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[test]
fn referents_show_names_only() {
    let known = referents(&[("${secret:name-of-it}", "canary")]);
    let shown = format!("{known:?}");
    assert!(
        shown.contains("name-of-it") && !shown.contains("canary"),
        "{shown}"
    );
    assert_eq!(known.texts().count(), 1);
}
