// Translation, moderation and images.
import { ask } from './platform.ts';

export interface TranslateOptions {
  from?: string;
  context?: string;
}

export interface Translation {
  text: string;
  from: string;
  to: string;
}

export interface Moderation {
  flagged: boolean;
  categories: Record<string, boolean>;
  category_scores: Record<string, number>;
}

export interface Image {
  /** A PNG as base64. */
  image: string;
  content_type: string;
  aspect: string;
}

/** `to` is a language, or all of the options in one object. */
function translate(
  text: string,
  to: string | ({ to: string } & TranslateOptions),
  options: TranslateOptions = {},
): Promise<Translation> {
  const all = typeof to === 'string' ? { to, ...options } : { ...to, ...options };
  const body: Record<string, string> = { text, to: all.to };
  if (all.from) body.from = all.from;
  if (all.context) body.context = all.context;
  return ask('/ai/v1/translate', body, 'Translation failed', 'error');
}

const moderate = (text: string): Promise<Moderation> => ask('/ai/v1/moderate', { text }, 'Moderation failed', 'error');

/** Costs money: the project's account pays. */
function generateImage(asked: { prompt: string; aspect?: 'square' | 'landscape' | 'portrait' }): Promise<Image> {
  const body = { prompt: asked.prompt, aspect: asked.aspect ?? 'square' };
  return ask('/generate-image/v1', body, 'Image generation failed', 'code');
}

export const ai = { translate, moderate, generateImage };
