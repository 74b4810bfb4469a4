//! G10: the replication protocol. Drivers of applications do not speak it, so the packets are written here.

use std::path::PathBuf;

use bytes::{Buf, BytesMut};
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection};
use store::cells::Login;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::harness::World;

/// Postgres' code for "there is no place for a walsender", which a cell has none of, whoever asks.
const NO_WALSENDERS: &str = "53300";
/// What a session of the ordinary kind says to a command of the replication protocol.
const SYNTAX_ERROR: &str = "42601";

/// One message of the server: its tag and what follows the length.
async fn receive(stream: &mut UnixStream) -> (u8, BytesMut) {
    let tag = stream.read_u8().await.unwrap();
    let length = stream.read_u32().await.unwrap();
    let mut payload = BytesMut::zeroed(length as usize - 4);
    stream.read_exact(&mut payload).await.unwrap();
    (tag, payload)
}

/// The SQLSTATE of an error message: fields of a letter and a text that ends with NUL.
fn sqlstate(payload: &[u8]) -> String {
    let field = payload.split(|byte| *byte == 0).find(|field| field.first() == Some(&b'C'));
    String::from_utf8(field.unwrap()[1..].to_vec()).unwrap()
}

/// Connects as a walsender and asks which system this is; the SQLSTATE when that is refused.
async fn replicate(
    socket: &PathBuf,
    (user, password): (&str, &str),
    database: &str,
    mode: &str,
) -> Option<String> {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let mut out = BytesMut::new();
    let parameters = [("user", user), ("database", database), ("replication", mode)];
    frontend::startup_message(parameters, &mut out).unwrap();
    let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
    loop {
        stream.write_all(&out.split()).await.unwrap();
        let (tag, mut payload) = receive(&mut stream).await;
        match tag {
            b'E' => return Some(sqlstate(&payload)),
            b'T' => return None,
            b'Z' => frontend::query("IDENTIFY_SYSTEM", &mut out).unwrap(),
            b'R' => match payload.get_u32() {
                10 => frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut out).unwrap(),
                11 => {
                    scram.update(&payload).unwrap();
                    frontend::sasl_response(scram.message(), &mut out).unwrap();
                }
                12 => scram.finish(&payload).unwrap(),
                _ => {}
            },
            _ => {}
        }
    }
}

/// Goal: nobody reads the cell's log of changes, which holds every project's rows. Method: start-up packets of a
/// walsender, physical and logical, by every login and by a role that may replicate. The same packets without the
/// wish to replicate are let in, so it is the wish that is refused.
#[tokio::test(flavor = "multi_thread")]
async fn no_login_is_let_into_the_replication_protocol() {
    let world = World::start().await;
    let (_, slot) = world.provision().await;
    let (_, other) = world.provision().await;
    let options: PgConnectOptions = world.cell_url.parse().unwrap();
    let socket = options.get_socket().unwrap().join(format!(".s.PGSQL.{}", options.get_port()));
    let mut cell = PgConnection::connect(&world.cell_url).await.unwrap();
    let make = "create role replicator login replication password 'r'";
    let admit = format!("grant connect on database {} to replicator", slot.schema());
    sqlx::raw_sql(AssertSqlSafe(format!("{make}; {admit}"))).execute(&mut cell).await.unwrap();
    let mut logins = vec![("replicator".to_owned(), "r".to_owned(), slot.schema())];
    for login in Login::ALL {
        logins.push((slot.name().role(login), world.password_of(&slot, login), slot.schema()));
    }
    for (role, password, database) in &logins {
        let who = (role.as_str(), password.as_str());
        let ordinary = replicate(&socket, who, database, "false").await;
        assert_eq!(ordinary.as_deref(), Some(SYNTAX_ERROR), "{role} is let in");
        for (database, mode) in [(database, "database"), (&other.schema(), "database"), (database, "true")] {
            let refused = replicate(&socket, who, database, mode).await;
            assert_eq!(refused.as_deref(), Some(NO_WALSENDERS), "{role}, {database}, replication={mode}");
        }
    }
    world.stop().await;
}
