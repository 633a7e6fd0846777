//! The AWS adapters against every backend that is there, and against injected faults.
//!
//! The same cases run on each backend. One that is not reachable is named in the last line, or is a
//! failure where `AGENT_MESH_TEST_REQUIRE` (names separated by commas) asks for it. Addresses:
//! `AGENT_MESH_TEST_MINISTACK_URL` (http://127.0.0.1:4566), `AGENT_MESH_TEST_MOTO_URL`
//! (http://127.0.0.1:5000).
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand behind the seams, where there is no call to form keys from"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "this is a test, also where it has a main function of its own"
)]

mod backend;
mod bucket;
mod bus;
mod lossy;
mod lost;
mod machines;
mod native;
mod patterns;
#[cfg(feature = "mock-aws")]
mod scripted;
mod secrets;
mod setup;
mod states;
mod table;
mod topics;

use std::sync::Arc;

use futures::future::BoxFuture;
use libtest_mimic::{Arguments, Failed, Trial};

use backend::{Backend, Stage};

/// One behaviour, to be seen on every backend.
struct Case {
    name: &'static str,
    run: fn(Stage) -> BoxFuture<'static, ()>,
}

/// Lists the cases of a module.
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        pub(crate) const CASES: &[crate::Case] = &[$(crate::Case {
            name: stringify!($name),
            run: |stage| Box::pin($name(stage)),
        }),*];
    };
}
pub(crate) use cases;

fn main() {
    let arguments = Arguments::from_args();
    let required = std::env::var("AGENT_MESH_TEST_REQUIRE").unwrap_or_default();
    let mut trials = Vec::new();
    let mut left_out = Vec::new();
    for backend in backend::all() {
        let backend = Arc::new(backend);
        let is_there = backend.is_there();
        let is_required = required.split(',').any(|name| name.trim() == backend.name);
        if !is_there && is_required {
            let message = format!("{} is required and not at {}", backend.name, backend.url);
            let name = format!("{}::is_there", backend.name);
            trials.push(Trial::test(name, || Err(Failed::from(message))));
        } else if !is_there {
            left_out.push(format!("{} (not at {})", backend.name, backend.url));
        }
        trials.extend(backend_trials(&backend, is_there, &mut left_out));
        trials.extend(machine_trials(&backend, is_there, &mut left_out));
    }
    #[cfg(feature = "mock-aws")]
    trials.extend(scripted::trials());
    #[cfg(not(feature = "mock-aws"))]
    left_out.push("scripted faults (--features mock-aws)".to_owned());
    let is_listing = arguments.list;
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !is_listing {
        match left_out.as_slice() {
            [] => println!("left out: nothing"),
            left_out => println!("left out: {}", left_out.join("; ")),
        }
    }
    conclusion.exit();
}

/// One trial for each state machine.
fn machine_trials(
    backend: &Arc<Backend>,
    is_there: bool,
    left_out: &mut Vec<String>,
) -> Vec<Trial> {
    if backend.name == "moto" {
        if is_there {
            left_out.push("moto::machines (runs no state machines)".to_owned());
        }
        return Vec::new();
    }
    let files = machines::all();
    if is_there && backend.name == "ministack" {
        left_out.push(format!(
            "ministack::machines: {} cases (see their member `emulator`)",
            machines::left_to_us(&files)
        ));
    }
    let trial = |(name, file): (String, machines::MachineFile)| {
        let backend = Arc::clone(backend);
        let title = format!("{}::machines::{name}", backend.name);
        let run = move || {
            backend.run(|stage| Box::pin(machines::run(stage, name, file)));
            Ok(())
        };
        Trial::test(title, run).with_ignored_flag(!is_there)
    };
    files.into_iter().map(trial).collect()
}

fn backend_trials(
    backend: &Arc<Backend>,
    is_there: bool,
    left_out: &mut Vec<String>,
) -> Vec<Trial> {
    let families: [(&str, &[Case]); 10] = [
        ("table", table::CASES),
        ("bucket", bucket::CASES),
        ("bus", bus::CASES),
        ("lost", lost::CASES),
        ("native", native::CASES),
        ("patterns", patterns::CASES),
        ("secrets", secrets::CASES),
        ("setup", setup::CASES),
        ("states", states::CASES),
        ("topics", topics::CASES),
    ];
    let mut trials = Vec::new();
    for (family, cases) in families {
        let lacking = |name: &str| backend.lacks.iter().find(|lack| lack.0 == name);
        let lacks_family = lacking(family);
        if let Some((_, reason)) = lacks_family
            && is_there
        {
            left_out.push(format!("{}::{family} ({reason})", backend.name));
        }
        for case in cases {
            let lack = lacks_family.or_else(|| lacking(case.name));
            if let Some((_, reason)) = lack
                && is_there
                && lacks_family.is_none()
            {
                left_out.push(format!(
                    "{}::{family}::{} ({reason})",
                    backend.name, case.name
                ));
            }
            let stage_of = backend.clone();
            let run = case.run;
            let trial = Trial::test(
                format!("{}::{family}::{}", backend.name, case.name),
                move || {
                    stage_of.run(run);
                    Ok(())
                },
            );
            trials.push(trial.with_ignored_flag(!is_there || lack.is_some()));
        }
    }
    trials
}
