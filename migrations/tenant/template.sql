-- The template every slot is copied from. Run as superuser in the new, empty template database, as one transaction.
-- It makes version 2 of a slot together with slot.sql; what came later is in the numbered files, which new slots run too
-- (control/store/src/cells/upgrade.rs).

drop schema public;
-- Filled by the platform only: tenants have no CREATE on the database, so not even trusted extensions.
create schema extensions;
grant usage on schema extensions to public;
create extension pgcrypto schema extensions;
create extension pg_trgm schema extensions;

-- 1. Take from PUBLIC what crosses databases or holds shared memory. These rights are kept per database and are copied
-- by CREATE DATABASE. Names of prepared statements and cursors on pooled connections stay secret as well.
revoke select on
  pg_catalog.pg_auth_members, pg_catalog.pg_cursors, pg_catalog.pg_database, pg_catalog.pg_db_role_setting,
  pg_catalog.pg_group, pg_catalog.pg_locks, pg_catalog.pg_parameter_acl, pg_catalog.pg_prepared_statements,
  pg_catalog.pg_prepared_xacts, pg_catalog.pg_replication_origin, pg_catalog.pg_replication_slots,
  pg_catalog.pg_roles, pg_catalog.pg_seclabels, pg_catalog.pg_shdepend, pg_catalog.pg_shdescription,
  pg_catalog.pg_shseclabel, pg_catalog.pg_stat_activity, pg_catalog.pg_stat_database,
  pg_catalog.pg_stat_database_conflicts, pg_catalog.pg_stat_gssapi, pg_catalog.pg_stat_progress_analyze,
  pg_catalog.pg_stat_progress_basebackup, pg_catalog.pg_stat_progress_cluster,
  pg_catalog.pg_stat_progress_copy, pg_catalog.pg_stat_progress_create_index,
  pg_catalog.pg_stat_progress_vacuum, pg_catalog.pg_stat_replication, pg_catalog.pg_stat_replication_slots,
  pg_catalog.pg_stat_ssl, pg_catalog.pg_stats_ext, pg_catalog.pg_tablespace, pg_catalog.pg_user
from public;

do $$
declare f regprocedure;
begin
  for f in
    select p.oid::regprocedure from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'pg_catalog' and (
      -- They fill the lock table, which all databases of the server share.
      p.proname like 'pg\_advisory\_%' or p.proname like 'pg\_try\_advisory\_%'
      -- Large objects are unmetered and know no row security.
      or p.proname like 'lo\_%' or p.proname in ('lowrite', 'loread')
      or p.proname like 'pg\_stat\_get\_db\_%' or p.proname like 'pg\_stat\_get\_backend\_%'
      or p.proname in (
        'database_to_xml', 'database_to_xml_and_xmlschema', 'database_to_xmlschema', 'pg_blocking_pids',
        'pg_cancel_backend', 'pg_cursor', 'pg_database_size', 'pg_export_snapshot', 'pg_get_replication_slots',
        'pg_lock_status', 'pg_logical_emit_message', 'pg_notification_queue_usage', 'pg_notify',
        'pg_prepared_statement', 'pg_prepared_xact', 'pg_show_replication_origin_status',
        'pg_stat_get_activity', 'pg_stat_get_progress_info', 'pg_stat_get_replication_slot',
        'pg_stat_get_wal_senders', 'pg_tablespace_databases', 'pg_tablespace_size', 'pg_terminate_backend'))
  loop
    execute format('revoke execute on function %s from public', f);
  end loop;
end $$;

-- 2. The schema auth: owned by the platform, read through functions only.
create schema auth authorization r402_auth;
grant usage on schema auth to anon, authenticated, project_admin, service_role;
set role r402_auth;
create table auth.users (
  id uuid primary key default gen_random_uuid(),
  email text,
  password_hash text,
  is_admin bool not null default false,
  created_at timestamptz not null default now()
);
create unique index on auth.users (lower(email));
create table auth.sessions (
  id uuid primary key,
  user_id uuid not null references auth.users on delete cascade,
  refresh_hash bytea not null unique,
  expires_at timestamptz not null
);
-- LANGUAGE sql, STABLE, SECURITY INVOKER, no SET clause, every name qualified: can be inlined, and no search path
-- changes what they mean.
create function auth.jwt() returns jsonb language sql stable parallel safe
  return nullif(pg_catalog.current_setting('request.jwt.claims', true), '')::jsonb;
