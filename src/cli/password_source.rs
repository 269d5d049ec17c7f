//! The source of passwords for operators' commands: never arguments, which others on the machine
//! could read.

use std::io::Read as _;

use anyhow::{Context as _, bail};

use crate::operations::users::Password;

#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct PasswordSource {
    /// Read the password from stdin instead of making one and printing it.
    #[arg(long)]
    password_stdin: bool,
}

impl PasswordSource {
    /// The password, and whether it is still to be shown to somebody.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is too easy to guess.
    pub(super) fn read(self, email: &str) -> anyhow::Result<(Password, Option<String>)> {
        let [one] = self.read_for(&[email])?;
        Ok(one)
    }

    /// The same for several users: one each if they are made, the same one if it is read.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub(super) fn read_for<const N: usize>(
        self,
        emails: &[&str; N],
    ) -> anyhow::Result<[(Password, Option<String>); N]> {
        if !self.password_stdin {
            return Ok(emails.map(|_| {
                let password = Password::generate();
                let shown = password.reveal().to_owned();
                (password, Some(shown))
            }));
        }
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("the password cannot be read")?;
        let text = text.trim_end_matches(['\r', '\n']);
        let mut read = Vec::with_capacity(N);
        for email in emails {
            match Password::to_set(text.to_owned(), email) {
                Ok(password) => read.push((password, None)),
                Err(reason) => bail!("the password {reason}"),
            }
        }
        Ok(read.try_into().expect("one for each of N"))
    }
}
