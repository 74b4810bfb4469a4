-- Version 4 of what a slot holds: which migrations of deploys have run. Runs as superuser, in a new slot before any
-- tenant could put an object there, and in an older one before its next use: it names nothing of the tenant's. `p0000`
-- stands for the slot's name. May run again.
begin;
-- Two nodes may meet here.
lock table pg_catalog.pg_event_trigger in share update exclusive mode;
-- They are for tenants: counting this change would wait for one who is changing the schema.
set local event_triggers = off;

-- One row for each migration, committed together with it. `started`: it runs outside of a transaction and has not ended.
create table if not exists internal.deploy_migrations (
  id pg_catalog.text primary key,
  checksum pg_catalog.text not null,
  state pg_catalog.text not null check (state in ('started', 'applied')),
  operation pg_catalog.text not null,
  applied_at pg_catalog.timestamptz not null default pg_catalog.now()
);
grant select, insert, update, delete on internal.deploy_migrations to p0000_admin;
commit;
