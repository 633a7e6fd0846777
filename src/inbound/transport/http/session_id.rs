//! The ids of sessions of the older revisions: what a handshake has agreed on and with whom, sealed.
//!
//! Whoever holds the keys opens it, so that a session may go on at any process behind a load balancer. It is no
//! secret that opens anything: each request brings its token as well, and the id must be of the same caller.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use rmcp::model::{
    ClientCapabilities, Implementation, InitializeRequestParams, ProtocolVersion,
    RequestStateCodec, RequestStateError, SealOptions,
};
use secrecy::{ExposeSecret, SecretSlice};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::SESSION_TIME_MAX;

/// What an id is bound to besides its caller, so that nothing else that is sealed is taken for one.
const PURPOSE: &[u8] = b"agent-mesh session 1";

/// The longest id that is looked at, in bytes.
const ID_BYTES_MAX: usize = 2048;

/// The keys that ids are sealed with; those of one set know each other's ids.
#[derive(Clone, Debug)]
pub struct SessionKeys(RequestStateCodec);

/// A session, as its id says.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// Tells it from all others.
    pub(super) nonce: Uuid,
    /// What its handshake has agreed on.
    pub(super) client: InitializeRequestParams,
}

/// What is sealed. It is not secret: it can be read, but not be made.
#[derive(Serialize, Deserialize)]
struct Sealed {
    /// The nonce in hexadecimal.
    #[serde(rename = "n")]
    nonce: String,
    #[serde(rename = "v")]
    version: ProtocolVersion,
    /// Which requests the client answers.
    #[serde(rename = "c")]
    capabilities: u8,
}

const ELICITATION: u8 = 1;
const SAMPLING: u8 = 2;
const ROOTS: u8 = 4;

impl SessionKeys {
    /// Seals with the first of `keys`, of 32 bytes and more each, and opens what any of them has sealed.
    ///
    /// # Errors
    /// There is none, or one is too short.
    pub fn new(keys: &[SecretSlice<u8>]) -> Result<Self, RequestStateError> {
        let named: Vec<(String, &[u8])> = keys
            .iter()
            .map(|key| (name(key.expose_secret()), key.expose_secret()))
            .collect();
        let first = named.first().map(|(name, _)| name.clone());
        let codec = RequestStateCodec::new_with_keyring(first.unwrap_or_default(), named)?;
        Ok(Self(codec))
    }

    /// The id of a new session of `caller`, whose client has said `client` of itself and agreed on `version`.
    pub(super) fn seal(
        &self,
        caller: &[u8; 16],
        client: &ClientCapabilities,
        version: ProtocolVersion,
    ) -> Option<String> {
        self.seal_for(caller, client, version, SESSION_TIME_MAX)
    }

    fn seal_for(
        &self,
        caller: &[u8; 16],
        client: &ClientCapabilities,
        version: ProtocolVersion,
        time: Duration,
    ) -> Option<String> {
        let flag = |is_there: bool, flag: u8| if is_there { flag } else { 0 };
        let sealed = Sealed {
            nonce: Uuid::new_v4().simple().to_string(),
            version,
            capabilities: flag(client.elicitation.is_some(), ELICITATION)
                | flag(client.sampling.is_some(), SAMPLING)
                | flag(client.roots.is_some(), ROOTS),
        };
        let bound = bound_to(caller);
        let options = SealOptions::new().associated_data(&bound).ttl(time);
        self.0.seal_json_with(&sealed, &options).ok()
    }

    /// The session of `caller` that has this id; nothing where it is another caller's, is too old, or is no id.
    pub(super) fn open(&self, caller: &[u8; 16], id: &str) -> Option<Session> {
        if id.len() > ID_BYTES_MAX {
            return None;
        }
        let sealed: Sealed = self.0.open_json_with(id, &bound_to(caller)).ok()?;
        let mut capabilities = ClientCapabilities::default();
        if sealed.capabilities & ELICITATION != 0 {
            capabilities.elicitation = Some(Default::default());
        }
        if sealed.capabilities & SAMPLING != 0 {
            capabilities.sampling = Some(Default::default());
        }
        if sealed.capabilities & ROOTS != 0 {
            capabilities.roots = Some(Default::default());
        }
        let implementation = Implementation::new("client", "");
        let client = InitializeRequestParams::new(capabilities, implementation)
            .with_protocol_version(sealed.version);
        Some(Session {
            nonce: Uuid::parse_str(&sealed.nonce).ok()?,
            client,
        })
    }
}

fn bound_to(caller: &[u8; 16]) -> Vec<u8> {
    [PURPOSE, caller.as_slice()].concat()
}

/// The name of a key, by which it is found among others whatever their order: it tells nothing of the key.
fn name(key: &[u8]) -> String {
    let hash = digest(&SHA256, key);
    let bytes = hash.as_ref().iter().take(6);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(seeds: &[u8]) -> SessionKeys {
        let keys: Vec<SecretSlice<u8>> = seeds.iter().map(|seed| vec![*seed; 32].into()).collect();
        SessionKeys::new(&keys).unwrap()
    }

    fn sealed(keys: &SessionKeys) -> String {
        let mut client = ClientCapabilities::default();
        client.elicitation = Some(Default::default());
        keys.seal(&[1; 16], &client, ProtocolVersion::V_2025_06_18)
            .unwrap()
    }

    #[test]
    fn a_session_says_what_its_handshake_agreed_on() {
        let keys = keys(&[7]);
        let id = sealed(&keys);
        assert!(id.bytes().all(|byte| (0x21..=0x7e).contains(&byte)), "{id}");
        assert!(id.len() < 400, "{}", id.len());
        let session = keys.open(&[1; 16], &id).unwrap();
        assert_eq!(
            session.client.protocol_version,
            ProtocolVersion::V_2025_06_18
        );
        assert!(session.client.capabilities.elicitation.is_some());
        assert!(session.client.capabilities.sampling.is_none());
    }

    #[test]
    fn a_session_is_its_callers_and_no_other_ones() {
        let keys = keys(&[7]);
        assert!(keys.open(&[2; 16], &sealed(&keys)).is_none());
    }

    #[test]
    fn a_session_goes_on_where_any_of_the_keys_is_known() {
        let (old, both, new) = (keys(&[7]), keys(&[8, 7]), keys(&[8]));
        assert!(both.open(&[1; 16], &sealed(&old)).is_some());
        assert!(new.open(&[1; 16], &sealed(&both)).is_some());
        assert!(new.open(&[1; 16], &sealed(&old)).is_none());
    }

    #[test]
    fn an_id_that_was_changed_or_is_too_old_or_made_up_opens_nothing() {
        let keys = keys(&[7]);
        let id = sealed(&keys);
        for at in 0..id.len() {
            let mut changed = id.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(keys.open(&[1; 16], &changed).is_none(), "byte {at}");
        }
        let client = ClientCapabilities::default();
        let old = keys.seal_for(
            &[1; 16],
            &client,
            ProtocolVersion::V_2025_06_18,
            Duration::from_millis(1),
        );
        std::thread::sleep(Duration::from_millis(5));
        assert!(keys.open(&[1; 16], &old.unwrap()).is_none());
        for made_up in ["", "x", &"a".repeat(100_000), "rs2.a.b.c"] {
            assert!(keys.open(&[1; 16], made_up).is_none());
        }
    }
}
