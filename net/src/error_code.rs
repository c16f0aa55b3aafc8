//! The errors a client can meet, each with a stable number, a sentence that says what to do, and a retry class.

use std::fmt;

/// What a client may do with a request that failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum RetryClass {
    /// The same request will fail again: something must change first.
    Never = 0,
    /// Not executed: it may be sent again, with a delay that grows and varies.
    Safe = 1,
    /// It may have been executed: send it again only with the same session and sequence.
    Unknown = 2,
}

impl RetryClass {
    /// The class of that number. An unknown number is read as [`RetryClass::Unknown`], the careful answer.
    #[must_use]
    pub fn from_wire(number: u8) -> Self {
        match number {
            0 => Self::Never,
            1 => Self::Safe,
            _ => Self::Unknown,
        }
    }
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $retry:ident, $advice:literal;)+) => {
        /// A stable error code. Numbers are never reused.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u16)]
        pub enum ErrorCode {
            $($(#[$doc])* $variant = $number,)+
        }

        impl ErrorCode {
            /// Every code, in order of its number.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The code of that number, if this version knows it.
            #[must_use]
            pub fn from_wire(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// Its name as documented, for example `WRONG_CORE`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What a client may do unless the error itself says otherwise.
            #[must_use]
            pub fn retry_class(self) -> RetryClass {
                match self {
                    $(Self::$variant => RetryClass::$retry,)+
                }
            }

            /// A sentence that says what happened and what to do.
            #[must_use]
            pub fn advice(self) -> &'static str {
                match self {
                    $(Self::$variant => $advice,)+
                }
            }
        }
    };
}

error_codes! {
    /// The frame or body does not follow the format; the connection is closed.
    Malformed = 1, "MALFORMED", Never,
        "The frame does not follow the wire format; the client library is faulty or does not speak this protocol.";
    /// No protocol version in common.
    UnsupportedVersion = 2, "UNSUPPORTED_VERSION", Never,
        "Client and server have no protocol version in common; upgrade the older of the two.";
    /// A flag, field or feature that this server does not have or that was not negotiated.
    Unsupported = 3, "UNSUPPORTED", Never,
        "The server does not have this feature, or it was not negotiated; upgrade the server or do without it.";
    /// No such operation.
    UnknownOpcode = 4, "UNKNOWN_OPCODE", Never,
        "The server does not know this operation; upgrade the server or do without it.";
    /// A request before the handshake was complete.
    AuthRequired = 5, "AUTH_REQUIRED", Never,
        "The server asks for a secret; configure the client with a role and its secret.";
    /// The proof was wrong.
    AuthFailed = 6, "AUTH_FAILED", Never,
        "The secret does not match the server's for this role, or the server has none for it; check both configurations.";
    /// The role does not allow the operation.
    Forbidden = 7, "FORBIDDEN", Never,
        "The connection's role does not allow this operation; connect with the secret of a higher role.";
    /// A key, value, body, batch or page above a limit.
    TooLarge = 8, "TOO_LARGE", Never,
        "The request exceeds a limit that the server announced in its welcome; send less at once.";
    /// A key that is empty or too long.
    BadKey = 9, "BAD_KEY", Never,
        "A key must have between 1 and 4096 bytes.";
    /// The header or an item names a slot that is not the key's.
    BadSlot = 10, "BAD_SLOT", Never,
        "The request names a slot that is not its key's; the client computes slots differently from CRC16/XMODEM with hash tags.";
    /// The frame's or the value's bytes do not match their checksum.
    BadChecksum = 11, "BAD_CHECKSUM", Safe,
        "The bytes changed between the client and the server; nothing was executed, so send it again and suspect memory or network if it repeats.";
    /// Keys in more than one partition where one is required.
    CrossPartition = 12, "CROSS_PARTITION", Never,
        "The operation needs all its keys in one partition; give them a common {hash tag}.";

    /// Another core or node owns the key.
    WrongCore = 16, "WRONG_CORE", Safe,
        "Another core owns this key; send the request to the core named in the error, or fetch the topology again.";
    /// The client's map is older than the server's in a way that matters to the request.
    StaleMap = 17, "STALE_MAP", Safe,
        "The client's map is out of date; fetch the topology again and send the request where it now belongs.";
    /// Another node leads the partition.
    NotLeader = 18, "NOT_LEADER", Safe,
        "This replica does not lead the partition; send the request to the leader named in the error, or to another node if none is.";
    /// The partition cannot serve now.
    Unavailable = 19, "UNAVAILABLE", Safe,
        "The partition is recovering, moving or without a leader; try again shortly.";

    /// A bound is reached.
    Overloaded = 32, "OVERLOADED", Safe,
        "The server is at a bound of memory, debt or requests in flight; nothing was executed, so try again after a pause.";
    /// The deadline passed before execution.
    DeadlineExceeded = 33, "DEADLINE_EXCEEDED", Safe,
        "The deadline passed before the request was executed; allow more time or send less.";
    /// The request may have been executed.
    OutcomeUnknown = 34, "OUTCOME_UNKNOWN", Unknown,
        "The request may or may not have been executed; read the key to find out, or repeat it with the same session and sequence.";
    /// The server is going away.
    ShuttingDown = 35, "SHUTTING_DOWN", Safe,
        "The server is shutting down and did not execute the request; connect again, elsewhere if there is an elsewhere.";
    /// The disk is full.
    NoSpace = 36, "NO_SPACE", Safe,
        "The server's disk is full: writes are refused, reads and deletes go on; free space and try again.";
    /// A batch's reply has no room for this value.
    ReplyFull = 37, "REPLY_FULL", Safe,
        "The batch's reply has no room for this value; ask for it again, alone or in a smaller batch.";

    /// Stored bytes are damaged.
    Corruption = 48, "CORRUPTION", Never,
        "Stored data failed its checksum and was not served; the server's log names file and offset: restore it from a replica or backup.";
    /// The snapshot of a scan is no longer held.
    SnapshotExpired = 49, "SNAPSHOT_EXPIRED", Safe,
        "The scan's snapshot is no longer held; go on from the resume key at a newer revision, or start over for one revision.";
    /// History is gone. Reserved for watches.
    Compacted = 50, "COMPACTED", Never,
        "The history asked for is no longer kept; read the current state and watch from its revision.";
    /// A session is gone, or does not remember.
    SessionExpired = 51, "SESSION_EXPIRED", Never,
        "The session is no longer known, so that a repeated write could be applied twice; open a new one and read before writing again.";
    /// A sequence was used before with another body.
    SequenceReused = 52, "SEQUENCE_REUSED", Never,
        "This sequence of the session was used for another request; every request needs a sequence of its own.";

    /// A fault of the server.
    Internal = 63, "INTERNAL", Unknown,
        "The server failed in a way it did not foresee; its log says more. The request may have been executed.";

    /// A node of another cluster. This one and the following are between nodes.
    WrongCluster = 64, "WRONG_CLUSTER", Never,
        "The two nodes belong to different clusters; give each node the addresses of its own cluster's members only.";
    /// Another node answers where this one was expected.
    WrongNode = 65, "WRONG_NODE", Never,
        "Another node answers at this address than the member list says; correct the list or the address the node listens on.";
    /// A node with a data directory that the cluster does not know it by.
    UnknownIncarnation = 66, "UNKNOWN_INCARNATION", Never,
        "The node's data directory is not the one that the cluster knows, so that it may have forgotten what it promised; restore the directory, or remove the node and add it as a new one.";
    /// Two nodes that were configured differently.
    PeerMismatch = 67, "PEER_MISMATCH", Never,
        "The two nodes were given different member lists or partition counts; give all nodes of the cluster the same.";
}

impl ErrorCode {
    /// The number on the wire.
    #[must_use]
    pub const fn to_wire(self) -> u16 {
        self as u16
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_and_read_back() {
        let mut last = 0;
        for &code in ErrorCode::ALL {
            assert!(code.to_wire() > last, "{code} out of order");
            last = code.to_wire();
            assert_eq!(ErrorCode::from_wire(last), Some(code));
            assert!(code.advice().ends_with('.'), "{code} needs a sentence");
        }
        assert_eq!(ErrorCode::from_wire(0), None);
        assert_eq!(ErrorCode::from_wire(u16::MAX), None);
    }

    #[test]
    fn an_unknown_retry_class_is_the_careful_one() {
        assert_eq!(RetryClass::from_wire(0), RetryClass::Never);
        assert_eq!(RetryClass::from_wire(1), RetryClass::Safe);
        assert_eq!(RetryClass::from_wire(2), RetryClass::Unknown);
        assert_eq!(RetryClass::from_wire(200), RetryClass::Unknown);
    }
}
