//! The states of a deploy operation.

/// Where an operation stands. The states between `Staging` and `Activating` are passed by releases that change
/// the project's database: before `Migrating` a deploy may still be given up, from there on it goes forward.
///
/// # Source
/// Wire contract 02 section 4.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    Planning,
    Uploading,
    Committing,
    Staging,
    Gating,
    Migrating,
    SchemaSettling,
    Activating,
    ActivationPending,
    Ready,
    Failed,
    RolledBack,
    NeedsRepair,
}

/// What happens to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The plan's owner wants it.
    Committed,
    /// Plan live, base unchanged, content present.
    Validated,
    /// Nothing would change, so what is live is the result.
    FoundNoop,
    /// The release is written, still invisible, and touches no database.
    Staged,
    /// The release is written, still invisible; the database comes next.
    StagedToMigrate,
    /// The project's gate is ours and its base unchanged.
    Gated,
    /// Migrations and manifest are committed in the project's database.
    Migrated,
    /// The project's database refused, and nothing of it stayed.
    MigrationRolledBack,
    /// Part of it stayed: somebody must look.
    MigrationBroke,
    /// The new schema can be read.
    Settled,
    /// The new schema cannot be read yet.
    SettleDeferred,
    /// The pointer has moved.
    Activated,
    /// The pointer could not be moved now.
    ActivationDeferred,
    /// It can never succeed.
    Failed,
}

impl Event {
    pub const ALL: [Self; 14] = [
        Self::Committed,
        Self::Validated,
        Self::FoundNoop,
        Self::Staged,
        Self::StagedToMigrate,
        Self::Gated,
        Self::Migrated,
        Self::MigrationRolledBack,
        Self::MigrationBroke,
        Self::Settled,
        Self::SettleDeferred,
        Self::Activated,
        Self::ActivationDeferred,
        Self::Failed,
    ];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} does not happen to an operation that is {status:?}")]
pub struct IllegalMove {
    pub status: Status,
    pub event: Event,
}

impl Status {
    pub const ALL: [Self; 13] = [
        Self::Planning,
        Self::Uploading,
        Self::Committing,
        Self::Staging,
        Self::Gating,
        Self::Migrating,
        Self::SchemaSettling,
        Self::Activating,
        Self::ActivationPending,
        Self::Ready,
        Self::Failed,
        Self::RolledBack,
        Self::NeedsRepair,
    ];
    /// Nothing happens any more.
    pub const TERMINAL: [Self; 4] = [Self::Ready, Self::Failed, Self::RolledBack, Self::NeedsRepair];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planning => "planning",
            Self::Uploading => "uploading",
            Self::Committing => "committing",
            Self::Staging => "staging",
            Self::Gating => "gating",
            Self::Migrating => "migrating",
            Self::SchemaSettling => "schema_settling",
            Self::Activating => "activating",
            Self::ActivationPending => "activation_pending",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
            Self::NeedsRepair => "needs_repair",
        }
    }

    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    pub fn is_terminal(self) -> bool {
        Self::TERMINAL.contains(&self)
    }

    /// The state after `event`.
    ///
    /// # Errors
    /// `IllegalMove` when it cannot happen.
    pub fn apply(self, event: Event) -> Result<Self, IllegalMove> {
        let to = match (self, event) {
            (Self::Planning | Self::Uploading, Event::Committed) => Self::Committing,
            (Self::Committing, Event::Validated) => Self::Staging,
            (Self::Committing, Event::FoundNoop) => Self::Ready,
            (Self::Staging, Event::Staged) => Self::Activating,
            (Self::Staging, Event::StagedToMigrate) => Self::Gating,
            (Self::Gating, Event::Gated) => Self::Migrating,
            (Self::Migrating, Event::Migrated) => Self::SchemaSettling,
            (Self::Migrating, Event::MigrationRolledBack) => Self::RolledBack,
            (Self::Migrating, Event::MigrationBroke) => Self::NeedsRepair,
            (Self::SchemaSettling, Event::Settled) => Self::Activating,
            (Self::SchemaSettling, Event::SettleDeferred) => Self::SchemaSettling,
            (Self::Activating | Self::ActivationPending, Event::Activated) => Self::Ready,
            (Self::Activating | Self::ActivationPending, Event::ActivationDeferred) => {
                Self::ActivationPending
            }
            (
                Self::Committing | Self::Staging | Self::Gating | Self::Activating | Self::ActivationPending,
                Event::Failed,
            ) => Self::Failed,
            (status, event) => return Err(IllegalMove { status, event }),
        };
        Ok(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_is_decided() {
        use Status::{
            Activating, ActivationPending, Committing, Failed, Gating, Migrating, NeedsRepair, Planning,
            Ready, RolledBack, SchemaSettling, Staging, Uploading,
        };
        let legal = [
            (Planning, Event::Committed, Committing),
            (Uploading, Event::Committed, Committing),
            (Committing, Event::Validated, Staging),
            (Committing, Event::FoundNoop, Ready),
            (Committing, Event::Failed, Failed),
            (Staging, Event::Staged, Activating),
            (Staging, Event::StagedToMigrate, Gating),
            (Staging, Event::Failed, Failed),
            (Gating, Event::Gated, Migrating),
            (Gating, Event::Failed, Failed),
            (Migrating, Event::Migrated, SchemaSettling),
            (Migrating, Event::MigrationRolledBack, RolledBack),
            (Migrating, Event::MigrationBroke, NeedsRepair),
            (SchemaSettling, Event::Settled, Activating),
            (SchemaSettling, Event::SettleDeferred, SchemaSettling),
            (Activating, Event::Activated, Ready),
            (Activating, Event::ActivationDeferred, ActivationPending),
            (Activating, Event::Failed, Failed),
            (ActivationPending, Event::Activated, Ready),
            (ActivationPending, Event::ActivationDeferred, ActivationPending),
            (ActivationPending, Event::Failed, Failed),
        ];
        for status in Status::ALL {
            for event in Event::ALL {
                let expected = legal.iter().find(|(s, e, _)| (*s, *e) == (status, event)).map(|row| row.2);
                assert_eq!(status.apply(event).ok(), expected, "{status:?} {event:?}");
            }
            assert_eq!(Status::named(status.as_str()), Some(status));
        }
    }

    #[test]
    fn nothing_happens_after_the_end() {
        for status in Status::TERMINAL {
            assert!(Event::ALL.iter().all(|event| status.apply(*event).is_err()), "{status:?}");
        }
    }
}
