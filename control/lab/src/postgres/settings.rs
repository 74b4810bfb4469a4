//! The text of the servers' configuration files.

use std::path::Path;

/// What both servers share. `initdb` would write most of it; we replace its file.
const COMMON: &str = "
listen_addresses = ''
max_prepared_transactions = 0
superuser_reserved_connections = 5
jit = off
wal_level = minimal
max_wal_senders = 0
max_wal_size = 1GB
recovery_init_sync_method = syncfs
password_encryption = 'scram-sha-256'
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
datestyle = 'iso, mdy'
default_text_search_config = 'pg_catalog.english'
dynamic_shared_memory_type = posix
log_line_prefix = '%m [%p] %q%u@%d '
log_parameter_max_length_on_error = 0
";

/// The control server holds money: it syncs every commit.
pub(super) const CONTROL: &str = "
fsync = on
synchronous_commit = on
full_page_writes = on
max_connections = 300
shared_buffers = 128MB
autovacuum_naptime = '30s'
";

/// On top of the control server's, for data that nobody will miss. Without autovacuum the same statements find
/// the same rows in the same places.
pub(super) const SCRATCH: &str = "
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum = off
";

/// The first cell: many small databases of strangers.
pub(super) const CELL: &str = "
max_connections = 300
shared_buffers = 128MB
# The shared lock table holds this many times max_connections.
max_locks_per_transaction = 256
# The launcher visits each database once in this time.
autovacuum_naptime = '5min'
autovacuum_max_workers = 3
# 32 MiB instead of 8 GiB.
max_notify_queue_pages = 4096
max_slot_wal_keep_size = '1GB'
# Only a superuser may change it, so tenants cannot raise it.
temp_file_limit = '512MB'
idle_in_transaction_session_timeout = '60s'
# Only because every password is 256 random bits.
scram_iterations = 1
event_triggers = on
";

/// The socket's folder is closed, and the kernel says who is at the other end.
pub(super) const CONTROL_ACCESS: &str = "local all all peer map=lab\n";
/// Tenants' logins share this socket: everyone shows a password, the superuser too.
pub(super) const CELL_ACCESS: &str = "local all all scram-sha-256\n";

/// What differs by place.
pub(super) struct Places<'a> {
    pub(super) port: u16,
    pub(super) socket: &'a Path,
    pub(super) access: &'a Path,
    pub(super) identities: &'a Path,
}

/// `postgresql.conf`.
pub(super) fn main_file(places: &Places<'_>, own: &str) -> String {
    let quoted = |path: &Path| format!("'{}'", path.to_string_lossy().replace('\'', "''"));
    let Places { port, socket, access, identities } = places;
    format!(
        "# Written by the lab at every start.\nport = {port}\nunix_socket_directories = {}\nhba_file = {}\n\
         ident_file = {}\n{COMMON}{own}",
        quoted(socket),
        quoted(access),
        quoted(identities),
    )
}

/// `pg_ident.conf`: the account of this process may be any role of the control server.
pub(super) fn identities(account: &str) -> String {
    format!("lab \"{}\" all\n", account.replace('"', "\"\""))
}
