//! Stable numbers of the things that a snapshot describes and that counters, live state and connection entries
//! refer to. The control side deals them out; one is reused only when nothing can still mean the old owner.

macro_rules! id {
    ($name:ident, $max:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u16);

        impl $name {
            /// How many there can be.
            pub const COUNT: usize = $max;

            /// The number as an index.
            #[inline]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

id!(ServiceId, 32_768, "A virtual service.");
id!(
    ListenId,
    32_768,
    "One (VIP, port, protocol) that a service listens on. 15 bits, in the keys of entries."
);
id!(DestId, 65_536, "A destination: one real server's membership of one service.");
id!(
    RealId,
    32_768,
    "One (address, port, protocol) of NAT destinations. 15 bits, in the keys of reply entries."
);

/// Which life of a destination an entry belongs to: it changes when the destination fails or is removed, which
/// makes its entries invalid at their next look-up, without a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Generation(pub u8);

impl DestId {
    /// Bits of the number.
    pub const BITS: u32 = u16::BITS;
}
