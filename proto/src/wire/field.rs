//! A field of a header: its place, checked by the compiler against the header's size.

use std::net::{Ipv4Addr, Ipv6Addr};

/// `N` bytes at offset `AT` of a header. Using it on a header that ends earlier does not compile, so that
/// reading and writing cannot fail.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<const AT: usize, const N: usize>;

impl<const AT: usize, const N: usize> Field<AT, N> {
    #[inline]
    pub(super) fn get<const LEN: usize>(self, header: &[u8; LEN]) -> [u8; N] {
        const { assert!(AT + N <= LEN, "the field lies outside its header") };
        let mut value = [0; N];
        value.copy_from_slice(&header[AT..AT + N]);
        value
    }

    #[inline]
    pub(super) fn set<const LEN: usize>(self, header: &mut [u8; LEN], value: [u8; N]) {
        const { assert!(AT + N <= LEN, "the field lies outside its header") };
        header[AT..AT + N].copy_from_slice(&value);
    }
}

impl<const AT: usize> Field<AT, 1> {
    #[inline]
    pub(super) fn get_u8<const LEN: usize>(self, header: &[u8; LEN]) -> u8 {
        u8::from_be_bytes(self.get(header))
    }

    #[inline]
    pub(super) fn set_u8<const LEN: usize>(self, header: &mut [u8; LEN], value: u8) {
        self.set(header, value.to_be_bytes());
    }
}

impl<const AT: usize> Field<AT, 2> {
    /// The big-endian number in the field, in host order.
    #[inline]
    pub(super) fn get_u16<const LEN: usize>(self, header: &[u8; LEN]) -> u16 {
        u16::from_be_bytes(self.get(header))
    }

    /// Writes a number in host order as big-endian.
    #[inline]
    pub(super) fn set_u16<const LEN: usize>(self, header: &mut [u8; LEN], value: u16) {
        self.set(header, value.to_be_bytes());
    }
}

impl<const AT: usize> Field<AT, 4> {
    /// The big-endian number in the field, in host order.
    #[inline]
    pub(super) fn get_u32<const LEN: usize>(self, header: &[u8; LEN]) -> u32 {
        u32::from_be_bytes(self.get(header))
    }

    /// Writes a number in host order as big-endian.
    #[inline]
    pub(super) fn set_u32<const LEN: usize>(self, header: &mut [u8; LEN], value: u32) {
        self.set(header, value.to_be_bytes());
    }

    #[inline]
    pub(super) fn get_addr<const LEN: usize>(self, header: &[u8; LEN]) -> Ipv4Addr {
        Ipv4Addr::from(self.get(header))
    }

    #[inline]
    pub(super) fn set_addr<const LEN: usize>(self, header: &mut [u8; LEN], value: Ipv4Addr) {
        self.set(header, value.octets());
    }
}

impl<const AT: usize> Field<AT, 16> {
    #[inline]
    pub(super) fn get_addr6<const LEN: usize>(self, header: &[u8; LEN]) -> Ipv6Addr {
        Ipv6Addr::from(self.get(header))
    }

    #[inline]
    pub(super) fn set_addr6<const LEN: usize>(self, header: &mut [u8; LEN], value: Ipv6Addr) {
        self.set(header, value.octets());
    }
}
