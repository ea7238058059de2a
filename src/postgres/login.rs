//! The login to a server.

use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::frontend;
use tokio_postgres::config::{ChannelBinding as Binding, Config};

use super::protocol_error::{ProtocolError, ProtocolResult};

/// The login of a user (manual, section 55.2.1 and 55.3).
pub(super) struct Login<'a> {
    user: &'a str,
    password: &'a [u8],
    wanted: Binding,
    /// What binds to the channel, if the channel is encrypted.
    binding: Option<Vec<u8>>,
    scram: Option<ScramSha256>,
    bound: bool,
}

impl<'a> Login<'a> {
    /// Creates the login of a user. `binding` is what binds to the channel, if the channel is encrypted.
    pub(super) fn new(user: &'a str, config: &'a Config, binding: Option<Vec<u8>>) -> Self {
        Self {
            user,
            password: config.get_password().unwrap_or_default(),
            wanted: config.get_channel_binding(),
            binding,
            scram: None,
            bound: false,
        }
    }

    /// Answers an authentication request of the server.
    pub(super) fn answer(&mut self, mut body: Bytes, outbox: &mut BytesMut) -> ProtocolResult<()> {
        if body.len() < 4 {
            return Err(ProtocolError::Protocol("a short authentication request"));
        }
        let out_of_turn = || ProtocolError::Protocol("SASL out of turn");
        match body.get_i32() {
            0 if self.wanted == Binding::Require && !self.bound => {
                return Err(ProtocolError::Protocol(
                    "a login that is not bound to the channel, as channel_binding=require asks",
                ));
            }
            // A server that never proved that it knows the password is not the one.
            0 if self.scram.is_some() => return Err(out_of_turn()),
            0 => {}
            3 => frontend::password_message(self.password, outbox)?,
            5 => {
                let salt = body
                    .get(..4)
                    .and_then(|salt| <[u8; 4]>::try_from(salt).ok())
                    .ok_or(ProtocolError::Protocol("a short salt"))?;
                let hash = md5_hash(self.user.as_bytes(), self.password, salt);
                frontend::password_message(hash.as_bytes(), outbox)?;
            }
            10 => {
                let offers = |name: &str| body.split(|b| *b == 0).any(|o| o == name.as_bytes());
                let binding = self
                    .binding
                    .take()
                    .filter(|_| self.wanted != Binding::Disable);
                let (mechanism, binding) = match binding {
                    Some(hash) if offers(SCRAM_SHA_256_PLUS) => {
                        self.bound = true;
                        (
                            SCRAM_SHA_256_PLUS,
                            ChannelBinding::tls_server_end_point(hash),
                        )
                    }
                    Some(_) if offers(SCRAM_SHA_256) => {
                        (SCRAM_SHA_256, ChannelBinding::unrequested())
                    }
                    None if offers(SCRAM_SHA_256) => (SCRAM_SHA_256, ChannelBinding::unsupported()),
                    _ => return Err(ProtocolError::Protocol("no known way to authenticate")),
                };
                let state = ScramSha256::new(self.password, binding);
                frontend::sasl_initial_response(mechanism, state.message(), outbox)?;
                self.scram = Some(state);
            }
            11 => {
                let state = self.scram.as_mut().ok_or_else(out_of_turn)?;
                state.update(&body)?;
                frontend::sasl_response(state.message(), outbox)?;
            }
            12 => self.scram.take().ok_or_else(out_of_turn)?.finish(&body)?,
            _ => return Err(ProtocolError::Protocol("an unknown way to authenticate")),
        }
        Ok(())
    }
}
