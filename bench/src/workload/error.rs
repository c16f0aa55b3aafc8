//! What is wrong with the description of a workload, and what may stand there instead.

use std::error::Error;
use std::fmt;

use super::distribution::THETA_MAX;
use super::keys::{KEY_BYTES_MAX, KEY_BYTES_MIN, KEYS_MAX};
use super::values::VALUE_BYTES_MAX;
use crate::report::model::OperationKind;

/// A workload that cannot be made as it was described.
#[derive(Clone, PartialEq, Debug)]
pub enum WorkloadError {
    /// This text is not a number.
    Number(String),
    /// This is not a skew.
    Theta(f64),
    /// This is not a share.
    Share(f64),
    /// This text names no choice of keys.
    KeyChoice(String),
    /// This text is not a kind of operation with its share.
    MixPart(String),
    /// This kind of operation has two shares.
    MixTwice(OperationKind),
    /// The shares have this sum, and not 1.
    MixSum(f64),
    /// This text names no preset.
    Preset(String),
    /// No workload can have so many keys.
    Keys(u64),
    /// Keys cannot be this long.
    KeyBytes(usize),
    /// Values cannot be this long.
    ValueBytes(usize),
}

impl fmt::Display for WorkloadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(text) => write!(formatter, "`{text}` is not a number; write it as 0.99"),
            Self::Theta(theta) => write!(formatter, "the skew {theta} is not from 0 to {THETA_MAX}; YCSB uses 0.99"),
            Self::Share(share) => write!(formatter, "the share {share} is not from 0 to 1"),
            Self::KeyChoice(text) => write!(
                formatter,
                "`{text}` is no choice of keys; write uniform, zipfian, zipfian:THETA, latest, latest:THETA, hotspot or \
                 hotspot:SHARE_OF_KEYS,SHARE_OF_OPERATIONS, as in zipfian:0.99 and hotspot:0.2,0.8"
            ),
            Self::MixPart(text) => write!(
                formatter,
                "`{text}` is not a kind of operation with its share; write KIND=SHARE with commas between, where KIND is read, \
                 update, insert, scan or read_modify_write, as in read=0.95,update=0.05"
            ),
            Self::MixTwice(kind) => write!(formatter, "the mix names {kind:?} twice; give each kind one share"),
            Self::MixSum(sum) => write!(formatter, "the shares of the mix sum to {sum}; they have to sum to 1"),
            Self::Preset(text) => write!(formatter, "`{text}` is no workload of YCSB; write a, b, c, d, e or f"),
            Self::Keys(keys) => write!(formatter, "there cannot be {keys} keys; 1 to {KEYS_MAX} can be told apart"),
            Self::KeyBytes(length) if *length > KEY_BYTES_MAX => {
                write!(formatter, "keys of {length} bytes are too long; give them at most {KEY_BYTES_MAX} bytes")
            }
            Self::KeyBytes(length) => write!(
                formatter,
                "keys of {length} bytes cannot tell all numbers apart; give them {KEY_BYTES_MIN} bytes or more"
            ),
            Self::ValueBytes(length) => {
                write!(formatter, "values of {length} bytes are too long; give them at most {VALUE_BYTES_MAX} bytes")
            }
        }
    }
}

impl Error for WorkloadError {}
