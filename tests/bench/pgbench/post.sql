-- The statements of store::ledger::post, one call each, with the same plans.
\set from random(1, :owners)
\set step random(1, :owners - 1)
\set other (:from + :step - 1) % :owners + 1
\set to case when :hot = 1 then :owners + 1 else :other end
\set fact random(1, 9000000000000000000)
begin;
with wanted as (
  select * from unnest(
    array['customer_credit', case when :hot = 1 then 'revenue' else 'customer_credit' end]::text[],
    array['usd', 'usd']::text[],
    array[('00000000-0000-7000-8000-' || lpad(to_hex(:from::int), 12, '0')),
      case when :hot = 1 then null else '00000000-0000-7000-8000-' || lpad(to_hex(:other::int), 12, '0') end]::uuid[],
    array['', case when :hot = 1 then 'bench' else '' end]::text[]) with ordinality
    as w (kind, currency, owner, name, place))
select w.place, a.id from wanted w join ledger_accounts a
  on a.kind = w.kind and a.currency = w.currency and a.owner = w.owner and a.name = w.name
union all
select w.place, a.id from wanted w join ledger_accounts a
  on w.owner is null and a.owner is null and a.kind = w.kind and a.currency = w.currency and a.name = w.name;
select id, may_be_negative, posted, held from ledger_accounts
  where id = any(array[:from::bigint, :to::bigint]) order by id for no key update;
select t.id, t.source, t.source_id, t.kind, t.debit, t.credit, t.amount, t.hold_id, t.reverses, t.reason
  from unnest(array['pgbench'], array[:run::text || '/' || :client_id::text || '/' || :fact::text]) as w (source, source_id)
  join ledger_transfers t on t.source = w.source and t.source_id = w.source_id;
insert into ledger_transfers (source, source_id, kind, currency, debit, credit, amount, hold_id, reverses, link,
  reason, reference_type, reference_id, metadata, debit_posted_after, debit_held_after, credit_posted_after,
  credit_held_after, created_at)
select source, source_id, 'post', 'usd', debit, credit, amount, null, null, gen_random_uuid(), 'bench', null, null,
  '{}', 0, 0, 0, 0, now()
from unnest(array['pgbench'], array[:run::text || '/' || :client_id::text || '/' || :fact::text], array[:from::bigint],
  array[:to::bigint], array[1::bigint]) with ordinality as l (source, source_id, debit, credit, amount, place)
order by place
on conflict (source, source_id) do nothing
returning id, source, source_id;
update ledger_accounts a set posted = a.posted + d.posted, held = a.held + d.held, version = a.version + d.count
  from unnest(array[:from::bigint, :to::bigint], array[-1, 1]::bigint[], array[0, 0]::bigint[],
    array[1, 1]::bigint[]) as d (id, posted, held, count)
  where a.id = d.id;
commit;
