//! HELLO, AUTH and the reply to AUTH.

use crate::body_error::BodyError;
use crate::generated::wire;
use crate::handshake::proof::Proof;
use crate::handshake::{Features, Nonce, VersionRange};
use crate::opcode::Role;
use crate::table::{TableBuilder, checked_text, verified_root};

/// What a client opens with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hello<'a> {
    pub(crate) versions: VersionRange,
    pub(crate) features: Features,
    pub(crate) nonce: Nonce,
    pub(crate) client_name: &'a str,
}

impl<'a> Hello<'a> {
    pub(crate) fn build<'b>(&self, tables: &'b mut TableBuilder) -> &'b [u8] {
        tables.build(|builder| {
            let client_name = Some(builder.create_string(self.client_name));
            wire::Hello::create(
                builder,
                &wire::HelloArgs {
                    version_min: self.versions.min,
                    version_max: self.versions.max,
                    features: self.features.0,
                    nonce: Some(&wire::Bytes32(self.nonce.0)),
                    client_name,
                },
            )
        })
    }

    pub(crate) fn read(body: &'a [u8]) -> Result<Self, BodyError> {
        let table = verified_root::<wire::Hello<'a>>(body)?;
        Ok(Self {
            versions: VersionRange { min: table.version_min(), max: table.version_max() },
            features: Features(table.features()),
            nonce: Nonce(table.nonce().0),
            client_name: checked_text("client name", table.client_name())?,
        })
    }
}

/// A role and a proof: AUTH from the client, and the reply from the server, which has the same fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RoleProof {
    pub(crate) role: Role,
    pub(crate) proof: Proof,
}

impl RoleProof {
    pub(crate) fn build_request<'b>(&self, tables: &'b mut TableBuilder) -> &'b [u8] {
        let proof = wire::Bytes32(self.proof);
        let arguments = wire::AuthArgs { role: self.role as u8, proof: Some(&proof) };
        tables.build(|builder| wire::Auth::create(builder, &arguments))
    }

    pub(crate) fn build_reply<'b>(&self, tables: &'b mut TableBuilder) -> &'b [u8] {
        let proof = wire::Bytes32(self.proof);
        let arguments = wire::AuthReplyArgs { role: self.role as u8, proof: Some(&proof) };
        tables.build(|builder| wire::AuthReply::create(builder, &arguments))
    }

    pub(crate) fn read_request(body: &[u8]) -> Result<Self, BodyError> {
        let table = verified_root::<wire::Auth<'_>>(body)?;
        Ok(Self { role: read_role(table.role())?, proof: table.proof().0 })
    }

    pub(crate) fn read_reply(body: &[u8]) -> Result<Self, BodyError> {
        let table = verified_root::<wire::AuthReply<'_>>(body)?;
        Ok(Self { role: read_role(table.role())?, proof: table.proof().0 })
    }
}

fn read_role(number: u8) -> Result<Role, BodyError> {
    Role::from_wire(number).ok_or(BodyError::Field { field: "role", found: u64::from(number) })
}
