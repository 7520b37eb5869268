//! FTP, curl with vsftpd in every mode, in both families, several transfers in a session: through NAT with its helper,
//! and without NAT by persistence, as LVS does it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use sheave_testbeds::Family::{V4, V6};
use sheave_testbeds::{Director, Family, Lab, Method, Options, Process, Service, servers};

/// Files of the long directory.
const MANY: usize = 2000;

struct Scene {
    director: Director,
    _servers: Vec<Process>,
    lab: Lab,
    _files: Files,
}

/// What the servers offer, where anonymous users can read it.
struct Files(PathBuf);

impl Drop for Files {
    fn drop(&mut self) {
        // What is left of it is in the way of nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Scenes of this process so far: each has its own files.
static SCENES: AtomicU32 = AtomicU32::new(0);

impl Files {
    fn new(family: Family) -> Files {
        let scene = SCENES.fetch_add(1, Ordering::Relaxed);
        let name = format!("/var/tmp/sheave-ftp-{}-{scene}-{family:?}", std::process::id());
        let files = Files(PathBuf::from(name));
        let long = files.0.join("long");
        fs::create_dir_all(&long).expect("directory");
        for n in 0..MANY {
            fs::write(long.join(format!("file-with-a-long-name-{n}")), "").expect("file");
        }
        for n in 1..=9 {
            fs::write(files.0.join(format!("f{n}")), text(n)).expect("file");
        }
        files
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

/// What is in file `n`: from nothing much to many segments.
fn text(n: usize) -> String {
    format!("file {n}\n").repeat(n * n * n * 100)
}

impl Scene {
    /// Through NAT.
    fn new(family: Family) -> Scene {
        Scene::with(family, Method::Nat, |lab| Director::start(lab, &[Service::ftp(lab)]).expect("director"))
    }

    /// Without NAT, as the recipe in docs/operations.md says.
    fn kept_together(family: Family, method: Method) -> Scene {
        Scene::with(family, method, |lab| {
            let director = Director::start(lab, &[]).expect("director");
            let listen = [21.to_string(), 20.to_string(), "1024-65535".to_owned()];
            let vip = lab.vip(21).to_string();
            let vip = vip.strip_suffix("21").expect("the port");
            let listen = listen.map(|ports| format!("\"{vip}{ports}/tcp\"")).join(", ");
            let mut text = director.config_text(&[]).expect("text");
            text += &format!(
                "[[service]]\nlisten = [{listen}]\nname = \"ftp\"\nforward = \"{}\"\nscheduler = \"rr\"\n\
                 persistence = {{ timeout = \"6m\" }}\nsloppy = true\n",
                method.name()
            );
            for real in &lab.reals {
                text += &format!("[[service.destination]]\naddress = \"{}\"\n", real.at(21).ip());
            }
            let file = lab.file("ftp.toml");
            fs::write(&file, text).expect("written");
            director.sheave(&["apply", file.to_str().expect("UTF-8")]).expect("applied");
            director
        })
    }

    fn with(family: Family, method: Method, start: impl FnOnce(&Lab) -> Director) -> Scene {
        let files = Files::new(family);
        let options = Options { clients: family, servers: family, ..Options::default() };
        let lab = Lab::with(options).expect("lab");
        lab.prepare(method).expect("real servers");
        let servers = servers::start_ftp(&lab, files.path()).expect("vsftpd");
        let director = start(&lab);
        Scene { director, _servers: servers, lab, _files: files }
    }

    /// Fetches these in one session, and gives all that came.
    fn curl(&self, mode: &[&str], paths: &[String]) -> String {
        let urls: Vec<String> =
            paths.iter().map(|path| format!("ftp://{}/{path}", self.lab.vip(21))).collect();
        let usual = ["curl", "--silent", "--show-error", "--fail", "--globoff", "--max-time", "30"];
        let command: Vec<&str> =
            usual.into_iter().chain(mode.iter().copied()).chain(urls.iter().map(String::as_str)).collect();
        self.lab.client.exec(&command).unwrap_or_else(|error| {
            panic!("{mode:?}: {error}\n{}", self.director.sheave(&["counters"]).unwrap_or_default())
        })
    }

    fn all(&self, mode: &[&str]) {
        // Each session goes to the next server, unless its client is kept.
        for _ in &self.lab.reals {
            let list = self.curl(mode, &["long/".to_owned()]);
            assert_eq!(list.lines().count(), MANY, "{mode:?}");
            let paths: Vec<String> = (1..=9).map(|n| format!("f{n}")).collect();
            let expected: String = (1..=9).map(text).collect();
            assert!(self.curl(mode, &paths) == expected, "{mode:?}");
        }
    }
}

#[test]
fn every_mode_of_ipv4() {
    let scene = Scene::new(V4);
    // The address that a 227 names is believed, so that it must be the VIP.
    MODES_V4.into_iter().for_each(|mode| scene.all(mode));
}

#[test]
fn every_mode_of_ipv6() {
    let scene = Scene::new(V6);
    MODES_V6.into_iter().for_each(|mode| scene.all(mode));
}

/// What every mode of a family is for curl.
const MODES_V4: [&[&str]; 4] = [
    &["--disable-epsv", "--no-ftp-skip-pasv-ip"],
    &[],
    &["--ftp-port", "-", "--disable-eprt"],
    &["--ftp-port", "-"],
];
const MODES_V6: [&[&str]; 2] = [&[], &["--ftp-port", "-"]];

#[test]
fn every_mode_of_ipv4_by_tunnelling() {
    let scene = Scene::kept_together(V4, Method::Tun);
    MODES_V4.into_iter().for_each(|mode| scene.all(mode));
}

#[test]
fn every_mode_of_ipv6_by_direct_routing() {
    let scene = Scene::kept_together(V6, Method::Dr);
    MODES_V6.into_iter().for_each(|mode| scene.all(mode));
}

/// The rules of a director that had IPVS: port 21 with persistence is all that they say. Three clients, a server each.
#[test]
fn every_mode_of_ipv4_by_direct_routing_with_rules_of_ipvsadm() {
    let scene = Scene::with(V4, Method::Dr, |lab| {
        let director = Director::start(lab, &[]).expect("director");
        let ipvsadm = |line: &str| {
            let mut command = Command::new(director.program("sheave-ipvsadm"));
            let output = command.args(line.split(' ')).env("SHEAVE_SOCKET", director.socket()).output();
            assert!(output.as_ref().is_ok_and(|output| output.status.success()), "{line}: {output:?}");
        };
        ipvsadm("-A -t 198.18.0.100:21 -s rr -p 540");
        for real in &lab.reals {
            ipvsadm(&format!("-a -t 198.18.0.100:21 -r {}:21 -g", real.ip));
        }
        director
    });
    for number in [3, 4] {
        scene.lab.client.ip(&format!("addr add 198.18.0.{number}/24 dev c0")).expect("address");
    }
    for client in ["198.18.0.2", "198.18.0.3", "198.18.0.4"] {
        for mode in MODES_V4 {
            // Active mode names the address that it is to come to.
            let port = mode.iter().map(|word| if *word == "-" { client } else { word });
            let mode: Vec<&str> = port.chain(["--interface", client]).collect();
            let paths: Vec<String> = (1..=9).map(|n| format!("f{n}")).collect();
            let expected: String = (1..=9).map(text).collect();
            assert!(scene.curl(&mode, &paths) == expected, "{mode:?}");
        }
    }
    let templates = scene.director.json(&["sticky", "list"]).expect("templates");
    let mut servers: Vec<&str> = templates["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .filter_map(|e| e["destination"].as_str())
        .collect();
    servers.sort_unstable();
    servers.dedup();
    assert_eq!(servers.len(), 3, "{templates:#}");
}

/// What the helper made of commands and replies is counted.
#[test]
fn commands_are_counted() {
    let scene = Scene::new(V4);
    scene.curl(&["--disable-epsv"], &["f1".to_owned(), "f2".to_owned()]);
    let counters = scene.director.json(&["counters"]).expect("counters");
    let value = |name: &str| {
        let counters = counters["counters"].as_array().expect("counters").iter();
        counters.filter(|c| c["name"] == name).map(|c| c["value"].as_u64().expect("number")).sum::<u64>()
    };
    assert_eq!(value("helper-followed"), 2);
    assert_eq!(value("helper-foreign") + value("helper-malformed") + value("helper-split"), 0);
}
