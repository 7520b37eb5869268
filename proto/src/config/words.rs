//! The small vocabularies of the configuration: each word is spelled once, here.
//!
//! A vocabulary is an enum whose `FromStr`, `Display` and serde forms come from one table, so that the file,
//! the control API and what is printed cannot drift apart. An unknown word is refused with the list of the
//! known ones.

use super::value::ValueError;

/// Declares an enum whose variants are words of the configuration.
macro_rules! vocabulary {
    ($(#[$meta:meta])* $name:ident, $what:literal {
        $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$vmeta])* $variant),+
        }

        impl $name {
            /// Every word, in the order in which help texts list them.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The word as the configuration spells it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $word),+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::config::ValueError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let known = $name::ALL.iter().copied();
                known.clone().find(|w| w.as_str() == text).ok_or_else(|| {
                    let list: Vec<&str> = known.map($name::as_str).collect();
                    $crate::config::unknown_word($what, text, &list)
                })
            }
        }

        $crate::config::serde_as_string!($name);
    };
}
pub(crate) use vocabulary;

/// The error of a word that its vocabulary does not hold.
pub(crate) fn unknown_word(what: &str, text: &str, known: &[&str]) -> ValueError {
    let list = known.join(", ");
    ValueError::new(
        format!("{what} {} is not known", super::value::quote(text)),
        format!("use one of {list}"),
    )
}

vocabulary! {
    /// How a destination is chosen for a new connection: the names of IPVS, three of HAProxy, and `lrt`.
    Scheduler, "scheduler" {
        /// Round robin.
        Rr = "rr",
        /// Weighted round robin.
        Wrr = "wrr",
        /// Least connections.
        Lc = "lc",
        /// Weighted least connections, the default.
        Wlc = "wlc",
        /// Source hash.
        Sh = "sh",
        /// Destination hash.
        Dh = "dh",
        /// Maglev hash.
        Mh = "mh",
        /// Shortest expected delay.
        Sed = "sed",
        /// Never queue.
        Nq = "nq",
        /// Weighted failover.
        Fo = "fo",
        /// Weighted overflow.
        Ovf = "ovf",
        /// The better of two weighted random picks.
        Twos = "twos",
        /// Locality-based least connections.
        Lblc = "lblc",
        /// Locality-based least connections with replication.
        Lblcr = "lblcr",
        /// Consistent hash of the client's address.
        Source = "source",
        /// The best of so many weighted random picks as `draws` says.
        Random = "random",
        /// The first in the order of the configuration that has room.
        First = "first",
        /// Least response time, as health checks measure it.
        Lrt = "lrt",
    }
}

vocabulary! {
    /// How a packet reaches its destination.
    Forward, "forwarding method" {
        /// Network address translation: addresses and ports rewritten, replies come back through the director.
        Nat = "nat",
        /// Direct routing: the packet goes unchanged to the real server's MAC address.
        Dr = "dr",
        /// Tunnelling: the packet is wrapped in another IP header.
        Tun = "tun",
        /// The director's own network stack serves the connection.
        Local = "local",
    }
}

vocabulary! {
    /// A variant of a hash scheduler, in the words of ipvsadm's `--sched-flags`.
    SchedulerFlag, "scheduler flag" {
        /// sh: the client's port is hashed too.
        ShPort = "sh-port",
        /// sh: a destination that cannot take the connection is stepped over.
        ShFallback = "sh-fallback",
        /// mh: the client's port is hashed too.
        MhPort = "mh-port",
        /// mh: a destination that cannot take the connection is stepped over.
        MhFallback = "mh-fallback",
    }
}

vocabulary! {
    /// What follows connections that a protocol announces inside others.
    Helper, "helper" {
        /// FTP: data connections follow their control connection, addresses in it are rewritten under NAT.
        Ftp = "ftp",
    }
}

vocabulary! {
    /// How a tunnelled packet is wrapped, in the words of ipvsadm's `--tun-type`.
    TunnelType, "tunnel type" {
        /// In an IP header alone, the default.
        Ipip = "ipip",
        /// In a GRE header.
        Gre = "gre",
        /// In a GUE header over UDP.
        Gue = "gue",
    }
}

