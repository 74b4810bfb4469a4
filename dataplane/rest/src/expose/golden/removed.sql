drop policy "r402_owner" on p0007."old";
drop trigger r402_force_owner on p0007."old";
revoke all on table p0007."old" from public, anon, authenticated, project_admin;
drop view p0007."seen";
revoke execute on routine p0007."f"() from public, anon, authenticated, project_admin;
