//! FlatBuffers code, generated from `net/schema` as `net/schema/README.md` describes, and the check that it is fresh.

use std::{fs, path::Path};

use crate::{failure::Failure, process, setup, workspace::Workspace};

const SCHEMA: &str = "net/schema/wire.fbs";
const GENERATED_FOLDER: &str = "net/src/generated";
const GENERATED_FILE: &str = "wire_generated.rs";

/// Writes the generated code where it is committed.
pub(crate) fn generate(workspace: &Workspace) -> Result<(), Failure> {
    setup::flatc::install(workspace)?;
    generate_into(workspace, &workspace.root.join(GENERATED_FOLDER))?;
    println!("wrote {GENERATED_FOLDER}/{GENERATED_FILE}");
    Ok(())
}

/// Generates the code beside the tree and compares it with what is committed, byte for byte.
pub(crate) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let scratch = workspace.tools().join("codegen");
    fs::create_dir_all(&scratch).map_err(Failure::file(&scratch))?;
    generate_into(workspace, &scratch)?;
    let read = |path: &Path| fs::read(path).map_err(Failure::file(path));
    let fresh = read(&scratch.join(GENERATED_FILE))?;
    let committed = read(&workspace.root.join(GENERATED_FOLDER).join(GENERATED_FILE))?;
    if fresh == committed {
        println!("{GENERATED_FOLDER}/{GENERATED_FILE} is what flatc {} makes of {SCHEMA}", setup::flatc::VERSION);
        return Ok(());
    }
    Err(Failure::Findings {
        rule: "generated code is committed as its generator writes it",
        findings: vec![format!("{GENERATED_FOLDER}/{GENERATED_FILE} differs from what {SCHEMA} gives")],
    })
}

fn generate_into(workspace: &Workspace, folder: &Path) -> Result<(), Failure> {
    let flatc = setup::flatc::path(workspace);
    process::run(workspace.in_root(flatc).args(["--rust", "-o"]).arg(folder).arg(SCHEMA))
}
