//! The two child Postgres servers: making, configuring, starting.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio_postgres::{Client, NoTls};

use crate::account::Account;
use crate::children::{Child, Keeper, Role, remove_if_there};
use crate::error::{During, LabError, child_died, log_tail};
use crate::keys::Keys;
use crate::layout::Layout;
use crate::tools::Programs;

mod settings;

const SUPERUSER: &str = "postgres";
pub(crate) const CONTROL_DATABASE: &str = "run402";
const READY_SECS_MAX: u64 = 90;
/// Private memory of one backend of the cell: strangers' SQL may set `work_mem` to what it likes, and make
/// values of a gigabyte.
const CELL_BACKEND_BYTES_MAX: u64 = 512 << 20;
const POLL: Duration = Duration::from_millis(50);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// One of the two servers.
pub(crate) struct Postgres<'a> {
    pub(crate) role: Role,
    pub(crate) layout: &'a Layout,
    pub(crate) account: &'a Account,
    pub(crate) programs: &'a Programs,
    pub(crate) keys: &'a Keys,
    pub(crate) worth: Worth,
}

/// What a server's data is worth once the server has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worth {
    Kept,
    /// Nothing: it may be quick instead.
    Scratch,
}

impl Postgres<'_> {
    /// Makes the server's directory at the first start, then starts it and waits until it answers.
    pub(crate) async fn start(&self, keeper: &Keeper) -> Result<Child, LabError> {
        let data = self.directory();
        if !data.join("PG_VERSION").is_file() {
            self.make(&data).await?;
        }
        let configuration = self.configure()?;
        let child = match self.launch(&data, &configuration, keeper).await {
            // Backends of a killed postmaster notice within a second, and hold its shared memory until then.
            Err(LabError::ChildDied { tail, .. }) if tail.contains("pre-existing shared memory block") => {
                tokio::time::sleep(Duration::from_secs(2)).await;
                self.launch(&data, &configuration, keeper).await?
            }
            outcome => outcome?,
        };
        if self.role == Role::ControlPostgres {
            self.ensure_control_database().await?;
        }
        Ok(child)
    }

    /// The URL of a database, as superuser, over the unix socket.
    pub(crate) fn url(&self, database: &str) -> String {
        url(self.role, self.layout, self.keys, database)
    }

    fn directory(&self) -> PathBuf {
        let [control, cell] = self.layout.postgres_directories();
        if self.role == control.0 { control.1 } else { cell.1 }
    }

    /// Runs initdb beside the final place, so that a half-made server is never mistaken for a whole one.
    async fn make(&self, data: &Path) -> Result<(), LabError> {
        let draft = data.with_extension("new");
        let password = self.layout.password_file(port(self.role));
        if draft.exists() {
            fs::remove_dir_all(&draft).at("removing", &draft)?;
        }
        if data.exists() {
            fs::remove_dir(data).at("replacing", data)?;
        }
        self.account.own_directory(&draft)?;
        crate::layout::write_private(&password, self.keys.cell_password.as_bytes())?;
        self.account.own(&password)?;
        let log = self.layout.logs().join(format!("initdb-{}.log", port(self.role)));
        let outcome = self.initdb(&draft, &password, &log).await;
        remove_if_there(&password)?;
        outcome?;
        fs::rename(&draft, data).at("finishing", data)
    }

    async fn initdb(&self, draft: &Path, password: &Path, log: &Path) -> Result<(), LabError> {
        let mut command = self.account.command(&self.programs.initdb);
        command.arg("--pgdata").arg(draft).arg("--pwfile").arg(password).args([
            "--username",
            SUPERUSER,
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--auth=scram-sha-256",
            // Fit for this password only: 256 random bits need no stretching.
            "--set=scram_iterations=1",
        ]);
        let file = fs::File::create(log).at("making", log)?;
        command.stdout(file.try_clone().at("opening", log)?).stderr(Stdio::from(file));
        let run = tokio::task::spawn_blocking(move || command.status()).await;
        let status = run.map_err(std::io::Error::other).and_then(|status| status);
        let status = status.during(|| "starting initdb".to_owned())?;
        if status.success() { Ok(()) } else { Err(child_died("initdb", status.to_string(), log)) }
    }

    /// Writes all configuration at every start: it is ours, and a newer program may want another.
    fn configure(&self) -> Result<PathBuf, LabError> {
        let folder = self.layout.configuration();
        let (port, socket) = (port(self.role), self.layout.socket());
        let (own, access, identities) = match self.role {
            Role::CellPostgres => (settings::CELL, settings::CELL_ACCESS, String::new()),
            _ => (settings::CONTROL, settings::CONTROL_ACCESS, settings::identities(self.account.our_name())),
        };
        let file = |part: &str| folder.join(format!("{part}-{port}.conf"));
        let (access_file, identities_file) = (file("pg_hba"), file("pg_ident"));
        let places = settings::Places { port, socket, access: &access_file, identities: &identities_file };
        let own = match self.worth {
            Worth::Kept => own.to_owned(),
            Worth::Scratch => format!("{own}{}", settings::SCRATCH),
        };
        let main = file("postgresql");
        let texts = [
            (&main, settings::main_file(&places, &own)),
            (&access_file, access.to_owned()),
            (&identities_file, identities),
        ];
        for (path, text) in texts {
            fs::write(path, text).at("writing", path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o644)).at("opening", path)?;
        }
        Ok(main)
    }

    async fn launch(&self, data: &Path, configuration: &Path, keeper: &Keeper) -> Result<Child, LabError> {
        let (program, signal) = (&self.programs.postgres, self.role.death_signal());
        let mut command = match self.role {
            Role::CellPostgres => self.account.bounded_command(program, signal, CELL_BACKEND_BYTES_MAX),
            _ => self.account.lasting_command(program, signal),
        };
        command.arg("-D").arg(data).arg(format!("--config_file={}", configuration.display()));
        let child = Child::spawn(self.role, command, keeper, self.layout).await?;
        let ready = async {
            let mut last = String::new();
            let deadline = tokio::time::Instant::now() + Duration::from_secs(READY_SECS_MAX);
            while tokio::time::Instant::now() < deadline {
                match connect(&self.url("postgres")).await {
                    Ok(_) => return Ok(()),
                    Err(why) => last = why,
                }
                tokio::time::sleep(POLL).await;
            }
            let (what, log) = (self.role.as_str(), child.log.clone());
            Err(LabError::NotReady { what, secs: READY_SECS_MAX, last, log })
        };
        tokio::select! {
            ready = ready => ready?,
            death = child.death() => return Err(death),
        }
        Ok(child)
    }

    async fn ensure_control_database(&self) -> Result<(), LabError> {
        let client = connect(&self.url("postgres")).await.map_err(|last| {
            let log = self.layout.logs();
            tracing::debug!(tail = log_tail(&log), "no connection to the control Postgres");
            LabError::NotReady { what: self.role.as_str(), secs: 0, last, log }
        })?;
        let failed = |error| LabError::Database { what: "control", source: Box::new(error) };
        let found = client.query("select 1 from pg_database where datname = $1", &[&CONTROL_DATABASE]).await;
        if found.map_err(failed)?.is_empty() {
            // A database name cannot be a parameter; this one is a constant.
            client.batch_execute(&format!("create database {CONTROL_DATABASE}")).await.map_err(failed)?;
        }
        Ok(())
    }
}

