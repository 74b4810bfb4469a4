-- Versions of projects that others may fork, and forks on their way.

create table app_versions (
  id uuid primary key,
  project_id uuid not null references projects,
  -- Counts up per project and is never used again.
  number integer not null check (number > 0),
  name text not null,
  description text,
  -- Sorted, each once.
  tags text[] not null,
  visibility text not null check (visibility in ('public', 'unlisted', 'private')),
  fork_allowed boolean not null,
  -- What it takes to run it.
  min_tier text not null check (min_tier in ('prototype', 'hobby', 'team')),
  -- The release whose parts it has; none when nothing was deployed.
  release_id uuid,
  -- Functions, site, routes and manifest: a release spec in its normal form. Their bytes are the project's content.
  spec jsonb not null,
  -- Statements that make the schema, and the name of the schema that they were read from.
  structure text,
  structure_schema text not null,
  table_count integer not null,
  function_count integer not null,
  site_file_count integer not null,
  site_total_bytes bigint not null,
  -- Keys of secrets, never values.
  required_secrets text[] not null,
  compatibility_warnings text[] not null,
  bootstrap_variables jsonb,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  unique (project_id, number)
);
create index app_versions_listed on app_versions (created_at desc, id) where visibility = 'public';
create index app_versions_by_tag on app_versions using gin (tags) where visibility = 'public';

-- The number of the newest version, which outlives it.
alter table projects add column app_versions_made integer not null default 0;

-- One row for each project that began as a fork. It leads from an empty project to a finished one.
create table project_forks (
  project_id uuid primary key references projects,
  -- Of the publisher, and may be gone.
  version_id uuid not null,
  state text not null check (state in ('entered', 'held', 'live', 'bootstrapping', 'done', 'failed')),
  -- The fork's own release spec and schema, so that the version may go; null once it is live.
  spec jsonb,
  structure text,
  variables jsonb,
  result jsonb,
  error text,
  -- After that nobody can ask for it again: what is not done by then is erased.
  repeat_until timestamptz not null,
  created_at timestamptz not null,
  updated_at timestamptz not null
);
create index project_forks_open on project_forks (repeat_until) where state <> 'done';
