//! How states are read, each type with the members that it has.

use serde_json::Value;

use super::super::SECONDS_MAX;
use super::super::flaw::{below, quoted};
use super::super::machine::{
    Branches, Concurrency, Fail, Flow, Kind, Map, Seconds, State, Task, Text, Then, Wait,
};
use super::super::path::{Path, ReferencePath};
use super::super::resource::Resource;
use super::super::template::{Expression, Template};
use super::super::time;
use super::Reader;
use super::members::Members;
use crate::mesh::Timestamp;

/// The types of states.
const TYPES: [&str; 8] = [
    "Pass", "Task", "Choice", "Wait", "Succeed", "Fail", "Parallel", "Map",
];

impl Reader {
    /// Reads a state.
    pub(super) fn state(
        &mut self,
        name: &str,
        value: &Value,
        at: &str,
        depth_left: usize,
    ) -> Option<State> {
        let mut members = Members::of(value, at, &mut self.flaws)?;
        let kind_name = members.required_text("Type", &mut self.flaws)?;
        let Some(kind_name) = TYPES.into_iter().find(|known| *known == kind_name) else {
            let message = format!(
                "there is no type {}, only {}",
                quoted(kind_name),
                TYPES.join(", ")
            );
            self.flaws.add(&members.path("Type"), message);
            return None;
        };
        let comment = members.text("Comment", &mut self.flaws);
        self.query_language(&mut members);
        let mut state = State {
            name: name.to_owned(),
            comment: comment.map(str::to_owned),
            input_path: Some(Path::whole()),
            parameters: None,
            result_selector: None,
            result_path: Some(ReferencePath::whole()),
            output_path: Some(Path::whole()),
            kind: Kind::Succeed,
        };
        self.common(&mut state, kind_name, &mut members);
        let kind = self.kind(kind_name, &mut members, depth_left);
        members.finish(&format!("a {kind_name} state"), &mut self.flaws);
        state.kind = kind?;
        Some(state)
    }

    /// Reads what several types have.
    fn common(&mut self, state: &mut State, kind_name: &str, members: &mut Members<'_>) {
        let flaws = &mut self.flaws;
        if kind_name != "Fail" {
            state.input_path = members.path_or_null("InputPath", flaws);
            state.output_path = members.path_or_null("OutputPath", flaws);
        }
        if matches!(kind_name, "Pass" | "Task" | "Parallel") {
            state.parameters = self.template("Parameters", members);
        }
        if matches!(kind_name, "Task" | "Parallel" | "Map") {
            state.result_selector = self.template("ResultSelector", members);
        }
        if matches!(kind_name, "Pass" | "Task" | "Parallel" | "Map") {
            state.result_path = members.result_path(&mut self.flaws);
        }
    }

    fn kind(
        &mut self,
        kind_name: &str,
        members: &mut Members<'_>,
        depth_left: usize,
    ) -> Option<Kind> {
        match kind_name {
            "Pass" => {
                let result = members.get("Result").cloned();
                let then = self.then(members)?;
                Some(Kind::Pass { result, then })
            }
            "Task" => self.task(members).map(|task| Kind::Task(Box::new(task))),
            "Choice" => self.choice(members).map(Kind::Choice),
            "Wait" => {
                let wait = self.wait(members);
                let then = self.then(members)?;
                Some(Kind::Wait { wait: wait?, then })
            }
            "Fail" => {
                let error = self.fail_text("Error", "ErrorPath", members);
                let cause = self.fail_text("Cause", "CausePath", members);
                Some(Kind::Fail(Fail { error, cause }))
            }
            "Parallel" => self.parallel(members, depth_left).map(Kind::Parallel),
            "Map" => {
                let map = self.map(members, depth_left);
                map.map(|map| Kind::Map(Box::new(map)))
            }
            _ => Some(Kind::Succeed),
        }
    }

    fn template(&mut self, name: &'static str, members: &mut Members<'_>) -> Option<Template> {
        let value = members.get(name)?;
        Template::parse(value, &members.path(name), &mut self.flaws)
    }

