//! Work for the maintenance thread: everything that takes long or touches file names. A shard makes a [`Job`] as a value, the
//! maintenance thread [runs](run) it, and the shard learns of the end by one message, a [`JobDone`].
//!
//! Jobs touch only immutable things: frozen memtables, finished tables, bytes of a manifest. A job that fails leaves no partial
//! output under a name that anybody reads.

use std::path::PathBuf;
use std::sync::Arc;

use crate::compaction::{CompactionJob, run_compaction};
use crate::env::Environment;
use crate::error::{Error, Result};
use crate::flush::{FlushJob, run_flush};
use crate::ids::PartitionId;
use crate::io_buffer::IoBuffer;
use crate::job_target::JobTarget;
use crate::log::{SegmentFile, prepare_segment};
use crate::manifest::{Manifest, ReplaceFailure};
use crate::table::Table;
use crate::transfer::{
    OpenTransferJob, OpenedTransfer, ReadPieceJob, TransferId, WritePieceJob, open_transfer, read_piece, write_piece,
};

/// How urgent a job is. Lower lanes wait while a higher one has work.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Lane {
    /// What writes may be waiting for: segments, flushes, manifests.
    Urgent,
    /// What keeps reads fast and space small: compaction, removal.
    Background,
}

/// Work for the maintenance thread.
pub enum Job<E: Environment> {
    /// Make a segment file ready.
    PrepareSegment {
        /// The log's directory.
        directory: PathBuf,
        /// The number of the file.
        number: u64,
        /// Its length, bytes.
        size_bytes: u64,
    },
    /// Write a frozen memtable to a table of level 0.
    Flush(FlushJob),
    /// Merge tables.
    Compact(Box<CompactionJob<E>>),
    /// Make a manifest durable.
    WriteManifest {
        /// The partition's directory.
        directory: PathBuf,
        /// What to write.
        manifest: Manifest,
    },
    /// Unmap and remove tables that no manifest names and nobody reads.
    RemoveTables {
        /// The partition.
        partition: PartitionId,
        /// The tables.
        tables: Vec<Arc<Table<E>>>,
    },
    /// Remove files that are not needed and nobody has open.
    RemoveFiles {
        /// The files.
        paths: Vec<PathBuf>,
    },
    /// Read a piece of a table for another node.
    ReadPiece(ReadPieceJob<E>),
    /// Write a piece of a table that another node sent.
    WritePiece(WritePieceJob<E>),
    /// Check and open the tables that another node sent.
    OpenTransfer(OpenTransferJob),
    /// Read and check every block of a partition's tables.
    VerifyTables {
        /// The partition.
        partition: PartitionId,
        /// The tables.
        tables: Vec<Arc<Table<E>>>,
    },
    /// Look up which pages of tables are in memory.
    RefreshResidency {
        /// The tables.
        tables: Vec<ResidencyCheck<E>>,
    },
}

/// A table whose pages are to be looked at.
pub struct ResidencyCheck<E: Environment> {
    /// The partition the table belongs to.
    pub partition: PartitionId,
    /// The table.
    pub table: Arc<Table<E>>,
    /// Whether to bring all of it into memory first: what it was made of was in memory too.
    pub is_hot: bool,
}

/// The end of a job.
pub enum JobDone<E: Environment> {
    /// A segment file is ready, or could not be made.
    SegmentPrepared(Result<SegmentFile<E::File>>),
    /// A flush ended: the table, unless nothing was worth keeping.
    Flushed {
        /// The partition.
        partition: PartitionId,
        /// The new table of level 0.
        result: Result<Option<Table<E>>>,
    },
    /// A compaction ended: the new tables in key order.
    Compacted {
        /// The partition.
        partition: PartitionId,
        /// The tables of the output level.
        result: Result<Vec<Table<E>>>,
    },
    /// A manifest is durable, or its writing failed.
    ManifestWritten {
        /// The partition.
        partition: PartitionId,
        /// The version written.
        version: u64,
        /// Whether it is in place, durably.
        result: std::result::Result<(), ReplaceFailure>,
    },
    /// Files were removed; those that could not be are removed at the next start.
    Removed {
        /// The first failure.
        result: Result<()>,
    },
    /// A piece of a table was read for another node.
    PieceRead {
        /// The transfer.
        transfer: TransferId,
        /// Its bytes.
        result: Result<IoBuffer>,
    },
    /// A piece of a table that another node sent was written.
    PieceWritten {
        /// The transfer.
        transfer: TransferId,
        /// The file.
        result: Result<E::File>,
    },
    /// The tables that another node sent were opened.
    TransferOpened {
        /// The transfer.
        transfer: TransferId,
        /// The tables.
        result: Result<OpenedTransfer<E>>,
    },
    /// All blocks of a partition's tables were checked, or those up to the first that is damaged.
    TablesVerified {
        /// The partition.
        partition: PartitionId,
        /// What is wrong, if anything is.
        result: Result<()>,
    },
    /// Which pages are in memory.
    Residency(Vec<ResidencyReport<E>>),
}

