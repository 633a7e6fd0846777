//! The tools: which answers, which talks to its client meanwhile, and which goes on as a task.

#![expect(
    deprecated,
    reason = "the revisions with sessions log and ask the client's model this way"
)]

use std::time::Duration;

use rmcp::model::*;
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::catalog::{decode, text};
use crate::input::Round;
use crate::server::{Changes, Fixtures, is_stateless};
use crate::task::{Outcome, Running};

/// How long lies between two things that a tool says, as the suite wants it.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a tool takes that takes its time.
const WHILE: Duration = Duration::from_secs(1);

type Answer = Result<CallToolResponse, ErrorData>;

impl Fixtures {
    /// Calls the tool that is called `name`.
    pub(crate) async fn call(
        &self,
        name: &str,
        arguments: &Value,
        round: Round,
        context: &RequestContext<RoleServer>,
    ) -> Answer {
        if let Some(answer) = self.catalog.answer(name) {
            return answer.map(CallToolResponse::from);
        }
        if let Some(answer) = self.inputs.tool(name, &round, context) {
            return answer;
        }
        match name {
            "greet" => {
                let whom = arguments["name"].as_str().unwrap_or_default();
                Ok(text(&format!("Hello, {whom}!")).into())
            }
            "test_tool_with_logging" | "test_logging_tool" => log(context).await,
            "test_tool_with_progress" => progress(context).await,
            "test_reconnection" => {
                sleep(WHILE).await;
                Ok(text("Reconnection test completed").into())
            }
            "test_sampling" => sample(arguments, context).await,
            "test_elicitation"
            | "test_elicitation_sep1034_defaults"
            | "test_elicitation_sep1330_enums" => self.elicit(name, arguments, context).await,
            "test_missing_capability" => {
                require(context, json!({"sampling": {}}))?;
                Ok(text("The client has a model").into())
            }
            "test_trigger_tool_change" => self.change(|changes| changes.tools += 1),
            "test_trigger_prompt_change" => self.change(|changes| changes.prompts += 1),
            _ => self.call_task(name, arguments, &round, context).await,
        }
    }

    fn change(&self, change: impl FnOnce(&mut Changes)) -> Answer {
        self.changes.send_modify(change);
        Ok(text("changed").into())
    }

    async fn elicit(
        &self,
        name: &str,
        arguments: &Value,
        context: &RequestContext<RoleServer>,
    ) -> Answer {
        let message = arguments["message"]
            .as_str()
            .unwrap_or("Please fill this in");
        let params = json!({"mode": "form", "message": message,
            "requestedSchema": self.catalog.question(name)});
        let prefix = match name {
            "test_elicitation" => "User response",
            _ => "Elicitation completed",
        };
        let request = ServerRequest::ElicitRequest(ElicitRequest::new(decode(params)?));
        Ok(match context.peer.send_request(request).await {
            Ok(ClientResult::ElicitResult(result)) => {
                let action = serde_json::to_value(&result.action).unwrap_or_default();
                let action = action.as_str().unwrap_or_default();
                let content = json!(result.content);
                text(&format!("{prefix}: action={action}, content={content}")).into()
            }
            Ok(_) => failed("the client has answered something else"),
            Err(error) => failed(&error.to_string()),
        })
    }

