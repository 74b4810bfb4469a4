-- Plans, operations, releases and the names that point at them.

create table deploy_plans (
  id uuid primary key,
  project_id uuid not null references projects,
  operation_id uuid not null unique,
  base_release_id uuid,
  -- What was live when it was planned; anything else at activation is a conflict.
  active_release_id uuid,
  -- The normalised spec, and SHA-256 of its canonical JSON.
  spec jsonb not null,
  digest text not null check (digest ~ '^[0-9a-f]{64}$'),
  idempotency_key text,
  is_noop boolean not null,
  created_by text not null,
  created_at timestamptz not null,
  expires_at timestamptz not null
);
create index deploy_plans_replay on deploy_plans (project_id, digest, created_at);

create table deploy_operations (
  id uuid primary key,
  project_id uuid not null references projects,
  plan_id uuid not null references deploy_plans,
  status text not null check (status in (
    'planning', 'uploading', 'committing', 'staging', 'gating', 'migrating', 'schema_settling', 'activating',
    'activation_pending', 'ready', 'failed', 'rolled_back', 'needs_repair')),
  base_release_id uuid,
  target_release_id uuid,
  release_id uuid,
  urls jsonb,
  error jsonb,
  activate_attempts integer not null default 0,
  last_activate_attempt_at timestamptz,
  trace_id text,
  created_at timestamptz not null,
  updated_at timestamptz not null
);
create index deploy_operations_by_project on deploy_operations (project_id, id desc);
create index deploy_operations_unfinished on deploy_operations (updated_at)
  where status in ('committing', 'staging', 'gating', 'migrating', 'schema_settling', 'activating', 'activation_pending');

create table deploy_events (
  operation_id uuid not null references deploy_operations,
  seq integer not null,
  event jsonb not null,
  created_at timestamptz not null,
  primary key (operation_id, seq)
);

create table releases (
  id uuid primary key,
  project_id uuid not null references projects,
  parent_id uuid references releases,
  operation_id uuid not null references deploy_operations,
  plan_id uuid not null references deploy_plans,
  status text not null check (status in ('staged', 'active', 'superseded', 'failed')),
  digest text not null,
  -- dpl_<time>_<6 hex>: the name of the immutable deployment host.
  deployment_id text not null unique,
  created_by text not null,
  created_at timestamptz not null,
  activated_at timestamptz,
  superseded_at timestamptz
);
create index releases_by_project on releases (project_id, created_at desc);
create unique index releases_one_active on releases (project_id) where status = 'active';
alter table projects add constraint projects_active_release foreign key (active_release) references releases;

create table release_files (
  release_id uuid not null references releases,
  path text not null,
  sha256 text not null references content_objects,
  size_bytes bigint not null,
  content_type text not null,
  -- Its name looks immutable, but its bytes have changed under that name.
  revalidate boolean not null default false,
  primary key (release_id, path)
);
create index release_files_by_object on release_files (sha256);

create table subdomains (
  name text primary key check (name ~ '^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$'),
  -- The holder; null while the name is only kept back for a former one.
  project_id uuid references projects,
  deployment_id text,
  reserved_for uuid references accounts,
  reserved_until timestamptz,
  created_at timestamptz not null,
  updated_at timestamptz not null
);
create index subdomains_by_project on subdomains (project_id);

create function subdomain_announce() returns trigger language plpgsql as $$
begin
  perform pg_notify('subdomain', coalesce(new.name, old.name));
  return null;
end $$;
create trigger subdomain_announce after insert or update or delete on subdomains for each row execute function subdomain_announce();
