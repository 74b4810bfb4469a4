-- Version 2 of what a slot holds, for slots of version 1: newer ones got it with template.sql and slot.sql. Runs as
-- superuser before the slot's next use: it names nothing of the tenant's. `p0000` stands for the slot's name. May run
-- again.
begin;
-- Two nodes may meet here.
lock table pg_catalog.pg_event_trigger in share update exclusive mode;
-- As in template.sql, where the table is older than the triggers: they would put row security on it.
set local event_triggers = off;

-- The reasons are in template.sql.
create table if not exists r402.schema_version (
  one pg_catalog.bool primary key default true check (one),
  version pg_catalog.int8 not null
);
insert into r402.schema_version values (true, 1) on conflict do nothing;
grant select on r402.schema_version to public;
grant update on r402.schema_version to p0000_admin, p0000_auth;

create or replace function r402.count_change() returns event_trigger language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
  update r402.schema_version set version = version + 1;
end $$;
revoke execute on function r402.count_change() from public;
drop event trigger if exists r402_count_change;
create event trigger r402_count_change on ddl_command_end execute function r402.count_change();
alter event trigger r402_count_change enable always;
commit;
