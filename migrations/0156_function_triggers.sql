-- Triggers of functions: several schedules of one function, each of whose due times is a run that is asked for.

alter table release_functions add column triggers jsonb not null default '[]';

-- What is live of them. `spec` is the element of the release's list.
create table function_triggers (
  id uuid primary key default gen_random_uuid(),
  function_id uuid not null references functions on delete cascade,
  name text not null,
  spec jsonb not null,
  -- The time of a change, until the schedule's loop has worked out the first run. Null: it never comes.
  next_due_at timestamptz,
  is_planned boolean not null default false,
  unique (function_id, name)
);

create index function_triggers_due on function_triggers (next_due_at) where next_due_at is not null;

alter table function_runs add column trigger_name text;

create index function_runs_by_trigger on function_runs (function_id, trigger_name, created_at)
  where trigger_name is not null;