    async fn call_task(
        &self,
        name: &str,
        arguments: &Value,
        round: &Round,
        context: &RequestContext<RoleServer>,
    ) -> Answer {
        let knows_tasks = context
            .client_capabilities()
            .is_some_and(|capabilities| capabilities.supports_tasks());
        if name == "slow_compute" {
            let seconds = arguments["seconds"].as_f64().unwrap_or_default();
            let time = Duration::try_from_secs_f64(seconds).unwrap_or_default();
            if !knows_tasks {
                sleep(time).await;
                return Ok(text("computed").into());
            }
            return self.start(async move |_| {
                sleep(time).await;
                done(&text("computed"))
            });
        }
        require_tasks(knows_tasks)?;
        let inputs = |names: &[&str]| self.catalog.inputs(names);
        match name {
            "failing_job" => self.start(async |_| {
                sleep(WHILE).await;
                done(&CallToolResult::error(vec![ContentBlock::text("failed")]))
            }),
            "protocol_error_job" => self.start(async |_| {
                let error = ErrorData::internal_error("this job always breaks", None);
                Outcome::Broken(error)
            }),
            "confirm_delete" => {
                let requests = inputs(&["delete"]);
                self.start(async move |running| {
                    running.ask(requests).await;
                    done(&text("deleted"))
                })
            }
            "multi_input" => {
                let requests = inputs(&["first", "second"]);
                self.start(async move |running| {
                    running.ask(requests).await;
                    done(&text("both answered"))
                })
            }
            "test_tool_with_task" => match round.name() {
                Some(name) => self.start(async move |_| done(&text(&format!("Hello, {name}!")))),
                None => Ok(InputRequiredResult::from_input_requests(inputs(&["user_name"])).into()),
            },
            _ => Err(ErrorData::invalid_params("there is no such tool", None)),
        }
    }

    fn start<F>(&self, work: impl FnOnce(Running) -> F) -> Answer
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let task = self.tasks.start(work)?;
        Ok(CreateTaskResult::new(task).into())
    }
}

fn done(result: &CallToolResult) -> Outcome {
    match serde_json::to_value(result) {
        Ok(Value::Object(result)) => Outcome::Done(result),
        _ => Outcome::Broken(ErrorData::internal_error("no result", None)),
    }
}

fn failed(message: &str) -> CallToolResponse {
    CallToolResult::error(vec![ContentBlock::text(message)]).into()
}

/// Refuses a request of a client that lacks `capabilities`.
fn require(context: &RequestContext<RoleServer>, capabilities: Value) -> Result<(), ErrorData> {
    let declared = json!(context.client_capabilities());
    let names = capabilities.as_object().into_iter().flatten();
    let is_declared = names
        .into_iter()
        .all(|(name, _)| declared[name].is_object());
    match is_declared {
        true => Ok(()),
        false => {
            let required = decode(capabilities)?;
            Err(ErrorData::missing_required_client_capability(required))
        }
    }
}

fn require_tasks(knows_tasks: bool) -> Result<(), ErrorData> {
    match knows_tasks {
        true => Ok(()),
        false => {
            let required = ClientCapabilities::builder().enable_tasks().build();
            Err(ErrorData::missing_required_client_capability(required))
        }
    }
}

/// Logs to a session, and to a request without one where it asks for that.
async fn log(context: &RequestContext<RoleServer>) -> Answer {
    let is_wanted = !is_stateless(context) || context.meta.log_level().is_some();
    for message in [
        "Tool execution started",
        "Tool processing data",
        "Tool execution completed",
    ] {
        if is_wanted {
            let param = LoggingMessageNotificationParam::new(LoggingLevel::Info, json!(message));
            let _ = context.peer.notify_logging_message(param).await;
        }
        sleep(PAUSE).await;
    }
    Ok(text("Logging test completed").into())
}

async fn progress(context: &RequestContext<RoleServer>) -> Answer {
    for progress in [0.0, 50.0, 100.0] {
        if let Some(token) = context.meta.get_progress_token() {
            let param = ProgressNotificationParam::new(token, progress).with_total(100.0);
            let _ = context.peer.notify_progress(param).await;
        }
        sleep(PAUSE).await;
    }
    Ok(text("Progress test completed").into())
}

async fn sample(arguments: &Value, context: &RequestContext<RoleServer>) -> Answer {
    let prompt = arguments["prompt"].as_str().unwrap_or_default();
    let params = CreateMessageRequestParams::new(vec![SamplingMessage::user_text(prompt)], 100);
    Ok(match context.peer.create_message(params).await {
        Ok(result) => {
            let content = json!(result);
            let said = &content["content"];
            let said = said["text"].as_str().or_else(|| said[0]["text"].as_str());
            text(&format!("LLM response: {}", said.unwrap_or_default())).into()
        }
        Err(error) => failed(&error.to_string()),
    })
}
