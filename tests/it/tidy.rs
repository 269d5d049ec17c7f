//! What the compiler does not check: which module may know which, and how long things may get.
//!
//! The sources are read as text. That is enough, because rustfmt has laid them out.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules at the top of the app's library, each with those that it may use; `queue` and
/// `invariants` are those of the queue's crate. Nobody may use `cli` but what runs it.
///
/// The lower rings do not know each other, so each can be read, tested and moved alone. A module
/// that joins two of them is an edge (`http`, `operations`, `jobs`) or above. `cli` reaches them
/// through `operations` alone, so that no rule can sit in it. `arguments`, `money`, `ids`,
/// `metrics`, `standard_webhooks` and `invariants` are words for every ring. `telemetry` is used by
/// the binary, and by the composition roots for the export of figures: the others speak to
/// `tracing` and `opentelemetry`, and it shows what they say.
const MAY_USE: [(&str, &[&str]); 36] = [
    ("main", &["cli"]),
    ("lib", &[]),
    (
        "cli",
        &[
            "arguments",
            "bank",
            "db",
            "dev",
            "ids",
            "metrics",
            "money",
            "notices",
            "operations",
            "probes",
            "process",
            "receiver",
            "relay",
            "serve",
            "settings",
            "standard_webhooks",
            "stdout",
            "telemetry",
            "terminal",
            "work",
        ],
    ),
    (
        "dev",
        &[
            "arguments",
            "bank",
            "db",
            "ids",
            "metrics",
            "operations",
            "queue",
            "receiver",
            "serve",
            "standard_webhooks",
            "stdout",
            "telemetry",
            "terminal",
            "traces",
            "work",
        ],
    ),
    (
        "serve",
        &[
            "arguments",
            "bank",
            "db",
            "deliveries",
            "http",
            "identity",
            "jobs",
            "metrics",
            "operations",
            "pages",
            "probes",
            "providers",
            "queue",
            "service_manager",
            "settings",
            "standard_webhooks",
            "telemetry",
            "traces",
        ],
    ),
    ("pages", &["http", "identity", "operations", "queue", "traces"]),
    (
        "work",
        &[
            "arguments",
            "audit",
            "bank",
            "db",
            "deliveries",
            "jobs",
            "metrics",
            "notices",
            "operations",
            "probes",
            "queue",
            "service_manager",
            "settings",
            "telemetry",
        ],
    ),
    (
        "relay",
        &["arguments", "db", "events", "jobs", "metrics", "probes", "queue", "serve", "telemetry"],
    ),
    (
        "http",
        &[
            "arguments",
            "audit",
            "bank",
            "db",
            "deliveries",
            "events",
            "identity",
            "ids",
            "jobs",
            "metrics",
            "money",
            "operations",
            "payments",
            "providers",
            "queue",
            "standard_webhooks",
        ],
    ),
    (
        "operations",
        &[
            "arguments",
            "audit",
            "bank",
            "db",
            "deliveries",
            "events",
            "identity",
            "ids",
            "jobs",
            "metrics",
            "money",
            "notices",
            "payments",
            "queue",
            "standard_webhooks",
        ],
    ),
    (
        "jobs",
        &[
            "audit",
            "bank",
            "deliveries",
            "events",
            "identity",
            "ids",
            "metrics",
            "money",
            "notices",
            "payments",
            "queue",
            "standard_webhooks",
        ],
    ),
    ("events", &["ids"]),
    ("payments", &["ids", "invariants", "money"]),
    ("audit", &[]),
    ("bank", &["arguments", "ids", "metrics", "money"]),
    ("deliveries", &["ids", "metrics", "money", "standard_webhooks"]),
    ("receiver", &["deliveries", "standard_webhooks"]),
    ("providers", &["arguments", "money", "standard_webhooks"]),
    ("identity", &["ids", "money"]),
    ("notices", &["arguments", "ids", "metrics", "money"]),
    ("queue", &[]),
    ("telemetry", &["http", "metrics", "queue", "settings", "terminal"]),
    ("process", &["cli", "settings", "stdout", "telemetry"]),
    ("service_manager", &[]),
    ("settings", &["arguments"]),
    ("db", &["queue"]),
    ("metrics", &[]),
    ("probes", &["arguments", "db", "metrics"]),
    ("arguments", &[]),
    ("money", &[]),
    ("ids", &[]),
    ("standard_webhooks", &[]),
    ("stdout", &["terminal"]),
    ("terminal", &[]),
    ("traces", &[]),
    ("invariants", &[]),
];

