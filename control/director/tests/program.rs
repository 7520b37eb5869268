//! The program from outside, as far as it needs no privilege.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Output};

fn sheaved(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sheaved")).args(args).output().expect("runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("sheaved-program-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        Dir(dir)
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).expect("written");
        path.display().to_string()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn check_accepts_a_valid_file_silently() {
    let dir = Dir::new("valid");
    let file =
        dir.file("a.toml", "[director]\nname = \"a\"\n\n[[service]]\nlisten = \"198.18.0.100:80/tcp\"\n");
    let out = sheaved(&["--config", &file, "--check"]);
    assert_eq!(
        (out.status.code(), text(&out.stdout), text(&out.stderr)),
        (Some(0), String::new(), String::new())
    );
}

#[test]
fn check_reports_every_error_with_its_line() {
    let dir = Dir::new("invalid");
    let file = dir.file("a.toml", "[director]\nnmae = \"a\"\n\n[[service]]\nlisten = \"198.18.0.100:80\"\n");
    let out = sheaved(&["--config", &file, "--check"]);
    let lines = text(&out.stderr);
    assert_eq!(out.status.code(), Some(2));
    assert_eq!(lines.lines().count(), 2, "{lines}");
    for (line, at) in lines.lines().zip([2, 5]) {
        assert!(line.starts_with(&format!("error: {file}:{at}: ")), "{line}");
    }
}

#[test]
fn a_core_that_is_not_there_is_an_invalid_configuration() {
    let dir = Dir::new("cores");
    let file = dir.file("a.toml", "[director]\ncores = [4095]\n");
    let out = sheaved(&["--config", &file, "--check"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("core 4095 is not available: use some of "), "{}", text(&out.stderr));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let out = sheaved(&["--config", "/nonexistent/a.toml", "--check"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).starts_with("error: /nonexistent/a.toml: cannot be read: "));
}

#[test]
fn a_second_director_on_the_socket_ends_before_it_touches_anything() {
    let dir = Dir::new("second");
    let socket = dir.0.join("control.sock");
    let _first = UnixListener::bind(&socket).expect("bound");
    let file = dir.file("a.toml", &format!("[director]\nsocket = {:?}\n", socket.display().to_string()));
    let out = sheaved(&["--config", &file, "--log", "error"]);
    assert_eq!(out.status.code(), Some(1));
    let expected = format!("error: control socket {}: another sheaved listens on it", socket.display());
    assert!(text(&out.stderr).starts_with(&expected), "{}", text(&out.stderr));
    assert!(socket.exists());
}

#[test]
fn help_version_and_manual_are_there_and_a_wrong_option_is_a_usage_error() {
    assert!(text(&sheaved(&["--version"]).stdout).starts_with("sheaved "));
    let help = text(&sheaved(&["--help"]).stdout);
    for option in ["--config", "--check", "--log"] {
        assert!(help.contains(option), "{help}");
    }
    assert!(text(&sheaved(&["--man"]).stdout).contains(".TH sheaved"));
    assert_eq!(sheaved(&["--nonsense"]).status.code(), Some(2));
}
