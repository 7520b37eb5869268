//! Command lines, one after the other, against what ipvsadm makes of them.

use super::*;
use crate::ipvsadm::command::{
    Checksum, Columns, Command, Format, Listing, Mask, Method, Persistent, Protocol, Server, ServerOptions,
    ServiceOptions, Tunnel, TunnelKind, VirtualService,
};
use crate::ipvsadm::{all, restored};

/// What there is when ipvsadm was asked.
const BEFORE: &str = "-A -t 198.18.0.100:80 -s rr\n-A -t 198.18.0.100:81\n";

/// What we do with a command line: the exit code and the message.
fn ours(line: &str) -> String {
    let mut config = made(BEFORE);
    let words: Vec<&str> = line.split_whitespace().collect();
    let outcome = match parse::parse(&words, "ipvsadm", &names()) {
        Err(refusal) => Err(refusal),
        Ok(Command::List(Listing::One(service), _)) => {
            let rows = crate::ipvsadm::table::rows(&config, &[]);
            let found = rows.iter().any(|row| row.id.is(&service));
            if found { Ok(()) } else { Err(Refusal { code: 1, text: "No such service".to_owned() }) }
        }
        Ok(Command::List(..) | Command::Save(_) | Command::Restore) => Ok(()),
        Ok(Command::Zero(service)) => {
            service.map_or(Ok(()), |service| change::named(&config, &service).map(drop))
        }
        Ok(_) => run(&mut config, line),
    };
    match outcome {
        Ok(()) => "0".to_owned(),
        Err(Refusal { code, text }) => format!("{code} {text}"),
    }
}

#[test]
fn each_command_line_does_what_it_does_in_ipvsadm() {
    let table = include_str!("grammar.txt");
    let mut lines = table.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).peekable();
    let (mut seen, mut differ) = (0, 0);
    while let Some(line) = lines.next() {
        let (command, theirs) = line.split_once(" => ").expect("a command line and what becomes of it");
        let departs = lines.next_if(|line| line.starts_with("    sheave => "));
        let wanted = departs.and_then(|line| line.split_once(" => ")).map_or(theirs, |(_, ours)| ours);
        assert_eq!(ours(command), wanted, "ipvsadm {command}");
        assert_ne!(departs.map(|_| wanted), Some(theirs), "{command} does not differ");
        (seen, differ) = (seen + 1, differ + usize::from(departs.is_some()));
    }
    assert!(seen > 200 && differ < 40, "{seen} command lines, {differ} of them differ");
}

fn parsed(line: &str) -> Command {
    let words: Vec<&str> = line.split_whitespace().collect();
    parse::parse(&words, "ipvsadm", &names()).unwrap_or_else(|refusal| panic!("{line}: {}", refusal.text))
}

fn tcp(addr: &str, port: u16) -> VirtualService {
    VirtualService::Address(Protocol::Tcp, addr.parse().expect("an address"), port)
}

fn options() -> ServiceOptions {
    ServiceOptions {
        scheduler: "wlc".to_owned(),
        flags: Vec::new(),
        persistence: None,
        one_packet: false,
        engine: None,
    }
}

fn server(addr: &str, port: Option<u16>) -> Server {
    Server { addr: addr.parse().expect("an address"), port }
}

