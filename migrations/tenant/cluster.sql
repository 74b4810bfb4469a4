-- Once per cell, as superuser in the maintenance database. Idempotent.

-- Shared NOLOGIN roles: the names tenants write in policies. Sharing them over databases is safe: grants on
-- objects live in each database, the roles own nothing, may not connect, and settings of theirs take no
-- effect on SET ROLE.
do $$
begin
  if not exists (select from pg_roles where rolname = 'anon') then
    create role anon nologin noinherit;
  end if;
  if not exists (select from pg_roles where rolname = 'authenticated') then
    create role authenticated nologin noinherit;
  end if;
  if not exists (select from pg_roles where rolname = 'project_admin') then
    create role project_admin nologin inherit;
  end if;
  if not exists (select from pg_roles where rolname = 'service_role') then
    create role service_role nologin noinherit bypassrls;
  end if;
  -- Owns the schema auth of the template; each slot hands it to its own login.
  if not exists (select from pg_roles where rolname = 'r402_auth') then
    create role r402_auth nologin noinherit;
  end if;
end $$;
grant authenticated to project_admin with inherit true, set false, admin false;

-- Maintenance databases are for the superuser only.
revoke all on database postgres, template1 from public;
