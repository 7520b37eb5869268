//! Which interfaces are to be served. Pure.

use crate::netlink::{Link, View};
use sheave_io::{ModeWish, PASS_DEVICE_PREFIX};
use sheave_proto::config::{Config, Mode};

/// Kinds of virtual devices that are served only when named: frames reach them through another device, or the other
/// way round, and steering them in both places would take them twice.
const ONLY_NAMED: [&str; 8] = ["bridge", "bond", "team", "macvlan", "macvtap", "ipvlan", "tun", "ifb"];

/// An interface that is to be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) wish: ModeWish,
    pub(crate) rx_queues: u32,
    /// The core whose worker serves queue i is the one at i, counted round; any when there are none.
    pub(crate) queue_cores: Vec<u16>,
}

impl Wanted {
    /// The core whose worker is to serve a queue, if that is said.
    pub(crate) fn core_of(&self, queue: u32) -> Option<u16> {
        let count = u32::try_from(self.queue_cores.len()).ok()?;
        let at = queue.checked_rem(count)?;
        self.queue_cores.get(usize::try_from(at).ok()?).copied()
    }
}

/// An interface that was to be served and cannot be, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unusable {
    pub(crate) name: String,
    pub(crate) why: &'static str,
}

/// Sorts the kernel's interfaces by what the configuration wants of them.
pub(crate) fn select(view: &View, config: &Config) -> (Vec<Wanted>, Vec<Unusable>) {
    if config.interfaces.is_empty() {
        let wanted = view
            .links
            .values()
            .filter(|link| unnamed(link))
            .map(|link| want(link, Mode::Auto, &[]))
            .collect();
        return (wanted, Vec::new());
    }
    let (mut wanted, mut unusable) = (Vec::new(), Vec::new());
    for declared in &config.interfaces {
        let link = view.link(&declared.name);
        match link.map_or(Err("there is no such interface"), usable) {
            Ok(link) => wanted.push(want(link, declared.mode, &declared.queue_cores)),
            Err(why) => unusable.push(Unusable { name: declared.name.clone(), why }),
        }
    }
    (wanted, unusable)
}

/// With none named, the Ethernet interfaces that are not served, and why: for whoever misses one.
pub(crate) fn left_out<'a>(
    view: &'a View,
    config: &'a Config,
) -> impl Iterator<Item = (&'a Link, &'static str)> {
    view.links.values().filter_map(|link| Some((link, why_left_out(link, config)?)))
}

fn why_left_out(link: &Link, config: &Config) -> Option<&'static str> {
    let ours = link.name.starts_with(PASS_DEVICE_PREFIX);
    if !config.interfaces.is_empty() || link.loopback || !link.ethernet || ours {
        return None;
    }
    match usable(link) {
        Err(why) => Some(why),
        Ok(_) if link.enslaved => Some("it is a port of another interface: name it to serve it"),
        Ok(_) => (!unnamed(link)).then_some("its kind is served only when named"),
    }
}

fn want(link: &Link, mode: Mode, queue_cores: &[u16]) -> Wanted {
    let wish = match mode {
        Mode::Auto => ModeWish::Auto,
        Mode::ZeroCopy => ModeWish::ZeroCopy,
        Mode::Copy => ModeWish::Copy,
        Mode::Generic => ModeWish::Generic,
    };
    Wanted {
        name: link.name.clone(),
        index: link.index,
        wish,
        rx_queues: link.rx_queues,
        queue_cores: queue_cores.to_vec(),
    }
}

/// Whether an interface that was named can be served now.
fn usable(link: &Link) -> Result<&Link, &'static str> {
    match link {
        Link { loopback: true, .. } => Err("it is the loopback interface"),
        Link { ethernet: false, .. } | Link { mac: None, .. } => Err("it is not an Ethernet interface"),
        Link { up: false, .. } => Err("it is down"),
        link if link.name.starts_with(PASS_DEVICE_PREFIX) => Err("it is a device of the director's own"),
        link => Ok(link),
    }
}

