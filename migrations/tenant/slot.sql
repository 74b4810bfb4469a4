-- Once per slot, as superuser in its new database, before any tenant can have an object here. `p0000` stands
-- for the slot's name.
begin;
alter schema tenant rename to p0000;
alter schema p0000 owner to p0000_admin;
grant usage on schema p0000 to anon, authenticated, project_admin, service_role;
-- The schema auth belongs to the platform's own login of this project.
reassign owned by r402_auth to p0000_auth;
grant usage on schema auth to p0000_admin;
-- Lets a statement be parsed before its role is set; gives no right on objects.
grant usage on schema p0000, auth to p0000_api, p0000_staff;
-- Those who may change a schema count the change.
grant update on r402.schema_version to p0000_admin, p0000_auth;
grant select (id, email, is_admin, created_at), references (id) on auth.users to p0000_admin;
alter default privileges for role p0000_admin revoke execute on routines from public;
-- Row security is forced and has no policy, which keeps new tables dark: reads give nothing, writes are
-- refused.
alter default privileges for role p0000_admin in schema p0000
  grant select on tables to anon, authenticated, project_admin;
alter default privileges for role p0000_admin in schema p0000
  grant select, insert, update, delete, truncate on tables to service_role;
alter default privileges for role p0000_admin in schema p0000 grant usage, select on sequences to service_role;
alter default privileges for role p0000_admin in schema p0000 grant execute on routines to service_role;
commit;
