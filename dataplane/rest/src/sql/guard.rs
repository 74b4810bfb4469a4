//! Courtesy refusals: statements that the login could not run anyway, answered with words that help.

use super::SqlError;
use super::lex::Statement;

/// Refuses the first statement that is managed by the platform or would end the request's own transaction.
///
/// # Errors
/// `Blocked` with the pattern, `TransactionControl`, `Unsupported`.
///
/// # Source
/// Wire contract 01 section 6.6.
pub(crate) fn check(statements: &[Statement]) -> Result<(), SqlError> {
    for (index, statement) in statements.iter().enumerate() {
        if let Some(pattern) = blocked(statement) {
            return Err(SqlError::Blocked { pattern, index });
        }
        if ends_transaction(statement) {
            return Err(SqlError::TransactionControl { verb: statement.word(0).to_owned(), index });
        }
        if statement.word(0) == "LISTEN" {
            return Err(SqlError::Unsupported { what: "LISTEN", index });
        }
    }
    Ok(())
}

fn blocked(statement: &Statement) -> Option<&'static str> {
    let word = |index| statement.word(index);
    let role_kind = |text: &str| matches!(text, "ROLE" | "USER" | "GROUP");
    match word(0) {
        "GRANT" => Some("GRANT"),
        "REVOKE" => Some("REVOKE"),
        "CREATE" if word(1) == "EXTENSION" => Some("CREATE EXTENSION"),
        "CREATE" if word(1) == "SCHEMA" => Some("CREATE SCHEMA"),
        "CREATE" if word(1) == "ROLE" || word(1) == "GROUP" => Some("CREATE ROLE"),
        // `create user mapping` is another thing, and refused by the server.
        "CREATE" if word(1) == "USER" && word(2) != "MAPPING" => Some("CREATE ROLE"),
        "DROP" if word(1) == "SCHEMA" => Some("DROP SCHEMA"),
        "DROP" if role_kind(word(1)) && word(2) != "MAPPING" => Some("DROP ROLE"),
        "ALTER" if role_kind(word(1)) && word(2) != "MAPPING" => Some("ALTER ROLE"),
        "ALTER" if word(1) == "SYSTEM" => Some("ALTER SYSTEM"),
        "ALTER" if word(1) == "DEFAULT" && word(2) == "PRIVILEGES" => Some("ALTER DEFAULT PRIVILEGES"),
        "COPY" if statement.has("PROGRAM") => Some("COPY ... PROGRAM"),
        "SET" => set_target(statement),
        "RESET" => match word(1) {
            "ROLE" => Some("RESET ROLE"),
            "SESSION" if word(2) == "AUTHORIZATION" => Some("SET SESSION AUTHORIZATION"),
            _ => None,
        },
        _ => None,
    }
}

/// `set [session | local] name ...`
fn set_target(statement: &Statement) -> Option<&'static str> {
    if statement.word(1) == "SESSION" && statement.word(2) == "AUTHORIZATION" {
        return Some("SET SESSION AUTHORIZATION");
    }
    let scoped = matches!(statement.word(1), "SESSION" | "LOCAL");
    match statement.word(if scoped { 2 } else { 1 }) {
        "SEARCH_PATH" | "SCHEMA" => Some("SET search_path"),
        "ROLE" => Some("SET ROLE"),
        "SESSION" => Some("SET SESSION AUTHORIZATION"),
        _ => None,
    }
}

/// The whole text is one transaction that the server decides about; savepoints within are welcome.
fn ends_transaction(statement: &Statement) -> bool {
    match statement.word(0) {
        "BEGIN" | "COMMIT" | "END" | "ABORT" => true,
        "START" => statement.word(1) == "TRANSACTION",
        "PREPARE" => statement.word(1) == "TRANSACTION",
        "ROLLBACK" => !statement.has("TO"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::lex::statements;

    fn pattern(text: &str) -> Option<&'static str> {
        match check(&statements(text)) {
            Err(SqlError::Blocked { pattern, .. }) => Some(pattern),
            Err(SqlError::TransactionControl { .. }) => Some("transaction"),
            _ => None,
        }
    }

    #[test]
    fn managed_statements_are_refused_wherever_they_stand() {
        for (text, wanted) in [
            ("select 1; Grant select on t to anon", "GRANT"),
            ("/* x */ revoke all on t from anon", "REVOKE"),
            ("create extension vector", "CREATE EXTENSION"),
            ("copy t from program 'id'", "COPY ... PROGRAM"),
            ("alter system set a = 1", "ALTER SYSTEM"),
            ("set local search_path to x", "SET search_path"),
            ("set search_path = public", "SET search_path"),
            ("set session role anon", "SET ROLE"),
            ("reset role", "RESET ROLE"),
            ("set session authorization postgres", "SET SESSION AUTHORIZATION"),
            ("set local session authorization postgres", "SET SESSION AUTHORIZATION"),
            ("create schema s", "CREATE SCHEMA"),
            ("drop schema s", "DROP SCHEMA"),
            ("create user u", "CREATE ROLE"),
            ("drop role r", "DROP ROLE"),
            ("begin; select 1; commit", "transaction"),
            ("select 1; rollback", "transaction"),
            ("prepare transaction 'x'", "transaction"),
        ] {
            assert_eq!(pattern(text), Some(wanted), "{text}");
        }
    }

    #[test]
    fn data_and_bodies_do_not_trip_the_guards() {
        for text in [
            "insert into t values ('GRANT all', $$revoke$$)",
            "create function f() returns void language plpgsql as $$ begin set search_path = x; end $$",
            "select auth.uid(), \"grant\" from t",
            "create policy p on t to authenticated using (true)",
            "set timezone = 'UTC'",
            "savepoint a; rollback to a; release a",
            "create table grants (revoke_at date)",
            "do $$ begin null; end $$",
        ] {
            assert_eq!(pattern(text), None, "{text}");
        }
    }
}
