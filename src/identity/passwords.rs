//! Passwords: which ones are acceptable, and their hashes.
//!
//! The rules are those of NIST SP 800-63B-4 but for one: at least 64 characters may be used; no
//! demands on kinds of characters and no expiry, which only make people choose worse; and no
//! password that guessers try first. It asks for 15 characters where, as here, nothing else is
//! asked for at sign-in; we ask for the 8 that people are used to, and throttle sign-ins by the
//! account and the address that they come from.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::{Error as HashingError, PasswordHasher as _, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use unicode_normalization::UnicodeNormalization as _;
use zxcvbn::zxcvbn;

use super::random_bytes;

/// The fewest characters of a password.
pub const MIN_CHARS: usize = 8;
/// The most characters of a password: more do not help whoever chose it.
pub const MAX_CHARS: usize = 128;
/// With fewer different characters it is a pattern, and no password.
const MIN_DIFFERENT_CHARS: usize = 4;
/// Guesses, as a power of ten, that a password must stand up to. Eight characters of chance have
/// 10^8; a name or a word with a year and a sign behind it, less than this.
const MIN_GUESSES_LOG10: f64 = 7.0;
/// The same for its letters and digits alone: what is one of the 10,000 that are tried first is no
/// better for the signs between them.
const MIN_LETTERS_GUESSES_LOG10: f64 = 4.0;
/// The fewest characters of a part of an address that says something.
const MIN_PART_CHARS: usize = 3;

/// Memory in KiB, passes and lanes: the second of the equal choices that OWASP's Password Storage
/// Cheat Sheet gives, at 27 ms and 19 MiB each.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// After so long in the queue for a hash, a request is told to come again.
const WAIT_AT_MOST: Duration = Duration::from_secs(3);

/// A password as it was typed.
///
/// One password is one text, whichever keyboard made it: `é` is one character or two, by machine.
/// So what is hashed is the NFC form; not NFKC, which would make one of passwords that differ.
#[derive(Clone)]
pub struct Password {
    /// In NFC.
    text: String,
    /// As typed, where that differs: hashes of earlier releases are of this.
    typed: Option<String>,
}

impl Password {
    /// Takes any text that somebody tries to sign in with.
    pub fn attempt(typed: String) -> Self {
        let text: String = typed.nfc().collect();
        let typed = Some(typed).filter(|typed| *typed != text);
        Self { text, typed }
    }

    /// A password that may be set by the user with this address.
    ///
    /// # Errors
    ///
    /// When it is too easy to guess.
    pub fn to_set(text: String, email: &str) -> Result<Self, WeakPassword> {
        let password = Self::attempt(text);
        let chars = password.text.chars().count();
        if chars < MIN_CHARS {
            return Err(WeakPassword::TooShort);
        }
        if chars > MAX_CHARS {
            return Err(WeakPassword::TooLong);
        }
        match is_easy_to_guess(&password.text, email) {
            true => Err(WeakPassword::EasyToGuess),
            false => Ok(password),
        }
    }

    /// A password that nobody chose, with 256 bits.
    pub fn generate() -> Self {
        Self::attempt(URL_SAFE_NO_PAD.encode(random_bytes()))
    }

    /// The password itself, for its owner.
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// The reason that a password may not be set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WeakPassword {
    /// The password has too few characters.
    #[error("must have at least {MIN_CHARS} characters; a few words make a good one")]
    TooShort,
    /// The password has too many characters.
    #[error("must have at most {MAX_CHARS} characters")]
    TooLong,
    /// The password is a pattern, close to the email address, or one of those that are tried first.
    #[error(
        "is too easy to guess: it is close to one that many use, a pattern, or the email address; \
         a few words that have nothing to do with each other make a good one"
    )]
    EasyToGuess,
}

/// Tells if guessers would come to it soon: by lists of leaked passwords, words, names, dates and
/// keyboard patterns (`zxcvbn`), with the parts of the user's address among the first.
fn is_easy_to_guess(text: &str, email: &str) -> bool {
    let lower = text.to_lowercase();
    let mut different: Vec<char> = lower.chars().collect();
    different.sort_unstable();
    different.dedup();
    let letters: String = lower.chars().filter(|c| c.is_alphanumeric()).collect();
    let parts = parts_of(email);
    let known: Vec<&str> = parts.iter().map(String::as_str).chain(["surety"]).collect();
    let is_mostly = |part: &String| part.chars().count() * 2 > letters.chars().count();
    different.len() < MIN_DIFFERENT_CHARS
        || parts.iter().any(|part| is_mostly(part) && letters.contains(part))
        || zxcvbn(text, &known).guesses_log10() < MIN_GUESSES_LOG10
        || zxcvbn(&letters, &known).guesses_log10() < MIN_LETTERS_GUESSES_LOG10
}

