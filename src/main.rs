//! The binary `app`: the command line of the library, with an allocator.

use std::process::ExitCode;

/// A request or a job makes many small allocations, freed on another thread as often as not, which
/// this allocator is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    surety::cli::main()
}
