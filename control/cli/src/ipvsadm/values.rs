//! The values of options: addresses with ports, masks, numbers, flags.

use super::command::{Flag, Mask, Protocol, Server};
use super::names::Names;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The most that a count can be.
pub(super) const MOST: u32 = i32::MAX as u32;
/// The most that a timeout can be: 31 days.
pub(super) const LONGEST: u32 = 31 * 86_400;

/// A whole number between two bounds.
pub(super) fn number(text: &str, least: u32, most: u32) -> Option<u32> {
    let number: i64 = text.trim_start().parse().ok()?;
    u32::try_from(number).ok().filter(|number| (least..=most).contains(number))
}

/// A port by number or name; 0 is every port.
fn port(text: &str, protocol: Protocol, names: &dyn Names) -> Option<u16> {
    let number = number(text, 0, u16::MAX.into()).and_then(|port| u16::try_from(port).ok());
    number.or_else(|| names.port(text, protocol))
}

/// `HOST`, `HOST:PORT`, an IPv6 address, or one in brackets with a port.
pub(super) fn server(text: &str, protocol: Protocol, names: &dyn Names) -> Option<Server> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if let Some(inner) = text.strip_prefix('[') {
        let (addr, port_text) = inner.split_once("]:")?;
        let addr = IpAddr::V6(addr.parse::<Ipv6Addr>().ok()?);
        return Some(Server { addr, port: Some(port(port_text, protocol, names)?) });
    }
    if let Ok(addr) = text.parse::<Ipv6Addr>() {
        return Some(Server { addr: IpAddr::V6(addr), port: None });
    }
    let (host, port_text) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let addr = host.parse().ok().or_else(|| names.address(host))?;
    let port = match port_text {
        Some(text) => Some(port(text, protocol, names)?),
        None => None,
    };
    Some(Server { addr: IpAddr::V4(addr), port })
}

/// A mark: any number but 0.
pub(super) fn mark(text: &str) -> Option<u32> {
    number(text, 1, u32::MAX)
}

/// A persistence mask of the service's family.
///
/// # Errors
/// What ipvsadm says of one that it does not take.
pub(super) fn mask(text: &str, ipv6: bool, names: &dyn Names) -> Result<Mask, String> {
    if ipv6 {
        let prefix = number(text, 1, 128).and_then(|prefix| u8::try_from(prefix).ok());
        return prefix.map(Mask::Prefix).ok_or_else(|| "illegal ipv6 netmask specified".to_owned());
    }
    let as_number = || text.parse::<u32>().ok().map(Ipv4Addr::from_bits);
    let mask = text.parse().ok().or_else(as_number).or_else(|| names.address(text));
    let mask = mask.ok_or_else(|| "illegal virtual server persistent mask specified".to_owned())?;
    Ok(Mask::Bits(mask.to_bits()))
}

/// Flags of the scheduler, with commas between them.
///
/// # Errors
/// What ipvsadm says of those that it does not know, or that are another scheduler's.
pub(super) fn flags(text: &str, scheduler: &str) -> Result<Vec<Flag>, String> {
    let mut flags = Vec::new();
    for word in text.split(',').filter(|word| !word.is_empty()) {
        let flag = match word {
            "flag-1" => Flag::Number(1),
            "flag-2" => Flag::Number(2),
            "flag-3" => Flag::Number(3),
            _ => {
                let named = Flag::NAMED.iter().find(|(name, _)| *name == word);
                let (name, flag) = named.ok_or_else(|| format!("invalid scheduler flag `{word}'"))?;
                if name.split('-').next() != Some(scheduler) {
                    return Err(format!("incompatible scheduler flag `{word}'"));
                }
                *flag
            }
        };
        if !flags.contains(&flag) {
            flags.push(flag);
        }
    }
    Ok(flags)
}

/// The group that synchronization daemons send to.
///
/// # Errors
/// What ipvsadm says of one that is none.
pub(super) fn group(text: &str) -> Result<(), String> {
    let family = if text.contains(':') { "IPv6" } else { "IPv4" };
    match text.parse::<IpAddr>() {
        Ok(group) if group.is_multicast() => Ok(()),
        _ => Err(format!("invalid {family} mcast-group `{text}'")),
    }
}
