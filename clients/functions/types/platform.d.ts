export declare function env(name: string): string;
export declare const api: () => string;
export declare const project: () => string;
/** What lets a call do everything in its own project. */
export declare const service: () => Record<string, string>;
export type Row = Record<string, unknown>;
export type Headerish = {
    get(name: string): string | null;
} | Record<string, string | string[] | undefined>;
export type Requestish = {
    headers: Headerish;
};
/** A header by its name in lower case, of a Request, of Headers or of a plain record. */
export declare function field(headers: Headerish | undefined, name: string): string | null;
export declare const header: (request: Requestish | undefined, name: string) => string | null;
/** The request that is being answered where this is called; none outside of one. */
export declare function current(): {
    requestId?: string;
    request?: {
        headers: Record<string, string>;
    };
} | undefined;
/** The platform's refusal. `code` is what to branch on. */
export declare class Run402Error extends Error {
    status: number;
    code: string | null;
    traceId: string | null;
    body: unknown;
    constructor(message: string, status: number, body: unknown);
}
/** How much of a refusal a message shows: all of it, its `error`, or its code with its message. */
type Shown = 'raw' | 'error' | 'code';
export declare function refused(response: Response, what: string, shown: Shown): Promise<Run402Error>;
/** Sends JSON with the service key, and expects JSON. */
export declare function ask<T>(path: string, body: unknown, what: string, shown: Shown, more?: {}): Promise<T>;
export {};
