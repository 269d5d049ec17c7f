//! The secrets of endpoints, sealed before they are stored: by the keys of sealed jobs, so that one
//! setting and one rotation serve both.
//!
//! Sealed are the secrets that sign, the seed of the ed25519 key and the values of the owner's own
//! headers, each by itself and for its place: one that is copied to another endpoint does not open
//! there. Without keys they are stored in plain, as the arguments of jobs are; and whoever meets a
//! sealed one leaves it to another worker.

use serde_json::Value;

use crate::deliveries::endpoints::{Settings, StoredSecrets};
use crate::deliveries::outgoing::Outgoing;
use crate::ids::EndpointId;
use crate::queue::sealing::{Keyring, OpenError, SealError, SealedArgs};
use crate::standard_webhooks::SigningKey;

/// Seals and opens the secrets of endpoints. By default without keys.
#[derive(Clone, Debug, Default)]
pub struct EndpointSecrets {
    keyring: Option<Keyring>,
}

/// The reason that a stored secret could not be sealed with another key.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    /// It does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be sealed.
    #[error("it could not be sealed")]
    Seal(#[from] SealError),
}

/// The place of a secret, for which it is sealed.
enum Place<'a> {
    Secret,
    SigningKey,
    Header(&'a str),
}

impl EndpointSecrets {
    /// Those that are sealed with the keys of this ring, if there is one.
    #[must_use]
    pub fn new(keyring: Option<Keyring>) -> Self {
        Self { keyring }
    }

    /// A secret that signs, as it is to be stored.
    ///
    /// # Errors
    ///
    /// [`SealError`].
    pub fn seal(&self, endpoint: EndpointId, secret: &str) -> Result<String, SealError> {
        self.seal_text(endpoint, &Place::Secret, secret)
    }

    /// The settings of an endpoint, as they are to be stored. What is sealed already stays as it
    /// is.
    ///
    /// # Errors
    ///
    /// [`SealError`].
    pub fn seal_settings(
        &self,
        endpoint: EndpointId,
        mut settings: Settings,
    ) -> Result<Settings, SealError> {
        let plain = |key: &String| key.parse::<SigningKey>().ok().map(|key| (key.reveal(), key));
        if let Some((seed, key)) = settings.signing_key.as_ref().and_then(plain) {
            settings.public_key = Some(key.public_key().to_string());
            settings.signing_key = Some(self.seal_text(endpoint, &Place::SigningKey, &seed)?);
        }
        if let Value::Object(headers) = &mut settings.headers {
            for (name, value) in headers {
                if let Some(text) = value.as_str() {
                    *value = self.seal_value(endpoint, &Place::Header(name), text)?;
                }
            }
        }
        Ok(settings)
    }

    /// The delivery with its endpoint's secrets in plain.
    ///
    /// # Errors
    ///
    /// [`OpenError`], also when they are sealed and there are no keys.
    pub fn open(&self, mut outgoing: Outgoing) -> Result<Outgoing, OpenError> {
        let endpoint = outgoing.key.endpoint;
        for secret in &mut outgoing.secrets {
            *secret = self.open_text(endpoint, &Place::Secret, secret)?;
        }
        if let Some(key) = &mut outgoing.signing_key {
            *key = self.open_text(endpoint, &Place::SigningKey, key)?;
        }
        outgoing.headers = self.open_headers(endpoint, outgoing.headers)?;
        Ok(outgoing)
    }

    /// The stored secrets of an endpoint, sealed with the current key.
    ///
    /// # Errors
    ///
    /// [`ResealError`].
    pub fn reseal(&self, mut stored: StoredSecrets) -> Result<StoredSecrets, ResealError> {
        let endpoint = stored.endpoint;
        for (_, secret) in &mut stored.secrets {
            let opened = self.open_text(endpoint, &Place::Secret, secret)?;
            *secret = self.seal(endpoint, &opened)?;
        }
        if let Some(key) = &mut stored.signing_key {
            let opened = self.open_text(endpoint, &Place::SigningKey, key)?;
            if let Ok(key) = opened.parse::<SigningKey>() {
                stored.public_key = Some(key.public_key().to_string());
            }
            *key = self.seal_text(endpoint, &Place::SigningKey, &opened)?;
        }
        stored.headers = self.open_headers(endpoint, stored.headers)?;
        if let Value::Object(headers) = &mut stored.headers {
            for (name, value) in headers {
                if let Some(text) = value.as_str() {
                    *value = self.seal_value(endpoint, &Place::Header(name), text)?;
                }
            }
        }
        Ok(stored)
    }

    fn open_headers(&self, endpoint: EndpointId, mut headers: Value) -> Result<Value, OpenError> {
        if let Value::Object(headers) = &mut headers {
            for (name, value) in headers {
                if let Ok(sealed) = serde_json::from_value::<SealedArgs>(value.clone()) {
                    let place = Place::Header(name);
                    *value = Value::String(self.open_sealed(endpoint, &place, &sealed)?);
                }
            }
        }
        Ok(headers)
    }

