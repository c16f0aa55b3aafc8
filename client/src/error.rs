//! What can go wrong for a caller, and what that says about a write's fate.

use std::fmt;

use corelode_net::{ErrorCode, NodeId, RetryClass};

use crate::request::Reply;

/// Why an operation did not succeed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// No server could be reached before the deadline; nothing was executed.
    Unreachable {
        /// What the last attempt met.
        reason: String,
    },
    /// The server refused, and nothing was executed.
    Refused {
        /// The server's code; `None` for one that this client does not know.
        code: Option<ErrorCode>,
        /// What happened and what to do.
        message: String,
    },
    /// The write may have been executed or not: its answer did not come by the deadline, or the server forgot its session. Read the key to find out.
    OutcomeUnknown {
        /// Why the answer did not come.
        reason: String,
    },
    /// The deadline passed, and nothing was executed.
    DeadlineExceeded,
    /// The caller's key, value or batch does not fit the limits; nothing was sent.
    Invalid {
        /// What does not fit.
        message: String,
    },
    /// The other side does not speak the protocol, or a value's checksum does not hold.
    Protocol {
        /// What was wrong.
        message: String,
    },
}

/// The result of an operation.
pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { reason } => write!(formatter, "no server reached: {reason}"),
            Self::Refused { code: Some(code), message } => write!(formatter, "refused ({code}): {message}"),
            Self::Refused { code: None, message } => write!(formatter, "refused: {message}"),
            Self::OutcomeUnknown { reason } => {
                write!(formatter, "the write may have been applied or not ({reason}): read the key to find out")
            }
            Self::DeadlineExceeded => {
                write!(formatter, "the deadline passed and nothing was executed: allow more time or try again")
            }
            Self::Invalid { message } | Self::Protocol { message } => formatter.write_str(message),
        }
    }
}

impl std::error::Error for Error {}

/// How one attempt failed, before it is decided whether there is another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum AttemptError {
    /// The request never left: nothing was executed.
    NotSent { reason: String },
    /// The request was sent and the connection broke before its answer.
    Broken { reason: String },
    /// The deadline passed while the answer was waited for; or before the request was sent.
    TimedOut { was_sent: bool },
    /// The server answered with an error; a node that does not lead may name who does.
    Server { code: Option<ErrorCode>, retry: RetryClass, message: String, leader: Option<NodeId> },
    /// The answer cannot be understood.
    Protocol { message: String },
    /// The connection was refused, or what came in its handshake cannot be understood: nothing was sent.
    NotAdmitted { message: String },
}

impl fmt::Display for AttemptError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent { reason } | Self::Broken { reason } => formatter.write_str(reason),
            Self::TimedOut { .. } => formatter.write_str("no answer in time"),
            Self::Server { code: Some(code), message, .. } => write!(formatter, "{message} ({code})"),
            Self::Server { code: None, message, .. } | Self::Protocol { message } | Self::NotAdmitted { message } => {
                formatter.write_str(message)
            }
        }
    }
}

impl AttemptError {
    /// An answer came, and to another question.
    pub(crate) fn unexpected(reply: &Reply) -> Self {
        Self::Protocol { message: format!("an answer to another question: {reply:?}") }
    }

    /// Whether the request may have been executed: the answer did not come, or leaves it open.
    pub(crate) fn may_be_executed(&self) -> bool {
        match self {
            Self::Broken { .. } | Self::TimedOut { was_sent: true } | Self::Protocol { .. } => true,
            Self::Server { retry, .. } => *retry == RetryClass::Unknown,
            Self::NotSent { .. } | Self::TimedOut { was_sent: false } | Self::NotAdmitted { .. } => false,
        }
    }

    /// The server's code, if it answered with one that is known.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Server { code, .. } => *code,
            _ => None,
        }
    }

    /// Whether the server does not do what was asked, now or later, and may do something else. A connection that is refused is another matter.
    pub(crate) fn is_refusal_for_good(&self) -> bool {
        use ErrorCode::{Forbidden, Malformed, TooLarge, UnknownOpcode, Unsupported};
        matches!(
            self,
            Self::Server {
                retry: RetryClass::Never,
                code: None | Some(Forbidden | Malformed | TooLarge | UnknownOpcode | Unsupported),
                ..
            }
        )
    }

    /// What an error of the connection says to a request that was not sent on it.
    pub(crate) fn for_unsent(&self) -> Self {
        match self {
            Self::Broken { reason } => Self::NotSent { reason: reason.clone() },
            // The handshake's deadline, not the request's.
            Self::Server { code: Some(ErrorCode::DeadlineExceeded), message, .. } => {
                Self::NotSent { reason: message.clone() }
            }
            Self::Protocol { message } => Self::NotAdmitted { message: message.clone() },
            Self::Server { code, retry: RetryClass::Unknown, message, leader } => {
                let (message, leader) = (message.clone(), *leader);
                Self::Server { code: *code, retry: RetryClass::Safe, message, leader }
            }
            other => other.clone(),
        }
    }

    /// What an error of the connection says to a request that was sent on it, if only in part.
    pub(crate) fn for_sent(&self) -> Self {
        let reason = match self {
            Self::NotSent { reason } | Self::Broken { reason } => reason.clone(),
            Self::Protocol { message } | Self::NotAdmitted { message } | Self::Server { message, .. } => {
                message.clone()
            }
            Self::TimedOut { .. } => "no answer in time".to_owned(),
        };
        Self::Broken { reason }
    }

    /// What the caller is told if there is no further attempt.
    pub(crate) fn into_error(self, is_write: bool) -> Error {
        match self {
            Self::NotSent { reason } => Error::Unreachable { reason },
            Self::Broken { reason } if is_write => Error::OutcomeUnknown { reason },
            Self::Broken { reason } => Error::Unreachable { reason },
            Self::TimedOut { was_sent: true } if is_write => {
                Error::OutcomeUnknown { reason: "no answer before the deadline".to_owned() }
            }
            Self::TimedOut { .. } => Error::DeadlineExceeded,
            Self::Server { retry: RetryClass::Unknown, message, .. } if is_write => {
                Error::OutcomeUnknown { reason: message }
            }
            Self::Server { code: Some(ErrorCode::DeadlineExceeded), .. } => Error::DeadlineExceeded,
            Self::Server { code, message, .. } => Error::Refused { code, message },
            Self::Protocol { message } if is_write => Error::OutcomeUnknown { reason: message },
            Self::Protocol { message } | Self::NotAdmitted { message } => Error::Protocol { message },
        }
    }
}
