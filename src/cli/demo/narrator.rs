//! Tells what is done, what came back and how long it took.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use super::super::Output;
use super::super::output::Paint;
use crate::mesh::{Clock, SystemClock};

/// Where the text of a step begins: columns.
const INDENT: usize = 13;

/// Tells it.
pub(super) struct Narrator<'output> {
    output: &'output mut Output,
    clock: SystemClock,
    acts: u32,
    steps: u32,
}

/// A step came out otherwise than it should have; that has been told.
#[derive(Debug)]
pub(super) struct Wrong;

impl<'output> Narrator<'output> {
    /// A narrator who has told nothing yet.
    pub(super) fn new(output: &'output mut Output) -> Self {
        Self {
            output,
            clock: SystemClock::new(),
            acts: 0,
            steps: 0,
        }
    }

    /// Begins an act.
    pub(super) fn act(&mut self, title: &str) {
        self.acts += 1;
        let title = Paint::Strong.on(format!("{}. {title}", self.acts));
        self.output.line(format!("\n{title}"));
    }

    /// Text between the steps.
    pub(super) fn say(&mut self, text: impl Display) {
        self.output.line(text);
    }

    /// How many steps came out as they should.
    pub(super) fn steps(&self) -> u32 {
        self.steps
    }

    /// The time since the beginning.
    pub(super) fn elapsed(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Does one step and tells how long it took, what was done and what came back: lines of text and, for
    /// whoever does the next step, a value. An error is what came back instead of what should have.
    pub(super) async fn step<T>(
        &mut self,
        what: impl Display,
        step: impl Future<Output = Result<(T, String), String>>,
    ) -> Result<T, Wrong> {
        let started = self.clock.monotonic();
        let result = step.await;
        let took = duration_text(self.clock.monotonic().saturating_sub(started));
        let took = Paint::Faint.on(format!("{took:>width$}", width = INDENT - 2));
        self.output.line(format!("{took}  {what}"));
        match result {
            Ok((value, answer)) => {
                self.steps += 1;
                for line in answer.lines() {
                    self.output
                        .line(format!("{:INDENT$}{} {line}", "", Paint::Good.on("→")));
                }
                Ok(value)
            }
            Err(instead) => {
                let wrong = Paint::Bad.on("WRONG");
                self.output.line(format!("{:INDENT$}{wrong} {instead}", ""));
                Err(Wrong)
            }
        }
    }

    /// Tells what is wrong beside the steps.
    pub(super) fn complain(&mut self, text: &str) {
        self.output.error(text);
    }
}

/// A duration for people: milliseconds, and seconds where there are many.
fn duration_text(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1000.0;
    if millis < 10_000.0 {
        format!("{millis:.1} ms")
    } else {
        format!("{:.1} s", millis / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_in_the_unit_that_fits() {
        assert_eq!(duration_text(Duration::from_micros(1_240)), "1.2 ms");
        assert_eq!(duration_text(Duration::from_millis(9_999)), "9999.0 ms");
        assert_eq!(duration_text(Duration::from_millis(10_000)), "10.0 s");
    }

    #[tokio::test]
    async fn a_step_is_told_with_its_answer_and_a_wrong_one_with_what_came_instead() {
        let (mut output, captured) = Output::captured();
        let mut narrator = Narrator::new(&mut output);
        narrator.act("First");
        let seven = narrator
            .step("count", async { Ok((7, "seven\nindeed".to_owned())) })
            .await;
        assert_eq!(seven.unwrap(), 7);
        let wrong = narrator
            .step("count", async {
                Err::<((), String), _>("eight".to_owned())
            })
            .await;
        assert!(wrong.is_err());
        assert_eq!(narrator.steps(), 1);
        let told = captured.stdout();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines[1], "1. First");
        assert!(lines[2].ends_with(" ms  count"), "{told}");
        let answers = ["             → seven", "             → indeed"];
        assert_eq!(lines[3..5], answers);
        assert_eq!(lines[6], "             WRONG eight");
    }
}
