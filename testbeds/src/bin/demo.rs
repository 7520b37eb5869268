//! The demo: to be narrated here once there is a director to show.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    eprintln!("error: demo: not there yet");
    std::process::ExitCode::FAILURE
}