create function auth.uid() returns uuid language sql stable parallel safe
  return (nullif(pg_catalog.current_setting('request.jwt.claims', true), '')::jsonb
    operator(pg_catalog.->>) 'sub')::uuid;
create function auth.role() returns text language sql stable parallel safe
  return (nullif(pg_catalog.current_setting('request.jwt.claims', true), '')::jsonb
    operator(pg_catalog.->>) 'role');
reset role;

-- 3. The tenant's schema is made here and renamed by each slot.
create schema tenant;

-- 4. Event triggers, owned by the superuser. Their functions run with the rights of whoever runs the DDL (never
-- SECURITY DEFINER), so that person must be able to reach them.
create schema r402;
grant usage on schema r402 to public;

-- Counts the changes of the schema, so that what is remembered of it elsewhere can be checked by one number. A
-- row and not a sequence: the number must become visible together with the change, never before it.
-- Made before the triggers below, which would put row security on it.
create table r402.schema_version (one boolean primary key default true check (one), version bigint not null);
insert into r402.schema_version values (true, 1);
grant select on r402.schema_version to public;

create function r402.dark() returns event_trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare c record;
begin
  for c in select * from pg_event_trigger_ddl_commands() loop
    if c.schema_name = 'pg_temp' or c.in_extension then
      continue;
    end if;
    if c.object_type = 'table' then
      if exists (select from pg_class where oid = c.objid and relkind in ('r', 'p')
          and not (relrowsecurity and relforcerowsecurity)) then
        execute format('alter table %s enable row level security, force row level security', c.objid::regclass);
      end if;
    elsif c.object_type = 'view' then
      if not exists (select from pg_class where oid = c.objid
          and reloptions::text ~ 'security_invoker=(true|on|1)') then
        execute format('alter view %s set (security_invoker = true)', c.objid::regclass);
      end if;
    elsif c.object_type in ('materialized view', 'foreign table') then
      -- These know no row security: never readable by visitors.
      execute format('revoke all on %s from public, anon, authenticated, project_admin', c.objid::regclass);
    elsif c.object_type in ('function', 'procedure') and c.command_tag like 'CREATE%' then
      execute format('revoke execute on routine %s from public', c.objid::regprocedure);
    elsif c.object_type in ('event trigger', 'publication', 'subscription', 'foreign-data wrapper', 'server',
        'user mapping', 'language', 'extension') then
      raise insufficient_privilege using message = 'not available to projects: ' || c.command_tag;
    end if;
  end loop;
end $$;
create event trigger r402_dark on ddl_command_end execute function r402.dark();

-- Bounds the objects of a project: no bloated catalogue, no lock table filled by one transaction of DDL.
create function r402.bound() returns event_trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if (select count(*) from (select from pg_class where oid >= 16384 limit 5001) x) > 5000 then
    raise program_limit_exceeded using message = 'too many relations in this project (5000)';
  end if;
end $$;
create event trigger r402_bound on ddl_command_start
  when tag in ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'CREATE INDEX', 'CREATE VIEW',
    'CREATE MATERIALIZED VIEW', 'CREATE SEQUENCE', 'CREATE TYPE', 'CREATE FOREIGN TABLE')
  execute function r402.bound();

create function r402.count_change() returns event_trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  update r402.schema_version set version = version + 1;
end $$;
create event trigger r402_count_change on ddl_command_end execute function r402.count_change();

alter event trigger r402_dark enable always;
alter event trigger r402_bound enable always;
alter event trigger r402_count_change enable always;
-- Event triggers do not ask for EXECUTE.
revoke execute on all functions in schema r402 from public;
