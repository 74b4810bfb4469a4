export interface EmailTemplate {
    to: string;
    template: string;
    variables?: Record<string, unknown>;
    from_name?: string;
}
export interface EmailRaw {
    to: string;
    subject: string;
    html: string;
    text?: string;
    from_name?: string;
}
/** Sends a mail, made of a template or of HTML. The platform's refusals are thrown as they are. */
declare function send(mail: EmailTemplate | EmailRaw): Promise<{
    id: string;
    message_id?: string;
} & Record<string, unknown>>;
export declare const email: {
    send: typeof send;
};
export {};
