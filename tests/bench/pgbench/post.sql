-- The statements of store::ledger::post, one call each, with the same plans. Account ids are remembered.
\set from random(1, :owners)
\set step random(1, :owners - 1)
\set other (:from + :step - 1) % :owners + 1
\set to case when :hot = 1 then :owners + 1 else :other end
\set fact random(1, 9000000000000000000)
begin;
select id, kind, currency, owner, name, may_be_negative, posted, held from ledger_accounts
  where id = any(array[:from::bigint, :to::bigint]) order by id for no key update;
with legs as (
  select * from unnest(array['pgbench'], array[:run::text || '/' || :client_id::text || '/' || :fact::text],
    array[:from::bigint], array[:to::bigint], array[1::bigint]) with ordinality
    as l (source, source_id, debit, credit, amount, place)),
known as (
  select from unnest(array['pgbench'], array[:run::text || '/' || :client_id::text || '/' || :fact::text])
    as l (source, source_id)
  cross join lateral (
    select from ledger_transfers x where x.source = l.source and x.source_id = l.source_id limit 1) t),
added as (
  insert into ledger_transfers (source, source_id, kind, currency, debit, credit, amount, hold_id, reverses, link,
    reason, reference_type, reference_id, metadata, debit_posted_after, debit_held_after, credit_posted_after,
    credit_held_after, created_at)
  select source, source_id, 'post', 'usd', debit, credit, amount, null, null, gen_random_uuid(), 'bench', null, null,
    '{}', 0, 0, 0, 0, now()
  from legs where not exists (select from known)
  order by place
  on conflict (source, source_id) do nothing
  returning id, source, source_id),
moved as (
  update ledger_accounts a set posted = a.posted + d.posted, held = a.held + d.held, version = a.version + d.count
  from unnest(array[:from::bigint, :to::bigint], array[-1, 1]::bigint[], array[0, 0]::bigint[],
    array[1, 1]::bigint[]) as d (id, posted, held, count)
  where a.id = d.id and (select count(*) from added) = cardinality(array['pgbench'])
  returning 1)
select id, source, source_id, (select count(*) from moved) as moved from added;
commit;