/// The folders of `src/http`, each with those of its siblings that it may use.
const HTTP_MAY_USE: [(&str, &[&str]); 3] =
    [("api", &["edge", "wire"]), ("edge", &["wire"]), ("wire", &[])];

const MAX_COLUMNS: usize = 100;
const MAX_FILE_LINES: usize = 400;
const MAX_FUNCTION_LINES: usize = 70;

/// Files that may be longer, with the reason.
const LONG_FILES: [(&str, &str); 0] = [];

/// Such files only grow: their names say nothing of what does not belong there.
const EMPTY_NAMES: [&str; 7] = ["utils", "util", "common", "types", "helpers", "helper", "misc"];

/// No doc comment opens with one of these: it opens with the thing that it is about, or with a
/// verb, and can be read alone.
const POOR_OPENINGS: [&str; 8] = ["What", "Why", "So", "Who", "That", "How", "Whether", "When"];

/// A source file without its unit tests.
struct Source {
    /// From the root of the repository.
    path: String,
    lines: Vec<String>,
}

impl Source {
    /// The module at the top of the crate that it belongs to.
    fn ring(&self) -> &str {
        let path = self.path.trim_start_matches("src/");
        path.split('/').next().unwrap_or(path).trim_end_matches(".rs")
    }

    /// Lines that are not comments, numbered from 1.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered =
            self.lines.iter().enumerate().map(|(number, line)| (number + 1, line.as_str()));
        numbered.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().into_owned()
}

/// The folders of our sources, from the root of the repository.
const SOURCES: [&str; 4] = ["src", "crates/bench/src", "crates/postgres/src", "crates/queue/src"];

/// All sources, without unit tests: those in a module `tests` at the end of a file, or in a file
/// `tests.rs`.
fn sources() -> Vec<Source> {
    let files = SOURCES.into_iter().flat_map(rust_files);
    // Test support unwraps, and is no part of what runs.
    let files = files.filter(|path| {
        !path.ends_with("tests.rs") && !path.starts_with(root().join("crates/postgres/src/testing"))
    });
    let sources: Vec<Source> = files
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let tests = text.find("\n#[cfg(test)]\nmod tests").unwrap_or(text.len());
            let lines = text[..tests].lines().map(str::to_owned).collect();
            Source { path: relative(&path), lines }
        })
        .collect();
    assert!(sources.len() > 20, "the sources were not found");
    sources
}

fn none(violations: &[String]) {
    let some: Vec<&str> = violations.iter().take(40).map(String::as_str).collect();
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), some.join("\n"));
}

#[test]
fn modules_use_only_those_below_them() {
    let mut violations = Vec::new();
    for source in sources().iter().filter(|source| source.path.starts_with("src/")) {
        let ring = source.ring();
        let Some((_, allowed)) = MAY_USE.iter().find(|(module, _)| *module == ring) else {
            violations.push(format!("{}: the module {ring} has no place in MAY_USE", source.path));
            continue;
        };
        let code: Vec<&str> = source.code().map(|(_, line)| line).collect();
        for used in modules_used(&code.join("\n")) {
            if used != ring && !allowed.contains(&used.as_str()) {
                violations.push(format!("{}: {ring} may not use {used}", source.path));
            }
        }
    }
    none(&violations);
}

#[test]
fn folders_of_the_http_layer_use_only_those_below_them() {
    let mut violations = Vec::new();
    for source in sources() {
        let Some((folder, _)) =
            source.path.strip_prefix("src/http/").and_then(|it| it.split_once('/'))
        else {
            continue;
        };
        let Some((_, allowed)) = HTTP_MAY_USE.iter().find(|(name, _)| *name == folder) else {
            violations.push(format!("{}: {folder} has no place in HTTP_MAY_USE", source.path));
            continue;
        };
        let code: Vec<&str> = source.code().map(|(_, line)| line).collect();
        let code = code.join("\n");
        if code.contains("super::super") {
            violations.push(format!("{}: says `super::super` for a sibling", source.path));
        }
        for used in names_after("crate::http::", &code) {
            if used != folder && !allowed.contains(&used.as_str()) {
                violations.push(format!("{}: {folder} may not use {used}", source.path));
            }
        }
    }
    none(&violations);
}

