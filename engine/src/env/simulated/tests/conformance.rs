//! The simulated disk against the kernel: the same random script on both gives the same transcript.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::env::thread::ThreadEnvironment;

#[derive(Clone, Debug)]
enum Operation {
    Create { name: usize, direct: bool },
    Open { name: usize, mode: OpenMode },
    Read { file: usize, offset: u64, length: usize },
    Write { file: usize, offset: u64, length: usize, byte: u8 },
    SetLength { file: usize, length: u64 },
    Sync { file: usize },
    Map { file: usize },
    CreateDirectory { name: usize },
    List { name: usize },
    SyncDirectory { name: usize },
    Rename { from: usize, to: usize },
    RemoveFile { name: usize },
    RemoveDirectory { name: usize },
}

/// Files, directories, things within both, and things that are never there.
const NAMES: [&str; 8] = ["a", "b", "c", "d", "d/a", "d/b", "d/e", "a/within-a-file"];

fn operation() -> impl Strategy<Value = Operation> {
    let name = || 0..NAMES.len();
    let file = || 0..4_usize;
    let mode = prop_oneof![Just(OpenMode::Read), Just(OpenMode::ReadDirect), Just(OpenMode::Log)];
    // Aligned as direct I/O wants it, or not.
    let offset = || prop_oneof![(0..4_u64).prop_map(|block| block * 4096), 0..20_000_u64];
    let length = || prop_oneof![(1..3_usize).prop_map(|block| block * 4096), 1..9000_usize];
    prop_oneof![
        4 => (name(), any::<bool>()).prop_map(|(name, direct)| Operation::Create { name, direct }),
        2 => (name(), mode).prop_map(|(name, mode)| Operation::Open { name, mode }),
        4 => (file(), offset(), length()).prop_map(|(file, offset, length)| Operation::Read { file, offset, length }),
        6 => (file(), offset(), length(), any::<u8>())
            .prop_map(|(file, offset, length, byte)| Operation::Write { file, offset, length, byte }),
        2 => (file(), 0..20_000_u64).prop_map(|(file, length)| Operation::SetLength { file, length }),
        1 => file().prop_map(|file| Operation::Sync { file }),
        1 => file().prop_map(|file| Operation::Map { file }),
        3 => name().prop_map(|name| Operation::CreateDirectory { name }),
        1 => name().prop_map(|name| Operation::List { name }),
        1 => name().prop_map(|name| Operation::SyncDirectory { name }),
        2 => (name(), name()).prop_map(|(from, to)| Operation::Rename { from, to }),
        1 => name().prop_map(|name| Operation::RemoveFile { name }),
        1 => name().prop_map(|name| Operation::RemoveDirectory { name }),
    ]
}

fn told<T: std::fmt::Debug>(result: io::Result<T>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{:?}", error.kind()),
    }
}

/// Runs a script and tells what each operation returned.
async fn transcript<E: Environment>(environment: &E, root: &Path, operations: &[Operation]) -> Vec<String> {
    let path = |name: usize| root.join(NAMES[name]);
    let mut files = Vec::new();
    let mut told_so_far = Vec::new();
    for operation in operations {
        let opened = |result: io::Result<E::File>, files: &mut Vec<E::File>| {
            told(result.map(|file| {
                files.push(file);
            }))
        };
        // Operations on a file that is not open are left out.
        let file = |file: usize| files.get(file).cloned();
        told_so_far.push(match *operation {
            Operation::Create { name, direct } => {
                let mode = if direct { OpenMode::CreateDirect } else { OpenMode::Create };
                opened(environment.open(&path(name), mode).await, &mut files)
            }
            // The kernel opens a directory and refuses to read it. The engine does neither.
            Operation::Open { name, .. } if environment.list_directory(&path(name)).await.is_ok() => continue,
            Operation::Open { name, mode } => opened(environment.open(&path(name), mode).await, &mut files),
            Operation::Read { file: index, offset, length } => {
                let Some(file) = file(index) else { continue };
                let (result, buffer) = environment.read_at(&file, IoBuffer::zeroed(length), offset).await;
                told(result.map(|count| xxhash_rust::xxh3::xxh3_64(&buffer[..count])))
            }
            Operation::Write { file: index, offset, length, byte } => {
                let Some(file) = file(index) else { continue };
                told(environment.write_at(&file, IoBuffer::from(&vec![byte; length][..]), offset).await.0)
            }
            Operation::SetLength { file: index, length } => {
                let Some(file) = file(index) else { continue };
                told(environment.set_length(&file, length).await)
            }
            Operation::Sync { file: index } => {
                let Some(file) = file(index) else { continue };
                told(environment.sync_data(&file).await)
            }
            Operation::Map { file: index } => {
                let Some(file) = file(index) else { continue };
                let length = environment.file_length(&file).await.unwrap();
                told(environment.map(&file, length).await.map(|map| xxhash_rust::xxh3::xxh3_64(&map)))
            }
            Operation::CreateDirectory { name } => told(environment.create_directory(&path(name)).await),
            Operation::List { name } => told(environment.list_directory(&path(name)).await),
            Operation::SyncDirectory { name } => told(environment.sync_directory(&path(name)).await),
            // The kernel lets a directory take the place of an empty one. The engine never renames onto a directory.
            Operation::Rename { to, .. } if environment.list_directory(&path(to)).await.is_ok() => continue,
            Operation::Rename { from, to } => told(environment.rename(&path(from), &path(to)).await),
            Operation::RemoveFile { name } => told(environment.remove_file(&path(name)).await),
            Operation::RemoveDirectory { name } => told(environment.remove_directory(&path(name)).await),
        });
    }
    told_so_far
}

proptest! {
    #[test]
    fn the_simulated_disk_answers_as_the_kernel_does(operations in vec(operation(), 1..40)) {
        let directory = tempfile::tempdir_in(if Path::new("/dev/shm").exists() { "/dev/shm" } else { "." }).unwrap();
        let kernel = ThreadEnvironment::new();
        let log_mode = kernel.block_on(kernel.log_mode(directory.path())).unwrap();
        let expected = kernel.block_on(transcript(&kernel, directory.path(), &operations));

        let simulated = SimulatedEnvironment::new(SimulationOptions { log_mode, ..SimulationOptions::in_order() });
        simulated.run_until(simulated.create_directory("/root".as_ref())).unwrap().unwrap();
        let told = simulated.run_until(transcript(&simulated, "/root".as_ref(), &operations)).unwrap();
        prop_assert_eq!(told, expected);
    }
}
