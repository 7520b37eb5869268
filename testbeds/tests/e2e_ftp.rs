//! FTP through NAT with its helper: curl talks to vsftpd in every mode, in both families, several transfers in a
//! session.

use std::fs;
use std::path::{Path, PathBuf};

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

impl Files {
    fn new(family: Family) -> Files {
        let files = Files(PathBuf::from(format!("/var/tmp/sheave-ftp-{}-{family:?}", std::process::id())));
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
    fn new(family: Family) -> Scene {
        let files = Files::new(family);
        let options = Options { clients: family, servers: family, ..Options::default() };
        let lab = Lab::with(options).expect("lab");
        lab.prepare(Method::Nat).expect("real servers");
        let servers = servers::start_ftp(&lab, files.path()).expect("vsftpd");
        let director = Director::start(&lab, &[Service::ftp(&lab)]).expect("director");
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
        // Each session goes to the next server.
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
    scene.all(&["--disable-epsv", "--no-ftp-skip-pasv-ip"]);
    scene.all(&[]);
    scene.all(&["--ftp-port", "-", "--disable-eprt"]);
    scene.all(&["--ftp-port", "-"]);
}

#[test]
fn every_mode_of_ipv6() {
    let scene = Scene::new(V6);
    scene.all(&[]);
    scene.all(&["--ftp-port", "-"]);
}