/// The modules at the top of this crate that the code names, by `crate::` or, in the binary,
/// `surety::`.
fn modules_used(code: &str) -> BTreeSet<String> {
    let named = ["crate::", "surety::"].map(|prefix| names_after(prefix, code));
    named.into_iter().flatten().filter(|name| is_module(name)).collect()
}

/// The names that follow this prefix of paths, in groups, too.
fn names_after(prefix: &str, code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let is_part_of_a_word = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        if is_part_of_a_word || in_string(code, at) {
            continue;
        }
        let path = &code[at + prefix.len()..];
        match path.strip_prefix('{') {
            Some(group) => names.extend(first_segments(group)),
            None => {
                names.insert(identifier(path));
            }
        }
    }
    names
}

/// Roughly: whether an odd number of quotes stands before it in its line.
fn in_string(code: &str, at: usize) -> bool {
    let line_start = code[..at].rfind('\n').map_or(0, |end| end + 1);
    code[line_start..at].matches('"').count() % 2 == 1
}

/// What stands at the beginning of each path in a group: `a::b, c::{d, e}}` gives `a` and `c`.
fn first_segments(group: &str) -> Vec<String> {
    let mut segments = Vec::new();
    let mut depth = 0;
    let mut at_start = true;
    for (position, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            c if at_start && !c.is_whitespace() => {
                segments.push(identifier(&group[position..]));
                at_start = false;
            }
            _ => {}
        }
    }
    segments
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Not a type or a macro of the crate's root.
fn is_module(name: &str) -> bool {
    MAY_USE.iter().any(|(module, _)| *module == name)
        || root().join("src").join(name).is_dir()
        || root().join("src").join(format!("{name}.rs")).is_file()
}

#[test]
fn lines_fit_into_a_hundred_columns() {
    let mut violations = Vec::new();
    for path in ["src", "tests", "crates"].into_iter().flat_map(rust_files) {
        for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            let columns = line.chars().count();
            if columns > MAX_COLUMNS {
                violations.push(format!("{}:{}: {columns} columns", relative(&path), number + 1));
            }
        }
    }
    none(&violations);
}

#[test]
fn files_have_at_most_400_lines_without_their_tests() {
    let mut violations = Vec::new();
    for source in sources() {
        let is_known = LONG_FILES.iter().any(|(path, _reason)| *path == source.path);
        match source.lines.len() {
            lines if lines > MAX_FILE_LINES && !is_known => {
                violations.push(format!("{}: {lines} lines", source.path));
            }
            lines if lines <= MAX_FILE_LINES && is_known => {
                violations.push(format!("{}: no longer an exception", source.path));
            }
            _ => {}
        }
    }
    none(&violations);
}

#[test]
fn functions_have_at_most_70_lines() {
    let mut violations = Vec::new();
    for source in sources() {
        let mut begun: Option<(usize, String, String)> = None;
        for (number, line) in source.code() {
            let indent: String = line.chars().take_while(|c| *c == ' ').collect();
            if let Some(name) = function_name(line) {
                begun = Some((number, indent.clone(), name));
            }
            let Some((first, begun_indent, name)) = &begun else { continue };
            // rustfmt puts the end of a function below its beginning.
            if indent == *begun_indent && (line.trim() == "}" || line.ends_with(';')) {
                let lines = number - first + 1;
                if lines > MAX_FUNCTION_LINES {
                    violations.push(format!("{}:{first}: {name} has {lines} lines", source.path));
                }
                begun = None;
            }
        }
    }
    none(&violations);
}

fn function_name(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let position = words.iter().position(|word| *word == "fn")?;
    let is_declaration = words[..position]
        .iter()
        .all(|word| matches!(*word, "async" | "const" | "unsafe") || word.starts_with("pub"));
    is_declaration.then(|| identifier(words.get(position + 1).unwrap_or(&"")))
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    no_line_of_code_has(&[".unwrap()"]);
}

/// With `?`, an error may be written with its backtrace: pages of text, and the symbols that are
/// read for the first one stay in memory for good.
#[test]
fn errors_are_logged_in_one_line() {
    no_line_of_code_has(&["(?error", " ?error"]);
}

fn no_line_of_code_has(words: &[&str]) {
    let has_any = |line: &str| words.iter().any(|word| line.contains(word));
    let mut violations = Vec::new();
    for source in sources() {
        for (number, line) in source.code().filter(|(_, line)| has_any(line)) {
            violations.push(format!("{}:{number}: {}", source.path, line.trim()));
        }
    }
    none(&violations);
}