#[test]
fn services_are_understood() {
    let web = tcp("198.18.0.100", 80);
    assert_eq!(parsed("-A -t 198.18.0.100:80"), Command::Add(web, options()));
    assert_eq!(parsed("-A -t 198.18.0.100:http"), Command::Add(web, options()));
    assert_eq!(parsed("--delete-service --tcp-service web.example.org:80"), Command::Delete(web));
    let mask = |mask| Some(Persistent { timeout: 360, mask: Some(mask) });
    let wanted = ServiceOptions { persistence: mask(Mask::Bits(0xffff_ff00)), ..options() };
    assert_eq!(parsed("-E -M 255.255.255.0 -t web.example.org:80 -p"), Command::Edit(web, wanted));
    let wanted = ServiceOptions { persistence: mask(Mask::Prefix(64)), ..options() };
    for line in ["-A -t [2001:db8::1]:0 -p -M 64", "-A -M 64 -p -t 2001:db8::1"] {
        assert_eq!(parsed(line), Command::Add(tcp("2001:db8::1", 0), wanted.clone()), "{line}");
    }
    let wanted = ServiceOptions { one_packet: true, scheduler: "sh".to_owned(), ..options() };
    let mark = VirtualService::Mark(7, true);
    assert_eq!(parsed("-A -f 7 -6 -os sh"), Command::Add(mark, wanted));
    assert_eq!(parsed("-Z -f 7 -6"), Command::Zero(Some(mark)));
    let dns = VirtualService::Address(Protocol::Udp, "198.18.0.100".parse().expect("an address"), 53);
    assert_eq!(parsed("-D -u 198.18.0.100:domain"), Command::Delete(dns));
}

#[test]
fn real_servers_are_understood() {
    let web = tcp("198.18.0.100", 80);
    let plain = ServerOptions {
        forward: Method::Gatewaying,
        weight: 1,
        upper: 0,
        lower: 0,
        tunnel: Tunnel::default(),
    };
    let real = server("198.19.1.11", None);
    assert_eq!(parsed("-a -t 198.18.0.100:80 -r 198.19.1.11"), Command::AddServer(web, real, plain));
    let wanted = ServerOptions { forward: Method::Masquerading, weight: 3, upper: 9, lower: 5, ..plain };
    let real = server("198.19.1.11", Some(8080));
    for line in [
        "-e -mw3 -x 9 -y5 -r real1:http-alt -t 198.18.0.100:80",
        "--edit-server --tcp-service=198.18.0.100:80 --u-threshold 9 -y 5 -w 3 -m --real-server 198.19.1.11:8080",
    ] {
        assert_eq!(parsed(line), Command::EditServer(web, real, wanted), "{line}");
    }
    let tunnel = Tunnel { kind: TunnelKind::Gue, port: Some(6080), checksum: Checksum::Yes };
    let wanted = ServerOptions { forward: Method::Ipip, tunnel, ..plain };
    let line = "-a -t 198.18.0.100:80 -r [2001:db8::9]:80 -i --tun-type gue --tun-port 6080 --tun-csum";
    assert_eq!(parsed(line), Command::AddServer(web, server("2001:db8::9", Some(80)), wanted));
    assert_eq!(parsed("-dt 198.18.0.100:80 -r 198.19.1.11:8080"), Command::DeleteServer(web, real));
}

#[test]
fn lists_are_understood() {
    let plain = Format::default();
    assert_eq!(parsed("-L"), Command::List(Listing::All, plain));
    let numeric = Format { numeric: true, ..plain };
    for line in ["-Ln", "-l -n", "--list --numeric", "-Ln --sort"] {
        assert_eq!(parsed(line), Command::List(Listing::All, numeric), "{line}");
    }
    let stats = Format { exact: true, unsorted: true, columns: Columns::Stats, ..numeric };
    let line = "-L --stats --rate -nX --nosort -t 198.18.0.100:80";
    assert_eq!(parsed(line), Command::List(Listing::One(tcp("198.18.0.100", 80)), stats));
    assert_eq!(parsed("-Lcn"), Command::List(Listing::Connections, numeric));
    assert_eq!(parsed("-L --timeout"), Command::List(Listing::Timeouts, plain));
    assert_eq!(parsed("-L --daemon"), Command::List(Listing::Daemons, plain));
    for (line, columns) in [
        ("-L --rate", Columns::Rate),
        ("-L --thresholds", Columns::Thresholds),
        ("-L --persistent-conn", Columns::PersistentConn),
        ("-L --tun-info", Columns::TunInfo),
    ] {
        let Command::List(Listing::All, format) = parsed(line) else { panic!("{line}") };
        assert_eq!(format.columns, columns, "{line}");
    }
    assert_eq!(parsed("-Sn"), Command::Save(numeric));
    assert_eq!(parsed("--set 900 0 300"), Command::SetTimeouts([900, 0, 300]));
}

