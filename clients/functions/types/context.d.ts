import { type Headerish, type Requestish } from './platform.ts';
export interface Run402Context {
    requestId: string | null;
    projectId: string | null;
    releaseId: string | null;
    host: string | null;
    locale: string | null;
    defaultLocale: string | null;
    idempotencyKey: string | null;
}
/** Of a Request, or of its headers. What is blank is not there. */
export declare function getRun402Context(of: Requestish | Headerish): Run402Context;
