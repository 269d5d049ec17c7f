//! `app openapi`: the OpenAPI document as files, and a collection of requests made from it,
//! committed beside the code so that changes of the API are seen in review.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use crate::serve;

/// Writes the OpenAPI document as openapi.json and openapi.yaml, and as requests to be sent from an
/// editor, surety.http.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Write nothing; exit 1 when a file is missing or not what it would be.
    #[arg(long)]
    pub check: bool,

    /// The folder of the files.
    #[arg(long, default_value = "openapi", value_name = "FOLDER")]
    pub dir: PathBuf,
}

/// Does what `args` ask for.
///
/// # Errors
///
/// When the files cannot be written.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let files = serve::openapi_files().map(|(name, text)| (args.dir.join(name), text));
    if args.check {
        return Ok(check(&files));
    }
    std::fs::create_dir_all(&args.dir)
        .with_context(|| format!("the folder {} cannot be made", args.dir.display()))?;
    for (file, text) in &files {
        std::fs::write(file, text)
            .with_context(|| format!("{} cannot be written", file.display()))?;
        println!("wrote {}", file.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn check(files: &[(PathBuf, String)]) -> ExitCode {
    let is_stale =
        |file: &Path, text: &str| std::fs::read_to_string(file).ok().as_deref() != Some(text);
    let stale: Vec<_> = files.iter().filter(|(file, text)| is_stale(file, text)).collect();
    for (file, _) in &stale {
        eprintln!("{} is stale: run 'app openapi' and commit it", file.display());
    }
    if stale.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
