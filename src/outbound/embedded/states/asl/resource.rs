//! What a Task may call.

/// The beginning of the ARNs of tools of this server.
const TOOLS: &str = "arn:aws:states:::agent-mesh:";

/// The longest name of a tool, in characters.
const TOOL_CHARS_MAX: usize = 128;

/// What a Task calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// A tool of this server, as the user that started the run.
    Tool(String),
    /// An operation of DynamoDB.
    DynamoDb(DynamoDbAction),
    /// EventBridge's PutEvents.
    PutEvents,
    /// SNS's Publish.
    Publish,
}

/// An operation of DynamoDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DynamoDbAction {
    /// Reads an item.
    Get,
    /// Writes an item.
    Put,
    /// Changes an item.
    Update,
    /// Removes an item.
    Delete,
}

/// The integrations with AWS, by their ARNs.
const INTEGRATIONS: [(&str, Resource); 6] = [
    (
        "arn:aws:states:::dynamodb:getItem",
        Resource::DynamoDb(DynamoDbAction::Get),
    ),
    (
        "arn:aws:states:::dynamodb:putItem",
        Resource::DynamoDb(DynamoDbAction::Put),
    ),
    (
        "arn:aws:states:::dynamodb:updateItem",
        Resource::DynamoDb(DynamoDbAction::Update),
    ),
    (
        "arn:aws:states:::dynamodb:deleteItem",
        Resource::DynamoDb(DynamoDbAction::Delete),
    ),
    ("arn:aws:states:::events:putEvents", Resource::PutEvents),
    ("arn:aws:states:::sns:publish", Resource::Publish),
];

impl Resource {
    /// Reads a Task's `Resource`.
    ///
    /// # Errors
    /// Why there is no such thing here, and what there is.
    pub(crate) fn parse(arn: &str) -> Result<Self, String> {
        if let Some((_, resource)) = INTEGRATIONS.iter().find(|(known, _)| *known == arn) {
            return Ok(resource.clone());
        }
        if let Some(tool) = arn.strip_prefix(TOOLS) {
            return Self::tool(tool);
        }
        Err(refusal(arn))
    }

    fn tool(name: &str) -> Result<Self, String> {
        let is_name = name.len() <= TOOL_CHARS_MAX
            && !name.is_empty()
            && name.chars().all(|character| {
                character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.')
            });
        if !is_name {
            return Err(format!(
                "after '{TOOLS}' comes the name of a tool, such as kv_set: 1 to {TOOL_CHARS_MAX} of A-Z a-z 0-9 _ - ."
            ));
        }
        Ok(Self::Tool(name.to_owned()))
    }

    /// Its ARN.
    pub(crate) fn arn(&self) -> String {
        if let Self::Tool(name) = self {
            return format!("{TOOLS}{name}");
        }
        let known = INTEGRATIONS.iter().find(|(_, resource)| resource == self);
        known.map_or_else(String::new, |(arn, _)| (*arn).to_owned())
    }
}

fn refusal(arn: &str) -> String {
    let known = INTEGRATIONS.map(|(arn, _)| arn);
    let what = if arn.ends_with(".waitForTaskToken") {
        "tasks that wait for a callback ('.waitForTaskToken') are not supported"
    } else if arn.contains(".sync") {
        "tasks that wait for a job ('.sync') are not supported"
    } else if arn.contains(":activity:") {
        "activities are not supported"
    } else if arn.contains(":lambda:") {
        "there are no Lambda functions here"
    } else if arn.starts_with("arn:aws:states:::aws-sdk:") {
        "calls of the AWS SDK are not supported"
    } else {
        "this resource is not known"
    };
    format!("{what}: use {TOOLS}<tool> or one of {}", known.join(", "))
}