#[test]
fn modules_have_names_that_say_something() {
    let mut violations = Vec::new();
    for path in SOURCES.into_iter().flat_map(rust_files) {
        let relative = relative(&path);
        let parts = relative.trim_end_matches(".rs").split('/');
        if parts.into_iter().any(|part| EMPTY_NAMES.contains(&part)) {
            violations.push(relative);
        }
    }
    none(&violations);
}

/// The texts in which newcomers are told of files.
const GUIDES: [&str; 7] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "src/lib.rs",
    "crates/queue/README.md",
    "crates/queue/schema/README.md",
];

#[test]
fn files_that_newcomers_are_told_of_exist() {
    let mut violations = Vec::new();
    let mut seen = 0;
    for guide in GUIDES {
        let text = fs::read_to_string(root().join(guide)).unwrap();
        let folders = ["src/", "crates/", "tests/", "migrations/", "openapi/", "schema/", ".ci/"];
        let quoted = text.split('`').skip(1).step_by(2);
        for path in quoted.filter(|quoted| folders.iter().any(|it| quoted.starts_with(it))) {
            seen += 1;
            // From the root, or from the crate that the guide belongs to.
            let crate_root = root().join(guide.split("schema/").next().unwrap());
            let crate_root = crate_root.parent().unwrap();
            let is_there = |base: &Path| base.join(path.trim_end_matches('/')).exists();
            if !is_there(root()) && !is_there(crate_root) && !is_there(&root().join("crates/queue"))
            {
                violations.push(format!("{guide}: there is no {path}"));
            }
        }
    }
    assert!(seen > 20, "the paths were not found");
    none(&violations);
}

#[test]
fn folders_have_a_mod_and_at_least_three_files() {
    let mut violations = Vec::new();
    let files: Vec<PathBuf> = SOURCES.into_iter().flat_map(rust_files).collect();
    let folders: BTreeSet<&Path> = files.iter().filter_map(|file| file.parent()).collect();
    let crate_roots = SOURCES.map(|folder| root().join(folder));
    for folder in folders.into_iter().filter(|folder| !crate_roots.iter().any(|it| it == folder)) {
        let name = relative(folder);
        let count = fs::read_dir(folder).unwrap().count();
        if !folder.join("mod.rs").is_file() {
            violations.push(format!("{name}: no mod.rs"));
        }
        if count < 3 {
            violations.push(format!("{name}: {count} entries"));
        }
        if folder.with_extension("rs").is_file() {
            violations.push(format!("{name}: a file of its name stands beside it"));
        }
    }
    none(&violations);
}

#[test]
fn doc_comments_open_with_the_thing_or_a_verb() {
    let mut violations = Vec::new();
    for source in sources() {
        for (number, opening) in doc_openings(&source.lines) {
            if POOR_OPENINGS.contains(&identifier(opening).as_str()) {
                violations.push(format!("{}:{number}: {opening}", source.path));
            }
        }
    }
    none(&violations);
}

/// The first line of each doc comment, with its number.
fn doc_openings(lines: &[String]) -> Vec<(usize, &str)> {
    let mut openings = Vec::new();
    let mut is_inside = false;
    for (number, line) in lines.iter().enumerate() {
        let line = line.trim_start();
        let text = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"));
        if let (Some(text), false) = (text, is_inside) {
            openings.push((number + 1, text.trim_start()));
        }
        is_inside = text.is_some();
    }
    openings
}

#[test]
fn the_reader_of_the_sources_sees_what_it_must() {
    let code = "use crate::{db, queue::worker::{Worker, self}, jobs::registry};\n\
                let x = crate::money::Amount::parse(\"crate::http\");\n\
                fn at() -> subcrate::serve::X {}";
    let used: Vec<String> = modules_used(code).into_iter().collect();
    assert_eq!(used, ["db", "jobs", "money", "queue"]);
    assert_eq!(function_name("    pub(super) async fn run("), Some("run".to_owned()));
    assert_eq!(function_name("    let f = |x| the fn is here"), None);
    let lines =
        "//! One.\n//! Two.\n\n    /// What it is.\n    x: i32, // Why".lines().map(str::to_owned);
    let lines: Vec<String> = lines.collect();
    assert_eq!(doc_openings(&lines), [(1, "One."), (4, "What it is.")]);
}
