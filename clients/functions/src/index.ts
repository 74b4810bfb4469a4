// What functions import as `@run402/functions`. Everything is read from the environment when it is called.
export { type AssetListOptions, type AssetPutOptions, type AssetRef, type AssetSource, assets } from './assets.ts';
export { type Image, type Moderation, type TranslateOptions, type Translation, ai } from './ai.ts';
export { type Run402Context, getRun402Context } from './context.ts';
export { QueryBuilder, type SqlRows, adminDb, db } from './db.ts';
export { type EmailRaw, type EmailTemplate, email } from './email.ts';
export { Run402Error } from './platform.ts';
export { type RoutedResponse, bytes, isRequest, json, routedHttp, text } from './routed.ts';
export {
  type FunctionRun,
  type FunctionRunEnvelope,
  type RunOptions,
  functions,
  isFunctionRun,
  parseFunctionRun,
} from './runs.ts';
export { type User, getUser } from './user.ts';
export { type WebhookVerification, verifyWebhook } from './webhook.ts';
