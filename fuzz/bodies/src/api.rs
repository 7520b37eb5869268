//! The control socket: any bytes from a client are requests, or refusals that say why; a client reads back
//! what the director writes.

use sheave_proto::api::{
    ConfigSource, ErrorReply, LineBuffer, MAX_LINE, Message, Op, Outcome, Response, parse_request,
};

/// Cutting into lines does not depend on how the bytes come in; a request means the same after it was written
/// out and read back; a refusal fits a line and is read back as it was.
pub fn api(input: &[u8]) {
    in_pieces(input);
    for line in input.split(|byte| *byte == b'\n') {
        request(line);
        answer(line);
    }
}

/// Lines as they come in pieces of a size that the input chooses, and with a limit that it can exceed.
fn in_pieces(input: &[u8]) {
    let Some((size, input)) = input.split_first() else { return };
    for longest in [16, MAX_LINE] {
        let mut buffer = LineBuffer::new(longest);
        let mut expected = input.split_inclusive(|byte| *byte == b'\n');
        'pieces: for piece in input.chunks(usize::from(*size).max(1)) {
            buffer.push(piece);
            while let Some(line) = buffer.next_line() {
                let next = expected.next().expect("no more lines come out than go in");
                let whole = next.strip_suffix(b"\n");
                let Ok(line) = line else {
                    assert!(whole.unwrap_or(next).len() > longest, "refused {next:?} as too long");
                    break 'pieces;
                };
                let whole = whole.expect("a line without its end came out");
                assert_eq!(line, whole.strip_suffix(b"\r").unwrap_or(whole));
                assert!(line.len() <= longest);
            }
            assert!(buffer.pending() <= longest, "{} bytes are held", buffer.pending());
        }
    }
}

fn request(line: &[u8]) {
    match parse_request(line) {
        Ok(request) => {
            let written = request.to_line();
            check_line(&written);
            let again = parse_request(&written);
            assert_eq!(again.as_ref(), Ok(&request), "written as {}", String::from_utf8_lossy(&written));
            if let Op::ConfigApply(source) | Op::ConfigPlan(source) = &request.op {
                configuration(source);
            }
        }
        Err(refusal) => {
            let refusal: &Response = &refusal;
            let written = refusal.to_line();
            check_line(&written);
            match Message::parse(&written) {
                Ok(Message::Response(again)) => assert_eq!(&again, refusal),
                other => panic!("a refusal is read as {other:?}"),
            }
            let Outcome::Error(error) = &refusal.outcome else { panic!("a refusal is no error") };
            explain(error);
        }
    }
}

fn configuration(source: &ConfigSource) {
    if let Err(errors) = source.resolve() {
        assert!(!errors.is_empty(), "refused without a reason");
        explain(&ErrorReply::from(errors));
    }
}

fn explain(error: &ErrorReply) {
    assert!(!error.items().is_empty(), "refused without a reason");
    for item in error.items() {
        let shown = item.to_string();
        assert!(!shown.contains('\n'), "more than one line: {shown:?}");
        assert!(!item.object.is_empty() && !item.message.is_empty() && !item.remedy.is_empty(), "{shown}");
    }
}

/// What a client makes of any line; written again, it reads the same.
fn answer(line: &[u8]) {
    let Ok(message) = Message::parse(line) else { return };
    let written = match &message {
        Message::Response(response) => response.to_line(),
        Message::Event(event) => event.to_line(),
    };
    check_line(&written);
    match Message::parse(&written) {
        Ok(again) => assert_eq!(again, message),
        Err(error) => panic!("{}: {error}", String::from_utf8_lossy(&written)),
    }
}

fn check_line(written: &[u8]) {
    assert_eq!(written.last(), Some(&b'\n'));
    assert_eq!(written.iter().filter(|byte| **byte == b'\n').count(), 1);
}
