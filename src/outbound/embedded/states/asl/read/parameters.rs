//! What the integrations with AWS take: members that are missing or not known are told before anything runs.

use serde_json::{Map, Value};

use super::super::flaw::{below, quoted};
use super::super::resource::{DynamoDbAction, Resource};
use super::Reader;
use super::members::Members;

/// What the name of a computed member ends with.
const COMPUTED: &str = ".$";

/// The members of an object: those that must be there, and those that may.
struct Shape {
    required: &'static [&'static str],
    optional: &'static [&'static str],
}

const GET_ITEM: Shape = Shape {
    required: &["TableName", "Key"],
    optional: &[
        "ConsistentRead",
        "ExpressionAttributeNames",
        "ProjectionExpression",
        "ReturnConsumedCapacity",
    ],
};

const PUT_ITEM: Shape = Shape {
    required: &["TableName", "Item"],
    optional: &[
        "ConditionExpression",
        "ExpressionAttributeNames",
        "ExpressionAttributeValues",
        "ReturnConsumedCapacity",
        "ReturnItemCollectionMetrics",
        "ReturnValues",
        "ReturnValuesOnConditionCheckFailure",
    ],
};

const DELETE_ITEM: Shape = Shape {
    required: &["TableName", "Key"],
    optional: PUT_ITEM.optional,
};

const UPDATE_ITEM: Shape = Shape {
    required: &["TableName", "Key"],
    optional: &[
        "UpdateExpression",
        "ConditionExpression",
        "ExpressionAttributeNames",
        "ExpressionAttributeValues",
        "ReturnConsumedCapacity",
        "ReturnItemCollectionMetrics",
        "ReturnValues",
        "ReturnValuesOnConditionCheckFailure",
    ],
};

const PUT_EVENTS: Shape = Shape {
    required: &["Entries"],
    optional: &[],
};

const EVENT: Shape = Shape {
    required: &["DetailType", "Detail"],
    optional: &["EventBusName", "Resources", "Source", "Time", "TraceHeader"],
};

const PUBLISH: Shape = Shape {
    required: &["TopicArn", "Message"],
    optional: &["MessageAttributes", "Subject"],
};

impl Reader {
    /// Tells what a Task's `Parameters` lack, or have too many of. Where they are left out, the input says.
    pub(super) fn parameters(&mut self, resource: &Resource, members: &mut Members<'_>) {
        let Some(Value::Object(parameters)) = members.get("Parameters") else {
            return;
        };
        let at = members.path("Parameters");
        let shape = match resource {
            Resource::Tool(_) => return,
            Resource::DynamoDb(DynamoDbAction::Get) => GET_ITEM,
            Resource::DynamoDb(DynamoDbAction::Put) => PUT_ITEM,
            Resource::DynamoDb(DynamoDbAction::Update) => UPDATE_ITEM,
            Resource::DynamoDb(DynamoDbAction::Delete) => DELETE_ITEM,
            Resource::PutEvents => PUT_EVENTS,
            Resource::Publish => PUBLISH,
        };
        let arn = resource.arn();
        self.shape(parameters, &shape, &arn, &at);
        if let (Resource::PutEvents, Some(Value::Array(entries))) =
            (resource, parameters.get("Entries"))
        {
            let at = below(&at, "Entries");
            for (index, entry) in entries.iter().enumerate() {
                if let Value::Object(entry) = entry {
                    self.shape(entry, &EVENT, &arn, &below(&at, index));
                }
            }
        }
    }

    fn shape(&mut self, given: &Map<String, Value>, shape: &Shape, arn: &str, at: &str) {
        let plain = |name: &str| name.strip_suffix(COMPUTED).unwrap_or(name).to_owned();
        for name in given.keys() {
            let known = plain(name);
            let known = known.as_str();
            if !shape.required.contains(&known) && !shape.optional.contains(&known) {
                let all = [shape.required, shape.optional].concat();
                let message = format!(
                    "{arn} does not take {} here; it takes {}",
                    quoted(known),
                    all.join(", ")
                );
                self.flaws.add(&below(at, name), message);
            }
        }
        for required in shape.required {
            if !given.keys().any(|name| plain(name) == *required) {
                self.flaws.add(at, format!("{arn} needs '{required}'"));
            }
        }
    }
}
