//! Why a call has no answer.

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// It threw, returned nothing that is a response, or its module does not load.
    #[error("the function failed")]
    Threw,
    /// Its process ended: by itself, by a fault, or for taking too much memory.
    #[error("the function's process ended")]
    Ended,
    #[error("the function did not answer within its timeout")]
    Timeout,
    #[error("the function's response is larger than 6 MiB")]
    TooLarge,
    /// All workers are busy; nothing ran.
    #[error("the function is busy")]
    Busy,
    /// No worker can be started on this machine; nothing ran.
    #[error("functions cannot run here")]
    Unavailable,
}
