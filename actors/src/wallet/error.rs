use chain::rpc::RpcError;
use types::Code;

use crate::kit::ActorError;

/// The chain did not answer usefully: nothing is concluded from that, and another try follows.
pub(crate) fn chain_error(what: &'static str, source: RpcError) -> ActorError {
    ActorError::Outside { what, code: Code::ChainUnavailable, source: Box::new(source) }
}

pub(super) fn signer_error(source: impl std::error::Error + Send + Sync + 'static) -> ActorError {
    ActorError::Outside { what: "sign a transaction", code: Code::ChainUnavailable, source: Box::new(source) }
}
