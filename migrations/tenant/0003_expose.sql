-- Version 3 of what a slot holds: what the expose manifest needs. Runs as superuser, in a new slot before any tenant
-- could put an object there, and in an older one before its next use: it names nothing of the tenant's. `p0000` stands
-- for the slot's name. May run again.
begin;
-- Two nodes may meet here.
lock table pg_catalog.pg_event_trigger in share update exclusive mode;
-- They are for tenants: counting this change would wait for one who is changing the schema.
set local event_triggers = off;

-- The last manifest that was applied and what it left, committed together with it.
create schema if not exists internal;
create table if not exists internal.project_manifest (
  one bool primary key default true check (one),
  applied pg_catalog.jsonb,
  applied_at pg_catalog.timestamptz
);
grant usage on schema internal to p0000_admin;
grant select, insert, update, delete on internal.project_manifest to p0000_admin;

-- Fills the column that its argument names with the user's id. The trigger's condition calls it only for rows where
-- that column is null; without a user it stays so.
create or replace function r402.force_owner() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  return pg_catalog.jsonb_populate_record(new, pg_catalog.jsonb_build_object(tg_argv[0], auth.uid()));
end $$;
-- Only a trigger can call it, and only on rows that its caller writes.
grant execute on function r402.force_owner() to public;
commit;
