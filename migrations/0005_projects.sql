-- Projects and the database slots they live in.

-- A Postgres server that holds tenant databases. Its address is configuration, not data.
create table cells (
  name text primary key,
  accepts_projects boolean not null default true
);

-- A prepared database (`p0007`) of a cell, made ahead of need.
create table slots (
  number integer primary key,
  cell text not null references cells,
  state text not null check (state in ('making', 'warm', 'bound', 'dropping', 'dropped')),
  template_version integer not null,
  updated_at timestamptz not null
);
create index slots_warm on slots (cell, number) where state = 'warm';

create table projects (
  id uuid primary key,
  account_id uuid not null references accounts,
  name text not null check (length(name) between 1 and 128),
  phase text not null check (phase in ('provisioning', 'ready', 'erasing', 'erased')),
  slot integer unique references slots,
  -- The host of the project's own site: pr-<public_id>.<apex>
  public_id text not null unique check (public_id ~ '^[a-z0-9]{6,20}$'),
  active_release uuid,
  -- Moves with every change that a cached snapshot must notice.
  revision bigint not null default 1,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  erased_at timestamptz
);
create index projects_by_account on projects (account_id, created_at);
create index projects_unfinished on projects (updated_at) where phase in ('provisioning', 'erasing');

-- Signing secrets, versioned, sealed under the platform's master key. `keys` signs project keys, `users` signs tokens of end users.
create table project_secrets (
  project_id uuid not null references projects,
  purpose text not null check (purpose in ('keys', 'users')),
  version integer not null check (version > 0),
  sealed bytea not null,
  created_at timestamptz not null,
  retired_at timestamptz,
  primary key (project_id, purpose, version)
);

create table project_usage (
  project_id uuid primary key references projects,
  api_calls bigint not null default 0,
  database_bytes bigint not null default 0,
  measured_at timestamptz
);

create function project_announce() returns trigger language plpgsql as $$
begin
  perform pg_notify('project', new.id::text);
  return null;
end $$;
create trigger project_announce after insert or update on projects for each row execute function project_announce();
