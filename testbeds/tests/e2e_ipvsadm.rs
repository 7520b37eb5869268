//! The drop-in for ipvsadm on a running director: scripts of the field from their first line to their last, unchanged;
//! real traffic in its tables; sets that are restored as a whole or not at all.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use regex::Regex;
use sheave_testbeds::http::{After, HttpConn};
use sheave_testbeds::load::Load;
use sheave_testbeds::{Bed, Director, Lab, Method, Options, addr, http};

/// Scripts, with what they cannot do here.
const SCRIPTS: [(&str, &[&str]); 8] = [
    ("nat.sh", &[]),
    ("dr.sh", &[]),
    ("tun.sh", &["remote checksum offload"]),
    ("fwmark.sh", &[]),
    ("ftp.sh", &[]),
    ("life.sh", &["No such destination"]),
    ("ipv6.sh", &[]),
    ("options.sh", &[]),
];

/// A director without a service, and a place where `ipvsadm` is ours.
struct Scene {
    director: Director,
    lab: Lab,
    /// Programs that scripts find before the system's.
    stand_ins: PathBuf,
    /// What lies over /usr/sbin, so that /sbin/ipvsadm is ours too.
    over: PathBuf,
}

struct Ran {
    out: String,
    err: String,
    code: Option<i32>,
}

fn ran(output: Output) -> Ran {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ran { out: text(output.stdout), err: text(output.stderr), code: output.status.code() }
}

fn with_input(command: &mut Command, input: &str) -> Ran {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("started");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("read");
    ran(child.wait_with_output().expect("ended"))
}

impl Scene {
    fn new() -> Scene {
        Scene::over(Lab::with(Options { reals: 1, ..Options::default() }).expect("lab"), |lab| {
            Director::start(lab, &[]).expect("director")
        })
    }

    fn over(lab: Lab, director: impl FnOnce(&Lab) -> Director) -> Scene {
        let director = director(&lab);
        let (stand_ins, over) = (lab.file("stand-ins"), lab.file("sbin"));
        for directory in [&stand_ins, &over] {
            fs::create_dir_all(directory).expect("directory");
            symlink(director.program("sheave-ipvsadm"), directory.join("ipvsadm")).expect("link");
        }
        for (name, text) in [
            ("iptables", "exit 0"),
            ("modprobe", "exit 0"),
            ("ip", "exit 0"),
            ("sleep", "exit 0"),
            ("sudo", "exec \"$@\""),
        ] {
            let file = stand_ins.join(name);
            fs::write(&file, format!("#!/bin/sh\n{text}\n")).expect("written");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a program");
        }
        Scene { director, lab, stand_ins, over }
    }

    /// Runs our ipvsadm under that name.
    fn ipvsadm(&self, line: &str) -> Ran {
        self.ipvsadm_reading(line, "")
    }

    fn ipvsadm_reading(&self, line: &str, input: &str) -> Ran {
        let mut command = Command::new(self.stand_ins.join("ipvsadm"));
        with_input(command.args(line.split_whitespace()).env("SHEAVE_SOCKET", self.director.socket()), input)
    }

    /// The same, which must work and say nothing beside what it prints.
    fn prints(&self, line: &str) -> String {
        let Ran { out, err, code } = self.ipvsadm(line);
        assert_eq!((code, err.as_str()), (Some(0), ""), "ipvsadm {line}");
        out
    }

    /// Runs a script where every `ipvsadm` is ours and nothing that it writes stays.
    fn script(&self, script: &Path) -> Ran {
        let layers = self.lab.file("etc");
        let (over, layers, stand_ins) = (self.over.display(), layers.display(), self.stand_ins.display());
        let prepare = format!(
            "mkdir -p {layers} && mount -t tmpfs sheave {layers} && mkdir {layers}/upper {layers}/work &&
             mount -t overlay sheave -o lowerdir={over}:/usr/sbin /usr/sbin &&
             mount -t overlay sheave -o lowerdir=/etc,upperdir={layers}/upper,workdir={layers}/work /etc || exit 99
             export PATH={stand_ins}:$PATH
             exec bash \"$1\""
        );
        let script = script.to_str().expect("UTF-8");
        let words =
            ["netns", "exec", self.lab.client.name(), "unshare", "-m", "bash", "-c", &prepare, "-", script];
        with_input(Command::new("ip").args(words).env("SHEAVE_SOCKET", self.director.socket()), "")
    }
}

