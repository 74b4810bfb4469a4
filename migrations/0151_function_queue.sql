-- Runs that are asked for, beside those by schedule and by hand: with a key, a payload, retries and an expiry.
--
-- `due_at` stays what it was: the time of a schedule, or of a run by hand, and null for a run that was asked for.
-- Servers of before look at it and so leave the new ones alone.

alter table function_runs
  alter column due_at drop not null,
  add column project_id uuid,
  add column created_at timestamptz,
  -- The time that was asked for.
  add column run_at timestamptz,
  -- When the next attempt may begin, while `due`.
  add column next_at timestamptz,
  add column expires_at timestamptz,
  add column event_type text,
  add column idempotency_key text,
  -- Of everything that was asked for under the key.
  add column intent_hash text,
  -- A JSON object as text. It goes when the run has succeeded: nobody needs it again.
  add column payload text,
  -- Counts how often it was begun anew after an end.
  add column generation integer not null default 1,
  -- `attempt` counts within the generation, this one through all of them.
  add column attempts_total integer not null default 0,
  add column attempts_max integer not null default 2,
  add column retry_min_secs integer not null default 0,
  add column retry_max_secs integer not null default 0,
  -- Names the attempt: whoever has another one has lost the run.
  add column attempt_id uuid,
  add column attempt_ended_at timestamptz,
  add column error_code text,
  add column is_retryable boolean,
  add column cancel_asked_at timestamptz,
  -- Held back because the account's lease has ended.
  add column is_blocked boolean not null default false,
  add column updated_at timestamptz,
  drop constraint function_runs_source_check,
  drop constraint function_runs_state_check,
  drop constraint function_runs_check,
  add constraint function_runs_source check (source in ('schedule', 'manual', 'api', 'function', 'email', 'webhook')),
  add constraint function_runs_state
    check (state in ('due', 'running', 'succeeded', 'failed', 'skipped', 'cancelled', 'expired')),
  add constraint function_runs_end
    check ((state in ('succeeded', 'failed', 'skipped', 'cancelled', 'expired')) = (ended_at is not null));

update function_runs r set project_id = f.project_id, created_at = r.due_at, run_at = r.due_at, next_at = r.due_at,
  attempts_total = r.attempt, updated_at = coalesce(r.ended_at, r.started_at, r.due_at)
from functions f where f.id = r.function_id;

-- What a schedule writes has none of these, whichever server writes it.
create function function_runs_complete() returns trigger language plpgsql as $$
begin
  if new.project_id is null then
    select project_id into new.project_id from functions where id = new.function_id;
  end if;
  new.created_at := coalesce(new.created_at, new.due_at);
  new.run_at := coalesce(new.run_at, new.due_at);
  new.next_at := coalesce(new.next_at, new.run_at);
  new.updated_at := coalesce(new.updated_at, new.ended_at, new.created_at);
  return new;
end $$;

create trigger function_runs_complete before insert on function_runs
  for each row execute function function_runs_complete();

create unique index function_runs_by_key on function_runs (function_id, idempotency_key)
  where idempotency_key is not null;
-- Project by project, so that the runs of one do not keep those of another waiting.
create index function_runs_next on function_runs (next_at) where state = 'due';
create index function_runs_waiting on function_runs (project_id, next_at) where state = 'due';
create index function_runs_busy on function_runs (project_id) where state = 'running';
create index function_runs_by_function on function_runs (function_id, created_at, id);
create index function_runs_expiring on function_runs (expires_at) where state = 'due' and expires_at is not null;
