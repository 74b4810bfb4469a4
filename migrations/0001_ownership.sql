-- Who may write what: nodes prove they are alive, claims name the one writer of each entity.

create table nodes (
  id uuid primary key,
  internal_url text not null,
  started_at timestamptz not null default now(),
  -- Always this database's clock, so that nodes with skewed clocks agree.
  expires_at timestamptz not null
);

create table claims (
  kind text not null,
  entity uuid not null,
  -- Rises at each take-over; a writer that holds an older one is refused.
  epoch bigint not null check (epoch > 0),
  node uuid not null,
  held boolean not null default true,
  claimed_at timestamptz not null default now(),
  primary key (kind, entity)
);
create index claims_by_node on claims (node) where held;

-- Facts to deliver. Rows are deleted once acknowledged; commits do not land in seq order, so the relay takes whatever is there.
create table outbox (
  seq bigint generated always as identity primary key,
  topic text not null,
  payload jsonb not null,
  trace_id text,
  attempts integer not null default 0,
  last_error text,
  available_at timestamptz not null default now(),
  created_at timestamptz not null default now()
);
create index outbox_due on outbox (available_at);

create function outbox_announce() returns trigger language plpgsql as $$
begin
  perform pg_notify('outbox', '');
  return null;
end $$;
create trigger outbox_announce after insert on outbox for each statement execute function outbox_announce();
