//! State machines with their outcomes and outputs, the same on our engine and on an emulator's own.
//!
//! Each file of `machines/` holds a definition and cases. In its texts `${table}`, `${bus}`, `${partition}`,
//! `${source}` and `${topic}` stand for what the case may use. A case with a member `emulator` is left out on
//! emulators, which get it wrong in the way that it says.

use std::path::Path;
use std::time::{Duration, Instant};

use agent_mesh::mesh::workflow::run::execution_name;
use aws_sdk_sfn::types::ExecutionStatus;
use serde::Deserialize;
use serde_json::Value;
use ulid::Ulid;

use crate::backend::Stage;

/// The longest that an execution may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A state machine and what comes of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MachineFile {
    /// What it shows.
    pub(crate) about: String,
    definition: Value,
    cases: Vec<MachineCase>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MachineCase {
    input: Value,
    status: String,
    output: Option<Value>,
    error: Option<String>,
    cause: Option<String>,
    emulator: Option<String>,
}

/// Every file, by its name.
pub(crate) fn all() -> Vec<(String, MachineFile)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/aws_integration_test/machines");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of the machines")
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("a file");
            let file = serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let name = path.file_stem().expect("a name").to_string_lossy();
            (name.into_owned(), file)
        })
        .collect();
    files.sort_by(|(one, _), (other, _)| one.cmp(other));
    files
}

/// How many cases an emulator is known to get wrong.
pub(crate) fn left_to_us(files: &[(String, MachineFile)]) -> usize {
    let cases = files.iter().flat_map(|(_, file)| &file.cases);
    cases.filter(|case| case.emulator.is_some()).count()
}

/// Runs the cases of a file.
pub(crate) async fn run(stage: Stage, name: String, file: MachineFile) {
    let client = aws_sdk_sfn::Client::new(&stage.sdk);
    let topic = format!("agent-mesh-alerts-{}", stage.tenant);
    let topics = aws_sdk_sns::Client::new(&stage.sdk);
    let topic = topics.create_topic().name(topic).send().await.unwrap();
    let definition = file
        .definition
        .to_string()
        .replace("${table}", &stage.names[0])
        .replace("${bus}", &stage.names[2])
        .replace("${source}", &format!("agent-mesh.{}", stage.tenant))
        .replace("${topic}", topic.topic_arn().unwrap());
    let is_emulator = stage.workflows.is_none();
    for (number, case) in file.cases.iter().enumerate() {
        if is_emulator && case.emulator.is_some() {
            continue;
        }
        let partition = format!("T#{}#APP#{name}-{number}", stage.tenant);
        let definition = definition.replace("${partition}", &partition);
        let machine = define(&stage, &client, &definition).await;
        let started = client
            .start_execution()
            .state_machine_arn(machine)
            .name(execution_name(&stage.tenant, Ulid::generate()))
            .input(case.input.to_string())
            .send()
            .await
            .unwrap();
        let told = format!("{name} {number} ({}): {}", case.input, file.about);
        check(&client, started.execution_arn(), case, (is_emulator, &told)).await;
    }
}

/// The ARN of a new machine with this definition.
async fn define(stage: &Stage, client: &aws_sdk_sfn::Client, definition: &str) -> String {
    let name = format!("m-{}", Ulid::generate());
    if let Some(workflows) = &stage.workflows {
        std::fs::create_dir_all(workflows).unwrap();
        std::fs::write(workflows.join(format!("{name}.asl.json")), definition).unwrap();
        return format!("arn:aws:states:us-west-2:000000000000:stateMachine:{name}");
    }
    let made = client
        .create_state_machine()
        .name(name)
        .definition(definition)
        .role_arn("arn:aws:iam::000000000000:role/test")
        .send()
        .await
        .unwrap();
    made.state_machine_arn
}

async fn check(
    client: &aws_sdk_sfn::Client,
    execution: &str,
    case: &MachineCase,
    (is_emulator, told): (bool, &str),
) {
    let start = Instant::now();
    let end = loop {
        let found = client
            .describe_execution()
            .execution_arn(execution)
            .send()
            .await
            .unwrap();
        if found.status != ExecutionStatus::Running {
            break found;
        }
        assert!(start.elapsed() < PATIENCE, "{told}: it does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(
        end.status().as_str().to_ascii_lowercase(),
        case.status,
        "{told}: {end:?}"
    );
    let output: Option<Value> = end
        .output()
        .map(|output| serde_json::from_str(output).unwrap());
    if case.status == "succeeded" {
        // An output of null is one too.
        let expected = case.output.clone().unwrap_or_default();
        assert_eq!(output, Some(expected), "{told}");
    } else if !is_emulator {
        // Emulators tell the error there as well.
        assert_eq!(output, None, "{told}");
    }
    if let Some(error) = &case.error {
        assert_eq!(end.error(), Some(error.as_str()), "{told}");
    }
    if let Some(cause) = &case.cause {
        assert_eq!(end.cause(), Some(cause.as_str()), "{told}");
    }
}
