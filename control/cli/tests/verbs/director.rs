//! A director that says what a test wants, and the program that asks it.

use sheave_proto::api::{Request, parse_request};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

/// What the director does about a request.
pub(crate) enum Reply {
    /// Writes these bytes.
    Bytes(Vec<u8>),
    /// Writes these bytes, then ends the connection.
    Last(Vec<u8>),
    /// Nothing.
    Silence,
}

/// A director that serves one connection, and keeps what it was asked.
pub(crate) struct Director {
    place: Place,
    thread: JoinHandle<Vec<Request>>,
}

/// How a run of the program ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Director {
    /// Answers each request as `reply` says; `name` is that of the test.
    pub(crate) fn new(name: &str, reply: impl FnMut(&Request) -> Reply + Send + 'static) -> Director {
        let place = Place::new(name);
        let listener = UnixListener::bind(place.socket()).expect("a socket");
        let thread = std::thread::spawn(move || serve(&listener, reply));
        Director { place, thread }
    }

    /// Runs `sheave` with these arguments, against this director.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        run(&self.place.socket(), args, "")
    }

    /// The same, with something to read.
    pub(crate) fn run_with(&self, args: &[&str], input: &str) -> Ran {
        run(&self.place.socket(), args, input)
    }

    /// The socket that it listens on.
    pub(crate) fn socket(&self) -> PathBuf {
        self.place.socket()
    }

    /// Ends it: what it was asked.
    pub(crate) fn asked(self) -> Vec<Request> {
        // A program that never connected leaves it waiting for a connection.
        drop(UnixStream::connect(self.place.socket()));
        self.thread.join().expect("the director's thread ends")
    }
}

fn serve(listener: &UnixListener, mut reply: impl FnMut(&Request) -> Reply) -> Vec<Request> {
    let (stream, _) = listener.accept().expect("a client");
    let mut writer = stream.try_clone().expect("a second handle");
    let mut asked = Vec::new();
    for line in BufReader::new(stream).split(b'\n') {
        let Ok(line) = line else { break };
        let request = parse_request(&line).expect("a request that a director understands");
        let reply = reply(&request);
        asked.push(request);
        // The client may be gone: that is for its test to see.
        match reply {
            Reply::Bytes(bytes) => drop(writer.write_all(&bytes)),
            Reply::Last(bytes) => {
                let _gone = writer.write_all(&bytes);
                break;
            }
            Reply::Silence => {}
        }
    }
    asked
}

/// Runs `sheave` against the director behind `socket`.
pub(crate) fn run(socket: &Path, args: &[&str], input: &str) -> Ran {
    let mut child = program(socket, args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sheave runs");
    let mut stdin = child.stdin.take().expect("piped");
    // A program that does not read what it is given is none of our business here.
    let _unread = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let code = output.status.code().expect("an exit code");
    Ran { code, out: text(output.stdout), err: text(output.stderr) }
}

/// The program, with the socket and these arguments.
pub(crate) fn program(socket: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sheave"));
    command.env_remove("SHEAVE_SOCKET").arg("--socket").arg(socket).args(args);
    command
}

/// A directory of its own for each test.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new(name: &str) -> Place {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("verbs").join(name);
        let _absent = std::fs::remove_dir_all(&place);
        std::fs::create_dir_all(&place).expect("writable");
        Place(place)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("s")
    }

    /// Writes a file; its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("writable");
        path
    }
}

/// All that can be read, as text.
pub(crate) fn read(mut from: impl Read) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).expect("UTF-8");
    text
}
