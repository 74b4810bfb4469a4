-- What falls due as a lease ages, and when its chain stood still.

-- One row per lease period and step, written with the lease. Rows of a period that was replaced go with it.
create table lifecycle_steps (
  account_id uuid not null references accounts,
  -- Names the period: the end that the lease had when the row was written.
  lease_ends_at timestamptz not null,
  step text not null check (step in ('past_due', 'frozen', 'dormant', 'purge')),
  due_at timestamptz not null,
  worked_at timestamptz,
  primary key (account_id, lease_ends_at, step)
);
create index lifecycle_steps_due on lifecycle_steps (due_at) where worked_at is null;

insert into lifecycle_steps (account_id, lease_ends_at, step, due_at)
select l.account_id, l.ends_at, s.step, l.ends_at + make_interval(hours => 24 * s.days)
from leases l, (values ('past_due', 0), ('frozen', 14), ('dormant', 44), ('purge', 104)) as s (step, days);

-- What an owner is to be told, once per period and step. Delivery by e-mail takes them from here.
create table notices (
  id bigint generated always as identity primary key,
  account_id uuid not null references accounts,
  lease_ends_at timestamptz not null,
  step text not null check (step in ('past_due', 'frozen', 'dormant')),
  facts jsonb not null,
  created_at timestamptz not null,
  delivered_at timestamptz,
  unique (account_id, lease_ends_at, step)
);
create index notices_waiting on notices (id) where delivered_at is null;

-- Projects whose erasure was decided because their lease ended long ago. A row stays until the project is erased.
create table project_purges (
  project_id uuid primary key references projects,
  account_id uuid not null references accounts,
  -- The project's names are nobody else's until then.
  names_kept_until timestamptz not null,
  decided_at timestamptz not null
);

-- Spans in which a watched chain made no block: whoever wanted to renew could not pay.
create table chain_stalls (
  network text not null,
  started_at timestamptz not null,
  -- Null while it still stands.
  ended_at timestamptz check (ended_at >= started_at),
  primary key (network, started_at)
);
create unique index chain_stalls_open on chain_stalls (network) where ended_at is null;
