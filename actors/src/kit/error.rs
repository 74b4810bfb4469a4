use store::StoreError;
use types::{Code, Mutation, Problem};

/// Why an actor did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ActorError {
    /// A refusal: a value for the caller, no harm to the actor.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// No permit, too many restarts, or draining. Nothing was started.
    #[error("{0} cannot be served right now")]
    Unavailable(&'static str),
    /// The request was sent and its answer did not come.
    #[error("the change was sent and its outcome is unknown")]
    OutcomeUnknown,
    /// Another node holds the claim and did not answer usefully.
    #[error("the node that owns this did not answer")]
    PeerSilent,
    #[error("control database")]
    Store(#[from] StoreError),
    /// A chain, an object store or a tenant database failed in a way worth another try later.
    #[error("{what}")]
    Outside {
        what: &'static str,
        code: Code,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<Problem> for ActorError {
    fn from(problem: Problem) -> Self {
        Self::Refused(Box::new(problem))
    }
}

impl ActorError {
    /// Memory may no longer match Postgres: the keeper must end.
    pub fn doubts_memory(&self) -> bool {
        matches!(self, Self::Store(e) if e.doubts_memory())
    }

    /// What became of the change.
    pub fn mutation(&self) -> Mutation {
        match self {
            Self::Refused(problem) => problem.mutation,
            Self::Unavailable(_) | Self::PeerSilent => Mutation::NotStarted,
            Self::OutcomeUnknown | Self::Store(StoreError::CommitUnknown(_)) | Self::Outside { .. } => {
                Mutation::Unknown
            }
            Self::Store(_) => Mutation::RolledBack,
        }
    }

    /// What the caller is told. The chain of causes stays in the log.
    pub fn into_problem(self) -> Problem {
        if matches!(&self, Self::Store(e) if e.unstorable_text()) {
            return Problem::new(
                Code::BadRequest,
                "a text holds a character that cannot be stored, such as NUL",
            );
        }
        let mutation = self.mutation();
        let code = match &self {
            Self::Refused(_) => Code::Internal,
            Self::Unavailable(_)
            | Self::PeerSilent
            | Self::Store(StoreError::Fenced | StoreError::Stale(_)) => Code::Unavailable,
            Self::OutcomeUnknown | Self::Store(StoreError::CommitUnknown(_)) => Code::OutcomeUnknown,
            Self::Store(StoreError::Db { .. }) => Code::Unavailable,
            Self::Store(_) => Code::Internal,
            Self::Outside { code, .. } => *code,
        };
        match self {
            Self::Refused(problem) => *problem,
            other => Problem::new(code, other.to_string()).mutation(mutation),
        }
    }
}
