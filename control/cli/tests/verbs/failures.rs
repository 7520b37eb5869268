//! How verbs fail: the exit code, and a line on standard error for each thing that is wrong.

use crate::answers::reply;
use crate::director::{Director, Place, Ran, Reply, run};
use sheave_proto::api::{ErrorCode, ErrorItem, ErrorReply, Id, Response};

/// A director that refuses whatever it is asked.
fn refusing(name: &str, error: ErrorReply) -> Director {
    Director::new(name, move |request| {
        Reply::Bytes(Response::error(request.id.clone(), error.clone()).to_line())
    })
}

/// A run that fails: nothing on standard output.
fn failed(ran: Ran) -> (i32, String) {
    assert_eq!(ran.out, "");
    (ran.code, ran.err)
}

#[test]
fn each_code_of_an_error_has_its_exit_code() {
    for (code, exit) in [
        (ErrorCode::Failed, 1),
        (ErrorCode::Exists, 1),
        (ErrorCode::TooSlow, 1),
        (ErrorCode::Invalid, 2),
        (ErrorCode::NotSupported, 2),
        (ErrorCode::UnknownOp, 2),
        (ErrorCode::UnknownVersion, 2),
        (ErrorCode::TooLarge, 2),
        (ErrorCode::NotFound, 3),
    ] {
        let error = ErrorReply::new(code, "service web", "it is so", "do this");
        let director = refusing(&format!("code-{code:?}"), error);
        let ran = director.run(&["service", "add", "198.18.0.100:80/tcp"]);
        assert_eq!(failed(ran), (exit, "error: service web: it is so: do this\n".to_owned()), "{code:?}");
    }
}

#[test]
fn every_error_has_its_line_and_the_first_decides() {
    let item = |code, object: &str, line| ErrorItem {
        code,
        object: object.to_owned(),
        message: "wrong".to_owned(),
        remedy: "right it".to_owned(),
        file: Some("new.toml".to_owned()),
        line: Some(line),
    };
    let all =
        vec![item(ErrorCode::NotSupported, "service dns", 3), item(ErrorCode::Invalid, "service web", 9)];
    let error = ErrorReply { first: Box::new(all[1].clone()), all };
    let file = Place::new("all-errors-file").file("new.toml", "");
    let director = refusing("all-errors", error);
    let ran = director.run(&["apply", file.to_str().expect("UTF-8")]);
    let lines = "error: new.toml:3: service dns: wrong: right it\n\
                 error: new.toml:9: service web: wrong: right it\n";
    assert_eq!(failed(ran), (2, lines.to_owned()));
}

#[test]
fn what_is_not_there_is_not_found() {
    let error = ErrorReply::not_found("service nosuch", "see 'sheave service list'");
    for (at, args) in [
        &["service", "show", "nosuch"][..],
        &["service", "remove", "nosuch"],
        &["destination", "list", "nosuch"],
        &["destination", "show", "nosuch", "198.19.1.11"],
        &["stats", "nosuch"],
    ]
    .into_iter()
    .enumerate()
    {
        let director = refusing(&format!("not-found-{at}"), error.clone());
        let line = "error: service nosuch: there is no such object: see 'sheave service list'\n";
        assert_eq!(failed(director.run(args)), (3, line.to_owned()), "{args:?}");
    }
    let director = Director::new("no-destination", reply);
    let line = "error: destination 198.19.1.99 of service web: there is no such object: \
                see 'sheave destination list web'\n";
    assert_eq!(failed(director.run(&["destination", "show", "web", "198.19.1.99"])), (3, line.to_owned()));
}

#[test]
fn sticky_clear_wants_to_know_what() {
    for args in [&["sticky", "clear"][..], &["sticky", "clear", "--all", "--service", "web"]] {
        let (code, text) = failed(run(&Place::new("clear").socket(), args, ""));
        assert_eq!(code, 2, "{text}");
        assert!(text.starts_with("error: ") && text.contains("--all"), "{text}");
    }
    let (code, text) =
        failed(run(&Place::new("which").socket(), &["sticky", "list", "--client", "192.0.2.0/33"], ""));
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("prefix length 33 of 192.0.2.0 is beyond its family"), "{text}");
}

#[test]
fn without_a_director_it_says_where_it_looked() {
    let place = Place::new("nobody");
    let socket = place.socket();
    let start = "start sheaved, or name its socket with --socket or SHEAVE_SOCKET";
    let line = |wrong: &str| format!("error: director at {}: {wrong}: {start}\n", socket.display());
    assert_eq!(failed(run(&socket, &["status"], "")), (4, line("there is no such socket")));
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("a socket"));
    assert_eq!(failed(run(&socket, &["status"], "")), (4, line("nobody listens there")));
}

