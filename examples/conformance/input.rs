//! Tools and a prompt that need input of the client, and ask for it by their results.

use std::sync::Arc;

use rmcp::model::*;
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use serde_json::{Value, json};

use crate::KEY;
use crate::catalog::{Catalog, complete, text};

/// What a request brings along of the rounds before it.
#[derive(Debug, Default)]
pub(crate) struct Round {
    pub(crate) responses: InputResponses,
    pub(crate) state: Option<String>,
}

/// What asks for input.
pub(crate) struct Inputs {
    catalog: Arc<Catalog>,
    states: RequestStateCodec,
}

type Answer = Result<CallToolResponse, ErrorData>;

impl Round {
    /// What the user has filled in under `key`, where it was accepted.
    fn filled(&self, key: &str, field: &str) -> Option<&Value> {
        let response = self.responses.get(key)?;
        let is_accepted = response["action"] == "accept";
        is_accepted.then(|| response["content"].get(field))?
    }

    /// The name that the user has given.
    pub(crate) fn name(&self) -> Option<String> {
        let name = self.filled("user_name", "name")?.as_str()?;
        Some(name.to_owned())
    }

    /// What the client's model has said.
    fn said(&self, key: &str) -> Option<&str> {
        self.responses.get(key)?["content"]["text"].as_str()
    }

    fn roots(&self) -> Option<&Vec<Value>> {
        self.responses.get("client_roots")?["roots"].as_array()
    }
}

impl Inputs {
    /// What asks for the inputs of `catalog`.
    pub(crate) fn new(catalog: Arc<Catalog>) -> crate::Result<Self> {
        let states = RequestStateCodec::try_new(KEY.to_vec())?;
        Ok(Self { catalog, states })
    }

    /// The answer of the tool `name`, where it is one of these.
    pub(crate) fn tool(
        &self,
        name: &str,
        round: &Round,
        context: &RequestContext<RoleServer>,
    ) -> Option<Answer> {
        let answered = |answer: Option<String>, asked: &[&str]| match answer {
            Some(answer) => Ok(text(&answer).into()),
            None => self.ask(asked, None),
        };
        let kind = name.strip_prefix("test_input_required_result_");
        let kind = kind.unwrap_or(match name {
            "test_streaming_elicitation" => "elicitation",
            _ => "",
        });
        Some(match kind {
            "elicitation" => {
                let greeting = round.name().map(|name| format!("Hello, {name}!"));
                answered(greeting, &["user_name"])
            }
            "sampling" => {
                let said = round.said("capital_question").map(str::to_owned);
                answered(said, &["capital_question"])
            }
            "list_roots" => {
                let roots = round
                    .roots()
                    .map(|roots| format!("Roots: {}", json!(roots)));
                answered(roots, &["client_roots"])
            }
            "request_state" | "tampered_state" => self.confirmed(round),
            "multiple_inputs" => self.several(round),
            "multi_round" => self.rounds(round),
            "capabilities" => self.declared(round, context),
            _ => return None,
        })
    }

    /// The prompt that needs input.
    pub(crate) fn prompt(&self, round: &Round) -> Result<GetPromptResponse, ErrorData> {
        let Some(context) = round.filled("user_context", "context") else {
            let requests = self.catalog.inputs(&["user_context"]);
            return Ok(InputRequiredResult::from_input_requests(requests).into());
        };
        let said = format!("Use this context: {}", context.as_str().unwrap_or_default());
        let messages = json!([{"role": "user", "content": {"type": "text", "text": said}}]);
        complete::<GetPromptResult>(json!({"messages": messages})).map(GetPromptResponse::from)
    }

    fn ask(&self, names: &[&str], state: Option<Value>) -> Answer {
        let state = state.map(|state| self.states.seal_json(&state));
        let state = state.transpose().map_err(internal)?;
        Ok(InputRequiredResult::new(Some(self.catalog.inputs(names)), state).into())
    }

    /// The state of an earlier round, as it was handed out.
    fn state(&self, round: &Round) -> Result<Option<Value>, ErrorData> {
        let state = round.state.as_deref();
        let opened = state.map(|state| self.states.open_json(state));
        opened
            .transpose()
            .map_err(|_| ErrorData::invalid_params("requestState is not what was handed out", None))
    }

    fn confirmed(&self, round: &Round) -> Answer {
        let state = self.state(round)?;
        match (state, round.filled("confirm", "ok")) {
            (Some(_), Some(_)) => Ok(text("state-ok").into()),
            _ => self.ask(&["confirm"], Some(json!({"asked": "confirm"}))),
        }
    }

    fn several(&self, round: &Round) -> Answer {
        let state = self.state(round)?;
        let (name, greeting) = (round.name(), round.said("greeting"));
        match (state, name, greeting, round.roots()) {
            (Some(_), Some(name), Some(greeting), Some(roots)) => {
                let said = format!("{greeting} {name}, {} roots", roots.len());
                Ok(text(&said).into())
            }
            _ => {
                let asked = ["user_name", "greeting", "client_roots"];
                self.ask(&asked, Some(json!({"asked": asked})))
            }
        }
    }

    fn rounds(&self, round: &Round) -> Answer {
        let state = self.state(round)?.unwrap_or_default();
        let name = round.filled("step1", "name");
        let color = round.filled("step2", "color");
        match (state["round"].as_u64(), name, color) {
            (Some(1), Some(name), _) => {
                self.ask(&["step2"], Some(json!({"round": 2, "name": name})))
            }
            (Some(2), _, Some(color)) => {
                let said = format!("{} likes {color}", state["name"]);
                Ok(text(&said).into())
            }
            (Some(2), _, None) => self.ask(&["step2"], Some(state)),
            _ => self.ask(&["step1"], Some(json!({"round": 1}))),
        }
    }

    /// Asks for what the client has said that it can give.
    fn declared(&self, round: &Round, context: &RequestContext<RoleServer>) -> Answer {
        if !round.responses.is_empty() {
            return Ok(text("answered").into());
        }
        let capabilities = context.client_capabilities().unwrap_or_default();
        let mut asked = Vec::new();
        if capabilities.elicitation.is_some() {
            asked.push("user_name");
        }
        if capabilities.sampling.is_some() {
            asked.push("greeting");
        }
        if capabilities.roots.is_some() {
            asked.push("client_roots");
        }
        self.ask(&asked, Some(json!({"asked": asked})))
    }
}

fn internal(error: RequestStateError) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}
