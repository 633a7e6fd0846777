//! Being asked to end.

use std::io;

/// Starts to listen for SIGTERM and SIGINT, from which moment they no longer end the process by
/// themselves, and returns what completes with the name of the first one. Call it within a runtime.
#[cfg(unix)]
pub fn shutdown_signal() -> io::Result<impl Future<Output = &'static str> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

/// Returns what completes when the user presses Ctrl-C. Call it within a runtime.
#[cfg(not(unix))]
pub fn shutdown_signal() -> io::Result<impl Future<Output = &'static str> + Send + 'static> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            return std::future::pending().await;
        }
        "Ctrl-C"
    })
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn a_signal_completes_and_does_not_end_the_process() {
        for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
            let asked = shutdown_signal().unwrap();
            kill_process(getpid(), signal).unwrap();
            let asked = tokio::time::timeout(Duration::from_secs(5), asked).await;
            assert_eq!(asked.unwrap(), name);
        }
    }
}
