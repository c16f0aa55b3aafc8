//! Bugs that can be planted, one at a time, to show that the tests would catch them.
//!
//! Without the feature `seeded-bugs` every question here is a constant `false` and costs nothing. With it, a test chooses a bug
//! for its own thread with [`plant`], or for a whole process with the environment variable `CORELODE_BUG`.

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The bugs that can be planted.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Bug {
            $($(#[$doc])* $name,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name by which a process is told.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

bugs! {
    /// Log: a batch is acknowledged when it is handed out, before it is durable.
    LogAcknowledgesBeforeSync = "log-acknowledges-before-sync",
    /// Log: the next batch overwrites the last block of the one before.
    LogRewritesTailBlock = "log-rewrites-tail-block",
    /// Log: the oldest segment is recycled though a stream has not been flushed.
    LogRecyclesUnflushed = "log-recycles-unflushed",
    /// Recovery: an invalid batch is always taken for a torn tail.
    RecoveryCutsCorruption = "recovery-cuts-corruption",
    /// Manifest: the new manifest's bytes are not synced before it is renamed into place.
    ManifestSkipsSync = "manifest-skips-sync",
    /// Manifest: the directory is not synced after the rename.
    ManifestSkipsDirectorySync = "manifest-skips-directory-sync",
    /// Flush: the table is not synced before the manifest names it.
    FlushSkipsTableSync = "flush-skips-table-sync",
    /// Flush: the new table's name is not synced before the manifest names it.
    FlushSkipsDirectorySync = "flush-skips-directory-sync",
    /// Flush: the manifest says that one entry more was flushed than was.
    FlushClaimsTooMuch = "flush-claims-too-much",
    /// Compaction: tombstones are dropped though older versions lie beneath.
    CompactionDropsTombstones = "compaction-drops-tombstones",
    /// Sessions: a flush leaves them out, and so does what is made of its tables.
    SessionsLeftOut = "sessions-left-out",
    /// Sessions: a request that is repeated is applied again.
    SessionsApplyRepeated = "sessions-apply-repeated",
    /// Reads: what was applied from memory is told as if it were durable.
    ReadsTellWhatIsAhead = "reads-tell-what-is-ahead",
    /// Compaction: the inputs are removed before the manifest without them is durable.
    CompactionRemovesInputsEarly = "compaction-removes-inputs-early",
}

#[cfg(feature = "seeded-bugs")]
mod planted {
    use super::Bug;
    use std::cell::Cell;
    use std::sync::OnceLock;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants `bug` for the calling thread, or removes what was planted.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    /// Whether `bug` is planted for this thread or this process.
    #[must_use]
    pub fn is_planted(bug: Bug) -> bool {
        static PROCESS: OnceLock<Option<String>> = OnceLock::new();
        let process = PROCESS.get_or_init(|| std::env::var("CORELODE_BUG").ok());
        PLANTED.get() == Some(bug) || process.as_deref() == Some(bug.name())
    }
}

#[cfg(feature = "seeded-bugs")]
pub use planted::{is_planted, plant};

/// Whether `bug` is planted: never, in this build.
#[cfg(not(feature = "seeded-bugs"))]
#[must_use]
pub(crate) const fn is_planted(_bug: Bug) -> bool {
    false
}
