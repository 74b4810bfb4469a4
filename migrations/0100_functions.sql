-- Functions as they run: what is live under which name, what was bundled of their code, what they wrote.

create table functions (
  id uuid primary key default gen_random_uuid(),
  project_id uuid not null references projects,
  name text not null,
  -- Tells a change of code or limits from a release that only carries the function on.
  fingerprint text not null,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  -- Entries of a log have times of their own, so that a reader can go on after the last one it saw.
  last_log_at timestamptz not null default '-infinity',
  unique (project_id, name)
);

-- One module for each source and toolchain.
create table function_builds (
  project_id uuid not null references projects,
  code_hash text not null check (code_hash ~ '^[0-9a-f]{64}$'),
  toolchain text not null,
  bundle bytea not null,
  warnings jsonb not null,
  built_at timestamptz not null,
  primary key (project_id, code_hash, toolchain)
);

create table function_logs (
  function_id uuid not null references functions on delete cascade,
  at timestamptz not null,
  request_id text,
  stream text not null check (stream in ('stdout', 'stderr', 'platform')),
  message text not null,
  primary key (function_id, at)
);

create index function_logs_by_age on function_logs (at);

-- What is live already runs from now on.
insert into functions (project_id, name, fingerprint, created_at, updated_at)
select p.id, f.name, '', coalesce(r.activated_at, r.created_at), coalesce(r.activated_at, r.created_at)
from projects p join releases r on r.id = p.active_release join release_functions f on f.release_id = r.id;
