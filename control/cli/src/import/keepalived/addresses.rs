//! Addresses as keepalived writes them: ranges of a group, masks.

use std::net::IpAddr;

/// How many addresses a range may stand for.
const MOST: u128 = 1024;

/// The addresses that an item of a group stands for: one, `FIRST-LAST`, `FIRST-LAST PART` or a prefix.
pub(super) fn group_addresses(text: &str) -> Result<Vec<IpAddr>, String> {
    let wrong = || format!("{text} is no address and no range of addresses");
    let (first, last) = if let Some((addr, length)) = text.split_once('/') {
        let addr = addr.parse().map_err(|_| wrong())?;
        let (bits, number) = number(addr);
        let length = length.parse::<u32>().ok().filter(|length| *length <= bits).ok_or_else(wrong)?;
        let hosts = 1u128.checked_shl(bits - length).map_or(u128::MAX, |size| size - 1);
        (family(addr, number & !hosts), family(addr, number | hosts))
    } else if let Some((first, last)) = text.split_once('-') {
        let addr: IpAddr = first.parse().map_err(|_| wrong())?;
        (addr, last_of(addr, last).ok_or_else(wrong)?)
    } else {
        let addr = text.parse().map_err(|_| wrong())?;
        (addr, addr)
    };
    let ((_, from), (_, to)) = (number(first), number(last));
    if first.is_ipv4() != last.is_ipv4() || to < from || to - from >= MOST {
        return Err(format!("{text} is no range, or one of more than {MOST} addresses"));
    }
    Ok((from..=to).map(|number| family(first, number)).collect())
}

/// The last address of a range: a whole one, or what replaces the last part of the first.
fn last_of(first: IpAddr, text: &str) -> Option<IpAddr> {
    if let Ok(last) = text.parse() {
        return Some(last);
    }
    let whole = first.to_string();
    match first {
        IpAddr::V4(_) => {
            let (net, _) = whole.rsplit_once('.')?;
            text.parse::<u8>().ok().and_then(|part| format!("{net}.{part}").parse().ok())
        }
        IpAddr::V6(addr) => {
            let part = u16::from_str_radix(text, 16).ok()?;
            let bits = addr.to_bits() & !0xffff | u128::from(part);
            Some(IpAddr::V6(bits.into()))
        }
    }
}

/// How many bits an address has, and their number.
fn number(addr: IpAddr) -> (u32, u128) {
    match addr {
        IpAddr::V4(addr) => (32, addr.to_bits().into()),
        IpAddr::V6(addr) => (128, addr.to_bits()),
    }
}

/// The address of a number, in the family of another.
fn family(like: IpAddr, number: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(u32::try_from(number).unwrap_or(u32::MAX).into()),
        IpAddr::V6(_) => IpAddr::V6(number.into()),
    }
}

/// How many bits of a client's address count; none is all of them.
pub(in crate::import) fn granularity(text: &str, ipv6: bool) -> Result<Option<u8>, String> {
    let wrong = || format!("{text:?} is no mask");
    let bits = if ipv6 {
        text.parse::<u8>().ok().filter(|bits| (1..=128).contains(bits)).ok_or_else(wrong)?
    } else {
        let mask = text.parse::<std::net::Ipv4Addr>().map_err(|_| wrong())?.to_bits();
        let ones = mask.leading_ones();
        u8::try_from(ones)
            .ok()
            .filter(|_| ones == mask.count_ones())
            .ok_or_else(|| format!("{text} has a gap"))?
    };
    let all = if ipv6 { 128 } else { 32 };
    Ok(Some(bits).filter(|bits| *bits != all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_written_out() {
        let read = |text: &str| {
            let addresses = group_addresses(text)?;
            Ok::<_, String>(addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        for (text, wanted) in [
            ("198.18.0.1", "198.18.0.1"),
            ("198.18.0.1-3", "198.18.0.1 198.18.0.2 198.18.0.3"),
            ("198.18.0.255-198.18.1.0", "198.18.0.255 198.18.1.0"),
            ("198.18.0.9/30", "198.18.0.8 198.18.0.9 198.18.0.10 198.18.0.11"),
            ("2001:db8::9-a", "2001:db8::9 2001:db8::a"),
            ("2001:db8::8/127", "2001:db8::8 2001:db8::9"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(wanted), "{text}");
        }
        for text in ["", "x", "198.18.0.3-1", "198.18.0.0/8", "198.18.0.1/33", "198.18.0.1-256", "::/0"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn masks_become_lengths() {
        assert_eq!(granularity("255.255.255.0", false), Ok(Some(24)));
        assert_eq!(granularity("255.255.255.255", false), Ok(None));
        assert_eq!(granularity("64", true), Ok(Some(64)));
        for (text, ipv6) in [("255.0.255.0", false), ("24", false), ("0", true), ("129", true), ("", false)] {
            assert!(granularity(text, ipv6).is_err(), "{text}");
        }
    }
}
