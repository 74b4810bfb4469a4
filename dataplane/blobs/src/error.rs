//! What can go wrong with the object store, told apart only where a program acts differently.

#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("the object is not there")]
    NotFound,
    /// The store did not answer, or answered with a fault of its own. Worth another try.
    #[error("{during}")]
    Unavailable {
        during: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store understood and refused: credentials, bucket, or a request of ours that is wrong.
    #[error("{during}: the object store refused with {code}")]
    Refused { during: &'static str, code: String },
}

impl BlobError {
    pub(crate) fn unavailable(
        during: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable { during, source: source.into() }
    }
}
