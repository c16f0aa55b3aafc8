//! Which of the 16,384 slots a key hashes to, exactly as in Redis Cluster.
//!
//! The slot is CRC16/XMODEM modulo 16,384 of the key, or of the text between the first `{` and the next `}` if that is
//! not empty ("hash tag"), so that keys which share a tag share a partition.

use std::fmt;

/// The number of slots.
pub const SLOT_COUNT: u16 = 16_384;

/// A slot of the key space.
///
/// Invariant: below [`SLOT_COUNT`]. [`Slot::new`] and [`slot_of`] keep it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Slot(u16);

impl Slot {
    /// The slot of that number, or `None` from [`SLOT_COUNT`] on.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number < SLOT_COUNT { Some(Self(number)) } else { None }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The slot of a key.
///
/// ```
/// use corelode_net::slot_of;
/// assert_eq!(slot_of(b"foo").get(), 12_182);
/// assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"{user1000}.followers"));
/// ```
#[must_use]
pub fn slot_of(key: &[u8]) -> Slot {
    Slot(crc16_xmodem(hash_tag(key).unwrap_or(key)) % SLOT_COUNT)
}

/// The text between the first `{` and the next `}`, if there is one and it is not empty.
///
/// A scan whose prefix has a tag needs one partition only, since every key with that prefix has the same tag.
#[must_use]
pub fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|&byte| byte == b'{')?;
    let rest = &key[open + 1..];
    let close = rest.iter().position(|&byte| byte == b'}')?;
    if close == 0 { None } else { Some(&rest[..close]) }
}

/// CRC16/XMODEM: polynomial 0x1021, initial value 0, not reflected, no final xor.
///
/// Eight bytes a step from eight tables: every request is hashed at both ends, and a byte a step would cost a 16-byte
/// key some 25 ns.
#[must_use]
pub fn crc16_xmodem(bytes: &[u8]) -> u16 {
    let mut crc = 0u16;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let [high, low] = crc.to_be_bytes();
        crc = TABLES[7][usize::from(chunk[0] ^ high)]
            ^ TABLES[6][usize::from(chunk[1] ^ low)]
            ^ TABLES[5][usize::from(chunk[2])]
            ^ TABLES[4][usize::from(chunk[3])]
            ^ TABLES[3][usize::from(chunk[4])]
            ^ TABLES[2][usize::from(chunk[5])]
            ^ TABLES[1][usize::from(chunk[6])]
            ^ TABLES[0][usize::from(chunk[7])];
    }
    for &byte in chunks.remainder() {
        let [high, _] = crc.to_be_bytes();
        crc = (crc << 8) ^ TABLES[0][usize::from(high ^ byte)];
    }
    crc
}

/// `TABLES[n][b]` is the checksum of byte `b` followed by `n` zero bytes.
static TABLES: [[u16; 256]; 8] = tables();

const fn tables() -> [[u16; 256]; 8] {
    let mut tables = [[0u16; 256]; 8];
    let mut byte = 0u16;
    while byte < 256 {
        let mut crc = byte << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        tables[0][byte as usize] = crc;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let previous = tables[zeros - 1][byte];
            tables[zeros][byte] = (previous << 8) ^ tables[0][(previous >> 8) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, a bit at a time.
    fn crc16_by_definition(bytes: &[u8]) -> u16 {
        let mut crc = 0u16;
        for &byte in bytes {
            crc ^= u16::from(byte) << 8;
            for _ in 0..8 {
                crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            }
        }
        crc
    }

    #[test]
    fn the_check_value_of_the_catalogue() {
        assert_eq!(crc16_xmodem(b"123456789"), 0x31C3);
        assert_eq!(crc16_xmodem(b""), 0);
    }

    #[test]
    fn slots_are_those_of_redis_cluster() {
        for (key, slot) in [
            ("foo", 12_182),
            ("bar", 5_061),
            ("hello", 866),
            ("somekey", 11_058),
            ("foo{hash_tag}", 2_515),
            ("123456789", 0x31C3),
            ("{user1000}.following", 3_443),
            ("user1000", 3_443),
        ] {
            assert_eq!(slot_of(key.as_bytes()).get(), slot, "{key}");
        }
    }

    #[test]
    fn hash_tags_follow_the_cluster_specification() {
        for (key, tag) in [
            ("{user1000}.following", Some("user1000")),
            ("foo{}{bar}", None),
            ("foo{{bar}}zap", Some("{bar")),
            ("foo{bar}{zap}", Some("bar")),
            ("foo{bar", None),
            ("foo}bar{", None),
            ("{}", None),
            ("", None),
        ] {
            assert_eq!(hash_tag(key.as_bytes()), tag.map(str::as_bytes), "{key}");
        }
    }

    proptest! {
        #[test]
        fn eight_bytes_a_step_equal_the_definition(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(crc16_xmodem(&bytes), crc16_by_definition(&bytes));
        }
    }
}
