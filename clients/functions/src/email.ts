// Mail from the project's mailbox.
import { api, ask, refused, service } from './platform.ts';

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

interface Mailbox {
  mailbox_id: string;
  status?: string;
  can_send?: boolean;
  send_blocked_reason?: string | null;
}

interface Mailboxes {
  mailboxes?: Mailbox[];
  mailbox_settings?: { default_outbound_mailbox_id?: string | null };
}

const CLOSED = ['suspended', 'tombstoned'];
const sends = (one: Mailbox): boolean => one.can_send !== false && !CLOSED.includes(one.status ?? '');

/** A project's mailbox stays, so it is asked for once. */
let known: string | undefined;

async function mailbox(): Promise<string> {
  if (known) return known;
  const response = await fetch(`${api()}/mailboxes/v1`, { headers: service() });
  if (!response.ok) throw await refused(response, 'Mailbox lookup failed', 'raw');
  const { mailboxes = [], mailbox_settings } = (await response.json()) as Mailboxes;
  if (mailboxes.length === 0) throw new Error('This project has no mailbox: make one first');
  const chosen = mailbox_settings?.default_outbound_mailbox_id;
  const able = mailboxes.filter(sends);
  const one = able.find((it) => it.mailbox_id === chosen) ?? able[0];
  if (!one) {
    const why = mailboxes[0].send_blocked_reason ?? mailboxes[0].status ?? 'it may not send';
    throw new Error(`No mailbox of this project can send: ${why}`);
  }
  known = one.mailbox_id;
  return known;
}

/** Sends a mail, made of a template or of HTML. The platform's refusals are thrown as they are. */
async function send(mail: EmailTemplate | EmailRaw): Promise<{ id: string; message_id?: string } & Record<string, unknown>> {
  const from = await mailbox();
  const { to, from_name } = mail;
  const content =
    'template' in mail
      ? { template: mail.template, variables: mail.variables ?? {} }
      : { subject: mail.subject, html: mail.html, text: mail.text };
  try {
    return await ask(`/mailboxes/v1/${from}/messages`, { to, ...content, from_name }, 'Email send failed', 'error');
  } catch (error) {
    // It may have been deleted meanwhile: the next mail looks again.
    if ((error as { status?: number }).status === 404) known = undefined;
    throw error;
  }
}

export const email = { send };