/// The letters and digits of an address, of its name, and of their parts.
fn parts_of(email: &str) -> Vec<String> {
    let email = email.to_lowercase();
    let name = email.split('@').next().unwrap_or_default();
    let single = email.split(|c: char| !c.is_alphanumeric());
    let parts = [email.as_str(), name]
        .into_iter()
        .chain(single)
        .map(|part| part.chars().filter(|c| c.is_alphanumeric()).collect::<String>());
    parts.filter(|part| part.chars().count() >= MIN_PART_CHARS).collect()
}

/// A hash as a PHC string, which names algorithm, parameters and salt.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub(super) String);

impl PasswordHash {
    /// The text that is stored.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// The reason that a hash was not computed.
#[derive(Debug, thiserror::Error)]
pub enum HasherError {
    /// Too many wait for one.
    #[error("too many passwords are being hashed")]
    Busy,
    /// The hasher failed, or what is stored is no hash.
    #[error("the password cannot be hashed")]
    Failed(#[source] anyhow::Error),
}

/// Computes hashes, on threads of their own and only so many at a time: a flood of sign-ins takes
/// neither all memory nor all processors. Clones share the bound.
#[derive(Clone, Debug)]
pub struct Hasher {
    permits: Arc<Semaphore>,
}

impl Default for Hasher {
    /// As many at a time as there are processors, less one for everything else.
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self { permits: Arc::new(Semaphore::new(processors.saturating_sub(1).max(1))) }
    }
}

impl Hasher {
    /// The hash of a password, with a salt of its own.
    ///
    /// # Errors
    ///
    /// [`HasherError`].
    pub async fn hash(&self, password: Password) -> Result<PasswordHash, HasherError> {
        let hash =
            self.compute(move |argon2| argon2.hash_password(password.text.as_bytes())).await?;
        Ok(PasswordHash(hash.map_err(failed)?.to_string()))
    }

    /// Tells if the password is the one that was hashed. Without a hash it never is, and takes the
    /// same work to say so: nobody can tell from the time whether an account exists.
    ///
    /// # Errors
    ///
    /// [`HasherError`].
    pub async fn verify(
        &self,
        password: Password,
        hash: Option<&PasswordHash>,
    ) -> Result<bool, HasherError> {
        let is_known = hash.is_some();
        let phc = hash.map_or(NOBODYS_HASH, PasswordHash::as_str).to_owned();
        let verified = self.compute(move |argon2| {
            let verify = |text: &str| {
                PasswordVerifier::<str>::verify_password(argon2, text.as_bytes(), &phc)
            };
            match (verify(&password.text), &password.typed) {
                (Err(HashingError::PasswordInvalid), Some(typed)) => verify(typed),
                (verified, _) => verified,
            }
        });
        match verified.await? {
            Ok(()) => Ok(is_known),
            Err(HashingError::PasswordInvalid) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Argon2<'_>) -> T + Send + 'static,
    ) -> Result<T, HasherError> {
        let permit = timeout(WAIT_AT_MOST, Arc::clone(&self.permits).acquire_owned());
        let permit = permit.await.map_err(|_| HasherError::Busy)?;
        let permit = permit.map_err(|error| HasherError::Failed(error.into()))?;
        let computed = tokio::task::spawn_blocking(move || {
            tracing::debug!(MEMORY_KIB, PASSES, LANES, "computing an Argon2id hash");
            let computed = work(&argon2());
            // Not before: a request that gives up does not stop the thread.
            drop(permit);
            computed
        });
        computed.await.map_err(|error| HasherError::Failed(error.into()))
    }
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the parameters are valid");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn failed(error: HashingError) -> HasherError {
    HasherError::Failed(anyhow::Error::msg(error.to_string()))
}

/// A hash with our parameters, of random bits and no password.
const NOBODYS_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c3VyZXR5LW5vYm9keS4x$\
                            3q2Lr1dXo0l7T0mQxv0n1m5wC8gkRjYtYbq8sVfHc2E";

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(password: &str) -> Result<(), WeakPassword> {
        Password::to_set(password.to_owned(), "somebody.longname@example.com").map(drop)
    }

