// Durable runs of the project's functions: begun from here, and received by a handler.
import { ask, current, field } from './platform.ts';

export interface RunOptions {
  eventType: string;
  /** The same key with the same content is the same run. */
  idempotencyKey: string;
  payload?: Record<string, unknown>;
  runAt?: string | Date;
  delaySeconds?: number;
  expiresAt?: string | Date;
  retry?: { preset?: 'standard' | 'none'; maxAttempts?: number; minDelaySeconds?: number; maxDelaySeconds?: number };
}

export type FunctionRun = Record<string, unknown> & {
  run_id: string;
  function_name: string;
  event_type: string;
  status: string;
  terminal: boolean;
  deduplicated?: boolean;
};

/** What a handler gets of a run. */
export interface FunctionRunEnvelope {
  trigger: 'function_run';
  run_id: string;
  generation: number;
  event_type: string;
  idempotency_key: string;
  run_at: string;
  attempt: { attempt_id: string; number: number; max: number };
  source: { type: string };
  payload?: Record<string, unknown>;
}

const time = (at: string | Date | undefined): string | undefined => (at instanceof Date ? at.toISOString() : at);

/** Begins a run of a function of this project, now or later. */
async function create(name: string, options: RunOptions): Promise<FunctionRun> {
  if (!options?.eventType) throw new Error('functions.runs.create: eventType is required');
  if (!options.idempotencyKey) throw new Error('functions.runs.create: idempotencyKey is required');
  const { retry } = options;
  const body = {
    event_type: options.eventType,
    idempotency_key: options.idempotencyKey,
    payload: options.payload,
    run_at: time(options.runAt),
    delay_seconds: options.delaySeconds,
    expires_at: time(options.expiresAt),
    retry: retry && {
      preset: retry.preset,
      max_attempts: retry.maxAttempts,
      min_delay_seconds: retry.minDelaySeconds,
      max_delay_seconds: retry.maxDelaySeconds,
    },
  };
  const headers: Record<string, string> = { 'Idempotency-Key': options.idempotencyKey };
  const above = current()?.request?.headers;
  for (const [name, sent] of [
    ['x-run402-run-id', 'X-Run402-Parent-Run-Id'],
    ['x-run402-attempt-id', 'X-Run402-Parent-Attempt-Id'],
  ]) {
    const value = field(above, name);
    if (value) headers[sent] = value;
  }
  return ask(`/functions/v1/${encodeURIComponent(name)}/runs`, body, 'Function run failed', 'code', headers);
}

/** Whether a handler was called for a run. */
export const isFunctionRun = (request: { headers: Headers }): boolean =>
  request.headers.get('x-run402-trigger') === 'function_run';

/** The run that a handler was called for. */
export async function parseFunctionRun(request: Request): Promise<FunctionRunEnvelope> {
  const run = (await request.clone().json()) as FunctionRunEnvelope;
  if (run?.trigger !== 'function_run' || typeof run.run_id !== 'string') throw new Error('this is no function run');
  return run;
}

export const functions = { runs: { create }, isFunctionRun, parseFunctionRun };
