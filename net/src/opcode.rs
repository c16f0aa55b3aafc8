//! What a frame asks for or answers, and the role it needs.

use std::fmt;

/// What a connection may do.
///
/// Roles have no order, since a peer and a writer may do different things: ask [`Role::may`] and [`Role::includes`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Role {
    /// GET, SCAN, and what tells about the server.
    Read = 1,
    /// Everything that changes keys, and what [`Role::Read`] may.
    Write = 2,
    /// Everything.
    Admin = 3,
    /// What another node of the cluster says, and nothing that a client asks for: a node that was taken over speaks for
    /// its own replicas, but neither reads nor writes keys.
    Peer = 4,
}

impl Role {
    /// The role of that number.
    #[must_use]
    pub fn from_wire(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Read),
            2 => Some(Self::Write),
            3 => Some(Self::Admin),
            4 => Some(Self::Peer),
            _ => None,
        }
    }

    /// Whether a connection of this role may do what `needed` may.
    #[must_use]
    pub fn includes(self, needed: Self) -> bool {
        match self {
            Self::Admin => true,
            Self::Write => matches!(needed, Self::Write | Self::Read),
            Self::Read | Self::Peer => needed == self,
        }
    }

    /// Whether a connection of this role may send `opcode`. Of a BATCH that holds a write it says too much: see
    /// [`BatchRequest::role_required`](crate::body::BatchRequest::role_required).
    #[inline]
    #[must_use]
    pub fn may(self, opcode: Opcode) -> bool {
        opcode.role_required().is_none_or(|needed| self.includes(needed))
    }

    /// How many there are.
    pub(crate) const COUNT: usize = 4;

    /// Its index among them, for tables.
    #[must_use]
    pub(crate) fn index(self) -> usize {
        self as usize - 1
    }
}

macro_rules! opcodes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $served:literal, $role:expr;)+) => {
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

            /// The role that its sender needs, or one that includes it; `None` if any will do. A BATCH needs
            /// [`Role::Write`] as soon as one of its items writes.
            #[must_use]
            pub fn role_required(self) -> Option<Role> {
                match self {
                    $(Self::$variant => $role,)+
                }
            }
        }
    };
}

opcodes! {
    /// Reads a key.
    Get = 1, "GET", true, Some(Role::Read);
    /// Writes a key.
    Put = 2, "PUT", true, Some(Role::Write);
    /// Deletes a key.
    Delete = 3, "DELETE", true, Some(Role::Write);
    /// Independent operations on any partitions.
    Batch = 4, "BATCH", true, Some(Role::Read);
    /// One page of a scan of one partition.
    Scan = 5, "SCAN", true, Some(Role::Read);
    /// Gives a scan's snapshot back before it expires.
    ScanRelease = 6, "SCAN_RELEASE", true, Some(Role::Read);
    /// Adds to a counter. Reserved.
    Add = 7, "ADD", false, Some(Role::Write);
    /// Changes a key's deadline. Reserved.
    Touch = 8, "TOUCH", false, Some(Role::Write);
    /// If/then/else over keys of one partition. Reserved.
    Txn = 9, "TXN", false, Some(Role::Write);
    /// Events of a key or prefix. Reserved.
    Watch = 10, "WATCH", false, Some(Role::Read);
    /// Opens a session, in which a write that is repeated is applied once.
    SessionOpen = 11, "SESSION_OPEN", true, Some(Role::Write);
    /// Closes a session.
    SessionClose = 12, "SESSION_CLOSE", true, Some(Role::Write);
    /// Grants a stream more to send. Reserved.
    Credit = 13, "CREDIT", false, Some(Role::Read);
    /// Ends a stream. Reserved.
    Cancel = 14, "CANCEL", false, Some(Role::Read);

    /// Opens the handshake; the reply is the server's welcome.
    Hello = 32, "HELLO", true, None;
    /// Proves that the client knows a role's secret; the reply proves it of the server.
    Auth = 33, "AUTH", true, None;
    /// Moves the connection to another core.
    Bind = 34, "BIND", true, None;
    /// Asks for a sign of life. Neither request nor reply has a body.
    Ping = 35, "PING", true, None;
    /// Asks for the map of partitions and cores.
    Topology = 36, "TOPOLOGY", true, Some(Role::Read);
    /// Asks for counters.
    Status = 37, "STATUS", true, Some(Role::Read);
    /// A notice of the server: it is about to close the connection.
    GoAway = 38, "GO_AWAY", true, Some(Role::Admin);
    /// An error of the connection rather than of a request; the server closes after it.
    ConnectionError = 39, "CONNECTION_ERROR", true, Some(Role::Admin);
    /// Asks a core where it spent the time of its requests.
    Histograms = 40, "HISTOGRAMS", true, Some(Role::Read);

    /// Says to a core of another node who speaks; the reply says who answers.
    PeerHello = 64, "PEER_HELLO", true, Some(Role::Peer);
    /// Everything that a core says to a core of another node in one turn. It has no reply.
    PeerTurn = 65, "PEER_TURN", true, Some(Role::Peer);
    /// A part of a partition's tables, for a replica that lags too far for the log. It has no reply.
    PeerTransfer = 66, "PEER_TRANSFER", true, Some(Role::Peer);
    /// What became of such parts. It has no reply.
    PeerTransferReply = 67, "PEER_TRANSFER_REPLY", true, Some(Role::Peer);
    /// Hashes of what a replica has applied, for comparison with another's. It has no reply.
    PeerStateHashes = 68, "PEER_STATE_HASHES", true, Some(Role::Peer);
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
    fn numbers_of_roles_read_back() {
        let roles = [Role::Read, Role::Write, Role::Admin, Role::Peer];
        assert_eq!(roles.len(), Role::COUNT);
        for (index, role) in roles.into_iter().enumerate() {
            assert_eq!(Role::from_wire(role as u8), Some(role));
            assert_eq!(role.index(), index);
        }
        assert_eq!([0, 5, 255].map(Role::from_wire), [None; 3]);
    }

    #[test]
    fn a_role_may_what_it_includes_and_no_more() {
        use Role::{Admin, Peer, Read, Write};
        for (role, included) in
            [(Read, &[Read][..]), (Write, &[Read, Write]), (Admin, &[Read, Write, Admin, Peer]), (Peer, &[Peer])]
        {
            for needed in [Read, Write, Admin, Peer] {
                assert_eq!(role.includes(needed), included.contains(&needed), "{role:?} and {needed:?}");
            }
        }
    }

    #[test]
    fn a_peer_may_bind_and_nothing_that_touches_keys() {
        for opcode in [Opcode::Hello, Opcode::Auth, Opcode::Bind, Opcode::Ping] {
            assert!(Role::Peer.may(opcode) && Role::Read.may(opcode), "{opcode}");
        }
        for opcode in [Opcode::Get, Opcode::Put, Opcode::Delete, Opcode::Batch, Opcode::Scan, Opcode::Topology] {
            assert!(!Role::Peer.may(opcode), "{opcode}");
        }
        assert!(!Role::Read.may(Opcode::Put) && Role::Write.may(Opcode::Put));
    }
}
