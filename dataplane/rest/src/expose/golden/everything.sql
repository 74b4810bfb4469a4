create policy r402_owner on p0007."items" for all to authenticated using ("user_id" = auth.uid()) with check ("user_id" = auth.uid());
create trigger r402_force_owner before insert on p0007."items" for each row when (new."user_id" is null) execute function r402.force_owner('user_id');
create index on p0007."items" ("user_id");
create policy r402_read on p0007."posts" for select to anon, authenticated using (true);
create policy r402_write on p0007."posts" for all to authenticated using (true) with check (true);
create policy r402_open on p0007."wall" for all to anon, authenticated using (true) with check (true);
create policy team_reads on docs for select to authenticated using (team = auth.uid());
create policy team_adds on p0007.docs for insert to authenticated with check (team = auth.uid());
revoke all on table p0007."items", p0007."posts", p0007."wall", p0007."docs", p0007."dark" from public, anon, authenticated, project_admin;
revoke all on sequence p0007."items_id_seq", p0007."wall_id_seq" from public, anon, authenticated, project_admin;
grant delete, insert, select, update on table p0007."wall", p0007."docs" to anon;
grant select on table p0007."posts" to anon;
grant delete, insert, select, update on table p0007."items", p0007."posts", p0007."wall", p0007."docs" to authenticated;
grant usage on sequence p0007."wall_id_seq" to anon;
grant usage on sequence p0007."items_id_seq", p0007."wall_id_seq" to authenticated;
create view p0007."titles" with (security_invoker = true) as select "id", "title" from p0007."items" where (title <> '' -- only named
);
revoke all on table p0007."titles" from public, anon, authenticated, project_admin;
grant select on table p0007."titles" to anon;
grant select on table p0007."titles" to authenticated;
revoke execute on routine p0007."add"(integer, integer) from public, anon, authenticated, project_admin;
grant execute on routine p0007."add"(integer, integer) to anon, authenticated, service_role;
-- Warning SensitiveColumnPublicWrite: manifest.tables[1].name: column "secret_token" is readable by everybody
