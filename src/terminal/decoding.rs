//! Letters among what a terminal sends: special keys and what is pasted are none.

/// A byte that begins the sequence of a special key.
const ESCAPE: u8 = 0x1b;
/// The parameter of the sequences around what is pasted, where [`ASK_FOR_MARKS`] was sent.
const PASTE_BEGINS: &[u8] = b"200";
const PASTE_ENDS: &[u8] = b"201";
/// The longest parameter that is kept.
const MAX_PARAMETER: usize = 8;

/// Has the terminal mark what is pasted, and no longer mark it.
pub(super) const ASK_FOR_MARKS: &str = "\u{1b}[?2004h";
pub(super) const NO_MORE_MARKS: &str = "\u{1b}[?2004l";

/// Tells letters from the rest, byte by byte.
#[derive(Default)]
pub(super) struct Decoder {
    state: State,
    parameter: Vec<u8>,
    is_pasted: bool,
}

#[derive(Clone, Copy, Default)]
enum State {
    #[default]
    Letters,
    /// After the escape.
    Escape,
    /// After the escape and `O`: one byte follows.
    One,
    /// After the escape and `[`: parameters follow, and a last byte.
    Sequence,
}

impl Decoder {
    /// The letter that this byte is, if it is one that was pressed.
    pub(super) fn letter_of(&mut self, byte: u8) -> Option<char> {
        match (self.state, byte) {
            (_, ESCAPE) => self.state = State::Escape,
            (State::Escape, b'[') => {
                self.parameter.clear();
                self.state = State::Sequence;
            }
            (State::Escape, b'O') => self.state = State::One,
            (State::Escape | State::One, _) => self.state = State::Letters,
            (State::Sequence, 0x40..=0x7e) => self.end_sequence(byte),
            (State::Sequence, _) if self.parameter.len() < MAX_PARAMETER => {
                self.parameter.push(byte);
            }
            (State::Sequence, _) => {}
            (State::Letters, _) if byte.is_ascii_graphic() && !self.is_pasted => {
                return Some(byte.into());
            }
            (State::Letters, _) => {}
        }
        None
    }

    fn end_sequence(&mut self, last: u8) {
        self.state = State::Letters;
        match (self.parameter.as_slice(), last) {
            (PASTE_BEGINS, b'~') => self.is_pasted = true,
            (PASTE_ENDS, b'~') => self.is_pasted = false,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters(sent: &str) -> String {
        let mut decoder = Decoder::default();
        sent.bytes().filter_map(|byte| decoder.letter_of(byte)).collect()
    }

    #[test]
    fn letters_are_heard_however_they_come() {
        assert_eq!(letters("t"), "t");
        assert_eq!(letters("d?\nq"), "d?q");
    }

    #[test]
    fn special_keys_are_no_letters() {
        // An arrow, one with a modifier, a function key, Alt and a letter.
        assert_eq!(letters("\u{1b}[Bv"), "v");
        assert_eq!(letters("\u{1b}[1;5kv"), "v");
        assert_eq!(letters("\u{1b}Okv"), "v");
        assert_eq!(letters("\u{1b}kv"), "v");
        assert_eq!(letters("\u{1b}[99999999999999999999999kv"), "v");
    }

    #[test]
    fn what_is_pasted_is_no_letter() {
        assert_eq!(letters("t\u{1b}[200~kkk\nq\u{1b}[201~v"), "tv");
    }

    #[test]
    fn letters_beyond_ascii_are_none() {
        assert_eq!(letters("äv日"), "v");
    }
}