/// Which pages of a table are in memory: bits from the first page on, 64 a word.
pub struct ResidencyReport<E: Environment> {
    /// The partition the table belongs to.
    pub partition: PartitionId,
    /// The table.
    pub table: Arc<Table<E>>,
    /// The bits, as [`FileMap::residency`](crate::env::FileMap::residency) gives them.
    pub pages: Vec<u64>,
}

impl<E: Environment> Job<E> {
    /// How urgent the job is.
    #[must_use]
    pub fn lane(&self) -> Lane {
        match self {
            Self::PrepareSegment { .. } | Self::Flush(_) | Self::WriteManifest { .. } => Lane::Urgent,
            Self::Compact(_)
            | Self::RemoveTables { .. }
            | Self::RemoveFiles { .. }
            | Self::ReadPiece(_)
            | Self::WritePiece(_)
            | Self::OpenTransfer(_)
            | Self::VerifyTables { .. }
            | Self::RefreshResidency { .. } => Lane::Background,
        }
    }
}

/// Runs a job to its end.
pub async fn run<E: Environment>(environment: E, job: Job<E>) -> JobDone<E> {
    match job {
        Job::PrepareSegment { directory, number, size_bytes } => {
            JobDone::SegmentPrepared(prepare_segment(&environment, &directory, number, size_bytes).await)
        }
        Job::Flush(job) => {
            let result = logged("flush", &job.target, run_flush(&environment, &job)).await;
            JobDone::Flushed { partition: job.target.partition, result }
        }
        Job::Compact(job) => {
            let result = logged("compaction", &job.target, run_compaction(&environment, &job)).await;
            JobDone::Compacted { partition: job.target.partition, result }
        }
        Job::WriteManifest { directory, manifest } => JobDone::ManifestWritten {
            partition: manifest.partition,
            version: manifest.version,
            result: manifest.write(&environment, &directory).await,
        },
        Job::RemoveTables { tables, .. } => {
            let paths: Vec<_> = tables.iter().map(|table| table.path().to_path_buf()).collect();
            // The last reference unmaps the file, here and not on the shard.
            drop(tables);
            JobDone::Removed { result: remove_files(&environment, paths).await }
        }
        Job::RemoveFiles { paths } => JobDone::Removed { result: remove_files(&environment, paths).await },
        Job::VerifyTables { partition, tables } => {
            let result = async {
                for table in &tables {
                    table.verify(&environment).await?;
                }
                Ok(())
            };
            JobDone::TablesVerified { partition, result: result.await }
        }
        Job::ReadPiece(job) => {
            JobDone::PieceRead { transfer: job.transfer, result: read_piece(&environment, &job).await }
        }
        Job::WritePiece(job) => {
            JobDone::PieceWritten { transfer: job.transfer, result: write_piece(&environment, job).await }
        }
        Job::OpenTransfer(job) => {
            JobDone::TransferOpened { transfer: job.transfer, result: open_transfer(&environment, &job).await }
        }
        Job::RefreshResidency { tables } => JobDone::Residency(refresh_residency(&environment, tables).await),
    }
}

/// Runs a job that writes tables between two lines of the log, so that after a crash the log tells whose an unfinished table was.
async fn logged<T>(kind: &str, target: &JobTarget, job: impl Future<Output = T>) -> T {
    let JobTarget { partition, table_id_first, table_count_max, .. } = target;
    let (partition, table_id_first) = (partition.0, table_id_first.0);
    tracing::debug!(kind, partition, table_id_first, table_count_max, "job begins");
    let output = job.await;
    tracing::debug!(kind, partition, table_id_first, table_count_max, "job ended");
    output
}

async fn remove_files<E: Environment>(environment: &E, paths: Vec<PathBuf>) -> Result<()> {
    let mut first_failure = Ok(());
    for path in paths {
        if let Err(error) = environment.remove_file(&path).await {
            first_failure = first_failure.and(Err(Error::io("remove", &path, error)));
        }
        environment.yield_now().await;
    }
    first_failure
}

async fn refresh_residency<E: Environment>(environment: &E, tables: Vec<ResidencyCheck<E>>) -> Vec<ResidencyReport<E>> {
    let mut reports = Vec::with_capacity(tables.len());
    for ResidencyCheck { partition, table, is_hot } in tables {
        if is_hot && let Err(error) = table.page_in() {
            tracing::warn!(table = %table.path().display(), %error, "a table could not be brought into memory; it is read as needed");
        }
        // A map whose residency cannot be told is read by ordinary reads.
        let pages = table.residency().unwrap_or_default();
        reports.push(ResidencyReport { partition, table, pages });
        environment.yield_now().await;
    }
    reports
}
