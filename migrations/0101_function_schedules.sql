-- Schedules of functions: when each is due next, and what became of every time that it was due.

alter table functions
  add column schedule text,
  -- What happens to times that passed while nobody looked.
  add column missed text not null default 'skip' check (missed in ('skip', 'run_once', 'run_all')),
  -- What happens to a time at which the run before is not over.
  add column overlap text not null default 'skip' check (overlap in ('skip', 'queue', 'allow')),
  -- Null without a schedule. The time of a change, until the schedule's loop has worked out the first run.
  add column next_due_at timestamptz,
  add column is_planned boolean not null default false,
  add column run_count bigint not null default 0,
  add column last_run_at timestamptz,
  add column last_status integer,
  add column last_error text;

create index functions_due on functions (next_due_at) where next_due_at is not null;

create table function_runs (
  id uuid primary key default gen_random_uuid(),
  function_id uuid not null references functions on delete cascade,
  due_at timestamptz not null,
  source text not null check (source in ('schedule', 'manual')),
  -- `due` and `running` lead on; the others are ends.
  state text not null check (state in ('due', 'running', 'succeeded', 'failed', 'skipped')),
  attempt integer not null default 0,
  -- Who runs it, and until when that is believed.
  node_id uuid,
  believed_until timestamptz,
  started_at timestamptz,
  ended_at timestamptz,
  status integer,
  error text,
  unique (function_id, due_at),
  check ((state in ('succeeded', 'failed', 'skipped')) = (ended_at is not null))
);

create index function_runs_open on function_runs (due_at) where state in ('due', 'running');
create index function_runs_by_age on function_runs (ended_at);

update functions f set schedule = r.schedule, next_due_at = now()
from projects p, release_functions r
where p.id = f.project_id and r.release_id = p.active_release and r.name = f.name and r.schedule is not null;
