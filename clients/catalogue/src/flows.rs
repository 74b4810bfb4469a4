//! Commands with steps of their own. They are written by hand in the clients; here are their words and what
//! they call.

/// A command made of several operations, or of none when it only reads local files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Flow {
    pub id: &'static str,
    /// The words after `run402`.
    pub cli: &'static [&'static str],
    pub mcp: Option<&'static str>,
    /// Ids of the operations it may call.
    pub operations: &'static [&'static str],
    pub summary: &'static str,
}

const DEPLOY: &[&str] = &[
    "deploy.plans.create",
    "content.plans.create",
    "storage.uploads.complete",
    "content.plans.commit",
    "deploy.plans.commit",
    "deploy.operations.get",
];

pub static FLOWS: &[Flow] = &[
    Flow {
        id: "init",
        cli: &["init"],
        mcp: Some("init"),
        operations: &["service.status", "faucet.request", "tiers.status"],
        summary: "Make a wallet, fund it from the faucet, look at the tier.",
    },
    Flow {
        id: "status",
        cli: &["status"],
        mcp: Some("status"),
        operations: &["tiers.status", "billing.balance", "wallets.projects", "service.status"],
        summary: "Show the wallet, its tier, its money and its projects.",
    },
    Flow {
        id: "allowance.balance",
        cli: &["allowance", "balance"],
        mcp: None,
        operations: &["billing.balance", "service.status"],
        summary: "Show what the wallet holds on the chain and in credit.",
    },
    Flow {
        id: "allowance.history",
        cli: &["allowance", "history"],
        mcp: None,
        operations: &["billing.history"],
        summary: "Show the latest movements of the wallet's account.",
    },
    Flow {
        id: "sites.deploy",
        cli: &["sites", "deploy"],
        mcp: Some("deploy_site"),
        operations: DEPLOY,
        summary: "Replace the site by the files of a manifest.",
    },
    Flow {
        id: "sites.deploy_dir",
        cli: &["sites", "deploy-dir"],
        mcp: Some("deploy_site_dir"),
        operations: DEPLOY,
        summary: "Replace the site by the files of a directory.",
    },
    Flow {
        id: "deploy.apply",
        cli: &["deploy", "apply"],
        mcp: Some("deploy"),
        operations: DEPLOY,
        summary: "Plan, upload and commit a release spec.",
    },
    Flow {
        id: "blob.put",
        cli: &["blob", "put"],
        mcp: Some("blob_put"),
        operations: &["storage.uploads.create", "storage.uploads.get", "storage.uploads.complete"],
        summary: "Upload a file as a blob; run again after a cut, it goes on where it was.",
    },
    Flow {
        id: "cdn.wait_fresh",
        cli: &["cdn", "wait-fresh"],
        mcp: Some("wait_for_cdn_freshness"),
        operations: &["storage.blobs.diagnose"],
        summary: "Wait until a mutable address shows certain bytes.",
    },
    Flow {
        id: "auth.invite_user",
        cli: &["auth", "invite-user"],
        mcp: Some("invite_auth_user"),
        operations: &["auth.users.want"],
        summary: "Make a user and mail an invitation.",
    },
    local("allowance.create", &["allowance", "create"], Some("allowance_create"), "Make a wallet."),
    local("allowance.status", &["allowance", "status"], Some("allowance_status"), "Show the wallet's file."),
    local(
        "allowance.export",
        &["allowance", "export"],
        Some("allowance_export"),
        "Print the wallet's address.",
    ),
    local("projects.local.list", &["projects", "list"], None, "List the projects whose keys are here."),
    local("projects.local.use", &["projects", "use"], Some("project_use"), "Choose the active project."),
    local(
        "projects.local.info",
        &["projects", "info"],
        Some("project_info"),
        "Show what is known of a project.",
    ),
    local("projects.local.keys", &["projects", "keys"], Some("project_keys"), "Print a project's keys."),
];

const fn local(
    id: &'static str,
    cli: &'static [&'static str],
    mcp: Option<&'static str>,
    summary: &'static str,
) -> Flow {
    Flow { id, cli, mcp, operations: &[], summary }
}