    /// Reads `Next` or `End`.
    fn then(&mut self, members: &mut Members<'_>) -> Option<Then> {
        let next = members.text("Next", &mut self.flaws);
        let ends = match members.get("End") {
            None => false,
            Some(Value::Bool(ends)) => *ends,
            Some(_) => {
                let message = "it must be true or false";
                self.flaws.add(&members.path("End"), message);
                return None;
            }
        };
        match (next, ends) {
            (Some(next), false) => Some(Then::Next(next.to_owned())),
            (None, true) => Some(Then::End),
            (Some(_), true) => {
                let message = "'Next' and 'End' exclude each other: keep one of the two";
                self.flaws.add(members.at(), message);
                None
            }
            (None, false) => {
                // A 'Next' of a wrong type has been told already.
                if members.get("Next").is_none() {
                    let message = "it leads nowhere: name the state that comes next in 'Next', or write \"End\": true";
                    self.flaws.add(members.at(), message);
                }
                None
            }
        }
    }

    fn task(&mut self, members: &mut Members<'_>) -> Option<Task> {
        let resource = members.required_text("Resource", &mut self.flaws);
        let resource = resource.and_then(|arn| {
            let resource = Resource::parse(arn);
            resource
                .map_err(|message| self.flaws.add(&members.path("Resource"), message))
                .ok()
        });
        if let Some(resource) = &resource {
            self.parameters(resource, members);
        }
        let timeout = self.seconds("TimeoutSeconds", "TimeoutSecondsPath", 1, members);
        let heartbeat = self.seconds("HeartbeatSeconds", "HeartbeatSecondsPath", 1, members);
        if let (Some(Seconds::Fixed(timeout)), Some(Seconds::Fixed(heartbeat))) =
            (&timeout, &heartbeat)
            && heartbeat >= timeout
        {
            let message = format!("it must be less than 'TimeoutSeconds', which is {timeout}");
            self.flaws.add(&members.path("HeartbeatSeconds"), message);
        }
        let (retry, catch) = (self.retry(members), self.catch(members));
        let then = self.then(members);
        Some(Task {
            resource: resource?,
            timeout,
            heartbeat,
            retry,
            catch,
            then: then?,
        })
    }

    /// Reads a number of seconds, or the path to it.
    fn seconds(
        &mut self,
        fixed: &'static str,
        path: &'static str,
        least: u64,
        members: &mut Members<'_>,
    ) -> Option<Seconds> {
        members.both(fixed, path, &mut self.flaws);
        let number = members.whole(fixed, least..=SECONDS_MAX, &mut self.flaws);
        let path = members.reference(path, &mut self.flaws);
        match number {
            Some(number) => Some(Seconds::Fixed(number)),
            None => path.map(Seconds::Path),
        }
    }

    fn wait(&mut self, members: &mut Members<'_>) -> Option<Wait> {
        const FORMS: [&str; 4] = ["Seconds", "SecondsPath", "Timestamp", "TimestampPath"];
        let count = FORMS
            .into_iter()
            .filter(|form| members.get(form).is_some())
            .count();
        if count != 1 {
            let message = format!("it needs exactly one of {}", FORMS.join(", "));
            self.flaws.add(members.at(), message);
            return None;
        }
        if let Some(seconds) = self.seconds("Seconds", "SecondsPath", 0, members) {
            return Some(Wait::For(seconds));
        }
        if let Some(path) = members.reference("TimestampPath", &mut self.flaws) {
            return Some(Wait::UntilPath(path));
        }
        let text = members.text("Timestamp", &mut self.flaws)?;
        let Some(time) = time::parse(text) else {
            let message = "it must be a time such as 2026-01-31T23:59:59Z, with 'T', and 'Z' or an offset such as +02:00";
            self.flaws.add(&members.path("Timestamp"), message);
            return None;
        };
        Some(Wait::Until(Timestamp::from_millis(time.as_millisecond())))
    }

