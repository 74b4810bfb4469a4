//! The one table of what clients branch on. `docs/errors.md` is made from it.

macro_rules! codes {
    ($(
        $name:ident, $wire:literal, $status:literal, $category:literal, $retry:literal, $action:literal,
        $advice:literal;
    )*) => {
        /// A failure that a client can act on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $(#[doc = $advice] $name),* }

        impl Code {
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The `code` on the wire.
            pub fn as_str(self) -> &'static str { match self { $(Self::$name => $wire),* } }
            /// The HTTP status it travels with.
            pub fn status(self) -> u16 { match self { $(Self::$name => $status),* } }
            pub fn category(self) -> &'static str { match self { $(Self::$name => $category),* } }
            /// The same request may succeed later without a change.
            pub fn retryable(self) -> bool { match self { $(Self::$name => $retry),* } }
            /// The word for `next_actions`.
            pub fn action(self) -> &'static str { match self { $(Self::$name => $action),* } }
            /// What to do, in one sentence; the default `hint`.
            pub fn advice(self) -> &'static str { match self { $(Self::$name => $advice),* } }
        }
    };
}

codes! {
    // Who is asking.
    AuthenticationRequired, "AUTHENTICATION_REQUIRED", 402, "auth", false, "authenticate", "Sign the request with a wallet: send a fresh SIGN-IN-WITH-X header.";
    Unauthorized, "UNAUTHORIZED", 401, "auth", false, "authenticate", "Send the project's key, as handed out when the project was made.";
    Forbidden, "FORBIDDEN", 403, "auth", false, "edit_request", "This credential does not reach that resource.";
    AdminRequired, "ADMIN_REQUIRED", 403, "auth", false, "authenticate", "Use an admin wallet and send X-Admin-Mode: 1.";
    // End users of a project.
    UserTokenRequired, "AUTHENTICATION_REQUIRED", 401, "auth", false, "authenticate", "Send the user's access token as bearer, with the anon key of the same project; refresh it when its hour is over.";
    InvalidCredentials, "INVALID_CREDENTIALS", 401, "auth", false, "edit_request", "Check address and password; an account without a password signs in another way.";
    InvalidGrant, "INVALID_GRANT", 400, "auth", false, "authenticate", "Sign in again: a refresh token works once and for 30 days.";
    UnsupportedGrantType, "UNSUPPORTED_GRANT_TYPE", 400, "validation", false, "edit_request", "Use password, refresh_token, magic_link, email_code or authorization_code.";
    InvalidEmail, "INVALID_EMAIL", 400, "validation", false, "edit_request", "Send one e-mail address.";
    WeakPassword, "WEAK_PASSWORD", 400, "validation", false, "edit_request", "Use a password of 8 to 256 bytes.";
    SignupNotAllowed, "SIGNUP_NOT_ALLOWED", 403, "auth", false, "edit_request", "This project lets its owner alone make accounts.";
    MagicLinkInvalid, "MAGIC_LINK_INVALID", 400, "auth", false, "authenticate", "Ask for a new link: one works once and for 15 minutes.";
    RedirectNotAllowed, "REDIRECT_NOT_ALLOWED", 400, "validation", false, "edit_request", "Use http://localhost with any port, or a name that this project has claimed, without a fragment.";
    RedirectRequired, "REDIRECT_REQUIRED", 400, "validation", false, "edit_request", "Send redirect_url: the page of the project that takes the invitation.";
    OriginNotAllowed, "ORIGIN_NOT_ALLOWED", 400, "validation", false, "edit_request", "Use the exact origin of the page, such as https://my-app.example: http://localhost with any port, a name of this project, or its own host.";
    OauthNotConfigured, "OAUTH_NOT_CONFIGURED", 501, "validation", false, "edit_request", "Offer another way to sign in: run402 auth providers lists them.";
    OauthStateInvalid, "OAUTH_STATE_INVALID", 400, "auth", false, "authenticate", "Begin the sign-in again on the page: one works once and for 10 minutes.";
    AccountExistsRequiresLink, "ACCOUNT_EXISTS_REQUIRES_LINK", 409, "auth", false, "authenticate", "Sign in as before, then add the Google account: start with intent link.";
    IdentityAlreadyLinked, "IDENTITY_ALREADY_LINKED", 409, "auth", false, "authenticate", "Sign in with this Google account, or add another one.";
    DomainNotAllowed, "DOMAIN_NOT_ALLOWED", 403, "auth", false, "authenticate", "Use an account of a domain that the project takes.";
    PasskeyChallengeInvalid, "PASSKEY_CHALLENGE_INVALID", 400, "auth", false, "authenticate", "Ask for new options: a challenge takes one answer within 5 minutes, in its project and by the user who began it.";
    PasskeyNotRegistered, "PASSKEY_VERIFICATION_FAILED", 400, "auth", false, "edit_request", "Send what navigator.credentials.create gave for these options, on the page of app_origin; see details.reason.";
    PasskeyNotVerified, "PASSKEY_VERIFICATION_FAILED", 401, "auth", false, "authenticate", "Sign in with a passkey of this page, or in another way.";
    PasskeyExists, "PASSKEY_EXISTS", 409, "validation", false, "edit_request", "This passkey is registered already: sign in with it.";
    PasskeyRequired, "PASSKEY_REQUIRED", 403, "auth", false, "authenticate", "Sign in with a passkey first: this project's admins change their passkeys in such a sign-in only.";
    CurrentPasswordRequired, "CURRENT_PASSWORD_REQUIRED", 400, "auth", false, "edit_request", "Send current_password, or sign in by mail first and set the password within 15 minutes.";
    PasswordSetDisabled, "PASSWORD_SET_DISABLED", 403, "auth", false, "edit_request", "The owner allows it: run402 auth settings --allow-password-set true.";
    UserNotFound, "USER_NOT_FOUND", 404, "not_found", false, "edit_request", "List the project's users: run402 auth users.";
    MailNotConfigured, "MAIL_NOT_CONFIGURED", 503, "validation", false, "edit_request", "This server sends no mail yet; sign in in another way.";
    UserExists, "USER_EXISTS", 409, "validation", false, "authenticate", "Sign in instead.";
    // Paying.
    PaymentRequired, "PAYMENT_REQUIRED", 402, "payment", true, "submit_payment", "Pay one of the offers in the PAYMENT-REQUIRED header and repeat the request.";
    PaymentInvalid, "PAYMENT_INVALID", 402, "payment", false, "submit_payment", "Sign a new payment for the offer as it stands now.";
    PaymentMalformed, "PAYMENT_MALFORMED", 400, "payment", false, "edit_request", "Send one PAYMENT-SIGNATURE header: standard base64 of the x402 payment object.";
    InsufficientFunds, "INSUFFICIENT_FUNDS", 402, "payment", true, "submit_payment", "Fund the wallet with USDC on the offered network and repeat the request.";
    PaymentPending, "PAYMENT_PENDING", 409, "payment", true, "retry", "The payment was sent and is not confirmed yet. Repeat the request; you will not be charged twice.";
    PaymentReused, "PAYMENT_REUSED", 409, "payment", false, "submit_payment", "This payment was already spent on another request. Sign a new one.";
    TierRequired, "TIER_REQUIRED", 403, "payment", false, "renew_tier", "Subscribe to a tier first: run402 tier set prototype.";
    UnknownTier, "UNKNOWN_TIER", 400, "validation", false, "edit_request", "Choose prototype, hobby or team.";
    TierDowngradeNotAllowed, "TIER_DOWNGRADE_NOT_ALLOWED", 409, "payment", false, "check_usage", "Reduce usage below the lower tier's limits, or wait for the lease to end.";
    SuspenseNotResolvable, "SUSPENSE_NOT_RESOLVABLE", 409, "payment", false, "edit_request", "List what is in suspense again: only final money that no payment claims can be resolved, and only once; see details.reason.";
    BudgetExceeded, "BUDGET_EXCEEDED", 403, "payment", false, "check_usage", "Ask the account's owner to raise the budget (run402 billing budget set), or wait until resets_at.";
    FaucetDisabled, "FAUCET_DISABLED", 503, "payment", false, "submit_payment", "This server has no faucet; fund the wallet elsewhere.";
    StripeNotConfigured, "STRIPE_NOT_CONFIGURED", 503, "payment", false, "submit_payment", "This server takes no cards: its operator must set secret_key and webhook_secrets in [stripe]. Pay with x402 meanwhile.";
    CardUnavailable, "CARD_UNAVAILABLE", 503, "payment", true, "retry", "Stripe did not answer. Try again in a moment; nothing was charged.";
    InvalidAmount, "INVALID_AMOUNT", 400, "payment", false, "edit_request", "Send amount_usd_micros as a whole number of cents: a multiple of 10000 from 500000 to 10000000000.";
    CardTestMode, "CARD_TEST_MODE", 409, "payment", false, "submit_payment", "This server's cards are test cards, and this product is sold for cash only. Pay with x402.";
    AccountSuspended, "ACCOUNT_SUSPENDED", 403, "payment", false, "submit_payment", "A card payment was taken back after it had been spent. Top up what is owed: run402 allowance checkout.";
    NoSavedCard, "NO_SAVED_CARD", 409, "payment", false, "submit_payment", "Buy an e-mail pack by card once; that card is then saved for recharging.";
    WebhookSignatureInvalid, "WEBHOOK_SIGNATURE_INVALID", 400, "auth", false, "edit_request", "Only Stripe calls this route. Check that webhook_secrets in [stripe] has the endpoint's signing secret.";
    ConfirmationInvalid, "CONFIRMATION_INVALID", 400, "auth", false, "authenticate", "Ask for a new mail: one works once and for a day. run402 billing create-email <address>.";
    WalletLinkedElsewhere, "WALLET_LINKED_ELSEWHERE", 409, "validation", false, "edit_request", "This wallet speaks for another account already. Link another wallet.";
    BadEmail, "BAD_EMAIL", 400, "validation", false, "edit_request", "Send one e-mail address, such as ada@example.com.";
    // Lifecycle and limits.
    ProjectPastDue, "PROJECT_PAST_DUE", 403, "lifecycle", false, "renew_tier", "Renew the tier.";
    ProjectFrozen, "PROJECT_FROZEN", 403, "lifecycle", false, "renew_tier", "Renew the tier: it revives every project of the account.";
    ProjectDormant, "PROJECT_DORMANT", 403, "lifecycle", false, "renew_tier", "Renew the tier: it revives every project of the account.";
    QuotaExceeded, "QUOTA_EXCEEDED", 403, "lifecycle", false, "check_usage", "Free some space or move to a larger tier.";
    StorageLimitExceeded, "STORAGE_LIMIT_EXCEEDED", 403, "lifecycle", false, "check_usage", "Free some space or move to a larger tier.";
    RateLimited, "RATE_LIMITED", 429, "rate_limit", true, "retry", "Wait retry_after seconds.";
    // AI helpers.
    AiProviderNotConfigured, "AI_PROVIDER_NOT_CONFIGURED", 503, "api", false, "edit_request", "This server has no AI provider: its operator must set [ai]. Nothing was charged.";
    AiProviderFailed, "AI_PROVIDER_FAILED", 502, "api", true, "retry", "The AI provider failed and nothing was charged for it. Ask again; money that was paid is on the wallet's balance and pays for that.";
    AiRequestRefused, "AI_REQUEST_REFUSED", 422, "validation", false, "edit_request", "The AI provider refuses this text. Change it; money that was paid is on the wallet's balance.";
    AddonRequired, "ADDON_REQUIRED", 403, "lifecycle", false, "check_usage", "Switch the add-on on: run402 ai addon enable translation.";
    ImagePending, "IMAGE_PENDING", 503, "api", true, "retry", "The image is still being made. Ask for the same again in a moment: it is charged once.";
    ImageExpired, "IMAGE_EXPIRED", 410, "not_found", false, "edit_request", "An image is kept for a day after it was made. Ask for a new one.";
    // What was asked.
    BadRequest, "BAD_REQUEST", 400, "validation", false, "edit_request", "The request is not what this route reads; see details.";
    BodyTooLarge, "BODY_TOO_LARGE", 413, "validation", false, "edit_request", "Send a smaller body.";
    NotFound, "NOT_FOUND", 404, "not_found", false, "edit_request", "Check the path.";
    MethodNotAllowed, "METHOD_NOT_ALLOWED", 405, "validation", false, "edit_request", "Use another method.";
    ResourceNotFound, "RESOURCE_NOT_FOUND", 404, "not_found", false, "edit_request", "Check the id.";
    BadProjectName, "BAD_PROJECT_NAME", 400, "validation", false, "edit_request", "Use 1 to 128 characters without control characters.";
    ProjectNotFound, "PROJECT_NOT_FOUND", 404, "not_found", false, "edit_request", "Check the project id; a deleted project does not come back.";
    ProjectNotReady, "PROJECT_NOT_READY", 409, "api", true, "retry", "The project is being made or erased. Try again in a moment.";
    NoSchemaSlots, "NO_SCHEMA_SLOTS", 503, "api", true, "retry", "No schema slots available. The pool refills by itself; try again in a moment.";
    IdempotencyKeyReused, "IDEMPOTENCY_KEY_REUSED", 409, "validation", false, "edit_request", "Use a new Idempotency-Key for a different request.";
    // SQL.
    SqlError, "SQL_ERROR", 400, "validation", false, "edit_request", "Postgres refused the statement; nothing was changed.";
    SqlBlocked, "FORBIDDEN", 403, "auth", false, "edit_request", "Permissions are managed automatically.";
    SqlTimeout, "SQL_TIMEOUT", 408, "api", false, "edit_request", "The statement was stopped at its deadline and rolled back.";
    ResultTooLarge, "RESULT_TOO_LARGE", 413, "validation", false, "edit_request", "Add a limit: at most 10,000 rows or 10 MB are returned.";
    // The expose manifest.
    InvalidManifest, "INVALID_MANIFEST", 400, "validation", false, "edit_request", "Correct each entry of errors; nothing was changed.";
    // Content and deploys.
    UploadNotFound, "UPLOAD_NOT_FOUND", 404, "not_found", false, "edit_request", "Start a new upload.";
    UploadIncomplete, "UPLOAD_INCOMPLETE", 409, "validation", true, "retry", "Upload the bytes to the presigned URL, then complete again.";
    UploadCompleting, "UPLOAD_COMPLETING", 409, "validation", true, "retry", "Complete the upload again in a moment: it waits for the same work.";
    UploadExpired, "UPLOAD_EXPIRED", 409, "validation", false, "edit_request", "Start a new upload.";
    InvalidStorageKey, "INVALID_STORAGE_KEY", 400, "validation", false, "edit_request", "Use a relative path of at most 1024 bytes without empty or dot segments.";
    BlobNotFound, "BLOB_NOT_FOUND", 404, "not_found", false, "edit_request", "List the project's blobs.";
    BlobAddressTaken, "BLOB_ADDRESS_TAKEN", 409, "validation", false, "edit_request", "Use another key, or upload it as mutable.";
    SignedUrlExpired, "SIGNED_URL_EXPIRED", 403, "auth", false, "edit_request", "Ask the blob's owner for a new address.";
    Sha256Mismatch, "SHA256_MISMATCH", 422, "validation", false, "edit_request", "The bytes do not have the announced SHA-256. Upload the right bytes.";
    SizeMismatch, "SIZE_MISMATCH", 422, "validation", false, "edit_request", "The bytes do not have the announced size. Upload the right bytes.";
    InvalidSpec, "INVALID_SPEC", 400, "deploy", false, "edit_request", "Correct the named field of the release spec.";
    ManifestEmpty, "MANIFEST_EMPTY", 400, "deploy", false, "edit_request", "Name something to deploy.";
    SubdomainMultiNotSupported, "SUBDOMAIN_MULTI_NOT_SUPPORTED", 400, "deploy", false, "edit_request", "Set one subdomain per deploy.";
    FeatureDisabled, "FEATURE_DISABLED", 501, "deploy", false, "edit_request", "This server does not offer that part of a release yet; remove it from the spec.";
    PlanNotFound, "PLAN_NOT_FOUND", 404, "deploy", false, "edit_request", "Plans live for 24 hours; make a new one.";
    OperationNotFound, "OPERATION_NOT_FOUND", 404, "deploy", false, "edit_request", "Check the operation id.";
    ContentUploadFailed, "CONTENT_UPLOAD_FAILED", 409, "deploy", true, "retry", "Upload the missing content, then commit again.";
    BaseReleaseConflict, "BASE_RELEASE_CONFLICT", 409, "deploy", false, "retry", "Another deploy went live since the plan. Plan again.";
    MigrationSqlNotFound, "MIGRATION_SQL_NOT_FOUND", 409, "deploy", true, "retry", "Upload the SQL that sql_ref names, then commit again.";
    MigrationChecksumMismatch, "MIGRATION_CHECKSUM_MISMATCH", 409, "deploy", false, "edit_migration", "A migration never changes once it has run: restore its SQL and add a new migration.";
    MigrationFailed, "MIGRATION_FAILED", 422, "deploy", false, "edit_migration", "Correct the SQL of the migration and deploy again; see rolled_back for what became of it.";
    MigrateGateActive, "MIGRATE_GATE_ACTIVE", 503, "deploy", true, "retry", "A deploy is changing this project's database. Try again in a moment.";
    SchemaSettleTimeout, "SCHEMA_SETTLE_TIMEOUT", 503, "deploy", true, "resume_deploy", "The project's database does not answer yet. The deploy goes on by itself; resume it to try now.";
    MissingRequiredSecret, "MISSING_REQUIRED_SECRET", 409, "deploy", false, "edit_request", "Set the named secrets (run402 secrets set), or take them out of secrets.require and secrets.delete.";
    TierLimitExceeded, "TIER_LIMIT_EXCEEDED", 422, "deploy", false, "check_usage", "Declare fewer functions or move to a larger tier.";
    FunctionTimeoutExceedsTier, "FUNCTION_TIMEOUT_EXCEEDS_TIER", 422, "deploy", false, "edit_request", "Lower timeoutSeconds to the tier's limit or move to a larger tier.";
    FunctionMemoryExceedsTier, "FUNCTION_MEMORY_EXCEEDS_TIER", 422, "deploy", false, "edit_request", "Lower memoryMb to the tier's limit or move to a larger tier.";
    FunctionScheduleExceedsTier, "FUNCTION_SCHEDULE_EXCEEDS_TIER", 422, "deploy", false, "edit_request", "Run it less often, schedule fewer functions, or move to a larger tier.";
    // Functions.
    BadFunction, "BAD_FUNCTION", 400, "validation", false, "edit_request", "Correct the named field; see details.";
    FunctionNotFound, "FUNCTION_NOT_FOUND", 404, "not_found", false, "edit_request", "List the functions: run402 functions list.";
    FunctionBuildFailed, "FUNCTION_BUILD_FAILED", 422, "deploy", false, "edit_request", "Correct the quoted line and deploy again; what was live still is.";
    FunctionError, "FUNCTION_ERROR", 500, "api", false, "edit_request", "The function failed: read its log with run402 functions logs.";
    FunctionTimeout, "FUNCTION_TIMEOUT", 504, "api", false, "edit_request", "The function did not answer in time: make it faster, or raise its timeout.";
    FunctionUnavailable, "FUNCTION_UNAVAILABLE", 503, "api", true, "retry", "No worker is free for the function. Try again in a moment; GET /status says whether this server runs functions.";
    FunctionResponseTooLarge, "ROUTED_RESPONSE_TOO_LARGE", 502, "api", false, "edit_request", "A function answers at most 6 MiB.";
    FunctionLoop, "FUNCTION_LOOP", 508, "api", false, "edit_request", "Functions called one another too many times in a row. Break the circle.";
    FunctionTriggerNotFound, "FUNCTION_TRIGGER_NOT_FOUND", 404, "not_found", false, "edit_request", "List the functions with their triggers: run402 functions list.";
    BadFunctionRun, "BAD_FUNCTION_RUN", 400, "validation", false, "edit_request", "Correct the named field; see details.";
    FunctionRunConflict, "function_run_idempotency_conflict", 409, "validation", false, "edit_request", "Use a new idempotency_key for a different run; the same one answers the run of before.";
    FunctionRunNotFound, "FUNCTION_RUN_NOT_FOUND", 404, "not_found", false, "edit_request", "List the function's runs: run402 runs list. A run is kept for 30 days after its end.";
    FunctionRunEnded, "FUNCTION_RUN_ENDED", 409, "validation", false, "edit_request", "The run has ended already: nothing is left to call off.";
    FunctionRunNotRedrivable, "FUNCTION_RUN_NOT_REDRIVABLE", 409, "validation", false, "edit_request", "Only a run that failed, was cancelled or expired begins anew; wait for its end, or ask for another one.";
    SecretNotFound, "SECRET_NOT_FOUND", 404, "not_found", false, "edit_request", "List the keys: run402 secrets list.";
    BadSecret, "BAD_SECRET", 400, "validation", false, "edit_request", "Use a key of A-Z, 0-9 and underscore that begins with no digit, up to 128 characters, and a value of 1 to 4096 bytes.";
    SecretLimitExceeded, "SECRET_LIMIT_EXCEEDED", 403, "lifecycle", false, "check_usage", "Delete a secret or move to a larger tier.";
    NotResumable, "NOT_RESUMABLE", 409, "deploy", false, "edit_request", "This operation has ended; make a new plan.";
    SiteStageFailed, "SITE_STAGE_FAILED", 500, "deploy", true, "resume_deploy", "Resume the deploy.";
    ActivationFailed, "ACTIVATION_FAILED", 500, "deploy", true, "resume_deploy", "Resume the deploy.";
    NoActiveRelease, "NO_ACTIVE_RELEASE", 404, "deploy", false, "deploy_site_first", "Deploy something first.";
    DiffSameRelease, "DIFF_SAME_RELEASE", 400, "deploy", false, "edit_request", "Name two different releases.";
    InvalidDiffTarget, "INVALID_DIFF_TARGET", 400, "deploy", false, "edit_request", "Use empty, active or a release id.";
    // Apps.
    BadVersion, "BAD_VERSION", 400, "validation", false, "edit_request", "Correct the named field; see details.";
    VersionNotFound, "VERSION_NOT_FOUND", 404, "not_found", false, "edit_request", "Browse the published apps: run402 apps browse.";
    ForkNotAllowed, "FORK_NOT_ALLOWED", 403, "validation", false, "edit_request", "Its publisher does not let others fork this version. Choose another app.";
    TierTooLow, "TIER_TOO_LOW", 403, "payment", false, "renew_tier", "This app needs a larger tier: run402 tier set.";
    VersionLimitExceeded, "VERSION_LIMIT_EXCEEDED", 403, "lifecycle", false, "check_usage", "Delete a version that nobody needs: run402 apps delete.";
    ForkPending, "FORK_PENDING", 503, "api", true, "retry", "The fork is still being made. Repeat the request with the same Idempotency-Key to get its keys.";
    ForkFailed, "FORK_FAILED", 409, "deploy", false, "edit_request", "This fork failed and nothing is left of it; see the message. Fork again with a new Idempotency-Key.";
    // Names.
    BadSubdomain, "BAD_SUBDOMAIN", 400, "validation", false, "edit_request", "Use 3-63 characters of a-z, 0-9 and hyphen, not at the ends, and no reserved word.";
    SubdomainTaken, "SUBDOMAIN_TAKEN", 403, "validation", false, "edit_request", "Another project owns this name. Choose a different one.";
    DeploySubdomainTaken, "SUBDOMAIN_TAKEN", 409, "deploy", false, "edit_request", "Another project owns this name. Choose a different one and plan again.";
    SubdomainReserved, "SUBDOMAIN_RESERVED", 409, "validation", false, "edit_request", "The name is kept for its previous owner for a while. Choose a different one.";
    DeploymentNotFound, "DEPLOYMENT_NOT_FOUND", 404, "not_found", false, "deploy_site_first", "Deploy a site first, then claim the name.";
    BadDomain, "BAD_DOMAIN", 400, "validation", false, "edit_request", "Use a domain of your own, such as www.acme.dev: two labels or more, in one script, not the platform's and not like it.";
    DomainTaken, "DOMAIN_TAKEN", 409, "validation", false, "edit_request", "Another project holds this domain. Take its TXT record out of DNS first, or give the domain up there.";
    MisdirectedRequest, "MISDIRECTED_REQUEST", 421, "validation", true, "retry", "Make a connection of its own for this host.";
    // Deploys by CI workflows; published clients compare these in lower case.
    CiInvalidRequest, "invalid_request", 400, "validation", false, "edit_request", "Correct the named field of the request.";
    CiInvalidToken, "invalid_token", 401, "auth", false, "authenticate", "Ask the CI provider for a new identity token for this server's audience, and exchange it once.";
    CiAccessDenied, "access_denied", 403, "auth", false, "authenticate", "No active binding of the project fits the workflow's identity: run402 ci list shows them, run402 ci link github makes one.";
    CiEventNotAllowed, "event_not_allowed", 403, "auth", false, "edit_request", "Link again with this event among --events, or run the workflow for an event that the binding allows.";
    CiRepositoryMismatch, "repository_id_mismatch", 403, "auth", false, "authenticate", "The repository of this name is not the one that was linked. Link it again if that is meant.";
    CiAmbiguousBinding, "ambiguous_binding", 409, "auth", false, "edit_request", "Revoke all but one of the bindings that fit: run402 ci list.";
    CiInsufficientScope, "insufficient_scope", 403, "auth", false, "authenticate", "A CI session only deploys. Use the project's keys or the owner's wallet for anything else.";
    CiForbiddenSpecField, "forbidden_spec_field", 403, "auth", false, "edit_request", "Take the named field out of the spec: workflows deploy site, functions and database on the current release; routes within the binding's route scopes.";
    CiForbiddenPlan, "forbidden_plan", 403, "auth", false, "edit_request", "A CI session sees what its own binding planned. Plan again.";
    CiPaymentRequired, "payment_required", 402, "payment", false, "renew_tier", "The project's owner must renew the tier: run402 tier set prototype.";
    CiNonceReplay, "nonce_replay", 400, "auth", false, "authenticate", "Sign a new delegation with a fresh nonce.";
    CiDelegationParseFailed, "delegation_parse_failed", 400, "validation", false, "edit_request", "Send signed_delegation as base64 of the signed JSON, no older than 5 minutes and for this server.";
    CiDelegationOversized, "delegation_oversized", 400, "validation", false, "edit_request", "Shorten the lists: the delegation has at most 8192 bytes, its URI 4096.";
    CiDelegationNonceInvalid, "delegation_nonce_invalid", 400, "validation", false, "edit_request", "Use 16 to 64 lower-case hex digits, and the first 16 of them as the signed text's nonce.";
    CiDelegationStatementMismatch, "delegation_statement_mismatch", 400, "validation", false, "edit_request", "Sign exactly the text for these values; a newer client may know a newer text.";
    CiDelegationUriMismatch, "delegation_resource_uri_mismatch", 400, "validation", false, "edit_request", "Sign exactly one resource: the canonical URI of these values.";
    CiDelegationSignatureInvalid, "delegation_signature_invalid", 400, "auth", false, "authenticate", "Sign the text with the wallet that it names.";
    CiSignerMismatch, "signer_mismatch", 403, "auth", false, "authenticate", "Sign delegation and request with the same wallet.";
    CiDuplicate, "duplicate", 409, "validation", false, "edit_request", "A binding for this subject is active: run402 ci list. Revoke it first.";
    // Our own faults.
    StorageUnavailable, "STORAGE_UNAVAILABLE", 503, "api", true, "retry", "The object store did not answer. Try again in a moment.";
    ChainUnavailable, "CHAIN_UNAVAILABLE", 503, "payment", true, "retry", "The chain did not answer. Try again in a moment; nothing was charged.";
    Unavailable, "UNAVAILABLE", 503, "api", true, "retry", "The server is busy or starting. Try again in a moment.";
    Timeout, "TIMEOUT", 503, "api", true, "retry", "The answer did not come in time. Ask again: the same request is never applied twice.";
    OutcomeUnknown, "OUTCOME_UNKNOWN", 503, "api", true, "retry", "The change was sent and its outcome is not known yet. Read the resource before you repeat.";
    Internal, "INTERNAL_ERROR", 500, "api", false, "retry", "A fault of this server. Report the trace_id to its operator.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_one_word_and_says_what_to_do() {
        for code in Code::ALL {
            // Written as published clients compare them.
            let is_small = format!("{code:?}").starts_with("Ci") || *code == Code::FunctionRunConflict;
            let letter = |b: u8| match is_small {
                true => b.is_ascii_lowercase(),
                false => b.is_ascii_uppercase(),
            };
            assert!(code.as_str().bytes().all(|b| letter(b) || b.is_ascii_digit() || b == b'_'), "{code:?}");
            assert!(code.advice().ends_with('.'), "{code:?}");
            assert!((400..600).contains(&code.status()), "{code:?}");
        }
    }

    #[test]
    fn only_signing_and_paying_answer_402() {
        for code in Code::ALL.iter().filter(|c| c.status() == 402) {
            assert!(matches!(code.category(), "auth" | "payment"), "{code:?}");
        }
    }
}
