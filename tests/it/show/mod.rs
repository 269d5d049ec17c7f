//! `app dev` on a terminal, `app top`, and the traces that `app dev` keeps: what a person at the
//! keyboard gets to see.

mod keys;
mod receiver;
mod terminal;
mod top;

use std::path::Path;

use crate::support::{Size, Terminal};

/// `app dev` on a terminal of this size, once it is ready for keys.
async fn dev(data_dir: &Path, variables: &[(&str, &str)], size: Size) -> Terminal {
    let data_dir = data_dir.to_str().unwrap();
    let args = ["dev", "--no-download", "--data-dir", data_dir, "--listen", "127.0.0.1:0"];
    let terminal = Terminal::start(args, variables, size);
    terminal.wait_for("Ready in").await;
    terminal
}
