//! The examples of the README are those of the library's documentation, which are run.

const README: &str = include_str!("../../README.md");
const LIBRARY: &str = include_str!("../../src/lib.rs");

/// The blocks of code between a line `opening` and the next line of three backticks.
fn blocks(text: &str, opening: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == opening {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push(block.join("\n"));
        } else if line.starts_with("```") {
            lines.by_ref().find(|line| *line == "```");
        }
    }
    blocks
}

#[test]
fn the_readme_shows_the_examples_that_are_run() {
    let documentation: Vec<&str> = LIBRARY
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        // Hidden lines of code; headings go, too.
        .filter(|line| !line.starts_with("# "))
        .collect();
    let shown = blocks(&documentation.join("\n"), "```");
    assert_eq!(shown.len(), 2);
    assert_eq!(blocks(README, "```rust"), shown);
}
