//! `app man`: the manual, a page for each command, made from the same definition as its help.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Command;
use clap::builder::Resettable;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

const SECTION: &str = "1";

/// Writes the manual, a page for each command, to be read by man.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  app man ~/.local/share/man/man1
  man app-jobs-list

The pages of a release are in its archive already.")]
pub struct Args {
    /// The folder of the pages; made where there is none.
    #[arg(value_name = "FOLDER")]
    dir: PathBuf,
}

/// Does what `args` ask for.
///
/// # Errors
///
/// When the pages cannot be written.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    fs::create_dir_all(&args.dir)
        .with_context(|| format!("the folder {} cannot be made", args.dir.display()))?;
    let mut definition = super::Cli::definition();
    definition.build();
    let source = format!("surety {}", env!("CARGO_PKG_VERSION"));
    let pages = pages(&definition, None, &source)?;
    for Page { name, text } in &pages {
        let file = args.dir.join(format!("{name}.{SECTION}"));
        fs::write(&file, text).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    println!("wrote {} pages to {}", pages.len(), args.dir.display());
    Ok(ExitCode::SUCCESS)
}

struct Page {
    /// Such as `app-jobs-list`.
    name: String,
    text: Vec<u8>,
}

/// The pages of a command and of those below it.
fn pages(command: &Command, above: Option<&str>, source: &str) -> io::Result<Vec<Page>> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let mut pages = vec![Page { text: page(command, above, source)?, name: name.clone() }];
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        pages.extend(self::pages(below, Some(&name), source)?);
    }
    Ok(pages)
}

fn page(command: &Command, above: Option<&str>, source: &str) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    // What stands after the help would become one paragraph, its examples too.
    let bare = command.clone().after_help(Resettable::Reset).after_long_help(Resettable::Reset);
    Man::new(bare).section(SECTION).source(source).manual("Surety").render(&mut text)?;
    // A date would be another each day. The library leaves out what is empty, and then the next
    // word stands in its place.
    let text = String::from_utf8_lossy(&text);
    let mut text =
        text.replacen(&format!(" {SECTION}  "), &format!(" {SECTION} \"\" "), 1).into_bytes();
    let after = command.get_after_long_help().or_else(|| command.get_after_help());
    let after = after.map(ToString::to_string).unwrap_or_default();
    if let Some(notes) = notes(&after) {
        notes.to_writer(&mut text)?;
    }
    if let Some(above) = above {
        let mut roff = Roff::new();
        roff.control("SH", ["SEE ALSO"]).text([bold(above), roman(format!("({SECTION})"))]);
        roff.to_writer(&mut text)?;
    }
    Ok(text)
}

/// The end of a help text: what is indented is kept as it is, all else are paragraphs.
fn notes(text: &str) -> Option<Roff> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    let mut roff = Roff::new();
    let (heading, text) = match text.strip_prefix("Examples:\n") {
        Some(text) => ("EXAMPLES", text),
        None => ("NOTES", text),
    };
    roff.control("SH", [heading]);
    for block in blocks(text) {
        match block {
            Block::Kept(lines) => {
                roff.control("PP", []).control("nf", []);
                for line in lines {
                    roff.text([roman(line)]);
                }
                roff.control("fi", []);
            }
            Block::Paragraph(lines) => {
                roff.control("PP", []).text([roman(lines.join(" "))]);
            }
        }
    }
    Some(roff)
}

#[derive(PartialEq, Eq, Debug)]
enum Block<'a> {
    Kept(Vec<&'a str>),
    Paragraph(Vec<&'a str>),
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut is_new = true;
    for line in text.lines() {
        if line.trim().is_empty() {
            is_new = true;
            continue;
        }
        match (line.starts_with("  "), blocks.last_mut()) {
            (true, Some(Block::Kept(lines))) if !is_new => lines.push(line.trim_end()),
            (false, Some(Block::Paragraph(lines))) if !is_new => lines.push(line.trim()),
            (true, _) => blocks.push(Block::Kept(vec![line.trim_end()])),
            (false, _) => blocks.push(Block::Paragraph(vec![line.trim()])),
        }
        is_new = false;
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_keep_their_lines_and_sentences_do_not() {
        assert_eq!(
            blocks("  app a   first\n  app b\n\nA sentence\nof two lines.\n\nAnother.\n  as is"),
            [
                Block::Kept(vec!["  app a   first", "  app b"]),
                Block::Paragraph(vec!["A sentence", "of two lines."]),
                Block::Paragraph(vec!["Another."]),
                Block::Kept(vec!["  as is"]),
            ]
        );
    }
}