/// See [`Postgres::url`].
pub(crate) fn url(role: Role, layout: &Layout, keys: &Keys, database: &str) -> String {
    let socket = percent_encoded(layout.socket());
    let password = match role {
        Role::CellPostgres => format!(":{}", keys.cell_password),
        _ => String::new(),
    };
    format!("postgres://{SUPERUSER}{password}@{socket}:{}/{database}", port(role))
}

/// Only names the socket file: no server listens on a port.
fn port(role: Role) -> u16 {
    if role == Role::CellPostgres { 5433 } else { 5432 }
}

/// A path in the place of a URL's host: the one spelling that libpq, sqlx and tokio-postgres share.
fn percent_encoded(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

async fn connect(url: &str) -> Result<Client, String> {
    let connecting = tokio::time::timeout(CONNECT_LIMIT, tokio_postgres::connect(url, NoTls));
    let (client, connection) = match connecting.await {
        Ok(Ok(pair)) => pair,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err("it accepts connections and does not answer".to_owned()),
    };
    // Ends by itself when the client is dropped.
    tokio::spawn(connection);
    Ok(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_path_becomes_a_url_host() {
        let encoded = percent_encoded(Path::new("/a b/.run402/lab"));
        assert_eq!(encoded, "%2Fa%20b%2F.run402%2Flab");
    }
}
