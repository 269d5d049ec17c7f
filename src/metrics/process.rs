//! Figures of this process, as the system tells them: read from `/proc`, so on Linux only.

use std::fs;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use super::instruments::{
    BUILD_INFO, PROCESS_CPU, PROCESS_FDS, PROCESS_MAX_FDS, PROCESS_MEMORY, PROCESS_START,
    PROCESS_THREADS, PROCESS_VIRTUAL_MEMORY,
};
use super::registry::{Family, Point};

/// The moment at which the process began, or was first asked, in seconds since 1970.
static STARTED: LazyLock<f64> = LazyLock::new(|| {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
});

/// The figures of this process. What the system does not tell is left out.
pub(super) fn figures() -> Vec<Family> {
    let build = Family::new(&BUILD_INFO, vec![Point::of(&[env!("CARGO_PKG_VERSION")], 1.0)]);
    let mut families = vec![build, Family::single(&PROCESS_START, *STARTED)];
    families.extend(of_stat());
    families.extend(of_files());
    families
}

/// Time, memory and threads, from one line of numbers (`man 5 proc_pid_stat`).
fn of_stat() -> Vec<Family> {
    let Ok(stat) = fs::read_to_string("/proc/self/stat") else { return Vec::new() };
    // The name of the program may have spaces and parentheses.
    let Some((_, rest)) = stat.rsplit_once(") ") else { return Vec::new() };
    let fields: Vec<f64> =
        rest.split(' ').map(|field| field.trim().parse().unwrap_or(0.0)).collect();
    // The first is the third of the manual.
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0.0);
    let ticks = system_constant(libc::_SC_CLK_TCK);
    vec![
        Family::single(&PROCESS_CPU, (field(14) + field(15)) / ticks),
        Family::single(&PROCESS_THREADS, field(20)),
        Family::single(&PROCESS_VIRTUAL_MEMORY, field(23)),
        Family::single(&PROCESS_MEMORY, field(24) * system_constant(libc::_SC_PAGESIZE)),
    ]
}

fn of_files() -> Vec<Family> {
    let mut families = Vec::new();
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is the folder that is being read.
        families.push(Family::single(&PROCESS_FDS, open.count().saturating_sub(1) as f64));
    }
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = limit.and_then(|limit| limit.split_whitespace().next()?.parse().ok());
    families.extend(soft.map(|soft: f64| Family::single(&PROCESS_MAX_FDS, soft)));
    families
}

fn system_constant(name: libc::c_int) -> f64 {
    // SAFETY: it takes a number and gives one.
    let value = unsafe { libc::sysconf(name) };
    if value > 0 { value as f64 } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::registry::Value;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_process_knows_its_time_memory_and_files() {
        let families = figures();
        for instrument in
            [&PROCESS_CPU, &PROCESS_MEMORY, &PROCESS_VIRTUAL_MEMORY, &PROCESS_THREADS, &PROCESS_FDS]
        {
            let family = families.iter().find(|family| family.instrument == instrument);
            let [Point { value: Value::Number(number), .. }] =
                family.expect(instrument.name).points.as_slice()
            else {
                panic!("{}", instrument.name)
            };
            assert!(number.is_finite() && *number >= 0.0, "{}: {number}", instrument.name);
        }
        let memory = families.iter().find(|family| family.instrument == &PROCESS_MEMORY);
        let Value::Number(bytes) = memory.expect("it is there").points[0].value else { panic!() };
        assert!((1e6..1e11).contains(&bytes), "{bytes}");
    }
}
