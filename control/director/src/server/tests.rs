//! Real sockets, turned by hand; the clock is the test's.

use super::*;
use mio::{Events, Poll};
use std::os::unix::net::UnixStream as Client;
use std::path::PathBuf;
use std::time::Duration;

/// Answers with the request, or with something long.
#[derive(Debug, Default)]
struct Echo {
    cut: Vec<Cut>,
}

impl Answer for Echo {
    fn answer(&mut self, line: &[u8]) -> Reply {
        let mut answer = match line {
            b"long" => vec![b'x'; 100 << 10],
            line => line.to_vec(),
        };
        answer.push(b'\n');
        let then = if line == b"past" { vec![b"one\n".to_vec(), b"two\n".to_vec()] } else { Vec::new() };
        Reply { line: answer, then, subscribe: line.starts_with(b"sub") }
    }

    fn farewell(&self, why: Cut) -> Vec<u8> {
        format!("cut: {why:?}\n").into_bytes()
    }

    fn cut_off(&mut self, why: Cut) {
        self.cut.push(why);
    }
}

struct House {
    server: Server,
    poll: Poll,
    echo: Echo,
    now: Time,
    path: PathBuf,
}

impl House {
    fn new(name: &str) -> House {
        let path = std::env::temp_dir().join(format!("sheaved-server-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("bound");
        let poll = Poll::new().expect("a poll");
        let limits = Limits { line: 64, clients: 128 };
        let server = Server::new(listener, limits, poll.registry()).expect("registered");
        House { server, poll, echo: Echo::default(), now: Time(Time::SECOND), path }
    }

    fn client(&self) -> Client {
        let client = Client::connect(&self.path).expect("connected");
        client.set_nonblocking(true).expect("a flag");
        client
    }

    /// Turns until there is nothing to do.
    fn settle(&mut self) {
        let mut events = Events::with_capacity(256);
        loop {
            let wait = if self.server.restless() { Duration::ZERO } else { Duration::from_millis(5) };
            self.poll.poll(&mut events, Some(wait)).expect("polled");
            if events.is_empty() && !self.server.restless() {
                return;
            }
            for event in &events {
                self.server.ready(
                    event.token(),
                    event.is_readable() || event.is_read_closed(),
                    event.is_writable(),
                );
            }
            self.server.turn(self.poll.registry(), self.now, &mut self.echo);
        }
    }

    fn publish(&mut self, line: &[u8]) {
        self.server.publish(line, self.poll.registry(), self.now, &mut self.echo);
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What there is to read now; and whether the other side has closed.
fn read(client: &mut Client) -> (String, bool) {
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match client.read(&mut buffer) {
            Ok(0) => return (String::from_utf8_lossy(&text).into_owned(), true),
            Ok(n) => text.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                return (String::from_utf8_lossy(&text).into_owned(), false);
            }
            Err(e) => panic!("reading: {e}"),
        }
    }
}

#[test]
fn a_hundred_clients_are_answered_each_in_its_order() {
    let mut house = House::new("hundred");
    let mut clients: Vec<Client> = (0..100).map(|_| house.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        let requests: String = (0..20).map(|i| format!("{n}-{i}\n")).collect();
        client.write_all(requests.as_bytes()).expect("room");
    }
    house.settle();
    for (n, client) in clients.iter_mut().enumerate() {
        let expected: String = (0..20).map(|i| format!("{n}-{i}\n")).collect();
        assert_eq!(read(client), (expected, false));
    }
    drop(clients);
    house.settle();
    assert!(house.server.clients.is_empty());
}

#[test]
fn a_client_that_does_not_read_waits_for_itself_and_is_cut_off_in_the_end() {
    let mut house = House::new("slow");
    let (mut slow, mut other) = (house.client(), house.client());
    // 200 answers of 100 KiB each, none of which is read.
    for _ in 0..200 {
        slow.write_all(b"long\n").expect("room");
    }
    other.write_all(b"hello\n").expect("room");
    house.settle();
    assert_eq!(read(&mut other), ("hello\n".into(), false), "nobody else waits");
    let waiting: usize = house.server.clients.values().map(|c| c.out.len()).sum();
    assert!(waiting <= SATED + (101 << 10), "{waiting} bytes kept for a client that does not read");
    assert_eq!(house.server.next_due(), Some(house.now.after(PATIENCE)));
    house.now = house.now.after(PATIENCE);
    other.write_all(b"still\n").expect("room");
    house.settle();
    assert_eq!(read(&mut other), ("still\n".into(), false));
    assert_eq!(house.echo.cut, [Cut::Slow]);
    let (text, closed) = read(&mut slow);
    assert_eq!(
        (text.lines().last(), closed),
        (Some("cut: Slow"), true),
        "told why, after what it had left lying"
    );
}

#[test]
fn a_client_that_reads_late_gets_everything() {
    let mut house = House::new("late");
    let mut late = house.client();
    for _ in 0..30 {
        late.write_all(b"long\n").expect("room");
    }
    let mut got = 0;
    for _ in 0..200 {
        house.settle();
        got += read(&mut late).0.len();
    }
    assert_eq!(got, 30 * ((100 << 10) + 1));
    assert_eq!((house.echo.cut.len(), house.server.next_due()), (0, None));
}

#[test]
fn a_line_that_is_too_long_is_cut_off_with_a_reason_and_garbage_is_just_a_line() {
    let mut house = House::new("long");
    let (mut long, mut garbage) = (house.client(), house.client());
    long.write_all(&[b'a'; 65]).expect("room");
    garbage.write_all(b"\xff\x00\x80\n\n\r\n{\n").expect("room");
    house.settle();
    assert_eq!(read(&mut long), ("cut: Large\n".into(), true));
    assert_eq!(house.echo.cut, [Cut::Large]);
    let (text, closed) = read(&mut garbage);
    assert_eq!((text.lines().count(), closed), (2, false));
}

#[test]
fn a_client_that_half_closes_gets_its_answers() {
    let mut house = House::new("half");
    let mut client = house.client();
    client.write_all(b"one\ntwo\nunfinished").expect("room");
    client.shutdown(std::net::Shutdown::Write).expect("open");
    house.settle();
    assert_eq!(read(&mut client), ("one\ntwo\n".into(), true));
}

#[test]
fn subscribers_get_events_after_their_answer_and_those_that_lag_are_cut_off() {
    let mut house = House::new("events");
    let (mut quick, mut lagging, mut plain) = (house.client(), house.client(), house.client());
    for client in [&mut quick, &mut lagging] {
        client.write_all(b"sub\n").expect("room");
    }
    plain.write_all(b"past\n").expect("room");
    house.settle();
    assert_eq!(read(&mut quick), ("sub\n".into(), false));
    assert_eq!(read(&mut plain).0, "past\none\ntwo\n", "the past comes right after the answer");
    let event = vec![b'e'; 10 << 10];
    for _ in 0..300 {
        let line = [&event[..], b"\n"].concat();
        house.publish(&line);
        house.settle();
        assert_eq!(read(&mut quick).0.len(), line.len());
    }
    assert_eq!(house.echo.cut, [Cut::Slow]);
    assert_eq!(read(&mut plain).0, "", "not subscribed");
    let (text, closed) = read(&mut lagging);
    assert_eq!((text.lines().last(), closed), (Some("cut: Slow"), true));
}

#[test]
fn beyond_the_most_clients_the_next_is_told_and_closed() {
    let mut house = House::new("crowd");
    let clients: Vec<Client> = (0..128).map(|_| house.client()).collect();
    house.settle();
    let mut last = house.client();
    house.settle();
    assert_eq!(read(&mut last), ("cut: Crowd\n".into(), true));
    drop(clients);
    house.settle();
    let mut next = house.client();
    next.write_all(b"room again\n").expect("room");
    house.settle();
    assert_eq!(read(&mut next), ("room again\n".into(), false));
}
