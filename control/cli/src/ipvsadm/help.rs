//! Help, the version, and the man page.

use super::grammar::SPECS;
use super::print::IPVS;
use std::fmt::Write;

/// The version of ipvsadm whose grammar this is.
const GRAMMAR: &str = "v1.31 2019/12/24";

/// How commands are put together; each line follows the name of the program.
const FORMS: [&str; 13] = [
    "-A|E virtual-service [-s scheduler] [-p [timeout]] [-M netmask] [-o] [-b sched-flags]",
    "-D virtual-service",
    "-C",
    "-R",
    "-S [-n]",
    "-a|e virtual-service -r server-address [options]",
    "-d virtual-service -r server-address",
    "-L|l [virtual-service] [options]",
    "-Z [virtual-service]",
    "--set tcp tcpfin udp",
    "--start-daemon {master|backup} [daemon-options]",
    "--stop-daemon {master|backup}",
    "-h",
];

/// An option, the name of its value, and what it does.
type Line = (&'static str, &'static str, &'static str);

const COMMANDS: [Line; 15] = [
    ("add-service", "", "add a virtual service"),
    ("edit-service", "", "change a virtual service; what is not named goes back to its default"),
    ("delete-service", "", "remove a virtual service with its real servers"),
    ("clear", "", "remove everything"),
    ("restore", "", "carry out the commands on standard input, all of them or none"),
    ("save", "", "print the rules that make what there is"),
    ("add-server", "", "add a real server"),
    ("edit-server", "", "change a real server; what is not named goes back to its default"),
    ("delete-server", "", "remove a real server"),
    ("list", "", "list the table"),
    ("zero", "", "count anew from now on, all or those of one virtual service"),
    ("set", "tcp tcpfin udp", "set the timeouts of connections, in seconds; 0 leaves one as it is"),
    ("start-daemon", "state", "not done here"),
    ("stop-daemon", "state", "not done here"),
    ("help", "", "print this"),
];

const SERVICES: [Line; 4] = [
    ("tcp-service", "service-address", "service-address is host[:port]"),
    ("udp-service", "service-address", "service-address is host[:port]"),
    ("sctp-service", "service-address", "not done here"),
    ("fwmark-service", "fwmark", "the service that is named fwm-FWMARK"),
];

const OPTIONS: [Line; 31] = [
    ("ipv6", "", "the fwmark is one of IPv6 packets"),
    ("scheduler", "scheduler", "how real servers are chosen; the default is wlc"),
    ("sched-flags", "flags", "sh-port, sh-fallback, mh-port, mh-fallback, with commas between them"),
    ("pe", "engine", "not done here"),
    ("persistent", "[timeout]", "clients stay with their real server, for 360 s unless said otherwise"),
    ("netmask", "netmask", "how much of a client's address counts for that"),
    ("ops", "", "UDP: each packet is scheduled by itself"),
    ("real-server", "server-address", "server-address is host[:port]"),
    ("gatewaying", "", "direct routing, the default"),
    ("ipip", "", "tunnelling"),
    ("masquerading", "", "network address translation"),
    ("tun-type", "type", "ipip, gue or gre; the default is ipip"),
    ("tun-port", "port", "the port of gue"),
    ("tun-nocsum", "", "the tunnel's header has no checksum"),
    ("tun-csum", "", "the tunnel's header has a checksum"),
    ("tun-remcsum", "", "not done here"),
    ("weight", "weight", "the real server's share; 0 gets nothing new"),
    ("u-threshold", "uthreshold", "the real server is full from so many connections on"),
    ("l-threshold", "lthreshold", "and takes new ones again below so many"),
    ("connection", "", "list connections"),
    ("timeout", "", "print the timeouts"),
    ("daemon", "", "print the synchronization daemons: there are none"),
    ("stats", "", "print totals"),
    ("rate", "", "print what happens in a second"),
    ("exact", "", "print numbers in full"),
    ("thresholds", "", "print the thresholds"),
    ("persistent-conn", "", "print how many clients stay with their real server"),
    ("tun-info", "", "print how tunnelled packets are wrapped"),
    ("nosort", "", "keep the order of the configuration"),
    ("sort", "", "sort, which is the default"),
    ("numeric", "", "print addresses and ports as numbers"),
];

const DAEMONS: [Line; 6] = [
    ("syncid", "sid", "not done here"),
    ("sync-maxlen", "length", "not done here"),
    ("mcast-interface", "interface", "not done here"),
    ("mcast-group", "address", "not done here"),
    ("mcast-port", "port", "not done here"),
    ("mcast-ttl", "ttl", "not done here"),
];

/// The line of `--version`, in the form that scripts look into.
pub(super) fn version() -> String {
    format!("ipvsadm {GRAMMAR} (compiled with sheave {} and IPVS v{IPVS})\n", env!("CARGO_PKG_VERSION"))
}

/// What `--help` prints.
pub(super) fn usage(program: &str) -> String {
    let mut text = version() + "Usage:\n";
    for form in FORMS {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {program} {form}");
    }
    for (title, options) in sections() {
        let _ = writeln!(text, "\n{title}:");
        for (long, value, help) in options {
            let spelled = spelled(long, value);
            let _ = writeln!(text, "  {spelled:<38} {help}");
        }
    }
    text.push_str("\nThe director's control socket: --socket PATH in front, or SHEAVE_SOCKET.\n");
    text
}

fn sections() -> [(&'static str, &'static [Line]); 4] {
    [
        ("Commands", &COMMANDS),
        ("virtual-service", &SERVICES),
        ("Options", &OPTIONS),
        ("Daemon options", &DAEMONS),
    ]
}

/// An option in all its spellings.
fn spelled(long: &str, value: &str) -> String {
    let shorts = SPECS.iter().filter(|spec| spec.long == long).filter_map(|spec| spec.short);
    let shorts = shorts.map(|short| format!(", -{short}")).collect::<String>();
    let gap = if value.is_empty() { "" } else { " " };
    format!("--{long}{shorts}{gap}{value}")
}

/// The parts of the man page that are not made from the table.
const HEAD: &str = r#".TH sheave-ipvsadm 8 "" "sheave" "System Administration"
.SH NAME
sheave\-ipvsadm \- ipvsadm's command line for a sheave director
.SH SYNOPSIS
"#;

const TEXT: &str = r#".SH DESCRIPTION
Takes the grammar of ipvsadm 1.31 and prints what it prints, and drives the director behind the control socket
instead of the kernel's table.
Installed or linked as
.B ipvsadm
it lets scripts that were written for ipvsadm go on working.
.PP
What the director does not do is refused with a line that says what to use instead, and never ignored.
.SH WHAT DIFFERS FROM IPVSADM
.TP
.B \-R
Restores all rules or, when one of them is wrong, none, and says everything that is wrong with the number of its
line.
A set that begins with
.B \-C
replaces what there is at once; connections of real servers that stay go on.
What follows a
.B #
is a remark.
.TP
.B \-S
Prints rules in the order of the configuration, with thresholds.
What rules cannot say is told on standard error:
.B sheave config show
prints all of it.
.TP
.B \-f
Packets have no firewall marks.
.B \-f 7
means the service named
.BR fwm\-7 ,
whose listens are named in the configuration, as the rules of a firewall would be elsewhere.
.B \-D
and
.B \-C
remove its real servers and leave its listens;
.B \-A
fills it again.
.TP
.B \-L
A service with several listens and another name is listed once for each of them, each time with the numbers of the
whole.
The size in the first line is the number of connections that fit.
.TP
.B \-\-set
Sets the timeouts of services that have none of their own.
.TP
.BR \-Z ", " \-\-start\-daemon ", " \-\-stop\-daemon ", " \-\-pe ", " \-\-sctp\-service ", " \-\-tun\-remcsum
Are refused.
.TP
.B names
Without
.B \-n
names are those of /etc/hosts and /etc/services: a list never waits for a name server.
"#;

const TAIL: &str = r#".SH ENVIRONMENT
.TP
.B SHEAVE_SOCKET
The director's control socket, unless
.B \-\-socket PATH
comes first on the command line; /run/sheave/control.sock by default.
.SH EXIT STATUS
.TP
.B 0
It is done.
.TP
.B 1
There is nothing to list.
.TP
.B 2
The command line is wrong, or asks for what the director does not do.
.TP
.B 4
The director cannot be reached.
.TP
.B 255
The director refused the change: "Service already exists", "No such service", "Service not defined",
"Destination already exists", "No such destination".
.SH EXAMPLES
.nf
sheave\-ipvsadm \-A \-t 198.18.0.100:80 \-s wlc \-p 300
sheave\-ipvsadm \-a \-t 198.18.0.100:80 \-r 198.19.1.11:8080 \-m \-w 3
sheave\-ipvsadm \-L \-n \-\-rate
sheave\-ipvsadm \-S \-n > rules
(echo \-C; cat rules) | sheave\-ipvsadm \-R
.fi
.SH SEE ALSO
.BR sheave (1),
.BR sheaved (8)
"#;

/// The man page.
pub(crate) fn man() -> String {
    let escaped = |text: &str| text.replace('-', "\\-");
    let mut text = HEAD.to_owned();
    for form in FORMS {
        let _ = writeln!(text, ".B sheave\\-ipvsadm\n{}\n.br", escaped(form));
    }
    text.push_str(TEXT);
    for (title, options) in sections() {
        let _ = writeln!(text, ".SH {}", title.to_uppercase());
        for (long, value, help) in options {
            let _ = writeln!(text, ".TP\n.B {}\n{}", escaped(&spelled(long, value)), escaped(help));
        }
    }
    text + TAIL
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipvsadm::grammar::{Spec, Takes};

    #[test]
    fn help_and_man_page_tell_of_every_option() {
        let (usage, man) = (usage("ipvsadm"), man());
        for Spec { long, short, takes, .. } in SPECS.iter().filter(|spec| spec.long != "version") {
            let entry = sections().into_iter().flat_map(|(_, options)| options).find(|o| o.0 == *long);
            let (_, value, _) = entry.unwrap_or_else(|| panic!("--{long} is not told of"));
            assert_eq!(value.is_empty(), *takes == Takes::Nothing && *long != "set", "--{long}");
            assert!(usage.contains(&format!("--{long}")));
            assert!(man.contains(&format!("\\-\\-{}", long.replace('-', "\\-"))));
            if let Some(short) = short {
                assert!(usage.contains(&format!(", -{short}")), "-{short}");
            }
        }
        assert!(usage.starts_with("ipvsadm v1.31 ") && usage.contains("\n  ipvsadm -A|E virtual-service"));
    }
}
