-- Payments that we settle for others: they end as 'settled', which books nothing, because the money is not ours.

alter table payments drop constraint payments_state_check;
alter table payments add constraint payments_state_check
  check (state in ('verified', 'settling', 'credited', 'settled', 'failed', 'expired'));

-- False for what arrived at somebody else's address, which is watched because we settle for it.
alter table sightings add column ours boolean not null default true;