    fn fail_text(
        &mut self,
        fixed: &'static str,
        computed: &'static str,
        members: &mut Members<'_>,
    ) -> Option<Text> {
        members.both(fixed, computed, &mut self.flaws);
        if let Some(text) = members.text(fixed, &mut self.flaws) {
            return Some(Text::Fixed(text.to_owned()));
        }
        let text = members.text(computed, &mut self.flaws)?;
        let expression = if text.starts_with('$') {
            let path = members.reference(computed, &mut self.flaws)?;
            Expression::Path(path.path().clone())
        } else {
            let expression = Expression::parse(text);
            expression
                .map_err(|message| self.flaws.add(&members.path(computed), message))
                .ok()?
        };
        Some(Text::Computed(expression))
    }

    fn parallel(&mut self, members: &mut Members<'_>, depth_left: usize) -> Option<Branches> {
        members.required("Branches", &mut self.flaws);
        let items = members
            .list("Branches", &mut self.flaws)
            .unwrap_or_default();
        let at = members.path("Branches");
        let mut branches = Vec::new();
        for (index, item) in items.iter().enumerate() {
            branches.extend(self.branch(item, &below(&at, index), depth_left));
        }
        let (retry, catch) = (self.retry(members), self.catch(members));
        let then = self.then(members)?;
        (branches.len() == items.len()).then_some(Branches {
            branches,
            retry,
            catch,
            then,
        })
    }

    fn branch(&mut self, value: &Value, at: &str, depth_left: usize) -> Option<Flow> {
        let mut members = Members::of(value, at, &mut self.flaws)?;
        members.text("Comment", &mut self.flaws);
        let flow = self.flow(&mut members, depth_left);
        members.finish("a branch", &mut self.flaws);
        flow
    }

    fn map(&mut self, members: &mut Members<'_>, depth_left: usize) -> Option<Map> {
        members.both("ItemProcessor", "Iterator", &mut self.flaws);
        members.both("ItemSelector", "Parameters", &mut self.flaws);
        members.both("MaxConcurrency", "MaxConcurrencyPath", &mut self.flaws);
        let name = if members.get("Iterator").is_some() {
            "Iterator"
        } else {
            "ItemProcessor"
        };
        let processor = members.required(name, &mut self.flaws);
        let at = members.path(name);
        let processor = processor.and_then(|value| self.processor(value, &at, depth_left));
        let items_path = match members.get("ItemsPath") {
            None => Some(ReferencePath::whole()),
            Some(_) => members.reference("ItemsPath", &mut self.flaws),
        };
        let selector = self.template("ItemSelector", members);
        let item_selector = selector.or_else(|| self.template("Parameters", members));
        let most = u64::from(u32::MAX);
        let number = members.whole("MaxConcurrency", 0..=most, &mut self.flaws);
        let path = members.reference("MaxConcurrencyPath", &mut self.flaws);
        let fixed = number.and_then(|number| u32::try_from(number).ok());
        let concurrency = match path {
            Some(path) => Concurrency::Path(path),
            None => Concurrency::Fixed(fixed.unwrap_or(0)),
        };
        let (retry, catch) = (self.retry(members), self.catch(members));
        let then = self.then(members);
        Some(Map {
            processor: processor?,
            items_path: items_path?,
            item_selector,
            concurrency,
            retry,
            catch,
            then: then?,
        })
    }

    /// Reads what each item of a Map goes through.
    fn processor(&mut self, value: &Value, at: &str, depth_left: usize) -> Option<Flow> {
        let mut members = Members::of(value, at, &mut self.flaws)?;
        members.text("Comment", &mut self.flaws);
        if let Some(config) = members.get("ProcessorConfig") {
            let at = members.path("ProcessorConfig");
            if let Some(mut config) = Members::of(config, &at, &mut self.flaws) {
                if let Some(mode) = config.text("Mode", &mut self.flaws)
                    && mode != "INLINE"
                {
                    let message = "distributed maps are not supported: the mode must be INLINE";
                    self.flaws.add(&config.path("Mode"), message);
                }
                config.finish("the configuration of an inline map", &mut self.flaws);
            }
        }
        let flow = self.flow(&mut members, depth_left);
        members.finish("an item processor", &mut self.flaws);
        flow
    }
}
