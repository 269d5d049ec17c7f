//! The nature of a statement, by its first words.

/// Tells whether a query begins a transaction.
pub(super) fn begins_a_transaction(sql: &[u8]) -> bool {
    begins_with(sql, "begin") || begins_with(sql, "start transaction")
}

/// Tells whether a statement outside a transaction would leave something in the session. It stops
/// nobody who wants to do that, and catches the cases that are easily overlooked.
pub(super) fn needs_a_session(sql: &[u8]) -> bool {
    const BEGINNINGS: [&str; 8] = [
        "listen",
        "set",
        "prepare",
        "create temp",
        "create temporary",
        "select pg_advisory_lock(",
        "select pg_try_advisory_lock(",
        "declare",
    ];
    BEGINNINGS.iter().any(|beginning| begins_with(sql, beginning))
}

/// Tells whether a statement begins with these words, in small letters, whatever white space and
/// case it has itself.
fn begins_with(sql: &[u8], words: &str) -> bool {
    let mut sql = sql.trim_ascii_start();
    for word in words.split(' ') {
        let Some((beginning, rest)) = sql.split_at_checked(word.len()) else { return false };
        let ends = word.ends_with('(') || rest.first().is_none_or(|c| !c.is_ascii_alphanumeric());
        if !beginning.eq_ignore_ascii_case(word.as_bytes()) || !ends {
            return false;
        }
        sql = rest.trim_ascii_start();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_session_is_told_by_its_first_words() {
        for sql in
            ["LISTEN x", " set a = 1", "create  temporary table t ()", "SELECT pg_advisory_lock(1)"]
        {
            assert!(needs_a_session(sql.as_bytes()), "{sql}");
        }
        for sql in
            ["select 1", "settle", "create table temp ()", "listening", "update set x = 1", ""]
        {
            assert!(!needs_a_session(sql.as_bytes()), "{sql}");
        }
        assert!(begins_a_transaction(b"  Begin isolation level serializable"));
        assert!(begins_a_transaction(b"start   transaction"));
        assert!(!begins_a_transaction(b"beginning"));
    }
}