#[test]
fn a_director_that_answers_nonsense_closes_or_is_silent_is_told_apart() {
    let garbage = Director::new("garbage", |_| Reply::Bytes(b"HTTP/1.1 400 Bad Request\r\n".to_vec()));
    let (code, line) = failed(garbage.run(&["status"]));
    assert_eq!(code, 1);
    assert!(
        line.contains(": its answer cannot be read (") && line.ends_with(": use programs of one version\n")
    );

    let other = Director::new("other-answer", |request| {
        Reply::Bytes(Response::ok(request.id.clone(), &serde_json::json!({ "as-of": 1.0 })).to_line())
    });
    let (code, line) = failed(other.run(&["service", "list"]));
    assert_eq!(code, 1);
    assert!(
        line.starts_with("error: director: its answer cannot be read (missing field `services`"),
        "{line}"
    );

    let closing = Director::new("closing", |_| Reply::Last(Vec::new()));
    let (code, line) = failed(closing.run(&["status"]));
    assert_eq!(code, 4);
    assert!(line.ends_with(": it closed the connection: see the director's log\n"), "{line}");

    let silent = Director::new("silent", |_| Reply::Silence);
    let (code, line) = failed(silent.run(&["status", "--patience", "50ms"]));
    assert_eq!(code, 4);
    assert!(line.ends_with(": no answer in 50ms: see the director's log\n"), "{line}");

    let cut = Director::new("cut", |request| {
        let mut line = Response::ok(request.id.clone(), &1).to_line();
        line.truncate(line.len() / 2);
        Reply::Last(line)
    });
    let (code, line) = failed(cut.run(&["status"]));
    assert_eq!(code, 1, "{line}");
}

#[test]
fn a_refusal_before_the_request_was_read_is_understood() {
    let full = Director::new("full", |_| {
        let error = ErrorReply::new(ErrorCode::Failed, "director", "too many clients", "close some");
        Reply::Last(Response::error(Id::None, error).to_line())
    });
    let line = "error: director: too many clients: close some\n".to_owned();
    assert_eq!(failed(full.run(&["status"])), (1, line));
}

#[test]
fn answers_to_others_are_not_taken_for_ours() {
    let director = Director::new("others", |request| {
        let mut lines = Response::ok(Id::Number(999), &1).to_line();
        let Reply::Bytes(own) = reply(request) else { panic!("an answer") };
        lines.extend(own);
        Reply::Bytes(lines)
    });
    let ran = director.run(&["status"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn a_wrong_command_line_is_one_line_and_asks_nobody() {
    for (at, (args, said)) in [
        (&["nosuch"][..], "unrecognized subcommand 'nosuch': see 'sheave --help'"),
        (&["service", "add"], "<LISTEN>...: see 'sheave service add --help'"),
        (&["service", "add", "80/tcp"], "for '<LISTEN>...'"),
        (
            &["service", "edit", "web"],
            "service web: nothing to change: name what to change, as in --scheduler wrr",
        ),
        (
            &["destination", "edit", "web", "198.19.1.11"],
            "nothing to change: name what to change, as in --weight 3",
        ),
        (&["destination", "add", "web", "198.19.1.11", "--forward", "masq"], "nat, dr, tun"),
        (&["destination", "add", "web", "198.19.1.11", "--weight", "2147483648"], "2147483648"),
        (&["service", "add", "198.18.0.100:80/tcp", "--scheduler", "best"], "rr, wrr, lc, wlc"),
        (&["drain", "web", "198.19.1.11", "--then", "reset"], "--deadline"),
        (&["service", "edit", "web", "--mh-table", "4094"], "65537"),
        (&["connections", "--state", "open"], "established"),
        (
            &["apply", "/nonexistent/new.toml"],
            "/nonexistent/new.toml: there is no such file: name a configuration file",
        ),
        (&["status", "--patience", "5"], "is not a duration"),
    ]
    .into_iter()
    .enumerate()
    {
        let director = Director::new(&format!("usage-{at}"), reply);
        let (code, error) = failed(director.run(args));
        assert_eq!(director.asked(), [], "{args:?}");
        assert_eq!((code, error.lines().count()), (2, 1), "{args:?}: {error}");
        assert!(error.starts_with("error: ") && error.contains(said), "{args:?}: {error}");
    }
}
