import { type Headerish } from './platform.ts';
export type WebhookVerification = {
    valid: true;
    timestamp: number;
    secret_used: 'current' | 'previous';
} | {
    valid: false;
    reason: 'missing_signature_header' | 'malformed_signature_header' | 'missing_timestamp' | 'missing_v1' | 'timestamp_out_of_tolerance' | 'signature_mismatch';
};
/**
 * Judges a notification by the bytes of its body, before anything parses them. Never throws.
 * `Run402-Signature: t=<unix seconds>,v1=<64 hex digits>`, of `<t>.<body>`; unknown parts are ignored.
 */
export declare function verifyWebhook(headers: Headerish, rawBody: string | Uint8Array, secret: string, options?: {
    previousSecret?: string;
    toleranceSeconds?: number;
}): WebhookVerification;