    #[test]
    fn length_counts_characters_and_nothing_else_is_demanded() {
        assert_eq!(verdict("7 chars"), Err(WeakPassword::TooShort));
        assert_eq!(verdict("8 chars!"), Ok(()));
        assert_eq!(verdict("Pässö åé"), Ok(()));
        assert_eq!(verdict(&"four words ".repeat(11)[..121]), Ok(()));
        assert_eq!(verdict(&"four words ".repeat(12)), Err(WeakPassword::TooLong));
    }

    #[test]
    fn what_guessers_try_first_is_refused() {
        for guess in [
            "aaaaaaaaaaaaaaaaaaaa",
            "abababababababab",
            "password",
            "password1",
            "Password1!",
            "Passw0rd!",
            "P@ssw0rd123",
            "Pass word",
            "password password",
            "drowssap1",
            "qwerty123",
            "Qwerty123!",
            "1q2w3e4r",
            "1qaz2wsx",
            "qazwsxedc",
            "asdfghjkl1",
            "abcd1234",
            "abcdefgh1",
            "12345678",
            "1234-5678-90",
            "11223344",
            "letmein1",
            "welcome1",
            "Welcome2026",
            "iloveyou2",
            "monkey123",
            "football1!",
            "trustno1",
            "sunshine99",
            "admin123",
            "Summer2026",
            "surety123",
            "01.02.1990",
            "somebody.longname@example.com",
            "SOMEBODY longname",
            "somebody.longname2026",
            "Longname!",
            "longname-1987",
            "S0mebody!1",
            "example.com1",
        ] {
            assert_eq!(verdict(guess), Err(WeakPassword::EasyToGuess), "{guess}");
        }
    }

    #[test]
    fn what_nobody_would_guess_is_taken() {
        for good in [
            "four small grey owls",
            "seven slow herons",
            "correct horse battery",
            "x7!Kq#2p",
            "vKq2pLw9",
            "Ülkü dağı 42 kez",
            "三つの青い山と川",
            Password::generate().reveal(),
        ] {
            assert_eq!(verdict(good), Ok(()), "{good}");
        }
    }

    #[tokio::test]
    async fn one_password_is_one_whichever_keyboard_made_it() {
        let (composed, decomposed) = ("caf\u{e9} au lait, s'il", "cafe\u{301} au lait, s'il");
        let hasher = Hasher::default();
        let attempt = |text: &str| Password::attempt(text.to_owned());
        let verify = async |text: &str, hash: &PasswordHash| {
            hasher.verify(attempt(text), Some(hash)).await.expect("it hashes")
        };
        for typed in [composed, decomposed] {
            let set = Password::to_set(typed.to_owned(), "a@b").expect("it is a good one");
            let hash = hasher.hash(set).await.expect("it hashes");
            assert!(verify(composed, &hash).await && verify(decomposed, &hash).await);
            // NFKC would take these for the same.
            assert!(!verify("caf\u{e9} au lait, s\u{ff07}il", &hash).await);
        }
        // Before, a hash was of what was typed.
        let old = argon2().hash_password(decomposed.as_bytes()).expect("it hashes").to_string();
        assert!(verify(decomposed, &PasswordHash(old)).await);
    }

    #[tokio::test]
    async fn nobodys_hash_costs_what_any_other_costs_and_fits_no_password() {
        let hasher = Hasher::default();
        let made = hasher.hash(Password::generate()).await.expect("it hashes");
        let parameters = |phc: &str| phc.rsplitn(3, '$').last().map(str::to_owned);
        assert_eq!(parameters(made.as_str()), parameters(NOBODYS_HASH));

        let nobody = hasher.verify(Password::attempt(String::new()), None).await;
        assert!(matches!(nobody, Ok(false)), "{nobody:?}");
    }

    #[test]
    fn nothing_secret_is_shown_by_debug() {
        let password = Password::generate();
        assert!(!format!("{password:?}").contains(password.reveal()));
    }
}
