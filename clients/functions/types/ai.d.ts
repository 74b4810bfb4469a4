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
declare function translate(text: string, to: string | ({
    to: string;
} & TranslateOptions), options?: TranslateOptions): Promise<Translation>;
/** Costs money: the project's account pays. */
declare function generateImage(asked: {
    prompt: string;
    aspect?: 'square' | 'landscape' | 'portrait';
}): Promise<Image>;
export declare const ai: {
    translate: typeof translate;
    moderate: (text: string) => Promise<Moderation>;
    generateImage: typeof generateImage;
};
export {};
