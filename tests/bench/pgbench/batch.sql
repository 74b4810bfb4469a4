-- The statements of store::ledger::post_many for :batch transfers. The arrays are made in the server, because
-- pgbench cannot send any: that costs it less than reading them from the wire. Account ids are remembered.
\set base random(1, :owners)
\set fact random(1, 9000000000000000000)
begin;
select id, kind, currency, owner, name, may_be_negative, posted, held from ledger_accounts
  where id = any(array(select (:base + g) % :owners + 1 from generate_series(1, :batch + 1) g)
    || case when :hot = 1 then array[:owners + 1]::bigint[] end)
  order by id for no key update;
select t.id, t.source, t.source_id, t.kind, t.debit, t.credit, t.amount, t.hold_id, t.reverses, t.reason
  from generate_series(1, :batch) g
  cross join lateral (
    select * from ledger_transfers x
    where x.source = 'pgbench' and x.source_id = :run::text || '/' || :fact::text || '/' || g limit 1) t;
with known as (
  select from generate_series(1, :batch) g
  cross join lateral (
    select from ledger_transfers x
    where x.source = 'pgbench' and x.source_id = :run::text || '/' || :fact::text || '/' || g limit 1) t),
added as (
  insert into ledger_transfers (source, source_id, kind, currency, debit, credit, amount, hold_id, reverses, link,
    reason, reference_type, reference_id, metadata, debit_posted_after, debit_held_after, credit_posted_after,
    credit_held_after, created_at)
  select 'pgbench', :run::text || '/' || :fact::text || '/' || g, 'post', 'usd', (:base + g) % :owners + 1,
    case when :hot = 1 then :owners + 1 else (:base + g + 1) % :owners + 1 end, 1, null, null, gen_random_uuid(),
    'bench', null, null, '{}', 0, 0, 0, 0, now()
  from generate_series(1, :batch) g where not exists (select from known)
  order by g
  on conflict (source, source_id) do nothing
  returning id, source, source_id),
moved as (
  update ledger_accounts a set posted = a.posted + d.posted, held = a.held + 0, version = a.version + d.count
  from (
    select id, sum(posted) as posted, count(*) as count from (
      select (:base + g) % :owners + 1 as id, -1 as posted from generate_series(1, :batch) g
      union all
      select case when :hot = 1 then :owners + 1 else (:base + g + 1) % :owners + 1 end, 1
      from generate_series(1, :batch) g) both_sides
    group by id) as d
  where a.id = d.id and (select count(*) from added) = :batch
  returning 1)
select id, source, source_id, (select count(*) from moved) as moved from added;
commit;
