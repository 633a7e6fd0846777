//! A request in the query protocol: names and values, lists among them by number.

/// A request's parameters.
#[derive(Debug)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// The parameters of a request's body.
    pub(super) fn parse(body: &[u8]) -> Self {
        let pairs = form_urlencoded::parse(body);
        Self(
            pairs
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        )
    }

    /// The value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The value of the attribute of that name among `Attributes.entry.N`.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        let prefix = "Attributes.entry.";
        let key = self.0.iter().find_map(|(key, value)| {
            let number = key.strip_prefix(prefix)?.strip_suffix(".key")?;
            (value == name).then_some(number)
        })?;
        self.get(&format!("{prefix}{key}.value"))
    }

    /// Name, type and value of each of `MessageAttributes.entry.N`. Binary ones have no text and are left
    /// out; no filter looks at them.
    pub(super) fn message_attributes(&self) -> Vec<(String, String, String)> {
        let prefix = "MessageAttributes.entry.";
        let numbers = self.0.iter().filter_map(|(key, name)| {
            let number = key.strip_prefix(prefix)?.strip_suffix(".Name")?;
            Some((number, name))
        });
        numbers
            .filter_map(|(number, name)| {
                let of = |part: &str| self.get(&format!("{prefix}{number}.Value.{part}"));
                let (kind, value) = (of("DataType")?, of("StringValue")?);
                Some((name.clone(), kind.to_owned(), value.to_owned()))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_by_their_numbers_and_escapes_undone() {
        let form = Form::parse(
            b"Action=Publish&Message=a%26b+%E2%9C%93&Attributes.entry.1.key=X&Attributes.entry.1.value=1\
              &Attributes.entry.2.key=FilterPolicy&Attributes.entry.2.value=%7B%7D\
              &MessageAttributes.entry.1.Name=to&MessageAttributes.entry.1.Value.DataType=String.Array\
              &MessageAttributes.entry.1.Value.StringValue=%5B%5D&MessageAttributes.entry.2.Name=raw\
              &MessageAttributes.entry.2.Value.DataType=Binary&MessageAttributes.entry.2.Value.BinaryValue=AA",
        );
        assert_eq!(form.get("Message"), Some("a&b ✓"));
        assert_eq!(form.get("Subject"), None);
        assert_eq!(form.attribute("FilterPolicy"), Some("{}"));
        assert_eq!(form.attribute("Y"), None);
        let attributes = [("to", "String.Array", "[]")]
            .map(|(name, kind, value)| (name.to_owned(), kind.to_owned(), value.to_owned()));
        assert_eq!(form.message_attributes(), attributes);
    }
}
