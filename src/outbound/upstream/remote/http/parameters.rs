//! Arguments that a tool wants repeated in headers, which the revision 2026-07-28 has (`x-mcp-header`).

use std::collections::HashMap;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::headers::encoded;
use crate::mesh::upstream::TOOLS_MAX;

/// The most arguments of one tool that are repeated.
pub(super) const PARAMETERS_MAX: usize = 32;

/// How deep in the arguments one may lie.
const DEPTH_MAX: usize = 16;

/// Which arguments of which tools are repeated.
#[derive(Debug, Default)]
pub(super) struct ParameterHeaders {
    tools: HashMap<String, Vec<Parameter>>,
}

/// An argument that is repeated.
#[derive(Debug)]
pub(super) struct Parameter {
    path: Vec<String>,
    header: HeaderName,
}

#[derive(Deserialize)]
struct Listed {
    result: Tools,
}

#[derive(Deserialize)]
struct Tools {
    tools: Vec<Tool>,
}

#[derive(Deserialize)]
struct Tool {
    name: String,
    #[serde(rename = "inputSchema", default)]
    schema: Map<String, Value>,
}

impl ParameterHeaders {
    /// Learns what a page of the list of tools says.
    pub(super) fn learn(&mut self, listed: Vec<(String, Vec<Parameter>)>) {
        for (tool, parameters) in listed {
            self.tools.remove(&tool);
            if !parameters.is_empty() && self.tools.len() < TOOLS_MAX {
                self.tools.insert(tool, parameters);
            }
        }
    }

    /// Adds the headers of a call of `tool`, whose message is `text`.
    pub(super) fn add(&self, tool: &str, text: &str, headers: &mut HeaderMap) {
        #[derive(Deserialize)]
        struct Call {
            params: Params,
        }
        #[derive(Deserialize)]
        struct Params {
            #[serde(default)]
            arguments: Value,
        }
        let Some(parameters) = self.tools.get(tool) else {
            return;
        };
        let Ok(call) = serde_json::from_str::<Call>(text) else {
            return;
        };
        for Parameter { path, header } in parameters {
            let value = path
                .iter()
                .try_fold(&call.params.arguments, |value, key| value.get(key));
            let Some(text) = value.and_then(primitive) else {
                continue;
            };
            if let Ok(value) = HeaderValue::from_str(&encoded(&text)) {
                headers.insert(header, value);
            }
        }
    }
}

/// The tools of an answer to `tools/list`, each with those of its arguments that are repeated.
pub(super) fn listed(text: &str) -> Vec<(String, Vec<Parameter>)> {
    let Ok(listed) = serde_json::from_str::<Listed>(text) else {
        return Vec::new();
    };
    let parameters = |tool: Tool| {
        let mut found = Vec::new();
        collect(&tool.schema, &mut Vec::new(), &mut found);
        (tool.name, found)
    };
    listed.result.tools.into_iter().map(parameters).collect()
}

fn collect(schema: &Map<String, Value>, path: &mut Vec<String>, found: &mut Vec<Parameter>) {
    let Some(Value::Object(properties)) = schema.get("properties") else {
        return;
    };
    for (name, property) in properties {
        let Value::Object(property) = property else {
            continue;
        };
        path.push(name.clone());
        let header = property.get("x-mcp-header").and_then(Value::as_str);
        let header = header.filter(|header| !header.is_empty());
        let header = header.and_then(|header| format!("mcp-param-{header}").parse().ok());
        if let Some(header) = header
            && found.len() < PARAMETERS_MAX
        {
            let path = path.clone();
            found.push(Parameter { path, header });
        }
        if path.len() < DEPTH_MAX {
            collect(property, path, found);
        }
        path.pop();
    }
}

fn primitive(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(value) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"{"result":{"tools":[{"name":"plain","inputSchema":{"type":"object"}},
        {"name":"marked","inputSchema":{"properties":{
            "region":{"type":"string","x-mcp-header":"Region"},
            "deep":{"properties":{"count":{"type":"integer","x-mcp-header":"Count"}}},
            "odd":{"type":"string","x-mcp-header":"no name"}}}}]}}"#;

    fn headers(parameters: &ParameterHeaders, tool: &str, arguments: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let text = format!(r#"{{"params":{{"name":"{tool}","arguments":{arguments}}}}}"#);
        parameters.add(tool, &text, &mut headers);
        headers
    }

    #[test]
    fn marked_arguments_stand_in_headers() {
        let mut parameters = ParameterHeaders::default();
        parameters.learn(listed(LIST));
        let found = headers(
            &parameters,
            "marked",
            r#"{"region":"zürich","deep":{"count":3},"odd":"x"}"#,
        );
        assert_eq!(found["mcp-param-region"], "=?base64?esO8cmljaA==?=");
        assert_eq!(found["mcp-param-count"], "3");
        assert_eq!(found.len(), 2);
        assert!(headers(&parameters, "marked", r#"{"region":null}"#).is_empty());
        assert!(headers(&parameters, "marked", "7").is_empty());
        assert!(headers(&parameters, "plain", r#"{"region":"x"}"#).is_empty());
        parameters.learn(listed(&LIST.replace("x-mcp-header", "x-other")));
        parameters.learn(listed("<html>"));
        assert!(headers(&parameters, "marked", r#"{"region":"x"}"#).is_empty());
    }

    #[test]
    fn a_tool_repeats_a_bounded_number_of_arguments() {
        let properties: Map<String, Value> = (0..=PARAMETERS_MAX)
            .map(|at| {
                (
                    format!("p{at}"),
                    serde_json::json!({"x-mcp-header": format!("H{at}")}),
                )
            })
            .collect();
        let schema = serde_json::json!({ "properties": properties });
        let mut found = Vec::new();
        collect(schema.as_object().unwrap(), &mut Vec::new(), &mut found);
        assert_eq!(found.len(), PARAMETERS_MAX);
    }
}