fn scripts() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().expect("the workspace").join("control/cli/src/ipvsadm/tests/scripts")
}

/// Marks are the names of bundles, which the configuration has: what the firewall's rules are elsewhere.
const MARKS: &str = "
[[service]]
name = \"fwm-1\"
listen = [\"198.18.0.110:80/tcp\", \"198.18.0.110:443/tcp\"]
[[service]]
name = \"fwm-2\"
listen = [\"[2001:2::110]:80/tcp\", \"[2001:2::110]:443/tcp\"]
";

/// The set that scripts leave, saved, cleared and restored, is the same; every line of the list is one that programs
/// know.
#[test]
fn scripts_of_the_field_run_unchanged_and_their_sets_go_round() {
    let scene = Scene::new();
    let line = r"^(?:(?:TCP|UDP)  \S+:\d+|FWM  \d+(?: IPv6)?) \w+(?: \([\w,-]+\))?(?: persistent \d+(?: mask \S+)?)?(?: ops)?$";
    let service = Regex::new(line).expect("pattern");
    let real = Regex::new(r"^  -> (\S+):(\d+)\s+(Masq|Route|Tunnel|Local)\s+(\d+)\s+(\d+)\s+(\d+)\s*$")
        .expect("pattern");
    for (name, refused) in SCRIPTS {
        scene.prints("-C");
        if name == "fwmark.sh" {
            let text = scene.director.config_text(&[]).expect("text") + MARKS;
            let file = scene.lab.file("marks.toml");
            fs::write(&file, text).expect("written");
            scene.director.sheave(&["apply", file.to_str().expect("UTF-8")]).expect("applied");
        }
        let Ran { err, code, .. } = scene.script(&scripts().join(name));
        assert_eq!(code, Some(0), "{name}: {err}");
        let lines: Vec<&str> = err.lines().collect();
        assert_eq!(lines.len(), refused.len(), "{name}: {err}");
        assert!(lines.iter().zip(refused).all(|(line, why)| line.contains(why)), "{name}: {err}");

        let listed = scene.prints("-L -n");
        assert!(listed.lines().count() > 4, "{name}: {listed}");
        for line in listed.lines().skip(3) {
            assert!(service.is_match(line) || real.is_match(line), "{name}: {line:?}");
        }
        let saved = scene.prints("-S -n");
        scene.prints("-C");
        // Marks stay, with nothing behind them: their listens are the configuration's.
        let left = scene.prints("-S -n");
        assert!(left.lines().all(|line| line.starts_with("-A -f ")), "{name}: {left}");
        let restored = scene.ipvsadm_reading("-R", &saved);
        assert_eq!((restored.code, restored.err.as_str()), (Some(0), ""), "{name}");
        assert_eq!(scene.prints("-S -n"), saved, "{name}");
        assert_eq!(scene.prints("-L -n"), listed, "{name}");
    }
    scene.prints("-C");
    let saved = fs::read_to_string(scripts().join("saved.rules")).expect("rules");
    let restored = scene.ipvsadm_reading("--restore", &saved);
    assert_eq!((restored.code, restored.err.as_str()), (Some(0), ""));
    let sorted = |text: &str| {
        // Marks of the scripts before stay, see above.
        let lines = text.lines().filter(|line| !line.starts_with("-A -f "));
        let mut lines: Vec<String> = lines.map(|line| line.replace(" --tun-type ipip", "")).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&scene.prints("--save --numeric")), sorted(&saved));
}

/// The columns of a line after its name.
fn columns(text: &str, name: &str) -> Vec<String> {
    let line = text.lines().find(|line| line.split_whitespace().any(|word| word == name));
    let line = line.unwrap_or_else(|| panic!("no {name} in\n{text}"));
    line.split_whitespace().skip_while(|word| *word != name).skip(1).map(str::to_owned).collect()
}

#[test]
fn tables_show_real_traffic() {
    let lab = Lab::new().expect("lab");
    lab.prepare(Method::Nat).expect("real servers");
    let _nginx = sheave_testbeds::servers::start_nginx(&lab).expect("nginx");
    let scene = Scene::over(lab, |lab| Director::start(lab, &[]).expect("director"));
    let vip = format!("{}:80", addr::VIP);
    let real = |number| format!("{}:8080", addr::real(number));
    scene.prints(&format!("-A -t {vip} -s rr -p 300"));
    for number in 1..=3 {
        scene.prints(&format!("-a -t {vip} -r {} -m -x 100 -y 50", real(number)));
    }
    let mut kept = HttpConn::open(&scene.lab.client, scene.lab.vip(80)).expect("connection");
    let server = kept.ask(After::KeepAlive).expect("answer");
    for _ in 0..5 {
        assert_eq!(
            http::ask_once(&scene.lab.client, scene.lab.vip(80)).expect("answer"),
            server,
            "persistent"
        );
    }
    let its = real(server[1..].parse().expect("rN"));

    let listed = columns(&scene.prints("-Ln"), &its);
    assert_eq!(listed, ["Masq", "1", "1", "5"]);
    assert_eq!(columns(&scene.prints("-Ln --persistent-conn"), &its), ["1", "1", "1", "5"]);
    assert_eq!(columns(&scene.prints("-Ln --thresholds"), &its), ["100", "50", "1", "5"]);
    let stats = columns(&scene.prints("-Ln --stats --exact"), &its);
    assert_eq!((stats.len(), stats[0].as_str()), (5, "6"));
    assert!(stats.iter().skip(1).all(|number| number.parse::<u64>().is_ok_and(|n| n > 20)), "{stats:?}");
    assert_eq!(columns(&scene.prints("-Ln --rate"), &its).len(), 5);
    assert_eq!(scene.prints("-L --timeout"), "Timeout (tcp tcpfin udp): 900 120 300\n");
    scene.prints("--set 1000 100 0");
    assert_eq!(scene.prints("-L --timeout"), "Timeout (tcp tcpfin udp): 1000 100 300\n");

    let connections = scene.prints("-Lnc");
    let entry = Regex::new(
        r"(?m)^TCP (\d\d):(\d\d)  (ESTABLISHED|TIME_WAIT|FIN_WAIT|CLOSE) +198\.18\.0\.2:(\d+) +198\.18\.0\.100:80 +(\S+):8080$",
    );
    let entry = entry.expect("pattern");
    assert_eq!(entry.captures_iter(&connections).count(), 6, "{connections}");
    let template = Regex::new(r"(?m)^TCP 0[45]:\d\d  NONE +198\.18\.0\.2:0 +198\.18\.0\.100:80 +(\S+):8080$");
    assert!(template.expect("pattern").is_match(&connections), "{connections}");

    // Counted anew; what the director itself tells goes on.
    scene.prints("-Z");
    let zero = columns(&scene.prints("-Ln --stats --exact"), &its);
    assert_eq!(zero, ["0", "0", "0", "0", "0"]);
    kept.ask(After::KeepAlive).expect("answer");
    let few = columns(&scene.prints("-Ln --stats --exact"), &its);
    assert!(few[0] == "0" && few[1] != "0", "{few:?}");
    let totals = scene.director.json(&["stats"]).expect("stats");
    assert_eq!(totals["services"][0]["stats"]["totals"]["conns"], 6);
}

/// `-C` and all that follows take effect at one moment, or nothing does.
#[test]
fn a_set_is_restored_as_a_whole_under_load() {
    let bed = Bed::start(Method::Nat).expect("bed");
    let Bed { director, echoes: _echoes, nginx: _nginx, lab } = bed;
    let scene = Scene::over(lab, |_| director);
    let load = Load::close(scene.lab.vip(80)).start(&scene.lab.client);
    load.wait_server("r3", 20).expect("all three answer");
    // Their names are what rules cannot say.
    let saved = scene.ipvsadm("-S -n").out;
    const REMOVALS: u64 = 3;
    let third = format!("-r {}:8080", addr::real(3));
    let without: String =
        saved.lines().filter(|line| !line.contains(&third)).map(|line| format!("{line}\n")).collect();
    for _ in 0..REMOVALS {
        let restored = scene.ipvsadm_reading("-R", &format!("-C\n{without}"));
        assert_eq!((restored.code, restored.err.as_str()), (Some(0), ""));
        load.wait_without("r3", 100).expect("it is out");
        assert_eq!(scene.prints("-S -n"), without);
        let restored = scene.ipvsadm_reading("-R", &format!("-C\n{saved}"));
        assert_eq!(restored.code, Some(0), "{}", restored.err);
        load.wait_server("r3", 20).expect("it is back");
    }
    let bad = format!(
        "-C\n{without}-a -t 198.18.0.100:80 -r 198.19.1.99:80 -m -w 3000000000\n-A -t 198.18.0.9:80 -s none\n"
    );
    let refused = scene.ipvsadm_reading("-R", &bad);
    assert_eq!(refused.code, Some(2), "{}", refused.err);
    assert!(refused.err.contains("nothing was changed"), "{}", refused.err);
    assert_eq!(scene.prints("-S -n"), saved);
    // A request that is under way to the server that goes is reset; nobody else's.
    let tally = load.finish();
    assert!(tally.failed <= REMOVALS, "{:#?}", tally.failures);
    assert!(tally.failures.iter().all(|f| f.what.contains("reset by peer")), "{:#?}", tally.failures);
}

/// What cannot be is refused, with what to do instead where ipvsadm itself has no words for it.
#[test]
fn bad_values_are_refused() {
    let scene = Scene::new();
    scene.prints("-A -t 198.18.0.9:80 -s mh");
    scene.prints("-a -t 198.18.0.9:80 -r 198.19.1.1:8080 -m");
    let before = scene.prints("-S -n");
    for (line, code, said) in [
        ("-A -t 198.18.0.9:80", 255, "Service already exists"),
        ("-a -t 198.18.0.9:80 -r 198.19.1.1:8080 -m", 255, "Destination already exists"),
        ("-a -t 198.18.0.7:80 -r 198.19.1.1:8080 -m", 255, "Service not defined"),
        ("-d -t 198.18.0.9:80 -r 198.19.1.2", 255, "No such destination"),
        ("-D -t 198.18.0.7:80", 255, "No such service"),
        ("-A -t 198.18.0.8:0", 2, "Zero port specified for non-persistent service"),
        ("-A -t 198.18.0.8:80 -s none", 255, "Scheduler or persistence engine not found"),
        ("-A -t 198.18.0.8:80 -p 43201", 2, "write one from"),
        (
            "-A -t 198.18.0.8:80 -p 60 -M 255.0.255.0",
            2,
            "it has a gap: write one whose set bits all come first",
        ),
        ("-A -t 198.18.0.8:80 -s rr -b sh-port", 2, "sh-port"),
        ("-A -f 3 -s rr", 2, "packets have no firewall marks here: name its listens in the configuration"),
        ("-A -t 198.18.0.8:80 --pe sip", 2, "leave --pe out"),
        ("-A --sctp-service 198.18.0.8:80", 2, "SCTP is not forwarded: use -t or -u"),
        ("-a -t 198.18.0.9:80 -r 198.19.1.3 -m -w 2147483648", 2, "weight"),
        ("-a -t 198.18.0.9:80 -r 198.19.1.3 -m -w -1", 2, "weight"),
        (
            "-a -t 198.18.0.9:80 -r 198.19.1.3 -m -x 10 -y 20",
            2,
            "lower-threshold 20 is above upper-threshold 10",
        ),
        (
            "-a -t 198.18.0.9:80 -r 2001:db8::1 -m",
            2,
            "Different address family is allowed only for tunneling servers",
        ),
        (
            "-a -t 198.18.0.9:80 -r 198.19.1.3 -i --tun-type gue --tun-port 6080 --tun-remcsum",
            2,
            "use --tun-csum",
        ),
        ("--set 43201 0 0", 2, "write one from"),
        ("--start-daemon master --mcast-interface eth0", 2, "give directors the same configuration"),
    ] {
        let Ran { out, err, code: got } = scene.ipvsadm(line);
        assert_eq!((got, out.as_str()), (Some(code), ""), "ipvsadm {line}: {err}");
        assert!(err.contains(said), "ipvsadm {line}: {err}");
        assert_eq!(scene.prints("-S -n"), before, "ipvsadm {line}");
    }
}
