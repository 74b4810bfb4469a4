//! What a project may be asked, and what it answers.

use store::projects::Phase;
use types::{OperationId, ReleaseId};

#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub enum Request {
    /// Gives a `provisioning` project its slot and secrets. A no-op once it is ready.
    Provision,
    /// Erases the project with everything it holds, now and for good. A no-op once it is gone.
    Erase,
    /// Makes a staged release the live one.
    Activate { release: ReleaseId, operation: OperationId },
    /// Goes on from what the rows say.
    Step,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Reply {
    /// Where the project stands after the request. `Erasing` means that keys are dead and the rest follows.
    Phase(Phase),
    /// The release is live.
    Activated,
}
