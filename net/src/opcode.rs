//! What a frame asks for or answers, and the role it needs.

use std::fmt;

/// What a connection may do. Each role includes the ones before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Role {
    /// GET, SCAN, and what tells about the server.
    Read = 1,
    /// Everything that changes keys.
    Write = 2,
    /// Everything.
    Admin = 3,
}

impl Role {
    /// The role of that number.
    #[must_use]
    pub fn from_wire(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Read),
            2 => Some(Self::Write),
            3 => Some(Self::Admin),
            _ => None,
        }
    }

    /// Its index among the three, for tables.
    #[must_use]
    pub(crate) fn index(self) -> usize {
        self as usize - 1
    }
}

macro_rules! opcodes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $served:literal, $role:ident;)+) => {
        /// An operation. A reply carries the opcode of its request. Numbers are never reused.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum Opcode {
            $($(#[$doc])* $variant = $number,)+
        }

        impl Opcode {
            /// Every opcode, reserved ones included, in order of its number.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The opcode of that number, reserved ones included.
            #[must_use]
            pub fn from_wire(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// Its name as documented.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// Whether version 1 of the protocol has it; the others are reserved for what comes later.
            #[must_use]
            pub fn is_in_version_1(self) -> bool {
                match self {
                    $(Self::$variant => $served,)+
                }
            }

            /// The least role that may send it. A BATCH needs [`Role::Write`] as soon as one of its items writes.
            #[must_use]
            pub fn role_required(self) -> Role {
                match self {
                    $(Self::$variant => Role::$role,)+
                }
            }
        }
    };
}

opcodes! {
    /// Reads a key.
    Get = 1, "GET", true, Read;
    /// Writes a key.
    Put = 2, "PUT", true, Write;
    /// Deletes a key.
    Delete = 3, "DELETE", true, Write;
    /// Independent operations on any partitions.
    Batch = 4, "BATCH", true, Read;
    /// One page of a scan of one partition.
    Scan = 5, "SCAN", true, Read;
    /// Gives a scan's snapshot back before it expires.
    ScanRelease = 6, "SCAN_RELEASE", true, Read;
    /// Adds to a counter. Reserved.
    Add = 7, "ADD", false, Write;
    /// Changes a key's deadline. Reserved.
    Touch = 8, "TOUCH", false, Write;
    /// If/then/else over keys of one partition. Reserved.
    Txn = 9, "TXN", false, Write;
    /// Events of a key or prefix. Reserved.
    Watch = 10, "WATCH", false, Read;
    /// Opens a session. Reserved.
    SessionOpen = 11, "SESSION_OPEN", false, Write;
    /// Closes a session. Reserved.
    SessionClose = 12, "SESSION_CLOSE", false, Write;
    /// Grants a stream more to send. Reserved.
    Credit = 13, "CREDIT", false, Read;
    /// Ends a stream. Reserved.
    Cancel = 14, "CANCEL", false, Read;

    /// Opens the handshake; the reply is the server's welcome.
    Hello = 32, "HELLO", true, Read;
    /// Proves that the client knows a role's secret; the reply proves it of the server.
    Auth = 33, "AUTH", true, Read;
    /// Moves the connection to another core.
    Bind = 34, "BIND", true, Read;
    /// Asks for a sign of life. Neither request nor reply has a body.
    Ping = 35, "PING", true, Read;
    /// Asks for the map of partitions and cores.
    Topology = 36, "TOPOLOGY", true, Read;
    /// Asks for counters.
    Status = 37, "STATUS", true, Read;
    /// A notice of the server: it is about to close the connection.
    GoAway = 38, "GO_AWAY", true, Admin;
    /// An error of the connection rather than of a request; the server closes after it.
    ConnectionError = 39, "CONNECTION_ERROR", true, Admin;
    /// Asks a core where it spent the time of its requests.
    Histograms = 40, "HISTOGRAMS", true, Read;
}

impl Opcode {
    /// The number on the wire.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        self as u8
    }

    /// Whether a server sends it unasked, never a client.
    #[must_use]
    pub fn is_notice(self) -> bool {
        matches!(self, Self::GoAway | Self::ConnectionError)
    }
}

impl fmt::Display for Opcode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back_and_zero_is_none() {
        for &opcode in Opcode::ALL {
            assert_eq!(Opcode::from_wire(opcode.to_wire()), Some(opcode));
        }
        assert_eq!(Opcode::from_wire(0), None);
    }

    #[test]
    fn roles_include_the_ones_before() {
        assert!(Role::Read < Role::Write && Role::Write < Role::Admin);
        assert_eq!([1, 2, 3].map(Role::from_wire), [Some(Role::Read), Some(Role::Write), Some(Role::Admin)]);
        assert_eq!(Role::from_wire(0), None);
    }
}