#[test]
fn a_set_of_rules_is_read_with_its_line_numbers_and_refused_as_a_whole() {
    let text =
        "# a remark\n\n  -A -t 198.18.0.100:80 # web\nipvsadm -a -t \"198.18.0.100:80\" -r 198.19.1.11 -m\n";
    let commands = restored(text, "/sbin/ipvsadm", &names()).expect("good rules");
    assert_eq!(commands.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3, 4]);
    let refusal = restored("-A\n-Q\n-C\n-A -t x\n", "ipvsadm", &names()).expect_err("bad rules");
    assert_eq!(refusal.code, 2);
    let lines: Vec<&str> = refusal.text.lines().collect();
    assert_eq!(
        lines,
        [
            "error: standard input:1: You need to supply the 'service-address' option for the 'add-service' command",
            "error: standard input:2: Try `ipvsadm -h' or 'ipvsadm --help' for more information.",
            "error: standard input:4: illegal virtual server address[:port] specified",
            "error: standard input: nothing was changed: correct it",
        ]
    );
    assert_eq!(all(&[]), None);
}

#[test]
fn marks_stand_for_the_service_of_their_name() {
    let mut config = made("");
    let listens = ["198.18.0.100:80/tcp", "198.18.0.100:443/tcp"].map(|l| l.parse().expect("a listen"));
    let bundle = sheave_proto::config::Service::new(listens[0]);
    config.services.push(sheave_proto::config::Service {
        name: "fwm-7".to_owned(),
        listens: listens.to_vec(),
        ..bundle
    });
    let mut step = |line: &str| match run(&mut config, line) {
        Ok(()) => config.services[0].destinations.len().to_string(),
        Err(refusal) => refusal.text,
    };
    assert_eq!(step("-A -f 7 -s rr -p 60"), "0");
    assert_eq!(step("-a -f 7 -r 198.19.1.11:0 -m"), "1");
    assert_eq!(step("-a -f 7 -r 198.19.1.11 -m"), "Destination already exists");
    assert_eq!(step("-A -f 7"), "Service already exists");
    assert_eq!(step("-e -f 7 -r 198.19.1.11 -m -w 5"), "1");
    assert_eq!(step("-E -f 7 -s wlc"), "1");
    assert_eq!(step("-D -f 7"), "0");
    assert_eq!(step("-D -f 7"), "No such service");
    assert_eq!(step("-d -f 7 -r 198.19.1.11"), "No such destination");
    assert_eq!(step("-E -f 8"), "No such service");
    assert_eq!(
        step("-a -f 7 -6 -r 198.19.1.11 -m"),
        "Different address family is allowed only for tunneling servers"
    );
    assert_eq!(step("-A -f 7"), "0");
    assert_eq!(step("-a -f 7 -r 198.19.1.12 -g"), "1");
    assert_eq!(step("-C"), "0");
    let service = &config.services[0];
    assert_eq!((service.listens.len(), service.persistence), (2, None));
}

#[test]
fn a_bundle_of_another_name_is_not_removed_by_one_of_its_listens() {
    let mut config = made("-A -t 198.18.0.100:80\n");
    config.services[0].listens.push("198.18.0.100:443/tcp".parse().expect("a listen"));
    let refusal = run(&mut config, "-D -t 198.18.0.100:443").expect_err("it has two listens");
    assert_eq!(
        refusal.text,
        "error: service 198.18.0.100:80/tcp: it has 2 listens: \
         remove all of it with 'sheave service remove 198.18.0.100:80/tcp'"
    );
}