vocabulary! {
    /// What the operator intends a destination to do. Whether it can is health's, and kept apart.
    #[derive(Default)]
    Intent, "state" {
        /// To serve, the default.
        #[default]
        Ready = "ready",
        /// To take no new connection and finish those that it has.
        Drain = "drain",
        /// Not to be used at all, nor checked.
        Maint = "maint",
    }
}

vocabulary! {
    /// What happens to the TCP connections of a destination that is removed or fails.
    OnRemoval, "on-removal" {
        /// The client is told with a reset at its next packet, the default.
        Reset = "reset",
        /// Connections go on to the old real server until they end.
        Keep = "keep",
        /// Packets are dropped silently, as IPVS does.
        Drop = "drop",
    }
}

vocabulary! {
    /// How a worker waits when nothing arrives.
    Wait, "wait mode" {
        /// Spins while busy, sleeps when idle; the default.
        Adaptive = "adaptive",
        /// Always spins: least latency, one whole core each.
        Busy = "busy",
    }
}

vocabulary! {
    /// How an interface is attached.
    Mode, "mode" {
        /// The best that works, in the order zero-copy, copy, generic; the default.
        Auto = "auto",
        /// The driver puts packets into our memory.
        ZeroCopy = "zero-copy",
        /// The driver runs the steering program, the kernel copies.
        Copy = "copy",
        /// The kernel's generic path runs the steering program: works everywhere, slowest.
        Generic = "generic",
    }
}

impl SchedulerFlag {
    /// The scheduler that it is a variant of.
    #[must_use]
    pub fn scheduler(self) -> Scheduler {
        match self {
            SchedulerFlag::ShPort | SchedulerFlag::ShFallback => Scheduler::Sh,
            SchedulerFlag::MhPort | SchedulerFlag::MhFallback => Scheduler::Mh,
        }
    }
}

impl Scheduler {
    /// Whether weights beside 0 matter to it.
    #[must_use]
    pub fn is_weighted(self) -> bool {
        !matches!(self, Scheduler::Rr | Scheduler::Lc | Scheduler::First)
    }

    /// Whether the scheduler is a hash, whose choice depends on addresses alone.
    #[must_use]
    pub fn is_hash(self) -> bool {
        matches!(self, Scheduler::Sh | Scheduler::Dh | Scheduler::Mh | Scheduler::Source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back_what_they_print() {
        for word in Scheduler::ALL {
            assert_eq!(word.to_string().parse::<Scheduler>(), Ok(*word));
        }
        for word in Mode::ALL {
            assert_eq!(word.to_string().parse::<Mode>(), Ok(*word));
        }
        for word in SchedulerFlag::ALL {
            assert_eq!(word.to_string().parse::<SchedulerFlag>(), Ok(*word));
            assert!(word.as_str().starts_with(word.scheduler().as_str()));
        }
        assert_eq!("drop".parse::<OnRemoval>(), Ok(OnRemoval::Drop));
        assert_eq!("ftp".parse::<Helper>(), Ok(Helper::Ftp));
        assert_eq!("gue".parse::<TunnelType>(), Ok(TunnelType::Gue));
        assert_eq!("maint".parse::<Intent>(), Ok(Intent::Maint));
        assert_eq!("tun".parse::<Forward>(), Ok(Forward::Tun));
        assert_eq!("busy".parse::<Wait>(), Ok(Wait::Busy));
    }

    #[test]
    fn an_unknown_word_lists_the_known_ones() {
        let error = "masq".parse::<Forward>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "forwarding method \"masq\" is not known: use one of nat, dr, tun, local"
        );
        assert!("NAT".parse::<Forward>().is_err(), "spellings are exact");
    }

    #[test]
    fn words_are_strings_in_json() {
        assert_eq!(serde_json::to_string(&Mode::ZeroCopy).unwrap(), "\"zero-copy\"");
        assert_eq!(serde_json::from_str::<Wait>("\"busy\"").unwrap(), Wait::Busy);
        assert!(serde_json::from_str::<Wait>("\"never\"").is_err());
    }
}
