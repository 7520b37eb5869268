//! Names of hosts and of ports.
//!
//! Names that are typed are looked up as the system does it. Names that are printed come from the system's files
//! alone: a listing never waits for a name server.

use super::command::Protocol;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};

/// Who knows names.
pub(crate) trait Names {
    /// The IPv4 address of a host.
    fn address(&self, host: &str) -> Option<Ipv4Addr>;
    /// The port of a service.
    fn port(&self, service: &str, protocol: Protocol) -> Option<u16>;
    /// The name of an address.
    fn host(&self, address: IpAddr) -> Option<&str>;
    /// The name of a port.
    fn service(&self, port: u16, protocol: Protocol) -> Option<&str>;
}

/// The names that the system knows.
#[derive(Debug, Default)]
pub(crate) struct SystemNames {
    files: FileNames,
}

/// The names in two texts, of the form of `/etc/hosts` and of `/etc/services`.
#[derive(Debug, Default)]
pub(crate) struct FileNames {
    hosts: HashMap<IpAddr, String>,
    ports: HashMap<(String, String), u16>,
    services: HashMap<(u16, String), String>,
}

impl FileNames {
    /// Reads both; what is not of the form is left out.
    pub(crate) fn new(hosts: &str, services: &str) -> FileNames {
        let mut names = FileNames::default();
        for words in lines(hosts) {
            if let (Some(Ok(address)), Some(name)) = (words.first().map(|a| a.parse()), words.get(1)) {
                names.hosts.entry(address).or_insert_with(|| (*name).to_owned());
            }
        }
        for words in lines(services) {
            let Some((port, protocol)) = words.get(1).and_then(|place| place.split_once('/')) else {
                continue;
            };
            let Ok(port) = port.parse::<u16>() else { continue };
            let aliases = words.iter().enumerate().filter(|(at, _)| *at != 1).map(|(_, name)| *name);
            for name in aliases {
                names.ports.entry((name.to_owned(), protocol.to_owned())).or_insert(port);
                names.services.entry((port, protocol.to_owned())).or_insert_with(|| name.to_owned());
            }
        }
        names
    }
}

/// The words of each line, without remarks.
fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split('#').next().unwrap_or_default().split_whitespace().collect())
}

impl Names for FileNames {
    fn address(&self, host: &str) -> Option<Ipv4Addr> {
        let named = self.hosts.iter().filter(|(_, name)| *name == host);
        named.filter_map(|(address, _)| ipv4(*address)).min()
    }

    fn port(&self, service: &str, protocol: Protocol) -> Option<u16> {
        self.ports.get(&(service.to_owned(), protocol.name().to_owned())).copied()
    }

    fn host(&self, address: IpAddr) -> Option<&str> {
        self.hosts.get(&address).map(String::as_str)
    }

    fn service(&self, port: u16, protocol: Protocol) -> Option<&str> {
        self.services.get(&(port, protocol.name().to_owned())).map(String::as_str)
    }
}

fn ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

impl SystemNames {
    /// Reads the system's files; those that are not there name nothing.
    pub(crate) fn read() -> SystemNames {
        let text = |file| std::fs::read_to_string(file).unwrap_or_default();
        SystemNames { files: FileNames::new(&text("/etc/hosts"), &text("/etc/services")) }
    }
}

impl Names for SystemNames {
    fn address(&self, host: &str) -> Option<Ipv4Addr> {
        let found = (!host.is_empty()).then(|| (host, 0).to_socket_addrs().ok())??;
        found.map(|place| place.ip()).find_map(ipv4)
    }

    fn port(&self, service: &str, protocol: Protocol) -> Option<u16> {
        self.files.port(service, protocol)
    }

    fn host(&self, address: IpAddr) -> Option<&str> {
        self.files.host(address)
    }

    fn service(&self, port: u16, protocol: Protocol) -> Option<&str> {
        self.files.service(port, protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_a_file_wins_and_aliases_are_known() {
        let hosts =
            "127.0.0.1 localhost\n# 198.18.0.1 no\n198.18.0.1\tweb www # the web\n198.18.0.1 other\nx y\n";
        let services =
            "http 80/tcp www # web\nhttps 443/tcp\nhttps\t443/udp\ndomain 53/udp\nbad x/tcp\nworse\n";
        let names = FileNames::new(hosts, services);
        let web = Ipv4Addr::new(198, 18, 0, 1);
        assert_eq!((names.host(web.into()), names.address("web")), (Some("web"), Some(web)));
        assert_eq!(names.address("nosuch"), None);
        assert_eq!(names.port("www", Protocol::Tcp), Some(80));
        assert_eq!(names.port("domain", Protocol::Tcp), None);
        assert_eq!(names.service(80, Protocol::Tcp), Some("http"));
        assert_eq!(names.service(443, Protocol::Udp), Some("https"));
        assert_eq!(names.service(80, Protocol::Udp), None);
    }
}