/// Whether an interface is served when none is named.
fn unnamed(link: &Link) -> bool {
    let kind = link.kind.as_deref().unwrap_or("");
    usable(link).is_ok() && !link.enslaved && !ONLY_NAMED.contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Fact;
    use sheave_proto::config::Interface;
    use sheave_proto::wire::eth::Mac;

    fn link(index: u32, name: &str, kind: Option<&str>) -> Link {
        Link {
            index,
            name: name.into(),
            mac: Some(Mac([2, 0, 0, 0, 0, 1])),
            mtu: 1500,
            up: true,
            carrier: true,
            ethernet: true,
            loopback: false,
            enslaved: false,
            kind: kind.map(str::to_owned),
            rx_queues: 1,
        }
    }

    fn view(links: Vec<Link>) -> View {
        let mut view = View::default();
        for link in links {
            view.learn(Fact::Link(link));
        }
        view
    }

    fn names(wanted: &[Wanted]) -> Vec<&str> {
        wanted.iter().map(|w| w.name.as_str()).collect()
    }

    #[test]
    fn with_none_named_every_plain_ethernet_interface_is_served() {
        let view = view(vec![
            Link { loopback: true, ..link(1, "lo", None) },
            link(2, "eth0", None),
            link(3, "d0", Some("veth")),
            Link { up: false, ..link(4, "d1", Some("veth")) },
            Link { enslaved: true, ..link(5, "p0", Some("veth")) },
            link(6, "br0", Some("bridge")),
            link(7, "tap0", Some("tun")),
            link(8, "mv0", Some("macvlan")),
            link(9, "bond0", Some("bond")),
            Link { ethernet: false, ..link(10, "wg0", Some("wireguard")) },
        ]);
        let (wanted, unusable) = select(&view, &Config::default());
        assert_eq!((names(&wanted), unusable), (vec!["eth0", "d0"], vec![]));
        let config = Config::default();
        let left_out: Vec<_> =
            left_out(&view, &config).map(|(link, why)| (link.name.as_str(), why)).collect();
        let kind = "its kind is served only when named";
        assert_eq!(
            left_out,
            [
                ("d1", "it is down"),
                ("p0", "it is a port of another interface: name it to serve it"),
                ("br0", kind),
                ("tap0", kind),
                ("mv0", kind),
                ("bond0", kind),
            ]
        );
    }

    #[test]
    fn a_named_one_is_served_whatever_its_kind_and_the_others_are_explained() {
        let view = view(vec![
            link(6, "br0", Some("bridge")),
            Link { up: false, ..link(4, "d1", None) },
            link(9, "shv-p0", Some("tun")),
        ]);
        let interfaces = ["br0", "d1", "d9", "shv-p0"].map(Interface::named).into_iter().collect();
        let (wanted, unusable) = select(&view, &Config { interfaces, ..Config::default() });
        assert_eq!(names(&wanted), ["br0"]);
        let why: Vec<_> = unusable.iter().map(|u| (u.name.as_str(), u.why)).collect();
        assert_eq!(
            why,
            [
                ("d1", "it is down"),
                ("d9", "there is no such interface"),
                ("shv-p0", "it is a device of the director's own")
            ]
        );
    }
    #[test]
    fn queues_go_round_the_cores_that_are_named() {
        let view = view(vec![link(4, "d1", None)]);
        let cores = |queue_cores: &[u16]| {
            let interface = Interface { queue_cores: queue_cores.to_vec(), ..Interface::named("d1") };
            let (wanted, _) = select(&view, &Config { interfaces: vec![interface], ..Config::default() });
            (0..4).map(|queue| wanted[0].core_of(queue)).collect::<Vec<_>>()
        };
        assert_eq!(cores(&[]), [None; 4]);
        assert_eq!(cores(&[3]), [Some(3); 4]);
        assert_eq!(cores(&[2, 1, 2]), [Some(2), Some(1), Some(2), Some(2)]);
    }
}
