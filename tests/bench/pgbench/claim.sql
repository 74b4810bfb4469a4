-- The statements of store::claims, claim and release.
\set high random(1, 9000000000000000)
insert into claims as c (kind, entity, epoch, node)
  values ('pgbench', ('00000000-0000-7000-8000-' || lpad(to_hex(:high % 281474976710655), 12, '0'))::uuid, 1,
    :node::uuid)
  on conflict (kind, entity) do update
    set node = excluded.node, epoch = c.epoch + 1, held = true, claimed_at = now()
    where not c.held or c.node = excluded.node
      or not exists (select from nodes n where n.id = c.node and n.expires_at > now())
  returning epoch;
update claims set held = false
  where kind = 'pgbench'
    and entity = ('00000000-0000-7000-8000-' || lpad(to_hex(:high % 281474976710655), 12, '0'))::uuid and epoch = 1;
