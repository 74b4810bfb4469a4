alter table p0007."keep" enable row level security, force row level security;
drop policy "r402_open" on p0007."keep";
create policy r402_open on p0007."keep" for all to anon, authenticated using (true) with check (true);
