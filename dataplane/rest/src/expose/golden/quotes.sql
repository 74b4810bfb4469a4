create policy r402_owner on p0007."we""ird; drop" for all to authenticated using ("own""er"::text = auth.uid()::text) with check ("own""er"::text = auth.uid()::text);
create trigger r402_force_owner before insert on p0007."we""ird; drop" for each row when (new."own""er" is null) execute function r402.force_owner('own"er');
create index on p0007."we""ird; drop" ("own""er");
revoke all on table p0007."we""ird; drop" from public, anon, authenticated, project_admin;
grant delete, insert, select, update on table p0007."we""ird; drop" to authenticated;
create view p0007."v""; drop" with (security_invoker = true) as select "it's", "own""er" from p0007."we""ird; drop";
revoke all on table p0007."v""; drop" from public, anon, authenticated, project_admin;
grant select on table p0007."v""; drop" to anon;
grant select on table p0007."v""; drop" to authenticated;
-- Warning OwnerColumnTextCast: manifest.tables[0].owner_column: "own\"er" is text and not uuid: compared as text
