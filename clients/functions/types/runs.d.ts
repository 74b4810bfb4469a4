export interface RunOptions {
    eventType: string;
    /** The same key with the same content is the same run. */
    idempotencyKey: string;
    payload?: Record<string, unknown>;
    runAt?: string | Date;
    delaySeconds?: number;
    expiresAt?: string | Date;
    retry?: {
        preset?: 'standard' | 'none';
        maxAttempts?: number;
        minDelaySeconds?: number;
        maxDelaySeconds?: number;
    };
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
    attempt: {
        attempt_id: string;
        number: number;
        max: number;
    };
    source: {
        type: string;
    };
    payload?: Record<string, unknown>;
}
/** Begins a run of a function of this project, now or later. */
declare function create(name: string, options: RunOptions): Promise<FunctionRun>;
/** Whether a handler was called for a run. */
export declare const isFunctionRun: (request: {
    headers: Headers;
}) => boolean;
/** The run that a handler was called for. */
export declare function parseFunctionRun(request: Request): Promise<FunctionRunEnvelope>;
export declare const functions: {
    runs: {
        create: typeof create;
    };
    isFunctionRun: (request: {
        headers: Headers;
    }) => boolean;
    parseFunctionRun: typeof parseFunctionRun;
};
export {};