    fn seal_value(
        &self,
        endpoint: EndpointId,
        place: &Place<'_>,
        plain: &str,
    ) -> Result<Value, SealError> {
        let Some(keyring) = &self.keyring else { return Ok(Value::String(plain.to_owned())) };
        let sealed = keyring.seal(&place.name(endpoint), &plain)?;
        Ok(serde_json::to_value(&sealed)?)
    }

    /// A sealed text is the JSON of what is sealed, so that it can be told from one in plain: no
    /// secret that signs and no key begins with a brace.
    fn seal_text(
        &self,
        endpoint: EndpointId,
        place: &Place<'_>,
        plain: &str,
    ) -> Result<String, SealError> {
        Ok(match self.seal_value(endpoint, place, plain)? {
            Value::String(plain) => plain,
            sealed => sealed.to_string(),
        })
    }

    fn open_text(
        &self,
        endpoint: EndpointId,
        place: &Place<'_>,
        stored: &str,
    ) -> Result<String, OpenError> {
        if !stored.starts_with('{') {
            return Ok(stored.to_owned());
        }
        let sealed: SealedArgs = serde_json::from_str(stored).map_err(|_| OpenError::Malformed)?;
        self.open_sealed(endpoint, place, &sealed)
    }

    fn open_sealed(
        &self,
        endpoint: EndpointId,
        place: &Place<'_>,
        sealed: &SealedArgs,
    ) -> Result<String, OpenError> {
        let unknown = || OpenError::UnknownKey { key: sealed.key().to_owned() };
        let keyring = self.keyring.as_ref().ok_or_else(unknown)?;
        let opened = keyring.open(&place.name(endpoint), sealed)?;
        serde_json::from_str(opened.get()).map_err(|_| OpenError::Malformed)
    }
}

impl Place<'_> {
    /// The name that is sealed in, as the kind of a job is. What was sealed under it must open for
    /// as long as it is stored.
    fn name(&self, endpoint: EndpointId) -> String {
        match self {
            Self::Secret => format!("endpoint {endpoint} secret"),
            Self::SigningKey => format!("endpoint {endpoint} signing key"),
            Self::Header(name) => format!("endpoint {endpoint} header {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    const OLD: &str = "old:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const NEW: &str = "new:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    const ENDPOINT: EndpointId = EndpointId(Uuid::nil());

    fn with(keys: &str) -> EndpointSecrets {
        EndpointSecrets::new(Some(keys.parse().expect("it is a ring")))
    }

    fn stored(secret: String, headers: Value) -> StoredSecrets {
        StoredSecrets {
            endpoint: ENDPOINT,
            headers,
            signing_key: None,
            public_key: None,
            secrets: vec![(1, secret)],
        }
    }

    #[test]
    fn a_secret_opens_at_its_own_place_only() {
        let sealed = with(OLD).seal(ENDPOINT, "whsec_a").unwrap();
        assert!(!sealed.contains("whsec"), "{sealed}");
        let open = |endpoint, place: Place<'_>| with(OLD).open_text(endpoint, &place, &sealed);

        assert_eq!(open(ENDPOINT, Place::Secret), Ok("whsec_a".to_owned()));
        let refused = || Err(OpenError::Refused { key: "old".to_owned() });
        assert_eq!(open(EndpointId(Uuid::max()), Place::Secret), refused());
        assert_eq!(open(ENDPOINT, Place::SigningKey), refused());
        assert_eq!(open(ENDPOINT, Place::Header("secret")), refused());
    }

    #[test]
    fn without_the_key_it_is_for_another_worker() {
        let sealed = with(OLD).seal(ENDPOINT, "whsec_a").unwrap();
        for other in [EndpointSecrets::default(), with(NEW)] {
            let opened = other.open_text(ENDPOINT, &Place::Secret, &sealed);
            assert!(opened.is_err_and(|error| error.is_for_another_worker()));
        }
        assert_eq!(EndpointSecrets::default().seal(ENDPOINT, "whsec_a").unwrap(), "whsec_a");
    }

    #[test]
    fn what_is_resealed_has_the_current_key_and_opens_without_the_old_one() {
        let headers = json!({ "x-plain": "a", "sealed": with(OLD)
            .seal_value(ENDPOINT, &Place::Header("sealed"), "b").unwrap() });
        let old = stored(with(OLD).seal(ENDPOINT, "whsec_a").unwrap(), headers);

        let new = with(&format!("{NEW},{OLD}")).reseal(old).unwrap();

        for (_, value) in new.headers.as_object().unwrap() {
            assert_eq!(value["key"], "new");
        }
        let opened = with(NEW).open_headers(ENDPOINT, new.headers).unwrap();
        assert_eq!(opened, json!({ "x-plain": "a", "sealed": "b" }));
        let secret = with(NEW).open_text(ENDPOINT, &Place::Secret, &new.secrets[0].1);
        assert_eq!(secret, Ok("whsec_a".to_owned()));
    }
}
